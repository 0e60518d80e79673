//! Tokens for service accounts: `serviceaccounts/<name>/token`.

use http::{Response, StatusCode};
use trireme_api::field_error::{FieldError, Path};

use super::write::{Expected, WriteOptions, decode};
use super::{Resource, managed};
use crate::authn::{Audience, Bound, BoundObject, Claims};
use crate::filters::Call;
use crate::negotiate;
use crate::present::{self, Subject};
use crate::server::Body;
use crate::status::{ApiError, Result, qualified};
use crate::{clock, limits};

const TOKEN_REQUEST: Expected<'static> = Expected {
    kind: "TokenRequest",
    group: "authentication.k8s.io",
    version: "v1",
    message: "authentication/v1.TokenRequest",
};

pub(super) async fn create(call: &Call, resource: &Resource) -> Result<Response<Body>> {
    let target = negotiate::target(call)?;
    let options = WriteOptions::parse(call, "CreateOptions", false)?;
    let bytes = call.body().await?;
    let mut request = decode(call, TOKEN_REQUEST, &bytes, options.field_validation)?;
    let (namespace, name) = (call.info.namespace.as_str(), call.info.name.as_str());
    let core = &call.core;
    let account = core
        .lookup("", "serviceaccounts", namespace, name)
        .await
        .ok_or_else(|| ApiError::not_found(resource.qualified(), name))?;

    let spec = &request["spec"];
    let seconds = spec["expirationSeconds"].as_i64().unwrap_or(limits::TOKEN_SECONDS_DEFAULT);
    let path = Path::new("spec");
    let path = path.child("expirationSeconds");
    let error = if seconds < limits::TOKEN_SECONDS_MIN {
        Some(FieldError::invalid(&path, seconds, "may not specify a duration less than 10 minutes"))
    } else if seconds > limits::TOKEN_SECONDS_MAX {
        Some(FieldError::invalid(&path, seconds, "may not specify a duration larger than 2^32 seconds"))
    } else {
        None
    };
    if let Some(error) = error {
        return Err(ApiError::invalid(qualified("authentication.k8s.io", "TokenRequest"), "", &[error]));
    }
    let mut audiences: Vec<String> =
        spec["audiences"].items().iter().filter_map(|a| a.as_str().map(str::to_owned)).collect();
    if audiences.is_empty() {
        audiences = core.tokens.audiences().to_vec();
    }

    let mut bound = Bound {
        namespace: namespace.to_owned(),
        node: None,
        pod: None,
        secret: None,
        serviceaccount: BoundObject { name: name.to_owned(), uid: account.uid().to_owned() },
        warnafter: None,
    };
    let reference = &spec["boundObjectRef"];
    if !reference.is_null() {
        let (kind, to) = (reference["kind"].str_or_empty(), reference["name"].str_or_empty());
        let (plural, in_namespace) = match (reference["apiVersion"].str_or_empty(), kind) {
            ("v1", "Pod") => ("pods", namespace),
            ("v1", "Secret") => ("secrets", namespace),
            ("v1", "Node") => ("nodes", ""),
            (version, _) => {
                return Err(ApiError::bad_request(format!(
                    "cannot bind token for serviceaccount {name:?} to object of type {version}, Kind={kind}"
                )));
            }
        };
        let object = core
            .lookup("", plural, in_namespace, to)
            .await
            .ok_or_else(|| ApiError::not_found(qualified("", plural), to))?;
        let uid = reference["uid"].str_or_empty();
        if !uid.is_empty() && uid != object.uid() {
            return Err(ApiError::conflict(
                qualified("", plural),
                to,
                format!(
                    "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
                ),
            ));
        }
        let named = || Some(BoundObject { name: to.to_owned(), uid: object.uid().to_owned() });
        match kind {
            "Pod" => {
                if object["spec"]["serviceAccountName"] != *name {
                    return Err(ApiError::bad_request(format!(
                        "cannot bind token for serviceaccount {name:?} to pod running with different serviceaccount name."
                    )));
                }
                bound.pod = named();
                let node = object["spec"]["nodeName"].str_or_empty();
                if !node.is_empty() {
                    let uid =
                        core.cached("", "nodes", "", node).map_or(String::new(), |n| n.uid().to_owned());
                    bound.node = Some(BoundObject { name: node.to_owned(), uid });
                }
            }
            "Secret" => bound.secret = named(),
            _ => bound.node = named(),
        }
    }

    let now = clock::unix_seconds();
    let claims = Claims {
        aud: Audience(audiences.clone()),
        exp: now + seconds,
        iat: now,
        iss: core.tokens.issuer().to_owned(),
        jti: uuid::Uuid::new_v4().to_string(),
        kubernetes: bound,
        nbf: now,
        sub: format!("{}{namespace}:{name}", crate::identity::SERVICE_ACCOUNT_PREFIX),
    };
    let token = if options.dry_run {
        String::new()
    } else {
        core.tokens.sign(&claims).map_err(|e| ApiError::internal(format!("signing the token failed: {e}")))?
    };

    let metadata = request.make(&["metadata"]);
    metadata.set("name", name);
    metadata.set("namespace", namespace);
    metadata.set("uid", account.uid());
    metadata.set("creationTimestamp", clock::rfc3339(now));
    let spec = request.make(&["spec"]);
    spec.set("audiences", audiences);
    spec.set("expirationSeconds", seconds);
    managed::update_virtual(TOKEN_REQUEST, &mut request, &options.field_manager, "token", &clock::now());
    let status = request.make(&["status"]);
    status.set("token", token);
    status.set("expirationTimestamp", clock::rfc3339(now + seconds));
    managed::normalize_virtual(TOKEN_REQUEST, &mut request);
    present::one(call, resource, target, StatusCode::CREATED, Subject::Other(&request, TOKEN_REQUEST.message))
}
