//! The generic handlers: every kind's create, get, list, watch, update, patch, delete and
//! deletecollection, and the subresources.

mod binding;
mod create;
mod delete;
mod delete_collection;
mod disruption;
mod eviction;
mod expiry;
mod list;
pub(crate) mod managed;
mod meta;
pub(crate) mod options;
mod patch;
mod read;
mod resource;
mod reviews;
mod scale;
pub(crate) mod storage;
mod sub;
mod token;
mod update;
mod watch;
mod write;

pub(crate) use meta::name_suffix;

use http::{Method, Response};

pub(crate) use disruption::Evictions;
pub(crate) use expiry::ExpiryLeases;
pub(crate) use list::{ListPage, select as select_list};
pub(crate) use resource::Resource;
pub(crate) use watch::start as start_watch;

use crate::filters::Call;
use crate::server::Body;
use crate::status::{ApiError, Result};

/// Answers a request for a resource.
pub(crate) async fn dispatch(call: &Call) -> Result<Response<Body>> {
    let info = &call.info;
    let Some(resource) = Resource::find(info) else {
        let served = trireme_api::kinds::group_versions()
            .iter()
            .any(|gv| gv.group == info.group && gv.version == info.version);
        if served || info.group.is_empty() {
            return Err(ApiError::no_such_path());
        }
        return Ok(crate::routes::page_not_found());
    };
    if matches!(call.method, Method::HEAD | Method::OPTIONS) || info.verb.is_empty() {
        return Err(ApiError::method_not_allowed());
    }
    resource.check_path(info)?;
    if let Some(text) = resource.served.deprecation {
        call.warn(text);
    }
    if resource.row.kind == "Endpoints" {
        call.warn("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice");
    }
    match info.verb.as_str() {
        "get" => read::get(call, &resource).await,
        "list" => list::list(call, &resource).await,
        "watch" => watch::watch(call, &resource).await,
        "create" if resource.sub.is_some() => sub::create(call, &resource).await,
        "create" => create::create(call, &resource).await,
        "update" if is_scale(&resource) => scale::update(call, &resource).await,
        "update" => update::update(call, &resource).await,
        "patch" if is_scale(&resource) => scale::patch(call, &resource).await,
        "patch" => patch::patch(call, &resource).await,
        "delete" => delete::delete(call, &resource).await,
        "deletecollection" => delete_collection::delete_collection(call, &resource).await,
        _ => Err(ApiError::method_not_allowed()),
    }
}

fn is_scale(resource: &Resource) -> bool {
    resource.sub.is_some_and(|s| s.name == "scale")
}
