//! Telling users what a controller or an agent did, as core/v1 Events.
//!
//! Recording never waits and never fails the work it tells of. The same event again raises a
//! count; many that differ only in their text become one; an object that causes a flood is cut
//! off. All three as upstream's recorder does it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use trireme_api::{Object, Value, value};

use crate::client::{Client, PatchKind};
use crate::clock::{Clock, rfc3339};
use crate::resource::CORE_EVENTS;

/// Events waiting to be written; further ones are dropped.
const PENDING_MAX: usize = 1000;
/// Events and groups that are remembered; the oldest are forgotten, and would start anew.
const REMEMBERED_MAX: usize = 4096;
/// Texts of one kind of event about one object, from which on they are combined.
const SIMILAR_MAX: usize = 10;
const SIMILAR_WINDOW: Duration = Duration::from_secs(600);
/// Per object: so many at once, then one per refill.
const BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Normal,
    Warning,
}

struct Pending {
    regarding: Value,
    kind: EventKind,
    reason: String,
    message: String,
}

/// Records events under one component's name. Clones share the queue.
#[derive(Clone)]
pub struct Recorder {
    sender: mpsc::Sender<Pending>,
}

impl Recorder {
    /// Starts the task that writes; it ends with the last clone.
    pub fn new(client: Client, component: &str, clock: Clock) -> Recorder {
        Recorder::on_host(client, component, "", clock)
    }

    /// The same for what runs on a node.
    pub fn on_host(client: Client, component: &str, host: &str, clock: Clock) -> Recorder {
        let (sender, receiver) = mpsc::channel(PENDING_MAX);
        let writer = Writer {
            client,
            component: component.to_owned(),
            host: host.to_owned(),
            clock,
            filter: Filter::default(),
            known: Memory::default(),
            sequence: 0,
        };
        tokio::spawn(writer.run(receiver));
        Recorder { sender }
    }

    /// `api_version` and `kind` are the object's, which may lack them in a list.
    pub fn event(
        &self,
        object: &Object,
        api_version: &str,
        kind: &str,
        what: EventKind,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.event_at(object, api_version, kind, "", what, reason, message);
    }

    /// About a part of the object: `spec.containers{name}`.
    #[expect(clippy::too_many_arguments, reason = "what an Event says")]
    pub fn event_at(
        &self,
        object: &Object,
        api_version: &str,
        kind: &str,
        field_path: &str,
        what: EventKind,
        reason: &str,
        message: impl Into<String>,
    ) {
        let mut regarding = value!({
            "kind": kind,
            "namespace": object.namespace(),
            "name": object.name(),
            "uid": object.uid(),
            "apiVersion": api_version,
            "resourceVersion": object.resource_version(),
        });
        if !field_path.is_empty() {
            regarding.make(&[]).set("fieldPath", field_path);
        }
        let pending = Pending { regarding, kind: what, reason: reason.to_owned(), message: message.into() };
        if self.sender.try_send(pending).is_err() {
            tracing::debug!(reason, "event dropped: too many are waiting");
        }
    }
}

/// A map that forgets what was put in first.
struct Memory<V> {
    map: HashMap<String, V>,
    order: VecDeque<String>,
}

impl<V> Default for Memory<V> {
    fn default() -> Memory<V> {
        Memory { map: HashMap::new(), order: VecDeque::new() }
    }
}

impl<V> Memory<V> {
    fn entry(&mut self, key: &str, new: impl FnOnce() -> V) -> &mut V {
        if !self.map.contains_key(key) {
            if self.order.len() >= REMEMBERED_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.map.remove(&oldest);
            }
            self.order.push_back(key.to_owned());
            self.map.insert(key.to_owned(), new());
        }
        self.map.get_mut(key).expect("put there above")
    }
}

struct Group {
    messages: HashSet<String>,
    since: Instant,
}

#[derive(Clone, Default)]
struct Known {
    /// "" until the event was created.
    name: String,
    count: i64,
}

struct Budget {
    tokens: f64,
    at: Instant,
}

/// What is admitted, and as what.
#[derive(Default)]
struct Filter {
    groups: Memory<Group>,
    budgets: Memory<Budget>,
}

struct Writer {
    client: Client,
    component: String,
    /// "" for what runs on no node.
    host: String,
    clock: Clock,
    filter: Filter,
    known: Memory<Known>,
    sequence: u64,
}

