//! The `scale` subresource: replicas of a kind, in one shape for all.

use http::{Response, StatusCode};
use trireme_api::Value;
use trireme_api::field_error::{FieldError, Path};
use trireme_api::selector::LabelSelector;
use trireme_api::tree::Map;

use super::patch::Patch;
use super::update::{self, Missing, Part};
use super::write::{self, Expected, WriteOptions};
use super::{Resource, managed};
use crate::filters::Call;
use crate::negotiate::{self, Target};
use crate::present::{self, Subject};
use crate::server::Body;
use crate::status::{ApiError, Result, qualified};
use crate::{clock, wire};

/// The Scale of an object (in the storage version's shape).
pub(super) fn scale_of(resource: &Resource, object: &Value) -> Value {
    let metadata = &object["metadata"];
    let mut out = Map::new();
    out.set("kind", "Scale");
    out.set("apiVersion", "autoscaling/v1");
    let mut shown = Map::new();
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if !metadata[key].is_null() {
            shown.set(key, metadata[key].clone());
        }
    }
    out.set("metadata", shown);
    let mut spec = Map::new();
    let replicas = object["spec"]["replicas"].as_i64().unwrap_or(0);
    if replicas != 0 {
        spec.set("replicas", replicas);
    }
    out.set("spec", spec);
    let mut status = Map::new();
    status.set("replicas", object["status"]["replicas"].as_i64().unwrap_or(0));
    let selector = selector_text(resource, &object["spec"]["selector"]);
    if !selector.is_empty() {
        status.set("selector", selector);
    }
    out.set("status", status);
    Value::Object(out)
}

fn selector_text(resource: &Resource, selector: &Value) -> String {
    if resource.row.plural == "replicationcontrollers" {
        let pairs = selector.members().iter().map(|(k, v)| (&**k, v.str_or_empty()));
        return LabelSelector::from_pairs(pairs).to_string();
    }
    LabelSelector::from_object(selector).map(|s| s.to_string()).unwrap_or_default()
}

/// PUT of a Scale.
pub(super) async fn update(call: &Call, resource: &Resource) -> Result<Response<Body>> {
    let target = negotiate::target(call)?;
    let options = WriteOptions::parse(call, "UpdateOptions", false)?;
    let bytes = call.body().await?;
    let scale = write::decode(call, SCALE, &bytes, options.field_validation)?;
    change(call, resource, target, &options, &mut |_| Ok(scale.clone())).await
}

/// PATCH of a Scale.
pub(super) async fn patch(call: &Call, resource: &Resource) -> Result<Response<Body>> {
    let target = negotiate::target(call)?;
    let (patch, options) = Patch::read(call).await?;
    change(call, resource, target, &options, &mut |scale| patch.patched(call, &options, SCALE, scale)).await
}

const SCALE: Expected<'static> =
    Expected { kind: "Scale", group: "autoscaling", version: "v1", message: "autoscaling/v1.Scale" };

/// Makes a change of an object's replicas from a change of its Scale.
async fn change(
    call: &Call,
    resource: &Resource,
    target: Target,
    options: &WriteOptions,
    make: &mut (dyn FnMut(Value) -> Result<Value> + Send),
) -> Result<Response<Body>> {
    let parent = Resource { sub: None, ..*resource };
    let done = update::run(call, &parent, options, Part::Main, Missing::Refuse, &mut |old| {
        let old = old.ok_or_else(|| ApiError::not_found(resource.qualified(), &call.info.name))?;
        let scale = make(scale_of(resource, old))?;
        let metadata = &scale["metadata"];
        let name = metadata["name"].str_or_empty();
        if !name.is_empty() && name != call.info.name {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                call.info.name
            )));
        }
        let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
        if replicas < 0 {
            let path = Path::new("spec");
            let e =
                FieldError::invalid(&path.child("replicas"), replicas, "must be greater than or equal to 0");
            return Err(ApiError::invalid(qualified("autoscaling", "Scale"), &call.info.name, &[e]));
        }
        let mut new = old.0.clone();
        new.make(&["spec"]).set("replicas", replicas);
        present::to_version(resource, &mut new);
        managed::update(resource, Some(old), &mut new, &options.field_manager, "scale", &clock::now());
        wire::to_hub(resource.row, resource.served, &mut new);
        // A Scale that names a revision is meant for that revision.
        let wanted = metadata["resourceVersion"].str_or_empty();
        let revision = if wanted.is_empty() { old.resource_version() } else { wanted };
        new.make(&["metadata"]).set("resourceVersion", revision);
        Ok(new)
    })
    .await?;
    let scale = scale_of(resource, &done.value);
    present::one(call, resource, target, StatusCode::OK, Subject::Other(&scale, "autoscaling/v1.Scale"))
}
