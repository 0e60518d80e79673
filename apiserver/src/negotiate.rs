//! What a client accepts, and answers in that form.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use trireme_api::Value;

use crate::filters::Call;
use crate::limits;
use crate::server::Body;
use crate::status::{ApiError, Result};
use crate::wire::{self, Format};

/// The forms of an object.
pub(crate) const REPRESENTATIONS: &str =
    "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// What an object is turned into before it is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Transform {
    None,
    Table(MetaVersion),
    PartialMetadata(MetaVersion),
    PartialMetadataList(MetaVersion),
}

/// Version of `meta.k8s.io` asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum MetaVersion {
    V1,
    V1Beta1,
}

impl MetaVersion {
    pub(crate) fn name(self) -> &'static str {
        match self {
            MetaVersion::V1 => "v1",
            MetaVersion::V1Beta1 => "v1beta1",
        }
    }
    pub(crate) fn api_version(self) -> &'static str {
        match self {
            MetaVersion::V1 => "meta.k8s.io/v1",
            MetaVersion::V1Beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) format: Format,
    pub(crate) transform: Transform,
    pub(crate) pretty: bool,
}

/// One clause of `Accept`.
struct Clause<'a> {
    media_type: &'a str,
    params: Vec<(&'a str, &'a str)>,
}

impl Clause<'_> {
    fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(k, _)| *k == name).map(|(_, v)| *v)
    }
}

fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut out: Vec<(f64, Clause<'_>)> = accept
        .split(',')
        .filter_map(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            let media_type = parts.next().filter(|m| !m.is_empty())?;
            let params: Vec<(&str, &str)> = parts.filter_map(|p| p.split_once('=')).collect();
            let q = params.iter().find(|(k, _)| *k == "q").and_then(|(_, v)| v.parse().ok()).unwrap_or(1.0);
            Some((q, Clause { media_type, params }))
        })
        .collect();
    out.sort_by(|a, b| b.0.total_cmp(&a.0));
    out.into_iter().map(|(_, c)| c).collect()
}

fn format_of(media_type: &str) -> Option<Format> {
    match media_type {
        "*/*" | "application/json" => Some(Format::Json),
        "application/yaml" => Some(Format::Yaml),
        "application/vnd.kubernetes.protobuf" => Some(Format::Protobuf),
        _ => None,
    }
}

/// The form a client wants. Errors are 406.
pub(crate) fn target(call: &Call) -> Result<Target> {
    let accept = call.header("accept");
    let pretty = is_pretty(call);
    if accept.trim().is_empty() {
        return Ok(Target { format: Format::Json, transform: Transform::None, pretty });
    }
    let mut known = false;
    for clause in clauses(accept) {
        let Some(format) = format_of(clause.media_type) else { continue };
        known = true;
        let transform = match clause.param("as") {
            None => Transform::None,
            Some(kind) => {
                let version = match clause.param("v") {
                    Some("v1") => MetaVersion::V1,
                    Some("v1beta1") => MetaVersion::V1Beta1,
                    _ => continue,
                };
                if clause.param("g") != Some("meta.k8s.io") {
                    continue;
                }
                match kind {
                    "Table" => Transform::Table(version),
                    "PartialObjectMetadata" => Transform::PartialMetadata(version),
                    "PartialObjectMetadataList" => Transform::PartialMetadataList(version),
                    _ => continue,
                }
            }
        };
        return Ok(Target { format, transform, pretty });
    }
    Err(if known {
        ApiError::not_acceptable_text(format!(
            "only the following media types are accepted: {REPRESENTATIONS}"
        ))
    } else {
        ApiError::not_acceptable(REPRESENTATIONS)
    })
}

/// The form of a watch: YAML has no frames.
pub(crate) fn watch_target(call: &Call) -> Result<Target> {
    let target = target(call)?;
    if target.format == Format::Yaml {
        return Err(ApiError::not_acceptable_text(
            "only the following media types are accepted: application/json, application/json;stream=watch, \
             application/vnd.kubernetes.protobuf, application/vnd.kubernetes.protobuf;stream=watch",
        ));
    }
    Ok(target)
}

fn is_pretty(call: &Call) -> bool {
    match call.query.get("pretty") {
        Some(_) => call.query.is_true("pretty"),
        None => {
            let agent = call.header("user-agent");
            ["curl", "Wget", "Mozilla/5.0"].iter().any(|a| agent.starts_with(a))
        }
    }
}

/// The form of an error: what was asked for when that can be had, JSON otherwise.
pub(crate) fn status_response(call: &Call, code: StatusCode, status: &Value) -> Response<Body> {
    let mut target =
        target(call).unwrap_or(Target { format: Format::Json, transform: Transform::None, pretty: false });
    target.transform = Transform::None;
    let bytes = wire::encode(status, target.format, target.pretty, Some("meta/v1.Status"));
    respond(code, target.format, bytes)
}

/// An answer of encoded bytes.
pub(crate) fn respond(code: StatusCode, format: Format, bytes: Bytes) -> Response<Body> {
    respond_body(code, format.content_type(), Body::Full(bytes))
}

pub(crate) fn respond_body(code: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

pub(crate) fn text(code: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = respond_body(code, "text/plain; charset=utf-8", Body::Full(text.into()));
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

/// Marks a list whose size is worth compressing: its body is a stream and has no length yet.
#[derive(Clone, Copy)]
pub(crate) struct EstimatedBytes(pub(crate) usize);

/// Compresses large answers for clients that accept it. Watches are not: an event must not wait
/// in a compressor.
pub(crate) fn compress(call: &Call, mut response: Response<Body>) -> Response<Body> {
    let size = match response.body() {
        Body::Full(bytes) => bytes.len(),
        Body::Stream(_) => response.extensions().get::<EstimatedBytes>().map_or(0, |e| e.0),
    };
    let accepts = || {
        call.header("accept-encoding").split(',').any(|e| {
            let mut parts = e.split(';').map(str::trim);
            parts.next() == Some("gzip") && !parts.any(|p| p == "q=0" || p == "q=0.0")
        })
    };
    if size < limits::GZIP_BYTES_MIN || call.info.is_write() || !accepts() {
        return response;
    }
    let body = std::mem::replace(response.body_mut(), Body::empty());
    *response.body_mut() = body.gzip();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}
