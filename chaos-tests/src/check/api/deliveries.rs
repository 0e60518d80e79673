//! What watches of the API tell: everything, and to the end.

use std::collections::{BTreeMap, BTreeSet};

use super::{shown, written};
use crate::check::judged::Judged;
use crate::history::{ApiCall, ApiChange, ApiHistory, ApiObject, ApiOutcome, ApiWatch, History, Tick};
use crate::traffic::api::{END, NAMESPACE};

/// Whatever version anybody was shown has come by every watch that says that it has got beyond it, and so
/// has every deletion that was acknowledged; and where the run's end was written, every watch has told
/// of it: one that falls silent says of nothing that it has come.
pub(in crate::check) fn watches_deliver_everything(history: &History) -> Judged {
    // How often each was shown: what one watch alone has told says nothing about that watch.
    let mut versions: BTreeMap<&str, BTreeMap<(i64, &str), usize>> = BTreeMap::new();
    for (_, object) in shown(history) {
        let of_resource = versions.entry(&object.resource).or_default();
        *of_resource.entry((object.version, &object.name)).or_default() += 1;
    }
    let (later, ends) = (Later::of(&history.api), ends(&history.api));
    let mut judged = Judged::default();
    for (n, watch) in history.api.watches.iter().enumerate() {
        let mut case = |is_wrong: bool, what: &dyn Fn() -> String| {
            let ApiWatch { watcher, resource, from, .. } = watch;
            judged
                .case(is_wrong.then(|| format!("watch {watcher} of {resource} from {from} on: {}", what())));
        };
        let reached = watch.reached.max(watch.from);
        let got: BTreeSet<(i64, &str)> =
            watch.events.iter().map(|event| (event.object.version, event.object.name.as_str())).collect();
        let of_resource = versions.get(watch.resource.as_str()).into_iter();
        let wanted = of_resource.flat_map(|all| all.range((watch.from + 1, "")..(reached + 1, "")));
        for ((version, name), times) in wanted {
            let came = got.contains(&(*version, *name));
            if !came || *times > 1 {
                case(!came, &|| format!("{name} of version {version} never came, and it got to {reached}"));
            }
        }
        let (told, deleted) = (uids(watch, false), uids(watch, true));
        for (uid, end) in deletions(&history.api, &watch.resource).filter(|(uid, _)| told.contains(uid)) {
            if let Some(above) = later.after(end).filter(|above| *above <= reached) {
                let came = deleted.contains(uid);
                case(!came, &|| format!("the deletion of UID {uid}, below version {above}, never came"));
            }
        }
        let goes_on = |other: &ApiWatch| other.watcher == watch.watcher && other.resource == watch.resource;
        let is_last = !history.api.watches[n + 1..].iter().any(goes_on);
        if is_last && ends.contains(watch.resource.as_str()) {
            case(!objects(watch).any(is_end), &|| format!("it did not reach the end, and got to {reached}"));
        }
    }
    judged
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
