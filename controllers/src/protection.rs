//! Lets claims, volumes and their attribute classes go once nothing uses them: the other half of
//! the admission that gives them a finalizer when they are made.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use trireme_api::{Object, Value};
use trireme_client::resource::{
    PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, Resource, VOLUME_ATTRIBUTES_CLASSES,
};
use trireme_client::{Client, Informer};

use crate::manager::Context;
use crate::pods::key;
use crate::runtime::{Controller, Next, Reconciled, Running, WorkQueue};

/// What is protected, and from what.
struct Protection {
    name: &'static str,
    finalizer: &'static str,
    resource: &'static Resource,
    /// Whose objects may use it.
    users: &'static [&'static Resource],
    /// The keys of what an object of those uses; the object's own key if it is in use by itself.
    uses: fn(&Object) -> Vec<String>,
}

const CLAIMS: Protection = Protection {
    name: "pvc-protection-controller",
    finalizer: "kubernetes.io/pvc-protection",
    resource: &PERSISTENT_VOLUME_CLAIMS,
    users: &[&PODS],
    uses: claims_of,
};

const VOLUMES: Protection = Protection {
    name: "pv-protection-controller",
    finalizer: "kubernetes.io/pv-protection",
    resource: &PERSISTENT_VOLUMES,
    users: &[&PERSISTENT_VOLUMES],
    uses: |volume| match volume.status()["phase"] == *"Bound" {
        true => vec![key(volume)],
        false => Vec::new(),
    },
};

const CLASSES: Protection = Protection {
    name: "volumeattributesclass-protection-controller",
    finalizer: "kubernetes.io/vac-protection",
    resource: &VOLUME_ATTRIBUTES_CLASSES,
    users: &[&PERSISTENT_VOLUME_CLAIMS, &PERSISTENT_VOLUMES],
    uses: |object| {
        let status = object.status();
        let names = [
            &object.spec()["volumeAttributesClassName"],
            &status["currentVolumeAttributesClassName"],
            &status["modifyVolumeStatus"]["targetVolumeAttributesClassName"],
        ];
        names.iter().filter_map(|n| n.as_str()).filter(|n| !n.is_empty()).map(str::to_owned).collect()
    },
};

/// A pod that is on no node yet uses nothing.
fn claims_of(pod: &Object) -> Vec<String> {
    if pod.spec()["nodeName"].str_or_empty().is_empty() {
        return Vec::new();
    }
    let claim = |volume: &Value| match &volume["persistentVolumeClaim"]["claimName"] {
        Value::Null if !volume["ephemeral"].is_null() => {
            Some(format!("{}-{}", pod.name(), volume["name"].str_or_empty()))
        }
        name => name.as_str().map(str::to_owned),
    };
    let claims = pod.spec()["volumes"].items().iter().filter_map(claim);
    claims.map(|name| format!("{}/{name}", pod.namespace())).collect()
}

/// The object without the finalizer, if it is to go and nothing holds it.
fn released(object: &Object, finalizer: &str, used: bool) -> Option<Object> {
    let finalizers = object.metadata()["finalizers"].items();
    if used || object.deletion_timestamp().is_none() || !finalizers.iter().any(|f| *f == *finalizer) {
        return None;
    }
    let kept: Vec<Value> = finalizers.iter().filter(|f| **f != *finalizer).cloned().collect();
    let mut out = object.clone();
    out.metadata_mut().set("finalizers", kept);
    Some(out)
}

struct Protector {
    of: &'static Protection,
    client: Client,
    objects: Informer,
    users: Vec<Informer>,
}

pub(crate) fn start(context: &Context) -> Vec<Running> {
    [&CLAIMS, &VOLUMES, &CLASSES].into_iter().map(|of| start_one(context, of)).collect()
}

fn start_one(context: &Context, of: &'static Protection) -> Running {
    let queue = WorkQueue::new();
    let objects = context.informers.informer(of.resource);
    let users: Vec<Informer> = of.users.iter().map(|r| context.informers.informer(r)).collect();
    let mut subscriptions = vec![objects.on_change({
        let queue = queue.clone();
        move |change| {
            let object = change.object();
            if !change.deleted() && object.deletion_timestamp().is_some() {
                queue.add(&key(object));
            }
        }
    })];
    for users in &users {
        let queue = queue.clone();
        subscriptions.push(users.on_change(move |change| {
            // What the object used before and does not use any more.
            let Some(old) = &change.old else { return };
            let now: BTreeSet<String> =
                change.new.as_deref().map(of.uses).unwrap_or_default().into_iter().collect();
            (of.uses)(old).iter().filter(|k| !now.contains(*k)).for_each(|k| queue.add(k));
        }));
    }
    let controller = Protector { of, client: context.client(of.name), objects, users };
    Running { controller: Arc::new(controller), queue, workers: 1, subscriptions }
}

#[async_trait]
impl Controller for Protector {
    fn name(&self) -> &'static str {
        self.of.name
    }

    async fn reconcile(&self, key: &str) -> Reconciled {
        let Some(object) = self.objects.store().get(key) else { return Ok(Next::Done) };
        let uses = |user: &Arc<Object>| (self.of.uses)(user).iter().any(|k| k == key);
        let going = object.deletion_timestamp().is_some();
        // Looked at only for what is to go: it goes through all that could use it.
        let used = going && self.users.iter().any(|users| users.store().list().iter().any(uses));
        if let Some(free) = released(&object, self.of.finalizer, used) {
            self.client.update(self.of.resource, &free).await?;
        }
        Ok(Next::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_api::value;

    #[test]
    fn a_claim_is_used_by_pods_on_nodes() {
        let mut pod = Object(value!({
            "metadata": {"name": "p", "namespace": "ns"},
            "spec": {"volumes": [
                {"name": "a", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "b", "ephemeral": {"volumeClaimTemplate": {}}},
                {"name": "c", "emptyDir": {}},
            ]},
        }));
        assert_eq!(claims_of(&pod), Vec::<String>::new(), "it is on no node yet");
        pod.make(&["spec"]).set("nodeName", "n");
        assert_eq!(claims_of(&pod), ["ns/data", "ns/p-b"]);
    }

    #[test]
    fn only_what_is_to_go_and_is_not_used_is_released() {
        let mut claim = Object(value!({
            "metadata": {"name": "data", "namespace": "ns", "finalizers": ["kubernetes.io/pvc-protection", "x/y"]},
        }));
        assert!(released(&claim, CLAIMS.finalizer, false).is_none(), "nobody deleted it");
        claim.metadata_mut().set("deletionTimestamp", "2024-01-01T00:00:00Z");
        assert!(released(&claim, CLAIMS.finalizer, true).is_none(), "a pod uses it");
        let free = released(&claim, CLAIMS.finalizer, false).unwrap();
        assert_eq!(free.metadata()["finalizers"], value!(["x/y"]), "others' finalizers stay");
        assert!(released(&free, CLAIMS.finalizer, false).is_none());
    }

    #[test]
    fn a_bound_volume_and_a_class_in_use_stay() {
        let volume = |phase: &str| {
            Object(
                value!({"metadata": {"name": "v"}, "spec": {"volumeAttributesClassName": "gold"}, "status": {"phase": phase}}),
            )
        };
        assert_eq!((VOLUMES.uses)(&volume("Bound")), ["v"]);
        assert_eq!((VOLUMES.uses)(&volume("Released")), Vec::<String>::new());
        assert_eq!((CLASSES.uses)(&volume("Released")), ["gold"]);
    }
}
