//! What watches of the API tell: everything, and to the end.

use std::collections::{BTreeMap, BTreeSet};

use super::{shown, written};
use crate::history::{ApiCall, ApiChange, ApiHistory, ApiObject, ApiOutcome, ApiWatch, History, Tick};
use crate::traffic::api::{END, NAMESPACE};

/// Whatever version anybody was shown has come by every watch that says that it has got beyond it, and so
/// has every deletion that was acknowledged; and where the run's end was written, every watch has told
/// of it: one that falls silent says of nothing that it has come.
pub(in crate::check) fn watches_deliver_everything(history: &History) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeSet<(i64, &str)>> = BTreeMap::new();
    for (_, object) in shown(history) {
        versions.entry(&object.resource).or_default().insert((object.version, &object.name));
    }
    let (later, ends) = (Later::of(&history.api), ends(&history.api));
    let mut wrong = Vec::new();
    for (n, watch) in history.api.watches.iter().enumerate() {
        let mut say = |what: String| {
            wrong.push(format!(
                "watch {} of {} from {} on: {what}",
                watch.watcher, watch.resource, watch.from
            ));
        };
        let got: BTreeSet<(i64, &str)> =
            watch.events.iter().map(|event| (event.object.version, event.object.name.as_str())).collect();
        let wanted = versions.get(watch.resource.as_str()).into_iter().flat_map(|versions| {
            let reached = watch.reached.max(watch.from);
            versions.range((watch.from + 1, "")..(reached + 1, ""))
        });
        for (version, name) in wanted.filter(|wanted| !got.contains(*wanted)) {
            say(format!("{name} of version {version} never came, and it got to {}", watch.reached));
        }
        let (told, deleted) = (uids(watch, false), uids(watch, true));
        for (uid, end) in deletions(&history.api, &watch.resource) {
            let Some(above) = later.after(end).filter(|above| *above <= watch.reached) else { continue };
            if told.contains(uid) && !deleted.contains(uid) {
                say(format!("the deletion of UID {uid}, below version {above}, never came"));
            }
        }
        let goes_on = |other: &ApiWatch| other.watcher == watch.watcher && other.resource == watch.resource;
        if ends.contains(watch.resource.as_str())
            && !history.api.watches[n + 1..].iter().any(goes_on)
            && !objects(watch).any(is_end)
        {
            say(format!("it did not reach the end, and got to {}", watch.reached));
        }
    }
    wrong
}

fn objects(watch: &ApiWatch) -> impl Iterator<Item = &ApiObject> {
    watch.initial.iter().chain(watch.events.iter().map(|event| &event.object))
}

/// Of the objects that a watch has told of, or told to be gone.
fn uids(watch: &ApiWatch, gone: bool) -> BTreeSet<&str> {
    let events = watch.events.iter().filter(|event| (event.change == ApiChange::Deleted) == gone);
    let initial = watch.initial.iter().filter(|_| !gone);
    initial.chain(events.map(|event| &event.object)).map(|object| object.uid.as_str()).collect()
}

fn is_end(object: &ApiObject) -> bool {
    object.name.strip_prefix(NAMESPACE).and_then(|name| name.strip_prefix('/')) == Some(END)
}

/// Resources whose end was written.
fn ends(api: &ApiHistory) -> BTreeSet<&str> {
    let objects = api.operations.iter().filter_map(|operation| match &operation.outcome {
        ApiOutcome::Changed(object) | ApiOutcome::Found(object) => Some(object),
        _ => None,
    });
    objects.filter(|object| is_end(object)).map(|object| object.resource.as_str()).collect()
}

/// Of which object, and by when.
fn deletions<'h>(api: &'h ApiHistory, resource: &str) -> impl Iterator<Item = (&'h str, Tick)> {
    api.operations.iter().filter_map(move |operation| match (&operation.call, &operation.outcome) {
        (ApiCall::Delete { id, uid }, ApiOutcome::Changed(_)) if id.resource == resource => {
            Some((uid.as_str(), operation.end))
        }
        _ => None,
    })
}

/// A deletion does not say its version: it is below those of what was written after it.
struct Later(Vec<(Tick, i64)>);

impl Later {
    fn of(api: &ApiHistory) -> Later {
        let writes = api.operations.iter().filter_map(|write| Some((write.begin, written(write)?.version)));
        let mut writes: Vec<(Tick, i64)> = writes.collect();
        writes.sort_unstable();
        let mut least = i64::MAX;
        for (_, version) in writes.iter_mut().rev() {
            least = least.min(*version);
            *version = least;
        }
        Later(writes)
    }

    /// The lowest version of what began after this.
    fn after(&self, tick: Tick) -> Option<i64> {
        self.0.get(self.0.partition_point(|(begin, _)| *begin <= tick)).map(|(_, version)| *version)
    }
}
