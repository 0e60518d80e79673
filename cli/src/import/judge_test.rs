//! What becomes of keys, case by case.

use trireme_api::codec::{json, protobuf};
use trireme_api::{Value, schema, value};

use super::*;

fn rules() -> Rules {
    Rules {
        custom: ["widgets.example.com".to_owned()].into(),
        addresses: ["10.96.0.77".to_owned()].into(),
        range: ServiceRange::parse("10.96.0.0/16"),
    }
}

/// `taken` with the resource and what goes beside it, or the reason why not.
fn judged(suffix: &str, stored: &[u8]) -> String {
    match rules().judge(suffix, stored) {
        Verdict::Take(taken) => {
            assert_eq!(taken.key, format!("/registry/{suffix}"));
            let beside: Vec<_> = taken.beside.iter().map(|(key, _)| key.as_str()).collect();
            format!("taken: {} {}", taken.resource, beside.join(" ")).trim_end().to_owned()
        }
        Verdict::LeaveOut { resource, why } => format!("left out: {resource}: {why}"),
        Verdict::Refuse { resource, why } => format!("refused: {resource}: {why}"),
    }
}

fn check(suffix: &str, object: &Value, expected: &str) {
    let got = judged(suffix, &json::encode(object));
    assert!(got.starts_with(expected), "{suffix}: {got}");
}

fn object(kind: &str, api_version: &str, namespace: &str, name: &str) -> Value {
    let mut metadata = value!({"name": name, "uid": "u"});
    if !namespace.is_empty() {
        metadata.make(&[]).set("namespace", namespace);
    }
    value!({"kind": kind, "apiVersion": api_version, "metadata": metadata})
}

#[test]
fn kinds_are_known_by_their_keys() {
    let pod = object("Pod", "v1", "a", "b");
    check("pods/a/b", &pod, "taken: pods");
    check("pods/a/c", &pod, "refused: pods: the object in it is a/b");
    check("pods/b", &pod, "refused: pods: its key does not name an object");
    check("pods/a/b/c", &pod, "refused: pods: its key does not name an object");
    check("minions/n", &object("Node", "v1", "", "n"), "taken: nodes");
    check("deployments/a/b", &object("Deployment", "apps/v1", "a", "b"), "taken: deployments.apps");
    // Stored by an old cluster, in a version that was served then.
    check("deployments/a/b", &object("Deployment", "apps/v1beta1", "a", "b"), "taken: deployments.apps");
    check(
        "deployments/a/b",
        &object("Deployment", "apps/v7", "a", "b"),
        "refused: deployments.apps: stored value",
    );
    check("gadgets/a/b", &object("Gadget", "v1", "a", "b"), "refused: gadgets: it is of no kind");
    let widget = object("Widget", "example.com/v1", "a", "b");
    check("example.com/widgets/a/b", &widget, "taken: widgets.example.com");
    check("example.com/gears/a/b", &widget, "refused: gears.example.com: it is of no kind");
    assert!(judged("example.com/widgets/a/b", b"k8s\0").contains("not JSON"));
}

#[test]
fn values_that_cannot_be_read_are_named() {
    for stored in [&b"k8s:enc:aescbc:v1:key1:abc"[..], b"{\"kind\":", b"k8s\0\xff\xff", b"", b"\0\0"] {
        let got = judged("secrets/a/b", stored);
        assert!(got.starts_with("refused: secrets: "), "{stored:?}: {got}");
    }
    assert!(judged("secrets/a/b", b"k8s:enc:kms:v2:x:y").contains("encrypted at rest"));
}

#[test]
fn protobuf_and_json_become_the_same() {
    let secret = value!({
        "kind": "Secret", "apiVersion": "v1",
        "metadata": {"name": "s", "namespace": "a", "uid": "u", "resourceVersion": "7"},
        "data": {"k": "AAEC"}, "type": "Opaque",
    });
    let schema = schema::builtin();
    let raw = protobuf::encode(schema, schema.find("core/v1.Secret").unwrap(), &secret).unwrap();
    let values = [json::encode(&secret), protobuf::seal("v1", "Secret", &raw)].map(|stored| {
        let Verdict::Take(taken) = rules().judge("secrets/a/s", &stored) else { panic!("not taken") };
        String::from_utf8(taken.value).unwrap()
    });
    assert_eq!(values[0], values[1]);
    assert!(!values[0].contains("resourceVersion"), "{}", values[0]);
}

#[test]
fn what_belongs_to_one_cluster_is_left_there() {
    for (suffix, kind) in [
        ("events/a/e", "Event"),
        ("leases/kube-system/kube-scheduler", "Lease"),
        ("leases/kube-node-lease/n", "Lease"),
        ("masterleases/10.0.0.1", "Endpoints"),
        ("ranges/serviceips", "RangeAllocation"),
    ] {
        check(suffix, &object(kind, "v1", "", ""), "left out");
    }
    for (suffix, kind, api_version, namespace, name) in [
        ("configmaps/a/kube-root-ca.crt", "ConfigMap", "v1", "a", "kube-root-ca.crt"),
        ("namespaces/kube-system", "Namespace", "v1", "", "kube-system"),
        ("services/specs/default/kubernetes", "Service", "v1", "default", "kubernetes"),
        ("services/endpoints/default/kubernetes", "Endpoints", "v1", "default", "kubernetes"),
        (
            "priorityclasses/system-node-critical",
            "PriorityClass",
            "scheduling.k8s.io/v1",
            "",
            "system-node-critical",
        ),
    ] {
        check(suffix, &object(kind, api_version, namespace, name), "left out");
    }
    let mut role = object("ClusterRole", "rbac.authorization.k8s.io/v1", "", "edit");
    check("clusterroles/edit", &role, "taken");
    role.make(&["metadata", "labels"]).insert("kubernetes.io/bootstrapping", "rbac-defaults");
    check("clusterroles/edit", &role, "left out");
    check("namespaces/shop", &object("Namespace", "v1", "", "shop"), "taken");
    check("services/specs/shop/kubernetes", &object("Service", "v1", "shop", "kubernetes"), "taken");
}

#[test]
fn services_bring_their_addresses_and_ports() {
    let service = |spec: Value| {
        let mut service = object("Service", "v1", "a", "s");
        service.make(&[]).set("spec", spec);
        service
    };
    let key = "services/specs/a/s";
    let both = value!({
        "type": "NodePort", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"],
        "ports": [{"port": 80, "nodePort": 30080}, {"port": 443, "nodePort": 30443}],
    });
    check(
        key,
        &service(both),
        "taken: services /registry/ranges/servicenodeports/30080 /registry/ranges/servicenodeports/30443 \
         /registry/ipaddresses/10.96.0.9",
    );
    let with = |address: &str| service(value!({"clusterIP": address, "ports": [{"port": 80}]}));
    // The source has an IPAddress of it, which is taken by itself.
    assert_eq!(judged(key, &json::encode(&with("10.96.0.77"))), "taken: services");
    assert_eq!(judged(key, &json::encode(&with("None"))), "taken: services");
    check(key, &with("10.43.0.7"), "refused: services: its address 10.43.0.7 is not in 10.96.0.0/16");
    check(key, &with("fd00::7"), "refused: services: its address fd00::7 is not in");
}
