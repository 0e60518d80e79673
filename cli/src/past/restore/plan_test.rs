use trireme_api::value;

use super::super::super::kinds::Kinds;
use super::*;

const ALL: Wishes = Wishes { recreate: true, delete_new: true };

/// `kind/name` in the namespace `shop`, with what is given beside its metadata.
fn put(
    world: &mut BTreeMap<ObjectId, Stored>,
    target: &str,
    uid: &str,
    revision: i64,
    more: Value,
) -> ObjectId {
    let kinds = Kinds::built_in();
    let (row, id) = kinds.object(target, "shop").unwrap();
    let served = row.built_in.unwrap().hub();
    let mut object = more;
    let metadata = object.make(&["metadata"]);
    metadata.set("name", id.name.as_str());
    if row.namespaced {
        metadata.set("namespace", "shop");
    }
    metadata.set("uid", uid);
    object.make(&[]).set("apiVersion", served.api_version());
    object.make(&[]).set("kind", row.kind.as_str());
    let object = row.decode(&serde_json::to_vec(&object).unwrap()).unwrap();
    world.insert(id.clone(), Stored { object, revision });
    id
}

fn owned_by(version: &str, kind: &str, name: &str, uid: &str) -> Value {
    value!({"metadata": {"ownerReferences": [{"apiVersion": version, "kind": kind, "name": name, "uid": uid}]}})
}

fn planned(observed: &Observed, wishes: Wishes) -> Plan {
    plan(&Kinds::built_in(), observed, wishes)
}

fn lines(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(|step| format!("{:?} {}", step.action, step.id)).collect()
}

fn reason<'a>(plan: &'a Plan, id: &ObjectId) -> &'a str {
    plan.left.iter().find(|(left, _)| left == id).map_or("", |(_, why)| why)
}

#[test]
fn what_is_missing_is_created_in_the_order_of_needs() {
    let mut observed = Observed::default();
    let then = &mut observed.then;
    put(then, "deployment/web", "d", 5, value!({"spec": {"replicas": 1}}));
    put(then, "service/web", "s", 5, value!({"spec": {"clusterIP": "10.0.0.7"}}));
    put(then, "configmap/settings", "c", 5, value!({"data": {"a": "b"}}));
    put(then, "pvc/data", "p", 5, value!({"spec": {}}));
    put(then, "resourcequota/q", "q", 5, value!({}));
    put(
        then,
        "namespace/shop",
        "n",
        5,
        value!({"metadata": {"labels": {"a": "b"}}, "spec": {"finalizers": ["kubernetes"]}}),
    );
    put(
        then,
        "replicaset/web-1",
        "r",
        5,
        value!({"metadata": {"ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d", "controller": true},
        ]}}),
    );
    let plan = planned(&observed, Wishes::default());
    assert_eq!(
        lines(&plan),
        [
            "Create namespaces/shop",
            "Create configmaps/settings -n shop",
            "Create persistentvolumeclaims/data -n shop",
            "Create services/web -n shop",
            "Create deployments.apps/web -n shop",
            "Create resourcequotas/q -n shop",
        ]
    );
    assert_eq!(plan.left.len(), 1, "{:?}", plan.left);
    for step in &plan.steps {
        for field in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
            assert!(step.object["metadata"].get(field).is_none(), "{} has its old {field}", step.id);
        }
    }
    assert_eq!(plan.steps[3].object["spec"]["clusterIP"], *"10.0.0.7");
}

