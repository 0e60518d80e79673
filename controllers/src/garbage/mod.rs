//! Garbage collection: objects whose owners are gone go too; deletions in the foreground wait for
//! dependents; orphans are let go.
//!
//! There is no graph beside the caches: their indexes by uid and by owner's uid are the graph.
//! Every kind that can be listed, watched and deleted is watched, once per stored row.

mod plan;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use trireme_api::{Object, Value, value};
use trireme_client::informer::indexes::{OWNER_UID, UID, owner_uid, uid};
use trireme_client::{
    Change, Client, DeleteOptions, Discovery, Error, Informer, InformerFactory, PatchKind, Resource,
    Subscription,
};

use crate::manager::{self, Context};
use crate::pods;
use crate::runtime::{Controller, EventKind, Failure, Next, Reconciled, Recorder, Running, WorkQueue};
use plan::{Action, Owner};

const NAME: &str = "generic-garbage-collector";
/// What its events call it.
const COMPONENT: &str = "garbage-collector-controller";
const WORKERS: usize = 16;
/// The key under which kinds are looked for; no object has it.
const DISCOVER: &str = "discover";
const DISCOVER_EVERY: Duration = Duration::from_secs(10);
/// An object that waits for dependents is looked at this often, should an event be missed.
const AWAIT_AGAIN: Duration = Duration::from_secs(5);
/// Uids of owners that are certainly gone; they do not come back. Past it, it starts anew.
const ABSENT_MAX: usize = 10_000;

struct Monitor {
    resource: Resource,
    informer: Informer,
    _subscription: Subscription,
}

struct Collector {
    client: Client,
    recorder: Recorder,
    queue: Arc<WorkQueue>,
    /// Shared with the other controllers, for the kinds they watch anyway.
    shared: Arc<InformerFactory>,
    /// For all others; it ends with this term of leadership.
    own: InformerFactory,
    monitors: RwLock<HashMap<String, Arc<Monitor>>>,
    discovery: RwLock<Arc<Discovery>>,
    absent: Mutex<HashSet<String>>,
}

pub(crate) fn start(context: &Context) -> Running {
    let queue = WorkQueue::new();
    queue.add(DISCOVER);
    let collector = Arc::new(Collector {
        client: context.client(NAME),
        recorder: Recorder::new(context.client(NAME), COMPONENT, context.clock.clone()),
        queue: queue.clone(),
        shared: context.informers.clone(),
        own: InformerFactory::new(context.watcher.clone(), context.stop.clone()),
        monitors: RwLock::default(),
        discovery: RwLock::default(),
        absent: Mutex::default(),
    });
    Running { controller: Arc::new(Handle(collector)), queue, workers: WORKERS, subscriptions: Vec::new() }
}

/// Handlers hold the collector weakly: it owns their subscriptions.
struct Handle(Arc<Collector>);

#[async_trait]
impl Controller for Handle {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn reconcile(&self, key: &str) -> Reconciled {
        if key == DISCOVER {
            return self.0.clone().discover().await;
        }
        let Some((id, object_key)) = key.split_once('|') else { return Ok(Next::Done) };
        let Some(monitor) = self.0.monitors.read().get(id).cloned() else { return Ok(Next::Done) };
        let Some(object) = monitor.informer.store().get(object_key) else { return Ok(Next::Done) };
        self.0.collect(&monitor, &object).await
    }
}

fn id_of(resource: &Resource) -> String {
    format!("{}/{}", resource.api_version(), resource.plural)
}

impl Collector {
    /// Starts to watch new kinds, and stops with those that are not served any more.
    async fn discover(self: Arc<Self>) -> Reconciled {
        let discovery = Discovery::load(&self.client).await?;
        let mut served = HashSet::new();
        for r in &discovery.resources {
            let collectable = ["list", "watch", "delete"].iter().all(|verb| r.can(verb));
            // Events belong to nobody, are many, and expire.
            if !collectable || r.resource.plural == "events" {
                continue;
            }
            let id = id_of(&r.resource);
            served.insert(id.clone());
            if self.monitors.read().contains_key(&id) {
                continue;
            }
            let factory = if manager::is_warm(&r.resource) { &*self.shared } else { &self.own };
            let informer = factory.informer(&r.resource);
            informer.store().add_index(UID, uid);
            informer.store().add_index(OWNER_UID, owner_uid);
            let subscription = informer.on_change({
                let (collector, id) = (Arc::downgrade(&self), id.clone());
                move |change| changed(&collector, &id, change)
            });
            let monitor = Monitor { resource: r.resource.clone(), informer, _subscription: subscription };
            self.monitors.write().insert(id, Arc::new(monitor));
        }
        // What a group that does not answer serves is unknown, not gone.
        if discovery.failed.is_empty() {
            let gone: Vec<_> = {
                let mut monitors = self.monitors.write();
                let ids: Vec<String> = monitors.keys().filter(|id| !served.contains(*id)).cloned().collect();
                ids.iter().filter_map(|id| monitors.remove(id)).collect()
            };
            for monitor in gone {
                self.own.forget(&monitor.resource);
            }
        }
        *self.discovery.write() = Arc::new(discovery);
        Ok(Next::After(DISCOVER_EVERY))
    }

