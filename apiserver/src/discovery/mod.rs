//! Discovery: what is served, from the table of kinds; plain, and aggregated into one document.

mod documents;

use std::collections::HashMap;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use parking_lot::Mutex;
use sha2::{Digest, Sha512};
use trireme_api::Value;

use crate::filters::Call;
use crate::negotiate::{self, respond};
use crate::server::Body;
use crate::status::{ApiError, Result};
use crate::wire::{self, Format};

/// Aggregated documents, made once each, with their entity tags.
#[derive(Default)]
pub(crate) struct Discovery {
    aggregated: Mutex<HashMap<(bool, Version), (Bytes, String)>>,
}

/// Version of the aggregated form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Version {
    V2,
    V2Beta1,
}

impl Version {
    fn name(self) -> &'static str {
        match self {
            Version::V2 => "v2",
            Version::V2Beta1 => "v2beta1",
        }
    }
    fn content_type(self) -> &'static str {
        match self {
            Version::V2 => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            Version::V2Beta1 => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        }
    }
}

/// `/api`.
pub(crate) fn api(call: &Call) -> Result<Response<Body>> {
    match wants_aggregated(call) {
        Some(version) => Ok(aggregated(call, true, version)),
        None => plain(call, &documents::api_versions(call.core.advertise), "meta/v1.APIVersions"),
    }
}

/// `/apis`.
pub(crate) fn apis(call: &Call) -> Result<Response<Body>> {
    match wants_aggregated(call) {
        Some(version) => Ok(aggregated(call, false, version)),
        None => plain(call, &documents::group_list(), "meta/v1.APIGroupList"),
    }
}

/// `/apis/<group>`.
pub(crate) fn group(call: &Call, name: &str) -> Result<Response<Body>> {
    match documents::group(name) {
        Some(group) => plain(call, &group, "meta/v1.APIGroup"),
        None => Ok(crate::routes::page_not_found()),
    }
}

/// `/api/v1` and `/apis/<group>/<version>`.
pub(crate) fn resources(call: &Call, group: &str, version: &str) -> Result<Response<Body>> {
    match documents::resource_list(group, version) {
        Some(list) => plain(call, &list, "meta/v1.APIResourceList"),
        None if group.is_empty() => Err(ApiError::no_such_path()),
        None => Ok(crate::routes::page_not_found()),
    }
}

fn plain(call: &Call, value: &Value, message: &str) -> Result<Response<Body>> {
    // What asks for the aggregated form and cannot have it here accepts plain JSON too.
    let target = negotiate::target(call).unwrap_or(negotiate::Target {
        format: Format::Json,
        transform: negotiate::Transform::None,
        pretty: false,
    });
    Ok(respond(
        StatusCode::OK,
        target.format,
        wire::encode(value, target.format, target.pretty, Some(message)),
    ))
}

/// The best-liked clause that asks for the aggregated form, unless plain JSON is liked better.
fn wants_aggregated(call: &Call) -> Option<Version> {
    for clause in call.header("accept").split(',') {
        let mut parts = clause.split(';').map(str::trim);
        let media = parts.next()?;
        let params: HashMap<&str, &str> = parts.filter_map(|p| p.split_once('=')).collect();
        if media != "application/json" {
            continue;
        }
        if params.get("as") == Some(&"APIGroupDiscoveryList")
            && params.get("g") == Some(&"apidiscovery.k8s.io")
        {
            match params.get("v") {
                Some(&"v2") => return Some(Version::V2),
                Some(&"v2beta1") => return Some(Version::V2Beta1),
                _ => continue,
            }
        }
        if !params.contains_key("as") {
            return None;
        }
    }
    None
}

fn aggregated(call: &Call, core: bool, version: Version) -> Response<Body> {
    let (bytes, tag) = call
        .core
        .discovery
        .aggregated
        .lock()
        .entry((core, version))
        .or_insert_with(|| {
            let document = documents::aggregated(core, version.name());
            let bytes = wire::encode(&document, Format::Json, false, None);
            let tag = format!("\"{}\"", hex(&Sha512::digest(&bytes)));
            (bytes, tag)
        })
        .clone();
    cached_document(call, bytes, &tag, version.content_type())
}

/// A document with its entity tag; 304 for a client that has it.
pub(crate) fn cached_document(
    call: &Call,
    bytes: Bytes,
    tag: &str,
    content_type: &'static str,
) -> Response<Body> {
    let has = call.header("if-none-match").split(',').any(|t| t.trim().trim_start_matches("W/") == tag);
    let mut response = if has {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        negotiate::respond_body(StatusCode::OK, content_type, Body::Full(bytes))
    };
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(tag) {
        headers.insert(header::ETAG, value);
    }
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    response
}

/// Upper-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02X}")).collect()
}
