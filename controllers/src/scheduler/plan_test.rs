//! Decisions over small clusters written as data.

use std::sync::Arc;

use trireme_api::{Object, Value, value};

use super::cluster::{Cluster, Pod};
use super::plan::{Rotation, place};

fn node(name: &str, labels: Value, spec: Value) -> Arc<Object> {
    let mut node = Object(value!({
        "metadata": {"name": name},
        "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "3"}}
    }));
    node.metadata_mut().insert("labels", labels);
    node.0.make(&[]).insert("spec", spec);
    Arc::new(node)
}

fn pod(name: &str, spec: Value) -> Arc<Pod> {
    let mut o = Object(value!({"metadata": {
        "name": name, "namespace": "default", "uid": name, "labels": {"app": "web"},
        "ownerReferences": [{"uid": "rs", "controller": true}]
    }}));
    o.0.make(&[]).insert("spec", spec);
    Arc::new(Pod::new(Arc::new(o)))
}

fn two_nodes() -> Cluster {
    let mut c = Cluster::default();
    c.set_node(node("a", value!({"zone": "1", "disk": "ssd"}), value!({})));
    c.set_node(node("b", value!({"zone": "2"}), value!({})));
    c
}

#[track_caller]
fn check(cluster: &Cluster, spec: Value, expected: Result<&str, &str>) {
    let got = place(&pod("new", spec), cluster, &mut Rotation::default());
    assert_eq!(got.as_deref().map_err(String::as_str), expected);
}

#[test]
fn selectors_taints_and_room_decide() {
    let c = two_nodes();
    check(&c, value!({"nodeSelector": {"disk": "ssd"}}), Ok("a"));
    check(
        &c,
        value!({"nodeSelector": {"disk": "tape"}}),
        Err("0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."),
    );
    check(
        &c,
        value!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "DoesNotExist"}]}]}}}}),
        Ok("b"),
    );
    check(
        &c,
        value!({"containers": [{"resources": {"requests": {"cpu": "2", "memory": "2Gi"}}}]}),
        Err("0/2 nodes are available: 2 Insufficient cpu, 2 Insufficient memory."),
    );
    check(&Cluster::default(), value!({}), Err("no nodes available to schedule pods"));

    let mut tainted = two_nodes();
    tainted.set_node(node(
        "a",
        value!({}),
        value!({"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}),
    ));
    tainted.set_node(node("b", value!({}), value!({"unschedulable": true})));
    check(
        &tainted,
        value!({}),
        Err("0/2 nodes are available: 1 node(s) had untolerated taint {k: v}, 1 node(s) were unschedulable."),
    );
    check(&tainted, value!({"tolerations": [{"key": "k", "operator": "Exists"}]}), Ok("a"));
    check(
        &tainted,
        value!({"tolerations": [{"key": "k", "operator": "Equal", "value": "v", "effect": "NoExecute"}]}),
        Err("0/2 nodes are available: 1 node(s) had untolerated taint {k: v}, 1 node(s) were unschedulable."),
    );
}

#[test]
fn room_that_is_promised_is_not_given_twice() {
    let mut c = Cluster::default();
    c.set_node(node("a", value!({}), value!({})));
    let big = value!({"containers": [{"resources": {"requests": {"cpu": "600m"}}}]});
    let first = pod("first", big.clone());
    c.place(first, "a");
    check(&c, big.clone(), Err("0/1 nodes are available: 1 Insufficient cpu."));
    c.displace("first");
    check(&c, big, Ok("a"));
    // A pod seen before its node holds its room once the node appears.
    let mut early = Cluster::default();
    early.place(pod("x", value!({"containers": [{"resources": {"requests": {"cpu": "1"}}}]})), "a");
    early.set_node(node("a", value!({}), value!({})));
    check(
        &early,
        value!({"containers": [{"resources": {"requests": {"cpu": "1m"}}}]}),
        Err("0/1 nodes are available: 1 Insufficient cpu."),
    );
}

#[test]
fn pods_of_one_owner_spread_and_ports_do_not_clash() {
    let mut c = two_nodes();
    c.place(pod("one", value!({"containers": []})), "a");
    check(&c, value!({"containers": []}), Ok("b"));

    let port =
        value!({"containers": [{"ports": [{"hostPort": 80, "containerPort": 80, "protocol": "TCP"}]}]});
    let mut taken = two_nodes();
    taken.place(pod("one", port.clone()), "b");
    check(&taken, port, Ok("a"));
}

#[test]
fn hard_spread_and_pod_affinity_are_conditions() {
    let constraint = value!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]});
    let mut c = two_nodes();
    c.place(pod("one", value!({})), "a");
    c.set_node(node("b", value!({"zone": "2"}), value!({"unschedulable": true})));
    check(
        &c,
        constraint,
        Err(
            "0/2 nodes are available: 1 node(s) didn't match pod topology spread constraints, 1 node(s) were unschedulable.",
        ),
    );

    let term = value!([{"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}}]);
    let near = value!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term.clone()}}});
    let apart =
        value!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}}});
    let mut c = two_nodes();
    c.place(pod("one", apart.clone()), "a");
    check(
        &c,
        near,
        Err(
            "0/2 nodes are available: 1 node(s) didn't match pod affinity rules, 1 node(s) didn't satisfy existing pods anti-affinity rules.",
        ),
    );
    check(&c, apart, Ok("b"));
}
