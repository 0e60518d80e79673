//! List-watch caches: one [`Informer`] per resource and process keeps a [`Store`] of
//! `Arc<Object>` in step with the API server and tells handlers what changed.
//!
//! Handlers get old and new object to find the keys that are concerned, and only enqueue: logic
//! reads the store when its turn comes.

mod factory;
mod reflector;
mod store;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use trireme_api::Object;

pub use factory::InformerFactory;
pub use store::{Store, key_of, split_key};

use crate::client::Client;
use crate::resource::Resource;

/// Which part of a collection is watched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scope {
    /// `None`: all namespaces.
    pub namespace: Option<String>,
    pub label_selector: String,
    pub field_selector: String,
}

/// One object came (`old` is none), changed, or went (`new` is none).
#[derive(Clone, Debug)]
pub struct Change {
    pub old: Option<Arc<Object>>,
    pub new: Option<Arc<Object>>,
}

impl Change {
    /// The object as it is now, or as it was last.
    pub fn object(&self) -> &Arc<Object> {
        self.new.as_ref().or(self.old.as_ref()).expect("a change has an object")
    }
    pub fn deleted(&self) -> bool {
        self.new.is_none()
    }
}

type Handler = Box<dyn Fn(&Change) + Send + Sync>;

/// While it lives, its handler is called. Dropping it takes no lock, so that it may be dropped
/// anywhere, within a handler too.
#[must_use = "the handler is taken out when this is dropped"]
pub struct Subscription(Arc<AtomicBool>);

impl Drop for Subscription {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

struct Subscribed {
    wanted: Arc<AtomicBool>,
    handler: Handler,
}

/// Names of indexes that more than one user needs.
pub mod indexes {
    use trireme_api::Object;

    pub const OWNER_UID: &str = "owner-uid";
    pub const NODE_NAME: &str = "node-name";
    pub const UID: &str = "uid";

    /// The object's own.
    pub fn uid(object: &Object) -> Vec<String> {
        vec![object.uid().to_owned()]
    }

    /// Every owner's uid.
    pub fn owner_uid(object: &Object) -> Vec<String> {
        let references = object.metadata()["ownerReferences"].items();
        references.iter().filter_map(|r| r["uid"].as_str().map(str::to_owned)).collect()
    }
    /// The node a pod is assigned to; "" for none.
    pub fn node_name(pod: &Object) -> Vec<String> {
        vec![pod.spec()["nodeName"].str_or_empty().to_owned()]
    }
}

struct Shared {
    client: Client,
    resource: Resource,
    scope: Scope,
    store: Store,
    /// Held while a change is stored and handed out, so that a handler sees every object once as
    /// it came and all later changes in order.
    handlers: Mutex<Vec<Subscribed>>,
    synced: watch::Sender<bool>,
    /// Lists asked for by [`Informer::refresh`], and those done.
    refresh_asked: AtomicU64,
    refresh: Notify,
    refresh_done: watch::Sender<u64>,
    /// The `resourceVersion` up to which the store is known to be complete.
    revision: Mutex<String>,
}

/// A cache of one collection. Clones share it.
#[derive(Clone)]
pub struct Informer(Arc<Shared>);

impl Informer {
    fn new(client: Client, resource: Resource, scope: Scope) -> Informer {
        Informer(Arc::new(Shared {
            client,
            resource,
            scope,
            store: Store::default(),
            handlers: Mutex::default(),
            synced: watch::Sender::new(false),
            refresh_asked: AtomicU64::new(0),
            refresh: Notify::new(),
            refresh_done: watch::Sender::new(0),
            revision: Mutex::default(),
        }))
    }

    pub fn store(&self) -> &Store {
        &self.0.store
    }
    pub fn resource(&self) -> &Resource {
        &self.0.resource
    }

    /// Calls `handler` for every object there is, then for every change. It runs on the
    /// informer's own task: it must not block, and must not add handlers.
    pub fn on_change(&self, handler: impl Fn(&Change) + Send + Sync + 'static) -> Subscription {
        let mut handlers = self.0.handlers.lock();
        for object in self.0.store.list() {
            handler(&Change { old: None, new: Some(object) });
        }
        let wanted = Arc::new(AtomicBool::new(true));
        handlers.push(Subscribed { wanted: wanted.clone(), handler: Box::new(handler) });
        Subscription(wanted)
    }

    /// Whether the first list is complete.
    pub fn has_synced(&self) -> bool {
        *self.0.synced.borrow()
    }

    pub async fn wait_synced(&self) {
        // The sender lives in `self`: waiting cannot fail.
        let _ = self.0.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Lists again, and returns when everything that was acknowledged before this call is in the
    /// store. What a new leader does before it acts on a cache that may be behind.
    pub async fn refresh(&self) {
        let asked = self.0.refresh_asked.fetch_add(1, Ordering::AcqRel) + 1;
        self.0.refresh.notify_one();
        let _ = self.0.refresh_done.subscribe().wait_for(|done| *done >= asked).await;
    }
}

impl Shared {
    fn apply(&self, change: impl FnOnce(&Store) -> Vec<Change>) {
        let mut handlers = self.handlers.lock();
        handlers.retain(|s| s.wanted.load(Ordering::Acquire));
        for change in change(&self.store) {
            for subscribed in handlers.iter() {
                (subscribed.handler)(&change);
            }
        }
    }
}
