//! The way of a component to the API server of its own process: no TLS, no encoding of lists and
//! watches, but the same authorization, admission and audit as everyone else's.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use trireme_api::Object;
use trireme_client::{Error, List, Request, Response, Transport, WatchEvent, WatchStream};

use crate::{ApiError, Identity, Server};

const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// Calls a server as somebody.
pub struct InProcess {
    server: Server,
    identity: Identity,
    /// What stands before its slash owns the fields that are written.
    user_agent: String,
}

impl InProcess {
    /// `user` is a component's name or `system:serviceaccount:<namespace>:<name>`; `groups` are those of
    /// a user that is no service account.
    pub fn new(server: Server, user: &str, groups: &[&str], user_agent: &str) -> Arc<InProcess> {
        let account = user.strip_prefix(SERVICE_ACCOUNT).and_then(|rest| rest.split_once(':'));
        let identity = match account {
            Some((namespace, name)) => Identity::service_account(namespace, name),
            None => Identity::user(user, groups.iter().copied()),
        };
        Arc::new(InProcess { server, identity, user_agent: user_agent.to_owned() })
    }
}

#[async_trait]
impl Transport for InProcess {
    async fn send(&self, request: Request) -> Result<Response, Error> {
        let mut builder = http::Request::builder()
            .method(request.method)
            .uri(&request.path)
            .header("accept", "application/json")
            .header("user-agent", &self.user_agent);
        if !request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            builder = builder.header("content-type", "application/json");
        }
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        let request = builder.body(request.body).map_err(|error| Error::Unreachable(error.to_string()))?;
        let (parts, body) = self.server.handle(request, &self.identity).await.into_parts();
        Ok(Response { status: parts.status, headers: parts.headers, body: body.into_bytes().await })
    }

    async fn list(&self, path: &str) -> Result<List, Error> {
        let list = self.server.list(path, &self.identity).await.map_err(error)?;
        Ok(List {
            resource_version: list.resource_version,
            continue_token: list.continue_token,
            items: list.items,
        })
    }

    async fn watch(&self, path: &str) -> Result<WatchStream, Error> {
        let stream = self.server.watch(path, &self.identity).await.map_err(error)?;
        Ok(Box::pin(stream.map(|item| item.map(event).map_err(error))))
    }
}

fn event(event: crate::WatchEvent) -> WatchEvent {
    use crate::WatchEvent as From;
    match event {
        From::Added(object) => WatchEvent::Added(object),
        From::Modified(object) => WatchEvent::Modified(object),
        From::Deleted(object) => WatchEvent::Deleted(object),
        From::Bookmark { resource_version, initial_events_end } => {
            WatchEvent::Bookmark { resource_version, initial_events_end }
        }
    }
}

fn error(error: ApiError) -> Error {
    let details = Arc::new(Object(error.to_value()));
    Error::Api { status: error.code, reason: error.reason.to_owned(), message: error.message, details }
}
