//! DELETE of one object: preconditions, finalizers, propagation, grace.

use bytes::Bytes;
use http::{Response, StatusCode};
use trireme_api::Value;
use trireme_api::field_error::{FieldError, Path};
use trireme_api::kinds::Kind;

use super::storage::{self, Current, Extra, Outcome, Write};
use super::write::{body_format, dry_run_errors};
use super::{Resource, meta};
use crate::admission::{self, Operation, Request};
use crate::filters::Call;
use crate::negotiate;
use crate::present::{self, Subject};
use crate::server::Body;
use crate::status::{ApiError, Result, qualified, quote};
use crate::wire::{self, Format};
use crate::{clock, limits, services, status};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// `DeleteOptions`.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) grace_s: Option<i64>,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) orphan_dependents: Option<bool>,
    pub(crate) propagation: Option<String>,
    pub(crate) dry_run: bool,
}

impl DeleteOptions {
    /// From the body when there is one, else from the query.
    pub(crate) fn parse(call: &Call, bytes: &Bytes) -> Result<DeleteOptions> {
        let mut errors = Vec::new();
        let options = if bytes.is_empty() {
            let q = &call.query;
            errors.extend(dry_run_errors(call));
            let grace_s = match q.text("gracePeriodSeconds") {
                "" => None,
                text => Some(text.parse().map_err(|_| {
                    ApiError::bad_request(format!(
                        "strconv.ParseInt: parsing {}: invalid syntax",
                        quote(text)
                    ))
                })?),
            };
            DeleteOptions {
                grace_s,
                uid: None,
                resource_version: None,
                orphan_dependents: q.flag("orphanDependents"),
                propagation: q.get("propagationPolicy").filter(|p| !p.is_empty()).map(str::to_owned),
                dry_run: q.get("dryRun").is_some_and(|d| !d.is_empty()),
            }
        } else {
            Self::from_body(call, bytes, &mut errors)?
        };
        let path = Path::new("propagationPolicy");
        if let Some(policy) = &options.propagation {
            if options.orphan_dependents.is_some() {
                errors.push(FieldError::invalid(
                    &path,
                    policy.as_str(),
                    "orphanDependents and deletionPropagation cannot be both set",
                ));
            } else if !matches!(policy.as_str(), "Foreground" | "Background" | "Orphan") {
                let mut e = FieldError::not_supported(&path, policy.as_str(), &[]);
                e.detail = "supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"".into();
                errors.push(e);
            }
        }
        if errors.is_empty() { Ok(options) } else { Err(ApiError::invalid_options("DeleteOptions", &errors)) }
    }

    fn from_body(call: &Call, bytes: &Bytes, errors: &mut Vec<FieldError>) -> Result<DeleteOptions> {
        let format = body_format(call)?;
        let (api_version, kind) = wire::type_meta(format, bytes).map_err(|e| {
            let what = if format == Format::Yaml { "yaml parse error" } else { "json parse error" };
            ApiError::bad_request(format!("couldn't get version/kind; {what}: {e}"))
        })?;
        if !kind.is_empty() && kind != "DeleteOptions" {
            return Err(ApiError::bad_request(format!(
                "no kind {} is registered for version {} in scheme \"pkg/apis/meta/internalversion/scheme/register.go:27\"",
                quote(&kind),
                quote(&api_version)
            )));
        }
        let v = wire::decode(format, bytes, "meta/v1.DeleteOptions")
            .map_err(|e| ApiError::bad_request(e.to_string()))?
            .value;
        Ok(Self::from_value(&v, errors))
    }

    pub(crate) fn from_value(v: &Value, errors: &mut Vec<FieldError>) -> DeleteOptions {
        let text = |v: &Value| v.as_str().filter(|s| !s.is_empty()).map(str::to_owned);
        let dry_run: Vec<&str> = v["dryRun"].items().iter().filter_map(Value::as_str).collect();
        if dry_run.iter().any(|d| *d != "All") {
            let path = Path::new("dryRun");
            let mut e = FieldError::not_supported(&path, "", &["All"]);
            e.value = v["dryRun"].to_string();
            errors.push(e);
        }
        DeleteOptions {
            grace_s: v["gracePeriodSeconds"].as_i64(),
            uid: text(&v["preconditions"]["uid"]),
            resource_version: text(&v["preconditions"]["resourceVersion"]),
            orphan_dependents: v["orphanDependents"].as_bool(),
            propagation: text(&v["propagationPolicy"]),
            dry_run: !dry_run.is_empty(),
        }
    }
}

/// An object that was deleted, or is on its way.
pub(crate) struct Deleted {
    pub(crate) value: Value,
    pub(crate) removed: bool,
}

