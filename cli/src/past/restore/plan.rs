//! What must be written so that objects become again what they were. Pure: what was, what is and
//! what is wished for come in, steps come out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use trireme_api::Value;

use super::super::changes;
use super::super::kinds::{Kinds, ObjectId};
use super::{clean, keep, owners, volumes};

/// An object in a state of the store.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub object: Value,
    /// Of its last change, which is its `resourceVersion`.
    pub revision: i64,
}

impl Stored {
    pub(super) fn is_ending(&self) -> bool {
        !self.object["metadata"]["deletionTimestamp"].is_null()
    }

    pub(super) fn uid(&self) -> &str {
        self.object["metadata"]["uid"].str_or_empty()
    }
}

/// Everything that a plan is made from.
#[derive(Clone, Debug, Default)]
pub(super) struct Observed {
    pub then: BTreeMap<ObjectId, Stored>,
    pub now: BTreeMap<ObjectId, Stored>,
    /// What there is now of the objects that those of `then` refer to and that are not among them.
    pub elsewhere: BTreeMap<ObjectId, Stored>,
    /// Volumes among `then` that are there for their claims alone.
    pub volumes: BTreeSet<ObjectId>,
    /// Who has an address or a node port now.
    pub addresses: HashMap<String, ObjectId>,
    pub node_ports: HashMap<i64, ObjectId>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wishes {
    /// Delete and create what cannot be changed.
    pub recreate: bool,
    /// Delete what was not there.
    pub delete_new: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Create,
    Update,
    /// Delete, and create when it is gone; what it owns stays if `orphan`.
    Recreate {
        orphan: bool,
    },
    Delete,
}

/// One write, or a deletion and a creation.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub id: ObjectId,
    pub action: Action,
    /// What to write; null for a deletion. References to owners that are made by an earlier step
    /// have no uid yet.
    pub object: Value,
    /// Those owners, with their places in `metadata.ownerReferences`.
    pub owners: Vec<(usize, ObjectId)>,
    /// What it is done to.
    pub now: Option<Stored>,
    /// It waits until what has its name is gone, which is held by these finalizers.
    pub ending: Option<Vec<String>>,
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub steps: Vec<Step>,
    /// Not touched though it differs, with the reason.
    pub left: Vec<(ObjectId, String)>,
    /// Are as they were.
    pub same: usize,
}

/// Plans for all of `observed.then` and `observed.now`.
pub(super) fn plan(kinds: &Kinds, observed: &Observed, wishes: Wishes) -> Plan {
    let made = made(kinds, observed, wishes);
    let mut plan = Plan::default();
    let ids: BTreeSet<&ObjectId> = observed.then.keys().chain(observed.now.keys()).collect();
    for id in ids {
        match plan_one(kinds, observed, &made, wishes, id) {
            Verdict::Do(step) => plan.steps.push(*step),
            Verdict::Leave(why) => plan.left.push((id.clone(), why)),
            Verdict::Same => plan.same += 1,
            Verdict::Nothing => {}
        }
    }
    plan.steps = ordered(plan.steps);
    plan
}

/// What is to be done about one object.
pub(super) enum Verdict {
    Do(Box<Step>),
    Leave(String),
    Same,
    /// It is of no concern: made by a controller, and not of that moment.
    Nothing,
}

/// Objects that will be new ones: references to them get their uids when they are made.
pub(super) fn made(kinds: &Kinds, observed: &Observed, wishes: Wishes) -> BTreeSet<ObjectId> {
    let none = BTreeSet::new();
    let is_new = |id: &&ObjectId| match plan_one(kinds, observed, &none, wishes, id) {
        Verdict::Do(step) => matches!(step.action, Action::Create | Action::Recreate { .. }),
        _ => false,
    };
    observed.then.keys().filter(is_new).cloned().collect()
}

pub(super) fn plan_one(
    kinds: &Kinds,
    observed: &Observed,
    made: &BTreeSet<ObjectId>,
    wishes: Wishes,
    id: &ObjectId,
) -> Verdict {
    let Some(row) = kinds.get(&id.resource) else { return Verdict::Leave("its kind is not known".into()) };
    let now = observed.now.get(id);
    let Some(then) = observed.then.get(id) else {
        return now.map_or(Verdict::Nothing, |now| came_later(kinds, observed, wishes, id, now));
    };
    let service = observed.then.get(&ObjectId::new("services", &id.namespace, &id.name));
    if let Some(why) = keep::left(kinds, id, &then.object, now.is_some(), service.map(|s| &s.object)) {
        return Verdict::Leave(why);
    }
    if then.is_ending() {
        return Verdict::Leave("it was being deleted at that moment".into());
    }
    if observed.volumes.contains(id) {
        return volumes::volume(observed, row, id, then, now);
    }
    // The same version: nothing happened to it.
    if now.is_some_and(|now| now.revision == then.revision) {
        return Verdict::Same;
    }
    let mut notes = Vec::new();
    let mut object = clean::fresh(row, &then.object);
    let owners = owners::repoint(kinds, observed, made, id, &mut object, &mut notes);
    let step = |action, object, notes, ending, now: Option<&Stored>| {
        let (owners, now) = (owners.clone(), now.cloned());
        Verdict::Do(Box::new(Step { id: id.clone(), action, object, owners, now, ending, notes }))
    };
    let Some(now) = now.filter(|now| !now.is_ending()) else {
        adapt(observed, id, &mut object, &mut notes);
        let finalizers = |now: &Stored| {
            let list = now.object["metadata"]["finalizers"].items().iter();
            list.map(|finalizer| finalizer.str_or_empty().to_owned()).collect()
        };
        return step(Action::Create, object, notes, now.map(finalizers), now);
    };
    let update = clean::onto(row, &object, &now.object, now.revision);
    if changes::between(&now.object, &update).is_empty() {
        return Verdict::Same;
    }
    let refused = clean::immutable(row, &update, &now.object);
    if refused.is_empty() {
        return step(Action::Update, update, notes, None, Some(now));
    }
    let refused = refused.join("; ");
    if let Some(why) = keep::never_recreated(row) {
        return Verdict::Leave(format!("it cannot be changed ({refused}) and is not deleted: {why}"));
    }
    if !wishes.recreate {
        return Verdict::Leave(format!(
            "it cannot be changed ({refused}): --recreate deletes and creates it"
        ));
    }
    adapt(observed, id, &mut object, &mut notes);
    notes.push(format!("cannot be changed: {refused}"));
    let orphan = keep::children_live(row, &then.object, &now.object);
    step(Action::Recreate { orphan }, object, notes, None, Some(now))
}

