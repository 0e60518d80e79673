//! What becomes of one object, by its owners and its dependents.

use std::sync::Arc;

use trireme_api::{Object, Value};
use trireme_client::Propagation;

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// It is there, and will be.
    Solid,
    Absent,
    /// It is being deleted in the foreground: only its dependents keep it.
    Waiting,
}

#[derive(Debug, PartialEq)]
pub(super) enum Action {
    Nothing,
    /// Nobody owns it any more.
    Delete(Propagation),
    /// The owner references that stay.
    KeepOwners(Vec<Value>),
    /// Nothing holds its deletion up any more: the finalizers that stay.
    KeepFinalizers(Vec<Value>),
    /// It goes but its dependents stay: take it out of their owners, then its finalizer.
    Orphan(Vec<Arc<Object>>),
    /// It waits for these, which must be deleted.
    AwaitDependents(Vec<Arc<Object>>),
}

fn has_finalizer(object: &Object, name: &str) -> bool {
    object.metadata()["finalizers"].items().iter().any(|f| *f == *name)
}

/// An object that is deleted once its dependents are.
pub(super) fn is_waiting(object: &Object) -> bool {
    object.deletion_timestamp().is_some() && has_finalizer(object, FOREGROUND)
}

/// Whether an object may need anything of us at all.
pub(super) fn is_of_interest(object: &Object) -> bool {
    let ending = object.deletion_timestamp().is_some();
    (ending && (has_finalizer(object, FOREGROUND) || has_finalizer(object, ORPHAN)))
        || (!ending && !object.metadata()["ownerReferences"].items().is_empty())
}

fn without(list: &[Value], name: &str) -> Vec<Value> {
    list.iter().filter(|f| **f != *name).cloned().collect()
}

/// An object that is being deleted.
pub(super) fn plan_ending(object: &Object, dependents: Vec<Arc<Object>>) -> Action {
    let finalizers = object.metadata()["finalizers"].items();
    if has_finalizer(object, ORPHAN) {
        return if dependents.is_empty() {
            Action::KeepFinalizers(without(finalizers, ORPHAN))
        } else {
            Action::Orphan(dependents)
        };
    }
    if !has_finalizer(object, FOREGROUND) {
        return Action::Nothing;
    }
    let blocks = |d: &Object| {
        let references = d.metadata()["ownerReferences"].items();
        references.iter().any(|r| r["uid"] == *object.uid() && r["blockOwnerDeletion"] == Value::Bool(true))
    };
    if dependents.iter().any(|d| blocks(d)) {
        Action::AwaitDependents(dependents)
    } else {
        Action::KeepFinalizers(without(finalizers, FOREGROUND))
    }
}

/// An object that is not being deleted, with its owners' states in the order of its references.
pub(super) fn plan_living(object: &Object, owners: &[Owner], has_dependents: bool) -> Action {
    let references = object.metadata()["ownerReferences"].items();
    #[cfg(feature = "planted-bugs")]
    if let Some(wrong) = planted(object) {
        return wrong;
    }
    if references.is_empty() || owners.iter().all(|o| *o == Owner::Solid) {
        return Action::Nothing;
    }
    if owners.contains(&Owner::Solid) {
        let kept = references.iter().zip(owners).filter(|(_, o)| **o == Owner::Solid).map(|(r, _)| r.clone());
        return Action::KeepOwners(kept.collect());
    }
    let policy = if has_finalizer(object, ORPHAN) {
        Propagation::Orphan
    } else if has_finalizer(object, FOREGROUND) || (owners.contains(&Owner::Waiting) && has_dependents) {
        // The owner waits for all below it, so this one must wait for its own.
        Propagation::Foreground
    } else {
        Propagation::Background
    };
    Action::Delete(policy)
}

#[cfg(feature = "planted-bugs")]
fn planted(object: &Object) -> Option<Action> {
    use trireme_store::planted::{Bug, is};
    let by_lot = object.uid().ends_with(['0', '1', '2', '3', '4', '5']);
    if is(Bug::GarbageStays) {
        Some(Action::Nothing)
    } else if is(Bug::GarbageTakesOwned) && by_lot {
        Some(Action::Delete(Propagation::Background))
    } else {
        None
    }
}

/// A dependent's references without the owner that lets it go.
pub(super) fn disowned(dependent: &Object, owner_uid: &str) -> Vec<Value> {
    let references = dependent.metadata()["ownerReferences"].items();
    references.iter().filter(|r| r["uid"] != *owner_uid).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_api::value;

    fn object(owners: &[&str], finalizers: &[&str], ending: bool) -> Object {
        let mut o = Object(value!({"metadata": {"name": "x", "uid": "x"}}));
        if !owners.is_empty() {
            let refs: Vec<Value> = owners
                .iter()
                .map(|uid| value!({"uid": uid.trim_end_matches('!'), "blockOwnerDeletion": uid.ends_with('!')}))
                .collect();
            o.metadata_mut().set("ownerReferences", refs);
        }
        if !finalizers.is_empty() {
            o.metadata_mut().set("finalizers", finalizers.to_vec());
        }
        if ending {
            o.metadata_mut().set("deletionTimestamp", "2024-01-01T00:00:00Z");
        }
        o
    }

    #[test]
    fn objects_go_with_the_last_of_their_owners() {
        use Owner::{Absent, Solid, Waiting};
        let check = |finalizers: &[&str], owners: &[Owner], dependents: bool, want: &str| {
            let names = ["a", "b", "c"];
            let o = object(&names[..owners.len()], finalizers, false);
            let got = match plan_living(&o, owners, dependents) {
                Action::Nothing => String::new(),
                Action::Delete(p) => p.as_str().to_owned(),
                Action::KeepOwners(r) => r.iter().map(|r| r["uid"].str_or_empty().to_owned()).collect(),
                other => format!("{other:?}"),
            };
            assert_eq!(got, want, "{owners:?}");
        };
        check(&[], &[], false, "");
        check(&[], &[Solid], false, "");
        check(&[], &[Absent], false, "Background");
        check(&[], &[Absent, Solid, Waiting], false, "b");
        check(&[], &[Waiting], false, "Background");
        check(&[], &[Waiting, Absent], true, "Foreground");
        check(&[ORPHAN], &[Absent], true, "Orphan");
        check(&[FOREGROUND], &[Absent], false, "Foreground");
    }

    #[test]
    fn deletion_in_the_foreground_waits_for_those_that_block() {
        let waiting = object(&[], &["keep", FOREGROUND], true);
        assert!(is_waiting(&waiting) && is_of_interest(&waiting));
        let blocking = Arc::new(object(&["x!"], &[], false));
        let other = Arc::new(object(&["x"], &[], false));
        assert_eq!(plan_ending(&waiting, vec![blocking.clone()]), Action::AwaitDependents(vec![blocking]));
        assert_eq!(plan_ending(&waiting, vec![other.clone()]), Action::KeepFinalizers(vec!["keep".into()]));
        assert_eq!(plan_ending(&object(&[], &[], true), vec![other]), Action::Nothing);
    }

    #[test]
    fn orphans_are_let_go_first() {
        let leaving = object(&[], &[ORPHAN], true);
        let dependent = Arc::new(object(&["x!", "y"], &[], false));
        assert_eq!(disowned(&dependent, "x"), [value!({"uid": "y", "blockOwnerDeletion": false})]);
        assert_eq!(plan_ending(&leaving, vec![dependent.clone()]), Action::Orphan(vec![dependent]));
        assert_eq!(plan_ending(&leaving, vec![]), Action::KeepFinalizers(vec![]));
    }
}
