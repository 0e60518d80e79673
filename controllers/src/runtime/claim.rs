//! Which objects belong to a controller object: owner references and selectors.

use std::sync::Arc;

use trireme_api::selector::LabelSelector;
use trireme_api::{Object, Value, value};
use trireme_client::{Client, Error, PatchKind, Resource, Store};

use super::outcome::Failure;

/// Index of objects by their controller's uid; those without one by `orphan/<namespace>`.
pub const CONTROLLER_INDEX: &str = "controller-uid";

/// The index function of [`CONTROLLER_INDEX`].
pub fn controller_index(object: &Object) -> Vec<String> {
    vec![match object.controller_ref() {
        Some(owner) => owner["uid"].str_or_empty().to_owned(),
        None => format!("orphan/{}", object.namespace()),
    }]
}

/// The objects whose controller has this uid. Oldest first, ties by name: the same every time.
pub fn owned_by(store: &Store, uid: &str) -> Vec<Arc<Object>> {
    sorted(store.by_index(CONTROLLER_INDEX, uid))
}

/// The objects of a namespace that have no controller.
pub fn orphans_of(store: &Store, namespace: &str) -> Vec<Arc<Object>> {
    sorted(store.by_index(CONTROLLER_INDEX, &format!("orphan/{namespace}")))
}

fn sorted(mut objects: Vec<Arc<Object>>) -> Vec<Arc<Object>> {
    objects.sort_by(|a, b| {
        let created = |o: &Object| o.metadata()["creationTimestamp"].str_or_empty().to_owned();
        created(a).cmp(&created(b)).then_with(|| a.name().cmp(b.name()))
    });
    objects
}

/// A controller's reference to `owner`.
pub fn owner_reference(owner: &Object, api_version: &str, kind: &str) -> Value {
    value!({
        "apiVersion": api_version,
        "kind": kind,
        "name": owner.name(),
        "uid": owner.uid(),
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// What belongs to an owner, and what must change so that it does or does not.
#[derive(Default)]
pub struct Claim {
    pub owned: Vec<Arc<Object>>,
    pub adopt: Vec<Arc<Object>>,
    pub release: Vec<Arc<Object>>,
}

/// Sorts out the objects an owner controls and those without controller in its namespace. An
/// owner that is being deleted neither adopts nor releases.
pub fn claim(
    owner: &Object,
    selector: &LabelSelector,
    controlled: &[Arc<Object>],
    orphans: &[Arc<Object>],
) -> Claim {
    let mut out = Claim::default();
    let deleting = owner.deletion_timestamp().is_some();
    let selected = |o: &Object| selector.matches_labels(&o.metadata()["labels"]);
    for object in controlled {
        if selected(object) {
            out.owned.push(object.clone());
        } else if !deleting {
            out.release.push(object.clone());
        }
    }
    if !deleting {
        out.adopt.extend(orphans.iter().filter(|o| o.deletion_timestamp().is_none() && selected(o)).cloned());
    }
    out
}

impl Claim {
    /// Writes the adoptions and releases. Adopted objects join `owned`. The owner is read anew
    /// before anything is adopted: a cache may still show one that is gone.
    pub async fn execute(
        &mut self,
        client: &Client,
        owner: &Object,
        (owners, api_version, kind): (&Resource, &str, &str),
        objects: &Resource,
    ) -> Result<(), Failure> {
        if !self.adopt.is_empty() {
            let live = client.get(owners, owner.namespace(), owner.name()).await?;
            if live.uid() != owner.uid() || live.deletion_timestamp().is_some() {
                return Err(Failure::NotYet("the owner is being deleted or replaced".into()));
            }
        }
        for object in self.adopt.drain(..) {
            let mut references = object.metadata()["ownerReferences"].items().to_vec();
            references.push(owner_reference(owner, api_version, kind));
            if let Some(adopted) = set_owners(client, objects, &object, references).await? {
                self.owned.push(Arc::new(adopted));
            }
        }
        for object in self.release.drain(..) {
            let references = object.metadata()["ownerReferences"].items();
            let kept = references.iter().filter(|r| r["uid"] != *owner.uid()).cloned().collect();
            set_owners(client, objects, &object, kept).await?;
        }
        Ok(())
    }
}

/// Compare-and-swap of the owner references; none where the object is gone.
async fn set_owners(
    client: &Client,
    resource: &Resource,
    object: &Object,
    references: Vec<Value>,
) -> Result<Option<Object>, Error> {
    let references = if references.is_empty() { Value::Null } else { Value::Array(references) };
    let mut patch = value!({"metadata": {"uid": object.uid(), "resourceVersion": object.resource_version()}});
    patch.make(&["metadata"]).set("ownerReferences", references);
    match client.patch(resource, object.namespace(), object.name(), "", PatchKind::Merge, &patch).await {
        Ok(object) => Ok(Some(object)),
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, app: &str, owner: Option<&str>) -> Arc<Object> {
        let mut o = value!({"metadata": {"namespace": "ns", "name": name, "labels": {"app": app}}});
        if let Some(uid) = owner {
            o.make(&["metadata"]).set("ownerReferences", value!([{"uid": uid, "controller": true}]));
        }
        Arc::new(Object(o))
    }

    #[test]
    fn selected_orphans_are_adopted_and_what_does_not_fit_is_let_go() {
        let selector = LabelSelector::from_pairs([("app", "a")]);
        let names = |list: &[Arc<Object>]| list.iter().map(|o| o.name().to_owned()).collect::<Vec<_>>();
        let controlled = [object("mine", "a", Some("u")), object("strayed", "b", Some("u"))];
        let orphans = [object("found", "a", None), object("other", "b", None)];
        let mut owner = Object(value!({"metadata": {"namespace": "ns", "name": "o", "uid": "u"}}));
        let c = claim(&owner, &selector, &controlled, &orphans);
        assert_eq!(
            (names(&c.owned), names(&c.adopt), names(&c.release)),
            (vec!["mine".into()], vec!["found".into()], vec!["strayed".into()])
        );
        owner.metadata_mut().set("deletionTimestamp", "2024-01-01T00:00:00Z");
        let c = claim(&owner, &selector, &controlled, &orphans);
        assert_eq!((c.owned.len(), c.adopt.len(), c.release.len()), (1, 0, 0));
        assert_eq!(controller_index(&controlled[0]), ["u"]);
        assert_eq!(controller_index(&orphans[0]), ["orphan/ns"]);
    }
}
