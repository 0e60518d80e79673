//! GET of one object.

use http::{Response, StatusCode};
use trireme_api::Value;

use super::Resource;
use super::options::parse_revision;
use crate::cache::key_of;
use crate::filters::Call;
use crate::negotiate;
use crate::present::{self, Subject};
use crate::server::Body;
use crate::status::{ApiError, Result};

/// `get`: the object as the cache has it, once the cache is as new as the client asks.
pub(super) async fn get(call: &Call, resource: &Resource) -> Result<Response<Body>> {
    let target = negotiate::target(call)?;
    let info = &call.info;
    if resource.row.virtual_kind {
        return Err(ApiError::not_found(resource.qualified(), &info.name));
    }
    let cache = &call.core.cache;
    match call.query.text("resourceVersion") {
        "" => {
            cache.barrier().await?;
        }
        "0" => {}
        text => {
            cache.wait_for_client(parse_revision(text)?).await?;
        }
    }
    let namespace = if resource.row.namespaced { info.namespace.as_str() } else { "" };
    let entry = cache
        .kind(resource.row)
        .get(&key_of(namespace, &info.name))
        .ok_or_else(|| ApiError::not_found(resource.qualified(), &info.name))?;
    match resource.sub.map(|s| s.name) {
        None | Some("status" | "ephemeralcontainers" | "resize" | "approval") => {
            present::one(call, resource, target, StatusCode::OK, Subject::Entry(&entry))
        }
        Some("scale") => {
            let scale: Value = super::scale::scale_of(resource, &entry.object());
            present::one(
                call,
                resource,
                target,
                StatusCode::OK,
                Subject::Other(&scale, "autoscaling/v1.Scale"),
            )
        }
        Some(name) => Err(ApiError::new(
            501,
            "NotImplemented",
            format!(
                "{}/{name} needs a connection to the node, which this server does not make",
                resource.row.plural
            ),
        )),
    }
}
