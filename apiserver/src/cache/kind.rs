//! One kind's objects and events.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::RwLock;
use trireme_api::kinds::Kind;

use super::filter::NODE_FIELD;
use super::ring::Ring;
use super::watcher::{Slot, Watcher};
use super::{Entry, Event, Filter};

pub(crate) struct KindCache {
    pub(crate) row: &'static Kind,
    state: RwLock<State>,
    /// Revision of the newest event, for what is derived from this kind's objects.
    changed: AtomicI64,
    node_field: Option<usize>,
    next_watcher: AtomicU64,
}

struct State {
    /// By what follows the kind's prefix, in the store's order.
    objects: BTreeMap<Box<str>, Arc<Entry>>,
    ring: Ring,
    watchers: Watchers,
}

/// Watchers by what they can be concerned with, so that an event wakes no others.
#[derive(Default)]
struct Watchers {
    all: HashMap<u64, Arc<Slot>>,
    by_namespace: HashMap<String, HashMap<u64, Arc<Slot>>>,
    by_key: HashMap<String, HashMap<u64, Arc<Slot>>>,
    by_node: HashMap<String, HashMap<u64, Arc<Slot>>>,
}

/// Where a watcher is registered.
#[derive(Clone, Debug)]
pub(super) enum Interest {
    All,
    Namespace(String),
    Key(String),
    Node(String),
}

