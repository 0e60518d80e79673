//! `Client`: the verbs of the API over any [`Transport`], with the retries that are safe.

use std::fmt;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use trireme_api::{Object, Value, value};

use crate::answer;
use crate::resource::{self, Resource, escape_into};
use crate::transport::{Error, List, Request, Transport, WatchStream};

/// Attempts of one call when it is certain that the earlier ones were not acted on (or, for
/// reads, when that does not matter). Past it the caller gets the last error.
const ATTEMPTS_MAX: u32 = 4;
/// A server that asks for more patience than this gets its error passed on instead: the caller's
/// own queue backs off.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// Items per page where a list is read whole.
pub const LIST_PAGE_ITEMS: usize = 500;

/// The epoch a leader writes under. Every change that a fenced client sends carries it, and a store
/// that knows a newer epoch refuses the change. It is one term's: what is left of the work of an
/// earlier term cannot write under a later one, nor without any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence(Arc<str>);

impl Fence {
    pub const HEADER: &'static str = "trireme-fence";

    /// `lease` is `<namespace>/<name>`.
    pub fn new(lease: &str, epoch: u64) -> Fence {
        Fence(format!("{lease}={epoch}").into())
    }

    /// The header's value.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a list or a watch selects.
#[derive(Clone, Debug, Default)]
pub struct ListParams {
    pub label_selector: String,
    pub field_selector: String,
    /// Zero: no limit.
    pub limit: usize,
    pub continue_token: String,
    /// "" for the newest state, "0" for whatever the server has at hand.
    pub resource_version: String,
}

impl ListParams {
    pub fn labels(selector: &str) -> ListParams {
        ListParams { label_selector: selector.to_owned(), ..ListParams::default() }
    }
    pub fn fields(selector: &str) -> ListParams {
        ListParams { field_selector: selector.to_owned(), ..ListParams::default() }
    }
}

pub(crate) fn with_query(path: &str, params: &[(&str, &str)]) -> String {
    let mut out = path.to_owned();
    let mut separator = if path.contains('?') { '&' } else { '?' };
    for (name, value) in params.iter().filter(|(_, v)| !v.is_empty()) {
        let _ = write!(out, "{separator}{name}=");
        escape_into(value, &mut out);
        separator = '&';
    }
    out
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    Json,
    Merge,
    Strategic,
}

impl PatchKind {
    fn content_type(self) -> &'static str {
        match self {
            PatchKind::Json => "application/json-patch+json",
            PatchKind::Merge => "application/merge-patch+json",
            PatchKind::Strategic => "application/strategic-merge-patch+json",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

impl Propagation {
    pub fn as_str(self) -> &'static str {
        match self {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    pub grace_period_seconds: Option<i64>,
    pub propagation: Option<Propagation>,
    /// Preconditions: the delete is refused (409) when the object is not this one any more.
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

impl DeleteOptions {
    /// Only this very object, whatever has its name now.
    pub fn uid(uid: &str) -> DeleteOptions {
        DeleteOptions { uid: Some(uid.to_owned()), ..DeleteOptions::default() }
    }

    fn body(&self) -> Value {
        let mut body = value!({"kind": "DeleteOptions", "apiVersion": "v1"});
        let map = body.make(&[]);
        if let Some(seconds) = self.grace_period_seconds {
            map.set("gracePeriodSeconds", seconds);
        }
        if let Some(policy) = self.propagation {
            map.set("propagationPolicy", policy.as_str());
        }
        if let Some(uid) = &self.uid {
            body.make(&["preconditions"]).set("uid", uid.as_str());
        }
        if let Some(rv) = &self.resource_version {
            body.make(&["preconditions"]).set("resourceVersion", rv.as_str());
        }
        body
    }
}

/// The verbs of the API. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
    fence: Option<Fence>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    pub fn new(transport: Arc<dyn Transport>) -> Client {
        Client { transport, fence: None }
    }

    /// The same client, its changes fenced.
    pub fn fenced(&self, fence: Fence) -> Client {
        Client { transport: self.transport.clone(), fence: Some(fence) }
    }

    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    pub async fn get(&self, r: &Resource, namespace: &str, name: &str) -> Result<Object, Error> {
        self.call(Method::GET, r.object(namespace, name), None, None).await
    }

    /// One page, or everything where `params` has no limit.
    pub async fn list(
        &self,
        r: &Resource,
        namespace: Option<&str>,
        params: &ListParams,
    ) -> Result<List, Error> {
        let limit = if params.limit == 0 { String::new() } else { params.limit.to_string() };
        let path = with_query(
            &r.collection(namespace),
            &[
                ("labelSelector", &params.label_selector),
                ("fieldSelector", &params.field_selector),
                ("limit", &limit),
                ("continue", &params.continue_token),
                ("resourceVersion", &params.resource_version),
            ],
        );
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.transport.list(&path).await {
                Err(e) if attempt < ATTEMPTS_MAX && repeatable(&e, true) => {
                    tokio::time::sleep(pause(attempt)).await
                }
                other => return other,
            }
        }
    }

    /// Everything, read in pages. A continue token that expired starts the list again, once.
    pub async fn list_all(
        &self,
        r: &Resource,
        namespace: Option<&str>,
        params: &ListParams,
    ) -> Result<List, Error> {
        let mut restarts = 0;
        'again: loop {
            let mut params = ListParams { limit: LIST_PAGE_ITEMS, ..params.clone() };
            let mut all: Option<List> = None;
            loop {
                let page = match self.list(r, namespace, &params).await {
                    Err(e) if e.is_gone() && restarts == 0 && !params.continue_token.is_empty() => {
                        restarts += 1;
                        continue 'again;
                    }
                    other => other?,
                };
                params.continue_token.clone_from(&page.continue_token);
                params.resource_version.clear();
                match &mut all {
                    None => all = Some(page),
                    Some(all) => {
                        all.items.extend(page.items);
                        all.resource_version = page.resource_version;
                    }
                }
                if params.continue_token.is_empty() {
                    let mut all = all.expect("the first page set it");
                    all.continue_token.clear();
                    return Ok(all);
                }
            }
        }
    }

    /// From `resource_version` on, with bookmarks.
    pub async fn watch(
        &self,
        r: &Resource,
        namespace: Option<&str>,
        params: &ListParams,
        timeout: Duration,
    ) -> Result<WatchStream, Error> {
        let path = with_query(
            &r.collection(namespace),
            &[
                ("watch", "true"),
                ("allowWatchBookmarks", "true"),
                ("labelSelector", &params.label_selector),
                ("fieldSelector", &params.field_selector),
                ("resourceVersion", &params.resource_version),
                ("timeoutSeconds", &timeout.as_secs().to_string()),
            ],
        );
        self.transport.watch(&path).await
    }

    /// `object` may have `generateName` instead of a name.
    pub async fn create(&self, r: &Resource, namespace: &str, object: &Object) -> Result<Object, Error> {
        self.call(Method::POST, r.collection(Some(namespace)), Some(&object.0), None).await
    }

    /// PUT under the object's own namespace and name. With a `resourceVersion` it is a
    /// compare-and-swap.
    pub async fn update(&self, r: &Resource, object: &Object) -> Result<Object, Error> {
        self.call(Method::PUT, r.object(object.namespace(), object.name()), Some(&object.0), None).await
    }

    pub async fn update_status(&self, r: &Resource, object: &Object) -> Result<Object, Error> {
        let path = r.object(object.namespace(), object.name()) + "/status";
        self.call(Method::PUT, path, Some(&object.0), None).await
    }

    /// `subresource` is "" for the object itself, `status`, `scale`…
    pub async fn patch(
        &self,
        r: &Resource,
        namespace: &str,
        name: &str,
        subresource: &str,
        kind: PatchKind,
        patch: &Value,
    ) -> Result<Object, Error> {
        let mut path = r.object(namespace, name);
        if !subresource.is_empty() {
            path.push('/');
            path.push_str(subresource);
        }
        self.call(Method::PATCH, path, Some(patch), Some(kind.content_type())).await
    }

    /// Server-side apply.
    pub async fn apply(
        &self,
        r: &Resource,
        object: &Object,
        manager: &str,
        force: bool,
    ) -> Result<Object, Error> {
        let path = with_query(
            &r.object(object.namespace(), object.name()),
            &[("fieldManager", manager), ("force", if force { "true" } else { "" })],
        );
        self.call(Method::PATCH, path, Some(&object.0), Some("application/apply-patch+yaml")).await
    }

    /// The object as it was, or as it is now when finalizers or grace keep it, or a `Status`.
    pub async fn delete(
        &self,
        r: &Resource,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Object, Error> {
        self.call(Method::DELETE, r.object(namespace, name), Some(&options.body()), None).await
    }

    pub async fn delete_collection(
        &self,
        r: &Resource,
        namespace: Option<&str>,
        params: &ListParams,
        options: &DeleteOptions,
    ) -> Result<Object, Error> {
        let path = with_query(
            &r.collection(namespace),
            &[("labelSelector", &params.label_selector), ("fieldSelector", &params.field_selector)],
        );
        self.call(Method::DELETE, path, Some(&options.body()), None).await
    }

    /// Asks to evict a pod: 429 when a disruption budget forbids it now.
    pub async fn evict(&self, namespace: &str, name: &str, options: &DeleteOptions) -> Result<Object, Error> {
        let body = value!({
            "kind": "Eviction",
            "apiVersion": "policy/v1",
            "metadata": {"namespace": namespace, "name": name},
        });
        let mut body = body;
        body.make(&[]).set("deleteOptions", options.body());
        // A 429 here says "the budget forbids it", not "slow down": the caller decides.
        self.once(Method::POST, resource::PODS.object(namespace, name) + "/eviction", Some(&body), None).await
    }

    /// Assigns a pod to a node: 409 when it has one already.
    pub async fn bind(&self, namespace: &str, name: &str, uid: &str, node: &str) -> Result<(), Error> {
        let body = value!({
            "kind": "Binding",
            "apiVersion": "v1",
            "metadata": {"namespace": namespace, "name": name, "uid": uid},
            "target": {"kind": "Node", "apiVersion": "v1", "name": node},
        });
        self.call(Method::POST, resource::PODS.object(namespace, name) + "/binding", Some(&body), None)
            .await?;
        Ok(())
    }

    /// Records a core/v1 Event.
    pub async fn create_event(&self, event: &Object) -> Result<Object, Error> {
        self.create(&resource::CORE_EVENTS, event.namespace(), event).await
    }

    /// Any path: discovery, subresources without a helper of their own.
    pub async fn raw(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Object, Error> {
        self.call(method, path.to_owned(), body, None).await
    }

    async fn call(
        &self,
        method: Method,
        path: String,
        body: Option<&Value>,
        content_type: Option<&'static str>,
    ) -> Result<Object, Error> {
        let request = self.request(method, path, body, content_type);
        let reading = request.method == Method::GET;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let answer = self.transport.send(request.clone()).await;
            let wait = match &answer {
                Ok(r) if r.status == 429 || r.status == 503 => match retry_after(r) {
                    Some(asked) if asked <= RETRY_AFTER_MAX => Some(asked.max(pause(attempt))),
                    // Without Retry-After the server does not say that it did nothing.
                    None if reading => Some(pause(attempt)),
                    _ => None,
                },
                Err(e) if repeatable(e, reading) => Some(pause(attempt)),
                _ => None,
            };
            match wait {
                Some(wait) if attempt < ATTEMPTS_MAX => tokio::time::sleep(wait).await,
                _ => return answer.and_then(answer::object),
            }
        }
    }

    async fn once(
        &self,
        method: Method,
        path: String,
        body: Option<&Value>,
        content_type: Option<&'static str>,
    ) -> Result<Object, Error> {
        self.transport.send(self.request(method, path, body, content_type)).await.and_then(answer::object)
    }

    fn request(
        &self,
        method: Method,
        path: String,
        body: Option<&Value>,
        content_type: Option<&'static str>,
    ) -> Request {
        let mut headers = Vec::new();
        if let Some(content_type) = content_type {
            headers.push(("content-type", content_type.to_owned()));
        }
        if method != Method::GET
            && let Some(fence) = &self.fence
        {
            headers.push((Fence::HEADER, fence.as_str().to_owned()));
        }
        let body = body.map_or_else(Bytes::new, |b| {
            Bytes::from(serde_json::to_vec(b).expect("a tree is always written as JSON"))
        });
        Request { method, path, headers, body }
    }
}

/// Whether the same call may be sent again.
fn repeatable(e: &Error, reading: bool) -> bool {
    match e {
        Error::Unreachable(_) => true,
        Error::OutcomeUnknown(_) => reading,
        _ => false,
    }
}

fn retry_after(r: &crate::transport::Response) -> Option<Duration> {
    let seconds = r.headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn pause(attempt: u32) -> Duration {
    RETRY_FIRST * (1 << attempt.min(5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_escaped_and_empty_ones_left_out() {
        assert_eq!(
            with_query("/api/v1/pods", &[("labelSelector", "a in (b,c)"), ("limit", ""), ("continue", "x=")]),
            "/api/v1/pods?labelSelector=a%20in%20%28b%2Cc%29&continue=x%3D"
        );
    }

    #[test]
    fn changes_of_unknown_outcome_are_not_repeated() {
        assert!(repeatable(&Error::Unreachable(String::new()), false));
        assert!(repeatable(&Error::OutcomeUnknown(String::new()), true));
        assert!(!repeatable(&Error::OutcomeUnknown(String::new()), false));
    }

    #[test]
    fn delete_options_hold_only_what_was_asked() {
        assert_eq!(DeleteOptions::default().body(), value!({"kind": "DeleteOptions", "apiVersion": "v1"}));
        assert_eq!(
            DeleteOptions {
                grace_period_seconds: Some(0),
                propagation: Some(Propagation::Background),
                uid: Some("u".into()),
                resource_version: None,
            }
            .body(),
            value!({
                "kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0,
                "propagationPolicy": "Background", "preconditions": {"uid": "u"},
            })
        );
    }
}
