//! The generic handlers: every kind's create, get, list, watch, update, patch, delete and
//! deletecollection, and the subresources.

mod list;
pub(crate) mod options;
mod read;
mod scale;
mod resource;
mod watch;

use http::{Method, Response};

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
    match info.verb.as_str() {
        "get" => read::get(call, &resource).await,
        "list" => list::list(call, &resource).await,
        "watch" => watch::watch(call, &resource).await,
        _ => Err(ApiError::method_not_allowed()),
    }
}
