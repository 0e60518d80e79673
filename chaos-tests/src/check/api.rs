//! What the API promises of objects: updates, names, UIDs, resource versions, watches, lists, addresses,
//! and that who was deposed writes nothing.

mod budgets;
mod deliveries;
mod replay;

use std::collections::BTreeMap;

use super::judged::Judged;
use crate::history::{ApiCall, ApiId, ApiObject, ApiOperation, ApiOutcome, History, Tick};

pub(super) use budgets::evictions_keep_to_budgets;
pub(super) use deliveries::watches_deliver_everything;
pub(super) use replay::{addresses_are_given_once, lists_equal_the_replay};

fn name(operation: &ApiOperation) -> String {
    let what = match &operation.call {
        ApiCall::Create { id, value } => format!("create {id} as {value}"),
        ApiCall::Update { id, value, base } => format!("update {id} of version {base} to {value}"),
        ApiCall::Delete { id, .. } => format!("delete {id}"),
        ApiCall::Get { id } => format!("get {id}"),
        ApiCall::List { resource, .. } => format!("list {resource}"),
        ApiCall::Evict { id, uid } => format!("evict {id} of UID {uid}"),
        ApiCall::Lead => "take a lease".to_owned(),
    };
    format!("[{what}] of client {} at ticks {}..{}", operation.client, operation.begin.0, operation.end.0)
}

/// What an operation wrote, if it was acknowledged: creations and updates.
fn written(operation: &ApiOperation) -> Option<&ApiObject> {
    match (&operation.call, &operation.outcome) {
        (ApiCall::Create { .. } | ApiCall::Update { .. }, ApiOutcome::Changed(object)) => Some(object),
        _ => None,
    }
}

/// The greatest version told by each tick.
struct Told(Vec<(Tick, i64)>);

impl Told {
    fn of(mut facts: Vec<(Tick, i64)>) -> Told {
        facts.sort_unstable();
        let mut most = 0;
        for (_, version) in &mut facts {
            most = most.max(*version);
            *version = most;
        }
        Told(facts)
    }

    fn before(&self, tick: Tick) -> i64 {
        match self.0.partition_point(|(at, _)| *at < tick) {
            0 => 0,
            n => self.0[n - 1].1,
        }
    }
}

/// Every object as anybody was shown it, with when.
fn shown(history: &History) -> impl Iterator<Item = (Tick, &ApiObject)> {
    let operations = history.api.operations.iter().flat_map(|operation| {
        let objects: Vec<&ApiObject> = match &operation.outcome {
            // What a deletion answers may be the object as it was.
            ApiOutcome::Changed(_) if matches!(operation.call, ApiCall::Delete { .. }) => Vec::new(),
            ApiOutcome::Changed(object) | ApiOutcome::Found(object) => vec![object],
            ApiOutcome::Listed { objects, .. } => objects.iter().collect(),
            _ => Vec::new(),
        };
        objects.into_iter().map(|object| (operation.end, object))
    });
    let events = history.api.watches.iter().flat_map(|watch| &watch.events);
    operations.chain(events.map(|event| (event.tick, &event.object)))
}

/// When an object may have been deleted at the earliest, and when it certainly was, by its UID: the next
/// one of its name is another.
#[derive(Default)]
struct Deletions<'h>(BTreeMap<&'h str, (Tick, Option<Tick>)>);

