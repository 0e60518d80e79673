//! Reading answers: objects, lists, watch lines, and `Status` as [`Error`].

use std::sync::Arc;

use bytes::Bytes;
use trireme_api::{Key, Object, Value};

use crate::transport::{Error, List, Response, WatchEvent};

/// Past this a single watch line is not an answer of an API server (etcd's own limit for an
/// object is 1.5 MiB; lists are not sent as lines).
pub const WATCH_LINE_BYTES_MAX: usize = 16 << 20;
/// How much of a body that is not a `Status` is shown in an error.
const BODY_SHOWN_BYTES_MAX: usize = 200;

/// The object of a good answer, or the error that its `Status` stands for.
pub fn object(response: Response) -> Result<Object, Error> {
    let response = good(response)?;
    parse(&response.body).map(Object)
}

/// Passes answers below 400 through.
pub fn good(response: Response) -> Result<Response, Error> {
    if response.status.as_u16() < 400 {
        Ok(response)
    } else {
        Err(status_error(response.status.as_u16(), &response.body))
    }
}

fn parse(body: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(body).map_err(|e| Error::Decode(e.to_string()))
}

/// An error answer: a `Status`, or whatever a proxy on the way wrote.
pub fn status_error(status: u16, body: &Bytes) -> Error {
    match serde_json::from_slice::<Value>(body) {
        Ok(v) if v["kind"] == "Status" => from_status(v, status),
        _ => {
            let shown = String::from_utf8_lossy(&body[..body.len().min(BODY_SHOWN_BYTES_MAX)]).into_owned();
            Error::Api {
                status,
                reason: reason_for(status).to_owned(),
                message: if shown.is_empty() { "the answer has no body".into() } else { shown },
                details: Arc::default(),
            }
        }
    }
}

fn from_status(status: Value, http_status: u16) -> Error {
    let code = status["code"].as_i64().and_then(|c| u16::try_from(c).ok()).filter(|c| *c >= 400);
    Error::Api {
        status: code.unwrap_or(http_status),
        reason: status["reason"].str_or_empty().to_owned(),
        message: status["message"].str_or_empty().to_owned(),
        details: Arc::new(Object(status)),
    }
}

fn reason_for(status: u16) -> &'static str {
    match status {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        409 => "Conflict",
        410 => "Gone",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        500..=599 => "InternalError",
        _ => "Unknown",
    }
}

/// A page. Items get the kind and version that the list implies, as they would have on their own.
pub fn list(response: Response) -> Result<List, Error> {
    let response = good(response)?;
    let mut body = parse(&response.body)?;
    let kind = body["kind"].str_or_empty().strip_suffix("List").map(str::to_owned);
    let api_version = body["apiVersion"].str_or_empty().to_owned();
    let Some(kind) = kind else {
        return Err(Error::Decode(format!("expected a list, got kind {}", body["kind"])));
    };
    let items = match body.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => items,
        None | Some(Value::Null) => Vec::new(),
        Some(other) => return Err(Error::Decode(format!("items is {}", other.kind_name()))),
    };
    let items = items
        .into_iter()
        .map(|mut item| {
            if let Some(map) = item.as_object_mut()
                && !map.contains_key("kind")
            {
                map.entries_mut().insert(0, (Key::Static("kind"), kind.as_str().into()));
                map.entries_mut().insert(1, (Key::Static("apiVersion"), api_version.as_str().into()));
            }
            Arc::new(Object(item))
        })
        .collect();
    Ok(List {
        resource_version: body["metadata"]["resourceVersion"].str_or_empty().to_owned(),
        continue_token: body["metadata"]["continue"].str_or_empty().to_owned(),
        items,
    })
}

/// One line of a watch.
pub fn watch_event(line: &[u8]) -> Result<WatchEvent, Error> {
    let mut event = parse(line)?;
    let object = event.get_mut("object").map(Value::take).unwrap_or_default();
    match event["type"].str_or_empty() {
        "ADDED" => Ok(WatchEvent::Added(Arc::new(Object(object)))),
        "MODIFIED" => Ok(WatchEvent::Modified(Arc::new(Object(object)))),
        "DELETED" => Ok(WatchEvent::Deleted(Arc::new(Object(object)))),
        "BOOKMARK" => {
            let object = Object(object);
            Ok(WatchEvent::Bookmark {
                resource_version: object.resource_version().to_owned(),
                initial_events_end: object.annotation("k8s.io/initial-events-end") == Some("true"),
            })
        }
        "ERROR" => Err(from_status(object, 500)),
        other => Err(Error::Decode(format!("watch event type {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, StatusCode};

    fn response(status: u16, body: &str) -> Response {
        Response {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    #[test]
    fn items_of_a_list_get_its_kind() {
        let page = list(response(
            200,
            r#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7","continue":"c"},
               "items":[{"metadata":{"name":"a"}},{"kind":"Pod","apiVersion":"v1","metadata":{"name":"b"}}]}"#,
        ))
        .unwrap();
        assert_eq!((page.resource_version.as_str(), page.continue_token.as_str()), ("7", "c"));
        assert_eq!(
            page.items.iter().map(|o| (o.kind(), o.api_version(), o.name())).collect::<Vec<_>>(),
            [("Pod", "v1", "a"), ("Pod", "v1", "b")]
        );
    }

    #[test]
    fn errors_keep_what_the_caller_decides_by() {
        let gone =
            watch_event(br#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}"#);
        assert!(gone.unwrap_err().is_gone());
        let taken =
            object(response(409, r#"{"kind":"Status","code":409,"reason":"AlreadyExists","message":"m"}"#));
        assert!(taken.unwrap_err().is_already_exists());
        let proxy = object(response(503, "upstream connect error")).unwrap_err();
        assert_eq!((proxy.status(), proxy.to_string().contains("upstream connect")), (503, true));
    }
}