fn came_later(kinds: &Kinds, observed: &Observed, wishes: Wishes, id: &ObjectId, now: &Stored) -> Verdict {
    let service = observed.now.get(&ObjectId::new("services", &id.namespace, &id.name));
    let made = keep::left(kinds, id, &now.object, true, service.map(|s| &s.object)).is_some();
    if made || now.is_ending() || (id.resource == "serviceaccounts" && id.name == "default") {
        return Verdict::Nothing;
    }
    if !wishes.delete_new {
        return Verdict::Leave("it came later: --delete-new deletes it".into());
    }
    Verdict::Do(Box::new(Step {
        id: id.clone(),
        action: Action::Delete,
        object: Value::Null,
        owners: Vec::new(),
        now: Some(now.clone()),
        ending: None,
        notes: Vec::new(),
    }))
}

/// Drops what an object that is made anew cannot have because another has it by now.
fn adapt(observed: &Observed, id: &ObjectId, object: &mut Value, notes: &mut Vec<String>) {
    match id.resource.as_str() {
        "services" => addresses(observed, id, object, notes),
        "persistentvolumeclaims" => volumes::claim(observed, id, object, notes),
        _ => {}
    }
}

/// Addresses and node ports stay where they are free.
fn addresses(observed: &Observed, id: &ObjectId, service: &mut Value, notes: &mut Vec<String>) {
    let spec = &service["spec"];
    let listed = spec["clusterIPs"].items().iter().chain([&spec["clusterIP"]]).filter_map(Value::as_str);
    let taken = listed.filter_map(|ip| Some((ip.to_owned(), observed.addresses.get(ip)?)));
    // Taken whole: it must not look into `service` while that is changed.
    #[allow(clippy::double_ended_iterator_last)]
    let lost = taken.filter(|(_, holder)| *holder != id).last();
    if let Some((ip, holder)) = lost {
        notes.push(format!("its address {ip} is {holder}'s by now: it gets another one"));
        if let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) {
            spec.retain(|key, _| !matches!(&**key, "clusterIP" | "clusterIPs"));
        }
    }
    let Some(ports) = service.at_mut(&["spec", "ports"]) else { return };
    for port in ports.items_mut() {
        let Some(number) = port["nodePort"].as_i64() else { continue };
        let Some(holder) = observed.node_ports.get(&number).filter(|holder| *holder != id) else { continue };
        notes.push(format!("its node port {number} is {holder}'s by now: it gets another one"));
        if let Some(port) = port.as_object_mut() {
            port.remove("nodePort");
        }
    }
}

/// Others' needs first, owners before what they own, deletions last and in the opposite order.
fn ordered(steps: Vec<Step>) -> Vec<Step> {
    let (mut deletions, mut writes): (Vec<Step>, Vec<Step>) =
        steps.into_iter().partition(|step| step.action == Action::Delete);
    let by_rank = |a: &Step, b: &Step| {
        keep::rank(&a.id.resource).cmp(&keep::rank(&b.id.resource)).then_with(|| a.id.cmp(&b.id))
    };
    writes.sort_by(by_rank);
    deletions.sort_by(|a, b| by_rank(b, a));
    let place: HashMap<ObjectId, usize> =
        writes.iter().enumerate().map(|(i, step)| (step.id.clone(), i)).collect();
    let mut order = Vec::with_capacity(writes.len());
    let mut seen = vec![false; writes.len()];
    for first in 0..writes.len() {
        // Depth first, without recursion: chains of owners may be of any length.
        let mut stack = vec![(first, false)];
        while let Some((i, owners_done)) = stack.pop() {
            if owners_done {
                order.push(i);
                continue;
            }
            if std::mem::replace(&mut seen[i], true) {
                continue;
            }
            stack.push((i, true));
            let owners = writes[i].owners.iter().rev().filter_map(|(_, owner)| place.get(owner));
            stack.extend(owners.filter(|owner| !seen[**owner]).map(|owner| (*owner, false)));
        }
    }
    let mut writes: Vec<Option<Step>> = writes.into_iter().map(Some).collect();
    order.into_iter().filter_map(|i| writes[i].take()).chain(deletions).collect()
}

#[cfg(test)]
#[path = "plan_test.rs"]
mod tests;
