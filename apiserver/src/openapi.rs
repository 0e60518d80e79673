//! OpenAPI documents, made when first asked for and kept.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use parking_lot::Mutex;
use sha2::{Digest, Sha512};
use trireme_api::openapi;
use trireme_api::tree::Map;
use trireme_api::{Key, Value};

use crate::discovery::{cached_document, hex};
use crate::filters::Call;
use crate::negotiate::respond;
use crate::server::Body;
use crate::status::Result;
use crate::wire::{self, Format};

#[derive(Default)]
pub(crate) struct OpenApi {
    documents: Mutex<HashMap<String, Arc<Document>>>,
}

struct Document {
    bytes: Bytes,
    /// SHA-512 of the bytes, hexadecimal.
    hash: String,
}

const V2_JSON: &str = "v2";
const V2_PROTOBUF: &str = "v2.pb";

impl OpenApi {
    fn document(&self, name: &str) -> Option<Arc<Document>> {
        if let Some(found) = self.documents.lock().get(name) {
            return Some(found.clone());
        }
        let bytes: Bytes = match name {
            V2_JSON => wire::encode(&described(openapi::v2()), Format::Json, false, None),
            V2_PROTOBUF => openapi::v2_protobuf(&described(openapi::v2())).into(),
            name => wire::encode(&described(openapi::v3(name)?), Format::Json, false, None),
        };
        let document = Arc::new(Document { hash: hex(&Sha512::digest(&bytes)), bytes });
        self.documents.lock().insert(name.to_owned(), document.clone());
        Some(document)
    }
}

/// `/openapi/v2`.
pub(crate) fn v2(call: &Call) -> Result<Response<Body>> {
    let protobuf = call.header("accept").contains("proto-openapi.spec.v2");
    let (name, content_type) = if protobuf {
        (V2_PROTOBUF, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf")
    } else {
        (V2_JSON, "application/json")
    };
    Ok(match call.core.openapi.document(name) {
        Some(document) => {
            cached_document(call, document.bytes.clone(), &format!("\"{}\"", document.hash), content_type)
        }
        None => crate::routes::page_not_found(),
    })
}

/// `/openapi/v3`: every document with the hash of its content, so that clients ask for what
/// changed only.
pub(crate) fn v3_index(call: &Call) -> Result<Response<Body>> {
    let mut paths = Map::new();
    for name in openapi::v3_index() {
        let Some(document) = call.core.openapi.document(&name) else { continue };
        let mut entry = Map::new();
        entry.set("serverRelativeURL", format!("/openapi/v3/{name}?hash={}", document.hash));
        paths.insert(Key::from(name), entry);
    }
    let mut out = Map::new();
    out.set("paths", paths);
    Ok(respond(StatusCode::OK, Format::Json, wire::encode(&Value::Object(out), Format::Json, false, None)))
}

/// `/openapi/v3/<name>`.
pub(crate) fn v3(call: &Call, name: &str) -> Result<Response<Body>> {
    let Some(document) = call.core.openapi.document(name) else { return Ok(crate::routes::page_not_found()) };
    let tag = format!("\"{}\"", document.hash);
    let asked = call.query.text("hash");
    let mut response = cached_document(call, document.bytes.clone(), &tag, "application/json");
    if asked == document.hash {
        // Named by its content: it never changes.
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    } else if !asked.is_empty() {
        *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
        if let Ok(to) = HeaderValue::from_str(&format!("/openapi/v3/{name}?hash={}", document.hash)) {
            response.headers_mut().insert(header::LOCATION, to);
        }
        *response.body_mut() = Body::empty();
    }
    Ok(response)
}

/// The description of a message's field.
pub(crate) fn describe(message: &str, field: &str) -> Option<&'static str> {
    trireme_descriptions::field(message, field)
}

/// A document with the descriptions of its messages and fields.
fn described(mut document: Value) -> Value {
    openapi::describe(&mut document, &|message, field| match field {
        Some(field) => trireme_descriptions::field(message, field),
        None => trireme_descriptions::message(message),
    });
    document
}
