//! Kinds that are asked and answered, not stored: reviews of access, tokens and identity, and
//! bindings.

use http::{Response, StatusCode};
use trireme_api::Value;
use trireme_api::field_error::{FieldError, Path};
use trireme_api::selector::{FieldSelector, FieldTerm};
use trireme_api::tree::Map;

use super::write::{Expected, WriteOptions};
use super::{Resource, binding, managed};
use crate::authn;
use crate::authz::{self, Attributes, Decision, rbac};
use crate::clock;
use crate::filters::Call;
use crate::identity::Identity;
use crate::negotiate::Target;
use crate::present::{self, Subject};
use crate::server::Body;
use crate::status::{ApiError, Result, qualified};

/// POST of a kind that is not stored.
pub(super) async fn create(
    call: &Call,
    resource: &Resource,
    target: Target,
    options: &WriteOptions,
    mut value: Value,
) -> Result<Response<Body>> {
    let expected = Expected::of(resource);
    match resource.row.kind {
        "Binding" => {
            super::create::check_namespace(call, resource, &mut value)?;
            return binding::create_binding(call, options, &value).await;
        }
        "LocalSubjectAccessReview" => super::create::check_namespace(call, resource, &mut value)?,
        _ => {}
    }
    managed::update_virtual(expected, &mut value, &options.field_manager, "", &clock::now());
    match resource.row.kind {
        "SubjectAccessReview" | "LocalSubjectAccessReview" => {
            let errors = subject_errors(&value, resource.row.kind == "LocalSubjectAccessReview");
            refuse(&errors)?;
            let user = subject(&value["spec"]);
            let decision = authz::authorize(&call.core, &user, &attributes(&value["spec"]));
            answer(&mut value, &decision);
        }
        "SelfSubjectAccessReview" => {
            refuse(&attribute_errors(&value["spec"]))?;
            let decision = authz::authorize(&call.core, &call.user, &attributes(&value["spec"]));
            answer(&mut value, &decision);
        }
        "SelfSubjectRulesReview" => rules(call, &mut value)?,
        "SelfSubjectReview" => {
            let mut status = Map::new();
            status.set("userInfo", user_info(&call.user));
            let map = value.make(&[]);
            map.set("status", status);
            value.make(&["metadata"]).set("creationTimestamp", clock::now());
        }
        "TokenReview" => token_review(call, &mut value).await?,
        kind => return Err(ApiError::internal(format!("{kind} is not stored, and nothing answers it"))),
    }
    managed::normalize_virtual(expected, &mut value);
    present::one(call, resource, target, StatusCode::CREATED, Subject::Other(&value, expected.message))
}

fn refuse(errors: &[FieldError]) -> Result<()> {
    // Upstream gives the group here, and no kind.
    if errors.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid(qualified("authorization.k8s.io", ""), "", errors))
    }
}

fn attribute_errors(spec: &Value) -> Vec<FieldError> {
    let path = Path::new("spec");
    let (resource, path_attributes) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    match (resource.is_null(), path_attributes.is_null()) {
        (true, true) => vec![FieldError::invalid(
            &path.child("resourceAttributes"),
            Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )],
        (false, false) => {
            let child = path.child("nonResourceAttributes");
            let mut e =
                FieldError::invalid(&child, "", "cannot be specified in combination with resourceAttributes");
            // Upstream prints the internal type here.
            let mut shown = Map::new();
            shown.set("Path", path_attributes["path"].str_or_empty());
            shown.set("Verb", path_attributes["verb"].str_or_empty());
            e.value = Value::Object(shown).to_string();
            vec![e]
        }
        _ => Vec::new(),
    }
}

fn subject_errors(value: &Value, local: bool) -> Vec<FieldError> {
    let spec = &value["spec"];
    let mut errors = attribute_errors(spec);
    let path = Path::new("spec");
    if spec["user"].str_or_empty().is_empty() && spec["groups"].items().is_empty() {
        errors.push(FieldError::invalid(
            &path.child("user"),
            "",
            "at least one of user or group must be specified",
        ));
    }
    if local {
        let asked = spec["resourceAttributes"]["namespace"].str_or_empty();
        if asked != value["metadata"]["namespace"].str_or_empty() {
            let parent = path.child("resourceAttributes");
            errors.push(FieldError::invalid(
                &parent.child("namespace"),
                asked,
                "must match metadata.namespace",
            ));
        }
    }
    errors
}

fn subject(spec: &Value) -> Identity {
    let texts =
        |v: &Value| v.items().iter().filter_map(|g| g.as_str().map(str::to_owned)).collect::<Vec<_>>();
    Identity {
        name: spec["user"].str_or_empty().to_owned(),
        uid: spec["uid"].str_or_empty().to_owned(),
        groups: texts(&spec["groups"]),
        extra: spec["extra"].members().iter().map(|(k, v)| (k.to_string(), texts(v))).collect(),
    }
}