/// `delete`.
pub(super) async fn delete(call: &Call, resource: &Resource) -> Result<Response<Body>> {
    let target = negotiate::target(call)?;
    let bytes = call.body().await?;
    let options = DeleteOptions::parse(call, &bytes)?;
    let namespace = if resource.row.namespaced { call.info.namespace.as_str() } else { "" };
    let deleted = run(call, resource, namespace, &call.info.name, &options).await?;
    if deleted.removed && !resource.row.returns_deleted {
        let uid = deleted.value["metadata"]["uid"].str_or_empty();
        let status = status::deleted(resource.qualified(), &call.info.name, uid);
        return Ok(present::status(call, StatusCode::OK, &status));
    }
    let code = if !deleted.removed && options.orphan_dependents == Some(false) {
        StatusCode::ACCEPTED
    } else {
        StatusCode::OK
    };
    present::one(call, resource, target, code, Subject::Hub(&deleted.value))
}

/// Deletes as far as finalizers and grace allow.
pub(crate) async fn run(
    call: &Call,
    resource: &Resource,
    namespace: &str,
    name: &str,
    options: &DeleteOptions,
) -> Result<Deleted> {
    let (row, core) = (resource.row, &call.core);
    let mut current = storage::cached(core, row, namespace, name);
    for _ in 0..limits::UPDATE_ATTEMPTS_MAX {
        let Some(old) = current.clone() else {
            match storage::newest(core, row, namespace, name).await? {
                Some(found) => {
                    current = Some(found);
                    continue;
                }
                None => return Err(ApiError::not_found(resource.qualified(), name)),
            }
        };
        let result = attempt(call, resource, namespace, name, options, &old).await;
        match result {
            Ok(Attempt::Done(deleted)) => return Ok(deleted),
            // It may have been done: the object would not be found any more.
            Ok(Attempt::Failed(error)) => return Err(error),
            Ok(Attempt::Pending(_)) | Err(_) if !old.fresh => {
                current = storage::newest(core, row, namespace, name).await?;
                match (&current, result) {
                    (Some(found), Ok(Attempt::Pending(value))) if found.revision == old.revision => {
                        return Ok(Deleted { value, removed: false });
                    }
                    (Some(found), Err(error)) if found.revision == old.revision => return Err(error),
                    _ => {}
                }
            }
            Ok(Attempt::Pending(value)) => return Ok(Deleted { value, removed: false }),
            Err(error) => return Err(error),
            Ok(Attempt::Lost(found)) => current = found,
        }
    }
    Err(ApiError::modified(resource.qualified(), name))
}

enum Attempt {
    Done(Deleted),
    /// Nothing to do but to wait for what holds the object.
    Pending(Value),
    Lost(Option<Current>),
    /// The store did not take it, or did not say what became of it.
    Failed(ApiError),
}

async fn attempt(
    call: &Call,
    resource: &Resource,
    namespace: &str,
    name: &str,
    options: &DeleteOptions,
    old: &Current,
) -> Result<Attempt> {
    let (row, core) = (resource.row, &call.core);
    check_preconditions(resource, name, options, old)?;
    let mut request = Request::new(call, resource, Operation::Delete);
    name.clone_into(&mut request.name);
    admission::validate(&request, None, Some(&old.object)).await?;

    let plan = if row.plural == "namespaces" && row.group.is_empty() {
        namespace_plan(&old.object, options)
    } else {
        plan(row, &old.object, options)
    };
    let new = match plan {
        Plan::Wait => return Ok(Attempt::Pending(old.object.0.clone())),
        Plan::Remove => None,
        Plan::Mark(mut new) => {
            wire::normalize(row.hub(), &mut new);
            Some(new)
        }
    };
    let shown = new.clone().unwrap_or_else(|| old.object.0.clone());
    if options.dry_run {
        return Ok(Attempt::Done(Deleted { value: shown, removed: new.is_none() }));
    }
    let mut extra = Extra::default();
    if new.is_none() {
        extra.ops.extend(services::release_ops(resource, &old.object));
    }
    let write = Write {
        row,
        namespace,
        name,
        expected: old.revision,
        old: Some(&old.object),
        new: new.as_ref(),
        extra,
        fences: &call.fences,
    };
    let outcome = match storage::commit(core, write).await {
        Ok(outcome) => outcome,
        Err(error) => return Ok(Attempt::Failed(error)),
    };
    Ok(match outcome {
        Outcome::Done(revision) => {
            let mut value = shown;
            wire::set_resource_version(&mut value, revision);
            Attempt::Done(Deleted { value, removed: new.is_none() })
        }
        Outcome::Lost(found) => Attempt::Lost(found),
        Outcome::Refused => Attempt::Lost(None),
    })
}

fn check_preconditions(
    resource: &Resource,
    name: &str,
    options: &DeleteOptions,
    old: &Current,
) -> Result<()> {
    // Upstream names the kind here, where other conflicts name the resource.
    let kind = qualified(resource.served.group, resource.row.kind);
    if let Some(uid) = &options.uid
        && *uid != old.object.uid()
    {
        return Err(ApiError::conflict(
            kind,
            name,
            format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been \
                 deleted and then recreated",
                old.object.uid()
            ),
        ));
    }
    if let Some(version) = &options.resource_version
        && *version != old.revision.to_string()
    {
        return Err(ApiError::conflict(
            kind,
            name,
            format!(
                "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). \
                 The object might have been modified",
                old.revision
            ),
        ));
    }
    Ok(())
}

enum Plan {
    Remove,
    Mark(Value),
    Wait,
}