impl Filter {
    /// The event's identity and its text, or none if its object has had too many.
    fn admit(&mut self, p: &Pending, now: Instant) -> Option<(String, String)> {
        let object = format!("{}/{}", p.regarding["kind"].str_or_empty(), p.regarding["uid"].str_or_empty());
        let budget = self.budgets.entry(&object, || Budget { tokens: BURST, at: now });
        let refilled = now.duration_since(budget.at).as_secs_f64() / REFILL.as_secs_f64();
        *budget = Budget { tokens: (budget.tokens + refilled).min(BURST), at: now };
        if budget.tokens < 1.0 {
            return None;
        }
        budget.tokens -= 1.0;

        let part = p.regarding["fieldPath"].str_or_empty();
        let similar = format!("{object}{part}/{:?}/{}", p.kind, p.reason);
        let group = self.groups.entry(&similar, || Group { messages: HashSet::new(), since: now });
        if now.duration_since(group.since) > SIMILAR_WINDOW {
            *group = Group { messages: HashSet::new(), since: now };
        }
        if group.messages.len() < SIMILAR_MAX {
            group.messages.insert(p.message.clone());
        }
        if group.messages.len() >= SIMILAR_MAX {
            Some((similar, format!("(combined from similar events): {}", p.message)))
        } else {
            Some((format!("{similar}/{}", p.message), p.message.clone()))
        }
    }
}

impl Writer {
    async fn run(mut self, mut receiver: mpsc::Receiver<Pending>) {
        while let Some(pending) = receiver.recv().await {
            if let Some((key, message)) = self.filter.admit(&pending, Instant::now()) {
                self.write(pending, &key, message).await;
            }
        }
    }

    async fn write(&mut self, p: Pending, key: &str, message: String) {
        let now = self.clock.now();
        let time = rfc3339(now);
        let namespace = match p.regarding["namespace"].str_or_empty() {
            "" => "default".to_owned(),
            namespace => namespace.to_owned(),
        };
        let known = self.known.entry(key, Known::default).clone();
        if !known.name.is_empty() {
            let count = known.count + 1;
            let patch = value!({"count": count, "lastTimestamp": time.as_str(), "message": message.as_str()});
            match self.client.patch(&CORE_EVENTS, &namespace, &known.name, "", PatchKind::Merge, &patch).await
            {
                Ok(_) => {
                    self.known.entry(key, Known::default).count = count;
                    return;
                }
                // It has expired by now.
                Err(e) if e.is_not_found() => {}
                Err(e) => return tracing::debug!(error = %e, "event not written"),
            }
        }
        self.sequence += 1;
        let stamp = now.as_nanosecond() as u64 + self.sequence;
        let name = format!("{}.{stamp:x}", p.regarding["name"].str_or_empty());
        let mut event = Object(value!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"namespace": namespace.as_str(), "name": name.as_str()},
            "reason": p.reason.as_str(),
            "message": message.as_str(),
            "source": {"component": self.component.as_str()},
            "firstTimestamp": time.as_str(),
            "lastTimestamp": time.as_str(),
            "count": 1,
            "type": if p.kind == EventKind::Normal { "Normal" } else { "Warning" },
            "reportingComponent": self.component.as_str(),
            "reportingInstance": self.host.as_str(),
        }));
        if !self.host.is_empty() {
            event.make(&["source"]).set("host", self.host.as_str());
        }
        event.make(&[]).set("involvedObject", p.regarding);
        match self.client.create_event(&event).await {
            Ok(_) => *self.known.entry(key, Known::default) = Known { name, count: 1 },
            // A namespace that is being deleted takes no more events.
            Err(e) => tracing::debug!(error = %e, "event not written"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(uid: &str, message: &str) -> Pending {
        Pending {
            regarding: value!({"kind": "Pod", "uid": uid}),
            kind: EventKind::Normal,
            reason: "R".into(),
            message: message.into(),
        }
    }

    #[test]
    fn the_same_is_one_the_similar_are_combined_and_floods_are_cut() {
        let mut filter = Filter::default();
        let now = Instant::now();
        let mut admit = |uid: &str, message: &str, seconds: u64| {
            filter.admit(&pending(uid, message), now + Duration::from_secs(seconds))
        };
        let first = admit("a", "m", 0).unwrap();
        assert_eq!(admit("a", "m", 0), Some(first.clone()));
        assert_ne!(admit("a", "n", 0).unwrap().0, first.0);
        let many: Vec<_> = (0..12).map(|i| admit("a", &format!("m{i}"), 0).unwrap()).collect();
        assert_eq!(many[11], ("Pod/a/Normal/R".into(), "(combined from similar events): m11".into()));
        assert_eq!(many[0].1, "m0");
        let admitted = (0..100).filter(|_| admit("a", "m", 0).is_some()).count();
        assert_eq!(admitted, 25 - 15);
        assert!(admit("b", "m", 0).is_some(), "another object has a budget of its own");
        assert!(admit("a", "m", 299).is_none() && admit("a", "m", 301).is_some());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut memory: Memory<usize> = Memory::default();
        for i in 0..REMEMBERED_MAX + 10 {
            *memory.entry(&i.to_string(), || 0) += 1;
        }
        assert_eq!((memory.map.len(), memory.order.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
        assert!(!memory.map.contains_key("0"));
    }
}