#[test]
fn owners_come_first_and_are_pointed_at_anew() {
    let mut observed = Observed::default();
    // By rank a secret comes before a deployment.
    put(&mut observed.then, "secret/s", "s", 5, owned_by("apps/v1", "Deployment", "web", "old-d"));
    put(&mut observed.then, "deployment/web", "old-d", 5, owned_by("v1", "ConfigMap", "root", "old-c"));
    put(&mut observed.then, "configmap/root", "old-c", 5, value!({}));
    put(&mut observed.then, "configmap/alone", "a", 5, owned_by("v1", "Pod", "gone", "old-p"));
    put(&mut observed.then, "configmap/of-node", "o", 5, owned_by("v1", "Node", "n1", "old-n"));
    put(&mut observed.elsewhere, "node/n1", "new-n", 6, value!({}));
    let plan = planned(&observed, Wishes::default());
    let place = |name: &str| plan.steps.iter().position(|step| step.id.name == name).unwrap();
    assert!(place("root") < place("web") && place("web") < place("s"), "{:?}", lines(&plan));
    let step = |name: &str| &plan.steps[place(name)];
    let references = |name: &str| step(name).object["metadata"]["ownerReferences"].clone();
    assert!(references("s")[0]["uid"].is_null(), "a uid of the past is kept");
    assert_eq!(step("s").owners, [(0, step("web").id.clone())]);
    assert_eq!(references("of-node")[0]["uid"], *"new-n");
    assert!(references("alone").is_null());
    assert!(step("alone").notes[0].contains("Pod gone is gone"), "{:?}", step("alone").notes);
}

#[test]
fn what_differs_is_updated_by_compare_and_swap() {
    let mut observed = Observed::default();
    let id = put(&mut observed.then, "configmap/a", "u", 5, value!({"data": {"k": "then"}}));
    put(&mut observed.now, "configmap/a", "u", 9, value!({"data": {"k": "now"}}));
    put(&mut observed.then, "configmap/same", "w", 5, value!({"data": {"k": "v"}}));
    put(&mut observed.now, "configmap/same", "other", 9, value!({"data": {"k": "v"}}));
    let later = put(&mut observed.now, "configmap/later", "l", 9, value!({}));
    let plan = planned(&observed, Wishes::default());
    assert_eq!(lines(&plan), [format!("Update {id}")]);
    let written = &plan.steps[0].object;
    assert_eq!(written["metadata"]["resourceVersion"], *"9");
    assert_eq!((&written["metadata"]["uid"], &written["data"]["k"]), (&"u".into(), &"then".into()));
    assert_eq!(plan.same, 1);
    assert!(reason(&plan, &later).contains("--delete-new"));
    let plan = planned(&observed, ALL);
    assert_eq!(lines(&plan), [format!("Update {id}"), format!("Delete {later}")]);
}