fn plan(row: &Kind, old: &Value, options: &DeleteOptions) -> Plan {
    let mut new = old.clone();
    let graceful = row.plural == "pods" && row.group.is_empty();
    let deleting = !old["metadata"]["deletionTimestamp"].is_null();
    let mut grace = 0;
    if graceful {
        let held = old["metadata"]["deletionGracePeriodSeconds"].as_i64();
        grace = pod_grace(old, options.grace_s);
        if deleting {
            // Only a shorter grace changes anything.
            match (options.grace_s, held) {
                (Some(_), Some(held)) if grace < held => {
                    let started = deletion_time(old).unwrap_or_else(clock::unix_seconds) - held;
                    mark(&mut new, started + grace, grace);
                }
                (_, Some(0)) | (_, None) => grace = 0,
                _ => return Plan::Wait,
            }
        } else if grace > 0 {
            mark(&mut new, clock::unix_seconds() + grace, grace);
        }
    }
    let finalizers = propagation_finalizers(row, old, options);
    meta::set_finalizers(&mut new, &finalizers);
    if !finalizers.is_empty() {
        if new["metadata"]["deletionTimestamp"].is_null() {
            mark(&mut new, clock::unix_seconds(), 0);
        }
        return if new == *old { Plan::Wait } else { Plan::Mark(new) };
    }
    if grace > 0 { Plan::Mark(new) } else { Plan::Remove }
}

/// Sets the time of deletion; a kind that counts its generation counts this too.
fn mark(value: &mut Value, at_s: i64, grace_s: i64) {
    let metadata = value.make(&["metadata"]);
    if metadata.get("deletionTimestamp").is_none()
        && let Some(generation) = metadata.get("generation").and_then(Value::as_i64)
    {
        metadata.set("generation", generation + 1);
    }
    metadata.set("deletionTimestamp", clock::rfc3339(at_s));
    metadata.set("deletionGracePeriodSeconds", grace_s);
}

fn deletion_time(value: &Value) -> Option<i64> {
    value["metadata"]["deletionTimestamp"].as_str().and_then(clock::parse_rfc3339)
}

/// A pod's grace: none when no kubelet has it, or when it is over anyway.
fn pod_grace(pod: &Value, asked: Option<i64>) -> i64 {
    let finished = matches!(pod["status"]["phase"].str_or_empty(), "Succeeded" | "Failed");
    if pod["spec"]["nodeName"].str_or_empty().is_empty() || finished {
        return 0;
    }
    let grace = asked.or(pod["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(30);
    if grace < 0 { 1 } else { grace }
}

/// The finalizers with those that the propagation policy adds or removes.
fn propagation_finalizers(row: &Kind, old: &Value, options: &DeleteOptions) -> Vec<String> {
    let held = meta::finalizers(old);
    if row.plural == "events" {
        return held;
    }
    let has = |f: &str| held.iter().any(|h| h == f);
    let (orphan, foreground) = match (options.propagation.as_deref(), options.orphan_dependents) {
        (Some("Orphan"), _) | (_, Some(true)) => (true, false),
        (Some("Foreground"), _) => (false, true),
        (Some(_), _) | (_, Some(false)) => (false, false),
        _ => (has(ORPHAN), has(FOREGROUND)),
    };
    let mut out: Vec<String> = held.iter().filter(|f| *f != ORPHAN && *f != FOREGROUND).cloned().collect();
    if orphan {
        out.push(ORPHAN.into());
    }
    if foreground {
        out.push(FOREGROUND.into());
    }
    // The order they were in stays when nothing changed.
    let same = out.len() == held.len() && out.iter().all(|f| held.contains(f));
    if same { held } else { out }
}

/// A namespace is marked first; it goes when its own and its metadata's finalizers are gone.
fn namespace_plan(old: &Value, options: &DeleteOptions) -> Plan {
    let mut new = old.clone();
    if old["metadata"]["deletionTimestamp"].is_null() {
        new.make(&["metadata"]).set("deletionTimestamp", clock::now());
    }
    new.make(&["status"]).set("phase", "Terminating");
    let mut finalizers = meta::finalizers(old);
    let policy = options.propagation.as_deref();
    for (name, wanted) in [
        (ORPHAN, policy == Some("Orphan") || options.orphan_dependents == Some(true)),
        (FOREGROUND, policy == Some("Foreground")),
    ] {
        if wanted && !finalizers.iter().any(|f| f == name) {
            finalizers.push(name.into());
        }
    }
    meta::set_finalizers(&mut new, &finalizers);
    if finalizers.is_empty() && old["spec"]["finalizers"].items().is_empty() {
        return Plan::Remove;
    }
    if new == *old { Plan::Wait } else { Plan::Mark(new) }
}

/// Whether an object that is being deleted has nothing left that holds it.
pub(crate) fn is_finished(row: &Kind, value: &Value) -> bool {
    let metadata = &value["metadata"];
    if metadata["deletionTimestamp"].is_null() || !metadata["finalizers"].items().is_empty() {
        return false;
    }
    if row.plural == "namespaces" && row.group.is_empty() {
        return value["spec"]["finalizers"].items().is_empty();
    }
    metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
}
