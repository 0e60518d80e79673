//! Binding of a pod to a node, through `pods/binding` and `bindings`.

use http::{Response, StatusCode};
use trireme_api::Value;
use trireme_api::field_error::{FieldError, Path};
use trireme_api::tree::Map;

use super::Resource;
use super::update::{self, Part};
use super::write::{Expected, WriteOptions, decode};
use crate::clock;
use crate::filters::Call;
use crate::present;
use crate::server::{Body, row};
use crate::status::{ApiError, Result, created, qualified};

const BINDING: Expected<'static> =
    Expected { kind: "Binding", group: "", version: "v1", message: "core/v1.Binding" };

/// POST to `pods/<name>/binding`.
pub(super) async fn create(call: &Call, resource: &Resource) -> Result<Response<Body>> {
    let options = WriteOptions::parse(call, "CreateOptions", false)?;
    let bytes = call.body().await?;
    let binding = decode(call, BINDING, &bytes, options.field_validation)?;
    bind(call, resource, &options, &binding, &call.info.name).await
}

/// POST to `bindings`: the pod's name is in the body.
pub(super) async fn create_binding(
    call: &Call,
    options: &WriteOptions,
    binding: &Value,
) -> Result<Response<Body>> {
    let name = binding["metadata"]["name"].str_or_empty().to_owned();
    let pods = row("", "pods").expect("pods are built in");
    let resource = Resource { row: pods, served: pods.hub(), sub: None };
    bind(call, &resource, options, binding, &name).await
}

async fn bind(
    call: &Call,
    resource: &Resource,
    options: &WriteOptions,
    binding: &Value,
    name: &str,
) -> Result<Response<Body>> {
    let target = &binding["target"];
    let node = target["name"].str_or_empty();
    let path = Path::new("target");
    let mut errors = Vec::new();
    if !matches!(target["kind"].str_or_empty(), "" | "Node") {
        errors.push(FieldError::not_supported(
            &path.child("kind"),
            target["kind"].str_or_empty(),
            &["Node", "<empty>"],
        ));
    }
    if node.is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    }
    if !errors.is_empty() {
        // Upstream gives these as an aggregate that is no Status.
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        return Err(ApiError::plain(if texts.len() == 1 {
            texts[0].clone()
        } else {
            format!("[{}]", texts.join(", "))
        }));
    }
    let sent_name = binding["metadata"]["name"].str_or_empty();
    if !sent_name.is_empty() && sent_name != name {
        return Err(ApiError::bad_request("name in URL does not match name in Binding object"));
    }
    let parent = Resource { sub: None, ..*resource };
    let conflict = |why: String| ApiError::conflict(qualified("", "pods/binding"), name, why);
    update::run_named(call, &parent, options, Part::Other("binding"), name, &mut |old| {
        let old = old.ok_or_else(|| ApiError::not_found(qualified("", "pods"), name))?;
        let uid = binding["metadata"]["uid"].str_or_empty();
        if !uid.is_empty() && uid != old.uid() {
            return Err(conflict(format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                old.uid()
            )));
        }
        if old.deletion_timestamp().is_some() {
            return Err(conflict(format!("pod {name} is being deleted, cannot be assigned to a host")));
        }
        let assigned = old["spec"]["nodeName"].str_or_empty();
        if !assigned.is_empty() {
            return Err(conflict(format!("pod {name} is already assigned to node {assigned:?}")));
        }
        if !old["spec"]["schedulingGates"].items().is_empty() {
            return Err(conflict(format!("pod {name} has non-empty .spec.schedulingGates")));
        }
        let mut new = old.0.clone();
        new.make(&["spec"]).set("nodeName", node);
        for (key, value) in binding["metadata"]["annotations"].members() {
            new.make(&["metadata", "annotations"]).insert(key.clone(), value.clone());
        }
        for (key, value) in binding["metadata"]["labels"].members() {
            new.make(&["metadata", "labels"]).insert(key.clone(), value.clone());
        }
        set_condition(&mut new, "PodScheduled", "True");
        let now = clock::now();
        super::managed::update(&parent, Some(old), &mut new, &options.field_manager, "binding", &now);
        Ok(new)
    })
    .await?;
    Ok(present::status(call, StatusCode::CREATED, &created()))
}

/// Sets a condition; the time changes only with its status.
fn set_condition(pod: &mut Value, kind: &str, status: &str) {
    let status_map = pod.make(&["status"]);
    let list = status_map.entry_or(trireme_api::Key::Static("conditions"), || Value::Array(Vec::new()));
    if !list.is_array() {
        *list = Value::Array(Vec::new());
    }
    let Some(conditions) = list.as_array_mut() else { return };
    let mut condition = Map::new();
    condition.set("type", kind);
    condition.set("status", status);
    condition.set("lastProbeTime", Value::Null);
    condition.set("lastTransitionTime", clock::now());
    match conditions.iter_mut().find(|c| c["type"] == *kind) {
        Some(old) if old["status"] == *status => {}
        Some(old) => *old = Value::Object(condition),
        None => conditions.push(Value::Object(condition)),
    }
}