fn attributes(spec: &Value) -> Attributes {
    let r = &spec["resourceAttributes"];
    let text = |v: &Value, key: &str| v[key].str_or_empty().to_owned();
    if r.is_null() {
        let path = &spec["nonResourceAttributes"];
        return Attributes { verb: text(path, "verb"), path: text(path, "path"), ..Attributes::default() };
    }
    Attributes {
        verb: text(r, "verb"),
        group: text(r, "group"),
        resource: text(r, "resource"),
        subresource: text(r, "subresource"),
        namespace: text(r, "namespace"),
        name: text(r, "name"),
        field_selector: field_selector(&r["fieldSelector"]),
        path: String::new(),
        is_resource: true,
    }
}

/// What is asked about as a list would say it. Requirements that a list cannot state are left out,
/// which makes the question a wider one.
fn field_selector(asked: &Value) -> String {
    let raw = asked["rawSelector"].str_or_empty();
    if !raw.is_empty() {
        return raw.to_owned();
    }
    let terms = asked["requirements"].items().iter().filter_map(|r| match r["values"].items() {
        [value] => {
            let negated = match r["operator"].str_or_empty() {
                "In" => false,
                "NotIn" => true,
                _ => return None,
            };
            let (field, value) = (r["key"].str_or_empty().to_owned(), value.str_or_empty().to_owned());
            Some(FieldTerm { field, value, negated })
        }
        _ => None,
    });
    FieldSelector { terms: terms.collect() }.to_string()
}

fn answer(value: &mut Value, decision: &Decision) {
    let mut status = Map::new();
    status.set("allowed", decision.allowed);
    if !decision.reason.is_empty() {
        status.set("reason", decision.reason.as_str());
    }
    value.make(&[]).set("status", status);
}

/// `userInfo` of an identity.
fn user_info(user: &Identity) -> Value {
    let mut out = Map::new();
    out.set("username", user.name.as_str());
    if !user.uid.is_empty() {
        out.set("uid", user.uid.as_str());
    }
    out.set("groups", user.groups.clone());
    if !user.extra.is_empty() {
        let extra: Map = user.extra.iter().map(|(k, v)| (k.as_str(), Value::from(v.clone()))).collect();
        out.set("extra", extra);
    }
    Value::Object(out)
}

fn rules(call: &Call, value: &mut Value) -> Result<()> {
    let namespace = value["spec"]["namespace"].str_or_empty().to_owned();
    if namespace.is_empty() {
        return Err(ApiError::bad_request("no namespace on request"));
    }
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    let index = call.core.rbac.current(&call.core.cache);
    let mut held = index.rules_of(&call.user, &namespace);
    if call.user.in_group(crate::identity::SYSTEM_MASTERS) {
        let all = || vec!["*".to_owned()];
        held.push(rbac::Rule { verbs: all(), groups: all(), resources: all(), ..rbac::Rule::default() });
        held.push(rbac::Rule { verbs: all(), paths: all(), ..rbac::Rule::default() });
    }
    for rule in held {
        let mut out = Map::new();
        out.set("verbs", rule.verbs.clone());
        if !rule.paths.is_empty() {
            out.set("nonResourceURLs", rule.paths);
            paths.push(Value::Object(out));
            continue;
        }
        out.set("apiGroups", rule.groups);
        out.set("resources", rule.resources);
        if !rule.names.is_empty() {
            out.set("resourceNames", rule.names);
        }
        resources.push(Value::Object(out));
    }
    let mut status = Map::new();
    status.set("resourceRules", resources);
    status.set("nonResourceRules", paths);
    status.set("incomplete", false);
    value.make(&[]).set("status", status);
    Ok(())
}

async fn token_review(call: &Call, value: &mut Value) -> Result<()> {
    let token = value["spec"]["token"].str_or_empty().to_owned();
    if token.is_empty() {
        return Err(ApiError::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences: Vec<String> =
        value["spec"]["audiences"].items().iter().filter_map(|a| a.as_str().map(str::to_owned)).collect();
    let mut status = Map::new();
    match authn::token_identity(&call.core, &token, &audiences).await {
        Ok(user) => {
            status.set("authenticated", true);
            status.set("user", user_info(&user));
            let shown = if audiences.is_empty() { call.core.tokens.audiences().to_vec() } else { audiences };
            status.set("audiences", shown);
        }
        Err(_) => {
            status.set("user", Map::new());
            status.set("error", "invalid bearer token");
        }
    }
    value.make(&[]).set("status", status);
    Ok(())
}
