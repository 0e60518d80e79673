//! Volumes and their claims: a volume names its claim's uid, and what a claim was bound to may be
//! gone, data and all.

use trireme_api::Value;

use super::super::kinds::{ObjectId, Row};
use super::clean;
use super::plan::{Action, Observed, Step, Stored, Verdict};

/// Annotations by which a claim was given its volume.
const GIVEN_BY: &[&str] = &[
    "volume.kubernetes.io/selected-node",
    "volume.kubernetes.io/storage-provisioner",
    "volume.beta.kubernetes.io/storage-provisioner",
];

/// The claim that a volume is for.
fn claim_of(volume: &Value) -> Option<ObjectId> {
    let claim = &volume["spec"]["claimRef"];
    let (namespace, name) = (claim["namespace"].as_str()?, claim["name"].as_str()?);
    Some(ObjectId::new("persistentvolumeclaims", namespace, name))
}

fn is_retained(volume: &Value) -> bool {
    volume["spec"]["persistentVolumeReclaimPolicy"] == *"Retain"
}

/// What becomes of the volume of a claim that is restored.
pub(super) fn volume(
    observed: &Observed,
    row: &Row,
    id: &ObjectId,
    then: &Stored,
    now: Option<&Stored>,
) -> Verdict {
    let step = |action, object, note: &str| {
        let (now, notes) = (now.cloned(), vec![note.to_owned()]);
        let (id, owners) = (id.clone(), Vec::new());
        Verdict::Do(Box::new(Step { id, action, object, owners, now, ending: None, notes }))
    };
    let Some(now) = now else {
        if is_retained(&then.object) {
            let object = clean::fresh(row, &then.object);
            return step(Action::Create, object, "its data was kept when it was deleted (Retain)");
        }
        return Verdict::Leave("its data went with it (its reclaim policy is not Retain)".into());
    };
    if now.is_ending() {
        return Verdict::Leave("it is being deleted".into());
    }
    let claim = claim_of(&now.object);
    let claim_is_new = claim.as_ref().is_some_and(|claim| {
        observed.then.contains_key(claim) && observed.now.get(claim).is_none_or(Stored::is_ending)
    });
    if !claim_is_new || now.object["spec"]["claimRef"]["uid"].is_null() {
        return Verdict::Same;
    }
    let mut object = now.object.clone();
    for field in ["uid", "resourceVersion"] {
        object.make(&["spec", "claimRef"]).remove(field);
    }
    object.make(&["metadata"]).set("resourceVersion", now.revision.to_string());
    object.make(&["metadata"]).remove("managedFields");
    step(Action::Update, object, "waits for the claim that is made anew")
}

/// A claim that is made anew keeps its volume where that is still to be had.
pub(super) fn claim(observed: &Observed, id: &ObjectId, claim: &mut Value, notes: &mut Vec<String>) {
    let name = claim["spec"]["volumeName"].str_or_empty().to_owned();
    if name.is_empty() {
        return;
    }
    let volume = ObjectId::new("persistentvolumes", "", &name);
    let why = match (observed.now.get(&volume), observed.then.get(&volume)) {
        (Some(now), _) if now.is_ending() => "is being deleted",
        (Some(now), _) => match claim_of(&now.object) {
            Some(other) if other != *id => "is another claim's by now",
            _ => return,
        },
        (None, Some(then)) if is_retained(&then.object) => return,
        (None, _) => "is gone",
    };
    notes.push(format!("its volume {name} {why}: it gets a new one, which is empty"));
    if let Some(spec) = claim.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("volumeName");
    }
    if let Some(annotations) = claim.at_mut(&["metadata", "annotations"]).and_then(Value::as_object_mut) {
        annotations.retain(|key, _| !GIVEN_BY.contains(&&**key));
    }
}