impl<'h> Deletions<'h> {
    fn of(history: &'h History) -> Deletions<'h> {
        let mut deletions = Deletions::default();
        for operation in &history.api.operations {
            let ApiCall::Delete { uid, .. } = &operation.call else { continue };
            let done = match &operation.outcome {
                ApiOutcome::Changed(_) => Some(operation.end),
                ApiOutcome::Unknown(_) => None,
                _ => continue,
            };
            let (begun, certain) = deletions.0.entry(uid).or_insert((operation.begin, done));
            *begun = (*begun).min(operation.begin);
            *certain = [*certain, done].into_iter().flatten().min();
        }
        deletions
    }

    /// Somebody may have deleted it by then.
    fn may_be_done(&self, uid: &str, by: Tick) -> bool {
        self.0.get(uid).is_some_and(|(begun, _)| *begun < by)
    }

    /// Whoever deleted it was told so before.
    fn is_done(&self, uid: &str, before: Tick) -> bool {
        self.0.get(uid).and_then(|(_, certain)| *certain).is_some_and(|certain| certain < before)
    }
}

/// Of two updates of one version one is refused; what was acknowledged is what readers find, and it
/// stays until somebody deletes it, and no longer.
pub(super) fn no_update_is_lost(history: &History) -> Judged {
    let mut judged = Judged::default();
    let mut based: BTreeMap<(&ApiId, i64), &ApiOperation> = BTreeMap::new();
    let mut known: BTreeMap<ApiId, Vec<(Tick, i64)>> = BTreeMap::new();
    let mut values: BTreeMap<(ApiId, i64), &str> = BTreeMap::new();
    let mut uids: BTreeMap<(ApiId, i64), &str> = BTreeMap::new();
    let deletions = Deletions::of(history);
    for (tick, object) in shown(history) {
        known.entry(object.id()).or_default().push((tick, object.version));
        uids.insert((object.id(), object.version), &object.uid);
    }
    for operation in &history.api.operations {
        let Some(object) = written(operation) else { continue };
        judged.look();
        values.insert((object.id(), object.version), &object.value);
        if let ApiCall::Update { id, base, .. } = &operation.call {
            if let Some(other) = based.insert((id, *base), operation) {
                let (one, other) = (name(operation), name(other));
                judged.say(format!("{other} and {one} were both acknowledged: one of them is lost"));
            }
            if object.version <= *base {
                judged.say(format!("{} was acknowledged at version {}", name(operation), object.version));
            }
        }
    }
    let known: BTreeMap<ApiId, Told> = known.into_iter().map(|(id, facts)| (id, Told::of(facts))).collect();
    for operation in &history.api.operations {
        let ApiCall::Get { id } = &operation.call else { continue };
        judged.look();
        let before = known.get(id).map_or(0, |told| told.before(operation.begin));
        match &operation.outcome {
            ApiOutcome::Found(object) if deletions.is_done(&object.uid, operation.begin) => {
                judged.say(format!("{} found UID {}, which had been deleted", name(operation), object.uid));
            }
            ApiOutcome::Found(object) if object.version < before => {
                judged.say(format!("{} found version {} after {before}", name(operation), object.version));
            }
            ApiOutcome::Absent => {
                let last = uids.get(&(id.clone(), before));
                if let Some(uid) = last.filter(|uid| !deletions.may_be_done(uid, operation.end)) {
                    judged.say(format!(
                        "{} found nothing, and nobody deleted UID {uid}, known at version {before}",
                        name(operation)
                    ));
                }
            }
            _ => {}
        }
    }
    let refused: BTreeMap<(&ApiId, &str), &ApiOperation> = history
        .api
        .operations
        .iter()
        .filter(|operation| matches!(operation.outcome, ApiOutcome::Refused(_)))
        .filter_map(|operation| match &operation.call {
            ApiCall::Create { id, value } | ApiCall::Update { id, value, .. } => {
                Some(((id, value.as_str()), operation))
            }
            _ => None,
        })
        .collect();
    for (_, object) in shown(history) {
        if let Some(operation) = refused.get(&(&object.id(), object.value.as_str())) {
            let ApiOutcome::Refused(why) = &operation.outcome else { continue };
            judged.say(format!(
                "{} was refused and done, at version {}: {why}",
                name(operation),
                object.version
            ));
        }
        if let Some(value) = values.get(&(object.id(), object.version))
            && *value != object.value
        {
            judged.say(format!(
                "{} of version {} was written as {value} and found as {}",
                object.id(),
                object.version,
                object.value
            ));
        }
    }
    judged
}

/// A UID belongs to one object, and a name to one object at a time.
pub(super) fn names_and_uids_are_unique(history: &History) -> Judged {
    let mut judged = Judged::default();
    let mut owners: BTreeMap<&str, ApiId> = BTreeMap::new();
    for (_, object) in shown(history) {
        judged.look();
        let owner = owners.entry(&object.uid).or_insert_with(|| object.id());
        if *owner != object.id() {
            judged.say(format!("UID {} belongs to {owner} and to {}", object.uid, object.id()));
        }
    }
    let mut created: BTreeMap<&ApiId, Vec<(&ApiOperation, &ApiObject)>> = BTreeMap::new();
    for operation in &history.api.operations {
        if let (ApiCall::Create { id, .. }, Some(object)) = (&operation.call, written(operation)) {
            created.entry(id).or_default().push((operation, object));
        }
    }
    let deletions = Deletions::of(history);
    for (id, mut creations) in created {
        creations.sort_by_key(|(_, object)| object.version);
        for pair in creations.windows(2) {
            let [(_, first), (operation, second)] = pair else { continue };
            if first.uid == second.uid {
                judged.say(format!("UID {} was given to {id} twice", second.uid));
            }
            if !deletions.may_be_done(&first.uid, operation.end) {
                judged.say(format!(
                    "{id} was created at versions {} and {}, and nobody deleted UID {}",
                    first.version, second.version, first.uid
                ));
            }
        }
    }
    judged.wrong.extend(replay::lives_are_apart(history));
    judged
}

/// In a watch, of an object, and from what was known to what is written or listed afterwards.
pub(super) fn versions_only_grow(history: &History) -> Judged {
    let mut judged = Judged::default();
    let mut facts: Vec<(Tick, i64)> = shown(history).map(|(tick, object)| (tick, object.version)).collect();
    for operation in &history.api.operations {
        if let ApiOutcome::Listed { version, .. } = &operation.outcome {
            facts.push((operation.end, *version));
        }
    }
    for watch in &history.api.watches {
        let mut last = watch.from;
        judged.look_at(watch.events.len());
        for event in &watch.events {
            if event.object.version <= last {
                judged.say(format!(
                    "watch {} of {}: {} of version {} came after {last}",
                    watch.watcher,
                    watch.resource,
                    event.object.id(),
                    event.object.version
                ));
            }
            last = last.max(event.object.version);
        }
    }
    let told = Told::of(facts);
    for operation in &history.api.operations {
        let before = told.before(operation.begin);
        let (version, grows) = match (&operation.outcome, written(operation)) {
            (_, Some(object)) => (object.version, object.version > before),
            (ApiOutcome::Listed { version, .. }, _) => (*version, *version >= before),
            _ => continue,
        };
        judged.case(
            (!grows)
                .then(|| format!("{} came to version {version} after {before} was known", name(operation))),
        );
    }
    judged
}

/// Nothing that was written under a term lands after the next one began.
pub(super) fn no_deposed_leader_writes(history: &History) -> Judged {
    let mut judged = Judged::default();
    // By lease and epoch: the version at which it began, and who leads in it.
    let mut terms: BTreeMap<(&str, u64), (i64, u32)> = BTreeMap::new();
    for operation in &history.api.operations {
        let (ApiCall::Lead, ApiOutcome::Changed(lease), Some(fence)) =
            (&operation.call, &operation.outcome, &operation.fence)
        else {
            continue;
        };
        let term = (lease.version, operation.client);
        if let Some((_, other)) = terms.insert((&fence.lease, fence.epoch), term)
            && other != operation.client
        {
            judged.say(format!(
                "epoch {} of {} was given to clients {other} and {}",
                fence.epoch, fence.lease, operation.client
            ));
        }
    }
    // What was written may show though nobody was told that it was done.
    let mut landed: BTreeMap<(ApiId, &str), i64> = BTreeMap::new();
    for (_, object) in shown(history) {
        let first = landed.entry((object.id(), &object.value)).or_insert(object.version);
        *first = (*first).min(object.version);
    }
    for operation in &history.api.operations {
        let Some(fence) = &operation.fence else { continue };
        let (ApiCall::Create { id, value } | ApiCall::Update { id, value, .. }) = &operation.call else {
            continue;
        };
        let Some(version) = landed.get(&(id.clone(), value.as_str())) else { continue };
        judged.look();
        let later = terms.range((fence.lease.as_str(), fence.epoch + 1)..=(fence.lease.as_str(), u64::MAX));
        if let Some(((_, epoch), (began, _))) = later.min_by_key(|(_, (began, _))| *began)
            && began < version
        {
            judged.say(format!(
                "{} under epoch {} of {} landed at version {version}, and epoch {epoch} began at {began}",
                name(operation),
                fence.epoch,
                fence.lease
            ));
        }
    }
    judged
}