/// Part of a kind's objects at one moment.
pub(crate) struct Selected {
    pub(crate) entries: Vec<Arc<Entry>>,
    /// Keys past the last one given, matching or not.
    pub(crate) remaining: usize,
    /// Revision of the kind's newest change: the moment is this revision, and every later one up
    /// to the next change.
    pub(crate) changed: i64,
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start {
    /// With the objects as they are.
    Current,
    /// With the first event after a revision.
    After(i64),
    /// With the next event.
    Next,
}

/// The events after the revision asked for are not held any more.
#[derive(Debug)]
pub(crate) struct StartError {
    pub(crate) oldest: i64,
}

impl KindCache {
    pub(super) fn new(row: &'static Kind) -> KindCache {
        KindCache {
            row,
            state: RwLock::new(State {
                objects: BTreeMap::new(),
                ring: Ring::new(0),
                watchers: Watchers::default(),
            }),
            changed: AtomicI64::new(0),
            node_field: row.selectable.iter().position(|(name, _)| *name == NODE_FIELD),
            next_watcher: AtomicU64::new(0),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<Arc<Entry>> {
        self.state.read().objects.get(key).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.state.read().objects.len()
    }

    /// Revision of the newest event (or of the fill).
    pub(crate) fn changed_revision(&self) -> i64 {
        self.changed.load(Ordering::Acquire)
    }

    /// The objects that match, in key order.
    pub(crate) fn select(&self, filter: &Filter) -> Vec<Arc<Entry>> {
        self.select_from(filter, "", usize::MAX).entries
    }

    /// Up to `limit` objects that match, in key order, from `start` (inclusive, below the
    /// namespace if the filter has one) on.
    pub(crate) fn select_from(&self, filter: &Filter, start: &str, limit: usize) -> Selected {
        let row = self.row;
        let state = self.state.read();
        let changed = self.changed_revision();
        if let Some(key) = filter.single_key(row) {
            let found = state.objects.get(key.as_str()).filter(|e| filter.matches(row, e));
            return Selected { entries: found.cloned().into_iter().collect(), remaining: 0, changed };
        }
        let (from, to) = bounds(filter, start);
        let range = (Bound::Included(from.as_str()), to.as_deref().map_or(Bound::Unbounded, Bound::Excluded));
        let mut keys = state.objects.range::<str, _>(range);
        let mut out = Vec::new();
        while let Some((_, entry)) = keys.next() {
            if filter.matches(row, entry) {
                out.push(entry.clone());
                if out.len() == limit {
                    return Selected { entries: out, remaining: keys.count(), changed };
                }
            }
        }
        Selected { entries: out, remaining: 0, changed }
    }

    /// All objects.
    pub(crate) fn all(&self) -> Vec<Arc<Entry>> {
        self.state.read().objects.values().cloned().collect()
    }

    /// Replaces everything with the state at `revision`; watchers from before get 410.
    pub(super) fn fill(&self, objects: BTreeMap<Box<str>, Arc<Entry>>, revision: i64) {
        let mut state = self.state.write();
        state.objects = objects;
        state.ring.reset(revision);
        self.changed.store(revision, Ordering::Release);
        let position = state.ring.end() - 1;
        state.watchers.wake_all(position);
    }

    /// Takes one change. Events of a kind come in the order of their revisions.
    pub(super) fn apply(&self, key: &str, new: Option<Arc<Entry>>, revision: i64) {
        let mut state = self.state.write();
        let old = match &new {
            Some(entry) => state.objects.insert(key.into(), entry.clone()),
            None => state.objects.remove(key),
        };
        if new.is_none() && old.is_none() {
            return;
        }
        let event = Arc::new(Event::new(revision, new, old));
        let position = state.ring.push(event.clone());
        self.changed.store(revision, Ordering::Release);
        state.watchers.wake(&event, key, self.node_field, position);
    }

    /// Registers a watcher, and gives the objects it begins with where it begins with them.
    pub(crate) fn watch(
        self: &Arc<Self>,
        filter: Filter,
        start: Start,
    ) -> Result<(Vec<Arc<Entry>>, Watcher), StartError> {
        let interest = match (filter.single_key(self.row), filter.node()) {
            (Some(key), _) => Interest::Key(key),
            (None, Some(node)) if self.node_field.is_some() => Interest::Node(node.to_owned()),
            _ if !filter.namespace.is_empty() => Interest::Namespace(filter.namespace.clone()),
            _ => Interest::All,
        };
        let id = self.next_watcher.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.write();
        let mut objects = Vec::new();
        let from = match start {
            Start::Next => state.ring.end(),
            Start::Current => {
                objects.extend(state.objects.values().filter(|e| filter.matches(self.row, e)).cloned());
                state.ring.end()
            }
            Start::After(revision) => {
                if revision < state.ring.start_revision() {
                    return Err(StartError { oldest: state.ring.start_revision() });
                }
                state.ring.after(revision)
            }
        };
        let slot = Arc::new(Slot::new((from < state.ring.end()).then_some(from)));
        state.watchers.add(&interest, id, slot.clone());
        drop(state);
        Ok((objects, Watcher::new(self.clone(), filter, slot, id, interest)))
    }

    pub(super) fn unwatch(&self, interest: &Interest, id: u64) {
        self.state.write().watchers.remove(interest, id);
    }

    pub(crate) fn watcher_count(&self) -> usize {
        let state = self.state.read();
        let w = &state.watchers;
        let indexed = [&w.by_namespace, &w.by_key, &w.by_node];
        w.all.len() + indexed.iter().flat_map(|m| m.values()).map(HashMap::len).sum::<usize>()
    }

    /// Events a watcher has not seen; `None` when they have fallen off the ring.
    pub(super) fn read(&self, slot: &Slot, max: usize) -> Option<Vec<Arc<Event>>> {
        let state = self.state.read();
        // Under the read lock, so no event comes between the swap and the read.
        let Some(from) = slot.take() else { return Some(Vec::new()) };
        let events: Vec<Arc<Event>> = state.ring.read(from, max)?.cloned().collect();
        let next = from + events.len() as u64;
        if next < state.ring.end() {
            slot.wake(next);
        }
        Some(events)
    }
}

/// First key and end (exclusive) of what a filter can match, from `start` on.
fn bounds(filter: &Filter, start: &str) -> (String, Option<String>) {
    if filter.namespace.is_empty() {
        return (start.to_owned(), None);
    }
    // '0' follows '/': the end of everything in the namespace.
    (format!("{}/{start}", filter.namespace), Some(format!("{}0", filter.namespace)))
}

impl Watchers {
    fn map<'a>(
        &'a mut self,
        interest: &Interest,
    ) -> (&'a mut HashMap<String, HashMap<u64, Arc<Slot>>>, String) {
        match interest {
            Interest::All => unreachable!("kept apart"),
            Interest::Namespace(n) => (&mut self.by_namespace, n.clone()),
            Interest::Key(k) => (&mut self.by_key, k.clone()),
            Interest::Node(n) => (&mut self.by_node, n.clone()),
        }
    }

    fn add(&mut self, interest: &Interest, id: u64, slot: Arc<Slot>) {
        if let Interest::All = interest {
            self.all.insert(id, slot);
        } else {
            let (map, key) = self.map(interest);
            map.entry(key).or_default().insert(id, slot);
        }
    }

    fn remove(&mut self, interest: &Interest, id: u64) {
        if let Interest::All = interest {
            self.all.remove(&id);
            return;
        }
        let (map, key) = self.map(interest);
        if let Some(slots) = map.get_mut(&key) {
            slots.remove(&id);
            if slots.is_empty() {
                map.remove(&key);
            }
        }
    }

    fn wake(&self, event: &Event, key: &str, node_field: Option<usize>, position: u64) {
        let wake = |slots: Option<&HashMap<u64, Arc<Slot>>>| {
            for slot in slots.into_iter().flat_map(HashMap::values) {
                slot.wake(position);
            }
        };
        wake(Some(&self.all));
        if !self.by_key.is_empty() {
            wake(self.by_key.get(key));
        }
        if let Some((namespace, _)) = key.split_once('/') {
            wake(self.by_namespace.get(namespace));
        }
        if let Some(field) = node_field
            && !self.by_node.is_empty()
        {
            let node = |e: &Option<Arc<Entry>>| e.as_ref().and_then(|e| e.fields.get(field).cloned());
            let (new, old) = (node(&event.new), node(&event.old));
            wake(new.as_deref().and_then(|n| self.by_node.get(n)));
            if old != new {
                wake(old.as_deref().and_then(|n| self.by_node.get(n)));
            }
        }
    }

    fn wake_all(&self, position: u64) {
        let indexed = [&self.by_namespace, &self.by_key, &self.by_node];
        for slot in
            self.all.values().chain(indexed.into_iter().flat_map(|m| m.values()).flat_map(HashMap::values))
        {
            slot.wake(position);
        }
    }
}