#[test]
fn what_cannot_be_changed_is_said_or_made_anew() {
    let mut observed = Observed::default();
    let spec = |app: &str, image: &str| {
        value!({"spec": {
            "selector": {"matchLabels": {"app": app}},
            "template": {
                "metadata": {"labels": {"app": app}},
                "spec": {"containers": [{"name": "c", "image": image}]},
            },
        }})
    };
    let id = put(&mut observed.then, "deployment/web", "u", 5, spec("a", "1"));
    put(&mut observed.now, "deployment/web", "v", 9, spec("b", "1"));
    let settings =
        put(&mut observed.then, "configmap/c", "u", 5, value!({"immutable": true, "data": {"a": "1"}}));
    put(&mut observed.now, "configmap/c", "u", 9, value!({"immutable": true, "data": {"a": "2"}}));
    let claim = put(
        &mut observed.then,
        "pvc/p",
        "u",
        5,
        value!({"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "a"}}),
    );
    put(
        &mut observed.now,
        "pvc/p",
        "u",
        9,
        value!({"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "b"}}),
    );
    let plan = planned(&observed, Wishes::default());
    assert_eq!(lines(&plan), Vec::<String>::new());
    assert!(reason(&plan, &id).contains("spec.selector"), "{:?}", plan.left);
    assert!(reason(&plan, &settings).contains("--recreate"), "{:?}", plan.left);
    let plan = planned(&observed, ALL);
    assert_eq!(
        lines(&plan),
        [format!("Recreate {{ orphan: false }} {settings}"), format!("Recreate {{ orphan: false }} {id}")]
    );
    assert!(plan.steps.iter().all(|step| step.object["metadata"].get("uid").is_none()));
    assert!(reason(&plan, &claim).contains("data"), "{:?}", plan.left);
}

#[test]
fn an_object_that_is_ending_is_waited_for() {
    let mut observed = Observed::default();
    put(&mut observed.then, "configmap/a", "u", 5, value!({"data": {"k": "v"}}));
    let ending =
        value!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["example.com/f"]}});
    put(&mut observed.now, "configmap/a", "u", 9, ending.clone());
    let was_ending = put(&mut observed.then, "configmap/b", "u", 5, ending);
    let plan = planned(&observed, ALL);
    assert_eq!(lines(&plan), ["Create configmaps/a -n shop"]);
    assert_eq!(plan.steps[0].ending.as_deref(), Some(&["example.com/f".to_owned()][..]));
    assert!(reason(&plan, &was_ending).contains("being deleted at that moment"));
}

#[test]
fn addresses_stay_where_they_are_free() {
    let mut observed = Observed::default();
    let spec = value!({"spec": {
        "clusterIP": "10.0.0.7", "clusterIPs": ["10.0.0.7"], "type": "NodePort",
        "ports": [{"port": 80, "nodePort": 30080}, {"port": 81, "nodePort": 30081}],
    }});
    let id = put(&mut observed.then, "service/web", "s", 5, spec);
    let other = ObjectId::new("services", "other", "thief");
    observed.addresses.insert("10.0.0.7".into(), id.clone());
    let free = planned(&observed, ALL);
    assert_eq!(free.steps[0].object["spec"]["clusterIPs"][0], *"10.0.0.7");
    assert_eq!(free.steps[0].notes, Vec::<String>::new());
    observed.addresses.insert("10.0.0.7".into(), other.clone());
    observed.node_ports.insert(30081, other);
    let taken = planned(&observed, ALL);
    let spec = &taken.steps[0].object["spec"];
    assert!(spec.get("clusterIP").is_none() && spec.get("clusterIPs").is_none());
    assert_eq!(spec["ports"][0]["nodePort"].as_i64(), Some(30080));
    assert!(spec["ports"][1].get("nodePort").is_none());
    assert_eq!(taken.steps[0].notes.len(), 2, "{:?}", taken.steps[0].notes);
}

#[test]
fn claims_keep_their_volumes_where_the_data_is() {
    let claim = value!({"spec": {"volumeName": "v"}});
    let volume = |policy: &str, claim: &str| {
        value!({"spec": {
            "persistentVolumeReclaimPolicy": policy,
            "claimRef": {"namespace": "shop", "name": claim, "uid": "old", "resourceVersion": "3"},
        }})
    };
    let world = |then: &str, now: Option<Value>| {
        let mut observed = Observed::default();
        put(&mut observed.then, "pvc/data", "old", 5, claim.clone());
        let id = put(&mut observed.then, "pv/v", "pv", 4, volume(then, "data"));
        observed.volumes.insert(id);
        if let Some(now) = now {
            put(&mut observed.now, "pv/v", "pv", 8, now);
        }
        planned(&observed, ALL)
    };
    let released = world("Delete", Some(volume("Delete", "data")));
    assert_eq!(
        lines(&released),
        ["Update persistentvolumes/v", "Create persistentvolumeclaims/data -n shop"]
    );
    let bound = &released.steps[0].object["spec"]["claimRef"];
    assert!(bound["uid"].is_null() && bound["name"] == *"data");
    assert_eq!(released.steps[0].object["metadata"]["resourceVersion"], *"8");
    assert_eq!(released.steps[1].object["spec"]["volumeName"], *"v");
    let retained = world("Retain", None);
    assert_eq!(
        lines(&retained),
        ["Create persistentvolumes/v", "Create persistentvolumeclaims/data -n shop"]
    );
    for lost in [world("Delete", None), world("Delete", Some(volume("Delete", "another")))] {
        assert_eq!(lines(&lost), ["Create persistentvolumeclaims/data -n shop"]);
        assert!(lost.steps[0].object["spec"].get("volumeName").is_none());
        assert!(lost.steps[0].notes[0].contains("empty"), "{:?}", lost.steps[0].notes);
    }
}
