//! `Transport`, how requests reach an API server.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use trireme_api::Object;

/// One call of the REST API.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: http::Method,
    /// Path with query: `/api/v1/namespaces/default/pods?limit=500`.
    pub path: String,
    /// Beyond `Accept`, which is JSON, and authentication, which is the transport's.
    pub headers: Vec<(&'static str, String)>,
    /// `application/json` unless a header says otherwise.
    pub body: Bytes,
}

#[derive(Clone, Debug)]
pub struct Response {
    pub status: http::StatusCode,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

/// A page of a list. Objects are shared with the API server's cache when in-process.
#[derive(Clone, Debug)]
pub struct List {
    pub resource_version: String,
    pub continue_token: String,
    pub items: Vec<Arc<Object>>,
}

#[derive(Clone, Debug)]
pub enum WatchEvent {
    Added(Arc<Object>),
    Modified(Arc<Object>),
    Deleted(Arc<Object>),
    /// Everything up to this `resourceVersion` was delivered.
    Bookmark {
        resource_version: String,
        initial_events_end: bool,
    },
}

pub type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchEvent, Error>> + Send>>;

/// Named by what the caller does next.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The API server's answer was a `Status` that is not success.
    #[error("{status} {reason}: {message}")]
    Api { status: u16, reason: String, message: String, details: Arc<Object> },
    /// Not sent, or refused before it was acted on: safe to repeat.
    #[error("not reached: {0}")]
    Unreachable(String),
    /// **May or may not have been done**: the connection broke or a deadline passed.
    #[error("outcome unknown: {0}")]
    OutcomeUnknown(String),
    /// The answer was not what the API promises.
    #[error("bad answer: {0}")]
    Decode(String),
}

impl Error {
    pub fn status(&self) -> u16 {
        match self {
            Error::Api { status, .. } => *status,
            _ => 0,
        }
    }
    pub fn is_not_found(&self) -> bool {
        self.status() == 404
    }
    pub fn is_conflict(&self) -> bool {
        matches!(self, Error::Api { reason, .. } if reason == "Conflict")
    }
    pub fn is_already_exists(&self) -> bool {
        matches!(self, Error::Api { reason, .. } if reason == "AlreadyExists")
    }
    /// List again: the resource version asked for is gone.
    pub fn is_gone(&self) -> bool {
        self.status() == 410
    }
}

/// The way to an API server for a user name.
pub type TransportFor = Arc<dyn Fn(&str) -> Arc<dyn Transport> + Send + Sync>;

/// How requests reach an API server. `Http` goes over TLS; the in-process one is given by the
/// binary, which knows both sides.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// One request, one answer. Answers with an error status come as `Ok`.
    async fn send(&self, request: Request) -> Result<Response, Error>;

    /// GET of a collection, decoded.
    async fn list(&self, path: &str) -> Result<List, Error>;

    /// GET with `watch=true`, decoded. An ERROR event ends the stream as [`Error::Api`].
    async fn watch(&self, path: &str) -> Result<WatchStream, Error>;
}