    fn monitors(&self) -> Vec<Arc<Monitor>> {
        self.monitors.read().values().cloned().collect()
    }

    fn dependents(&self, uid: &str) -> Vec<(Arc<Monitor>, Arc<Object>)> {
        let each = |m: Arc<Monitor>| {
            let objects = m.informer.store().by_index(OWNER_UID, uid);
            objects.into_iter().map(move |o| (m.clone(), o))
        };
        self.monitors().into_iter().flat_map(each).collect()
    }

    fn find(&self, uid: &str) -> Option<(Arc<Monitor>, Arc<Object>)> {
        self.monitors().into_iter().find_map(|m| {
            let object = m.informer.store().by_index(UID, uid).into_iter().next()?;
            Some((m, object))
        })
    }

    fn enqueue(&self, monitor: &Monitor, object: &Object) {
        self.queue.add(&format!("{}|{}", id_of(&monitor.resource), pods::key(object)));
    }

    async fn collect(&self, monitor: &Monitor, object: &Object) -> Reconciled {
        let action = if object.deletion_timestamp().is_some() {
            plan::plan_ending(object, self.dependents(object.uid()).into_iter().map(|(_, o)| o).collect())
        } else {
            let references = object.metadata()["ownerReferences"].items();
            let mut owners = Vec::with_capacity(references.len());
            for reference in references {
                owners.push(self.owner_state(object, monitor, reference).await?);
            }
            let has_dependents =
                owners.contains(&Owner::Waiting) && !self.dependents(object.uid()).is_empty();
            plan::plan_living(object, &owners, has_dependents)
        };
        let resource = &monitor.resource;
        let done = match action {
            Action::Nothing => Ok(()),
            Action::Delete(policy) => {
                let options = DeleteOptions {
                    propagation: Some(policy),
                    resource_version: Some(object.resource_version().to_owned()),
                    ..DeleteOptions::uid(object.uid())
                };
                self.client.delete(resource, object.namespace(), object.name(), &options).await.map(drop)
            }
            Action::KeepOwners(kept) => self.set(resource, object, "ownerReferences", kept).await,
            Action::KeepFinalizers(kept) => self.set(resource, object, "finalizers", kept).await,
            Action::Orphan(_) => return self.orphan(object).await,
            Action::AwaitDependents(_) => {
                for (monitor, dependent) in self.dependents(object.uid()) {
                    self.enqueue(&monitor, &dependent);
                }
                return Ok(Next::After(AWAIT_AGAIN));
            }
        };
        match done {
            Err(e) if !e.is_not_found() => Err(e.into()),
            _ => Ok(Next::Done),
        }
    }

    /// Takes the object out of its dependents' owners. It comes again by their events, and its
    /// finalizer goes when none is left.
    async fn orphan(&self, object: &Object) -> Reconciled {
        for (monitor, dependent) in self.dependents(object.uid()) {
            let kept = plan::disowned(&dependent, object.uid());
            match self.set(&monitor.resource, &dependent, "ownerReferences", kept).await {
                Err(e) if !e.is_not_found() => return Err(e.into()),
                _ => {}
            }
        }
        Err(Failure::NotYet("the caches do not show yet that its dependents were let go".into()))
    }

    /// Compare-and-swap of a list in the metadata; an empty one is taken out.
    async fn set(
        &self,
        resource: &Resource,
        object: &Object,
        field: &'static str,
        list: Vec<Value>,
    ) -> Result<(), Error> {
        let list = if list.is_empty() { Value::Null } else { Value::Array(list) };
        let mut patch =
            value!({"metadata": {"uid": object.uid(), "resourceVersion": object.resource_version()}});
        patch.make(&["metadata"]).set(field, list);
        self.client
            .patch(resource, object.namespace(), object.name(), "", PatchKind::Merge, &patch)
            .await
            .map(drop)
    }

