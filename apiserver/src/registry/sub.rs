//! Subresources that are not an object's own shape, and what those that are must leave alone.

use http::{Response, StatusCode};
use trireme_api::Value;

use super::update::Part;
use super::{Resource, binding, eviction, token};
use crate::filters::Call;
use crate::server::Body;
use crate::status::{ApiError, Result};

/// POST to a subresource.
pub(super) async fn create(call: &Call, resource: &Resource) -> Result<Response<Body>> {
    match (resource.row.plural, resource.sub.map_or("", |s| s.name)) {
        ("pods", "binding") => binding::create(call, resource).await,
        ("pods", "eviction") => eviction::create(call, resource).await,
        ("serviceaccounts", "token") => token::create(call, resource).await,
        (plural, name) => Err(ApiError::new(
            StatusCode::NOT_IMPLEMENTED.as_u16(),
            "NotImplemented",
            format!("{plural}/{name} needs a connection to the node, which this server does not make"),
        )),
    }
}

/// Through a subresource that has the object's own shape only part of it changes: the rest of
/// `new` is put back to what `old` has.
pub(super) fn keep(part: Part, new: &mut Value, old: &Value) {
    match part {
        Part::Main | Part::Status => {}
        Part::Finalize => {
            let finalizers = new["spec"]["finalizers"].clone();
            let metadata = new["metadata"].clone();
            *new = old.clone();
            let spec = new.make(&["spec"]);
            if finalizers.items().is_empty() {
                spec.remove("finalizers");
            } else {
                spec.set("finalizers", finalizers);
            }
            let own = new.make(&["metadata"]);
            for key in ["uid", "resourceVersion", "finalizers", "managedFields"] {
                match metadata.get(key) {
                    Some(value) => own.set(key, value.clone()),
                    None => {
                        own.remove(key);
                    }
                }
            }
        }
        Part::Other("ephemeralcontainers") => {
            let containers = new["spec"]["ephemeralContainers"].clone();
            keep_all_but_metadata(new, old);
            new.make(&["spec"]).set("ephemeralContainers", containers);
        }
        Part::Other("resize") => {
            let sent = new.clone();
            keep_all_but_metadata(new, old);
            for list in ["containers", "initContainers"] {
                let changed = &sent["spec"][list];
                let Some(kept) = new.at_mut(&["spec", list]) else { continue };
                for container in kept.items_mut() {
                    let name = container["name"].clone();
                    let Some(other) = changed.items().iter().find(|c| c["name"] == name) else { continue };
                    for key in ["resources", "resizePolicy"] {
                        if !other[key].is_null() {
                            container.make(&[]).set(key, other[key].clone());
                        }
                    }
                }
            }
            if !sent["spec"]["resources"].is_null() {
                new.make(&["spec"]).set("resources", sent["spec"]["resources"].clone());
            }
            if new["spec"] != old["spec"] {
                let generation = old["metadata"]["generation"].as_i64().unwrap_or(0);
                new.make(&["metadata"]).set("generation", generation + 1);
            }
        }
        Part::Other("approval") => {
            let conditions = new["status"]["conditions"].clone();
            keep_all_but_metadata(new, old);
            if !conditions.is_null() {
                new.make(&["status"]).set("conditions", conditions);
            }
        }
        Part::Other(_) => keep_all_but_metadata(new, old),
    }
}

fn keep_all_but_metadata(new: &mut Value, old: &Value) {
    let metadata = new["metadata"].clone();
    *new = old.clone();
    new.make(&[]).set("metadata", metadata);
    let generation = old["metadata"]["generation"].clone();
    if generation.is_null() {
        new.make(&["metadata"]).remove("generation");
    } else {
        new.make(&["metadata"]).set("generation", generation);
    }
}