    /// An owner is only believed to be gone when the API says so, not when a cache does not know it.
    async fn owner_state(
        &self,
        object: &Object,
        monitor: &Monitor,
        reference: &Value,
    ) -> Result<Owner, Failure> {
        let uid = reference["uid"].str_or_empty();
        let state = |owner: &Object| if plan::is_waiting(owner) { Owner::Waiting } else { Owner::Solid };
        if let Some((_, owner)) = self.find(uid) {
            if owner.namespace().is_empty() || owner.namespace() == object.namespace() {
                return Ok(state(&owner));
            }
            self.tell_of_wrong_namespace(object, reference);
            return Ok(Owner::Absent);
        }
        if self.absent.lock().contains(uid) {
            return Ok(Owner::Absent);
        }
        let (api_version, kind) = (reference["apiVersion"].str_or_empty(), reference["kind"].str_or_empty());
        let discovery = self.discovery.read().clone();
        let Some(resource) = discovery.resource_of(api_version, kind) else {
            return Err(Failure::NotYet(format!("its owner's kind {kind} of {api_version} is not known")));
        };
        // An object without a namespace cannot be owned by one that has one: the reference says
        // nothing, and nothing is deleted for it.
        if resource.namespaced && !monitor.resource.namespaced {
            self.tell_of_wrong_namespace(object, reference);
            return Ok(Owner::Solid);
        }
        match self.client.get(&resource, object.namespace(), reference["name"].str_or_empty()).await {
            Ok(owner) if owner.uid() == uid => Ok(state(&owner)),
            Ok(_) => Ok(self.note_absent(uid)),
            Err(e) if e.is_not_found() => Ok(self.note_absent(uid)),
            Err(e) => Err(e.into()),
        }
    }

    /// Without it nobody would know why an object went whose owner is there, in another namespace.
    fn tell_of_wrong_namespace(&self, object: &Object, reference: &Value) {
        let text = |field: &str| reference[field].str_or_empty();
        let namespace = object.namespace();
        let message = format!(
            "ownerRef [{}/{}, namespace: {namespace}, name: {}, uid: {}] does not exist in namespace {namespace:?}",
            text("apiVersion"),
            text("kind"),
            text("name"),
            text("uid"),
        );
        let (api_version, kind) = (object.api_version(), object.kind());
        let reason = "OwnerRefInvalidNamespace";
        self.recorder.event(object, api_version, kind, EventKind::Warning, reason, message);
    }

    fn note_absent(&self, uid: &str) -> Owner {
        let mut absent = self.absent.lock();
        if absent.len() >= ABSENT_MAX {
            absent.clear();
        }
        absent.insert(uid.to_owned());
        Owner::Absent
    }
}

fn changed(collector: &Weak<Collector>, id: &str, change: &Change) {
    let Some(collector) = collector.upgrade() else { return };
    let object = change.object();
    if !change.deleted() && plan::is_of_interest(object) {
        let metadata = |o: &Object| {
            let m = o.metadata();
            (m["ownerReferences"].clone(), m["finalizers"].clone(), m["deletionTimestamp"].clone())
        };
        if change.old.as_ref().is_none_or(|old| metadata(old) != metadata(object)) {
            collector.queue.add(&format!("{id}|{}", pods::key(object)));
        }
    }
    // Below it: owners that went, or began to wait for their dependents.
    let began_to_wait =
        plan::is_waiting(object) && change.old.as_ref().is_none_or(|old| !plan::is_waiting(old));
    if change.deleted() || began_to_wait {
        for (monitor, dependent) in collector.dependents(object.uid()) {
            collector.enqueue(&monitor, &dependent);
        }
    }
    // Above it: owners that waited for this one, or let it go.
    let owners = |o: &Option<Arc<Object>>| o.as_ref().map(|o| owner_uid(o)).unwrap_or_default();
    let (old, new) = (owners(&change.old), owners(&change.new));
    for uid in old.iter().filter(|uid| !new.contains(uid)) {
        if let Some((monitor, owner)) = collector.find(uid)
            && owner.deletion_timestamp().is_some()
        {
            collector.enqueue(&monitor, &owner);
        }
    }
}
