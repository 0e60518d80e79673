//! Controllers against the real API server, store and hollow node of the same process.

mod support;

use support::Cluster;
use tokio_util::sync::CancellationToken;
use trireme_api::{Object, Value, value};
use trireme_client::resource::*;
use trireme_client::{DeleteOptions, Error, PatchKind, Propagation, Resource};

fn pod_template(app: &str, image: &str) -> Value {
    value!({"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "c", "image": image}]}})
}

fn replica_set(name: &str, replicas: i64) -> Object {
    Object(value!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": pod_template(name, "i")},
    }))
}

fn deployment(name: &str, replicas: i64, image: &str) -> Object {
    Object(value!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": pod_template(name, image)},
    }))
}

fn is_running(pod: &Object) -> bool {
    let ready =
        pod.status()["conditions"].items().iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
    pod.status()["phase"] == "Running" && ready && pod.deletion_timestamp().is_none()
}

async fn running(cluster: &Cluster, app: &str) -> usize {
    cluster.list(&PODS, "default", &format!("app={app}")).await.iter().filter(|p| is_running(p)).count()
}

async fn gone(cluster: &Cluster, r: &Resource, namespace: &str, name: &str) -> bool {
    matches!(cluster.client.get(r, namespace, name).await, Err(e) if e.is_not_found())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_set_runs_heals_scales_and_goes_with_its_pods() {
    let cluster = Cluster::whole().await;
    let c = &cluster.client;
    c.create(&REPLICA_SETS, "default", &replica_set("kubia", 3)).await.unwrap();
    cluster.until("three pods run", async || running(&cluster, "kubia").await == 3).await;
    let pods = cluster.list(&PODS, "default", "app=kubia").await;
    assert_eq!(pods.len(), 3, "never more than asked for");
    let pod = &pods[0];
    assert_eq!(pod.status()["qosClass"], "BestEffort");
    assert_eq!(pod.spec()["nodeName"], "hollow-1");
    assert!(pod.status()["podIP"].is_string() && pod.name().starts_with("kubia-"));

    c.delete(&PODS, "default", pod.name(), &DeleteOptions::default()).await.unwrap();
    cluster.until("the pod goes", async || gone(&cluster, &PODS, "default", pod.name()).await).await;
    cluster.until("another takes its place", async || running(&cluster, "kubia").await == 3).await;

    let patch = value!({"spec": {"replicas": 1}});
    c.patch(&REPLICA_SETS, "default", "kubia", "", PatchKind::Merge, &patch).await.unwrap();
    cluster.until("one is left", async || cluster.list(&PODS, "default", "app=kubia").await.len() == 1).await;
    cluster
        .until("the status follows", async || {
            c.get(&REPLICA_SETS, "default", "kubia").await.unwrap().status()["readyReplicas"].as_i64()
                == Some(1)
        })
        .await;

    let options = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
    c.delete(&REPLICA_SETS, "default", "kubia", &options).await.unwrap();
    cluster
        .until("its pods are collected", async || {
            cluster.list(&PODS, "default", "app=kubia").await.is_empty()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_rolls_out_and_back() {
    let cluster = Cluster::whole().await;
    let c = &cluster.client;
    c.create(&DEPLOYMENTS, "default", &deployment("web", 3, "one")).await.unwrap();
    let complete = async |revision: &str| {
        let d = c.get(&DEPLOYMENTS, "default", "web").await.unwrap();
        let n = |f: &str| d.status()[f].as_i64().unwrap_or(0);
        d.annotation("deployment.kubernetes.io/revision") == Some(revision)
            && (n("updatedReplicas"), n("availableReplicas"), n("replicas")) == (3, 3, 3)
            && n("observedGeneration") == d.generation()
    };
    cluster.until("the first rollout is complete", async || complete("1").await).await;
    for (image, revision) in [("two", "2"), ("one", "3")] {
        let patch = value!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}});
        c.patch(&DEPLOYMENTS, "default", "web", "", PatchKind::Strategic, &patch).await.unwrap();
        cluster.until("the rollout is complete", async || complete(revision).await).await;
    }
    let sets = cluster.list(&REPLICA_SETS, "default", "app=web").await;
    assert_eq!(sets.len(), 2, "the template that came back uses its old set");
    assert!(sets.iter().all(|s| s.label("pod-template-hash").is_some()));

    let foreground = DeleteOptions { propagation: Some(Propagation::Foreground), ..DeleteOptions::default() };
    c.delete(&DEPLOYMENTS, "default", "web", &foreground).await.unwrap();
    cluster
        .until("the deployment goes last", async || gone(&cluster, &DEPLOYMENTS, "default", "web").await)
        .await;
    assert!(cluster.list(&REPLICA_SETS, "default", "app=web").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_get_what_pods_need_and_are_emptied() {
    let cluster = Cluster::whole().await;
    let c = &cluster.client;
    let namespace = Object(value!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}));
    c.create(&NAMESPACES, "", &namespace).await.unwrap();
    cluster.until("its account", async || c.get(&SERVICE_ACCOUNTS, "team", "default").await.is_ok()).await;
    cluster
        .until("its root CA", async || c.get(&CONFIG_MAPS, "team", "kube-root-ca.crt").await.is_ok())
        .await;
    let mut rs = replica_set("kubia", 2);
    rs.metadata_mut().set("namespace", "team");
    c.create(&REPLICA_SETS, "team", &rs).await.unwrap();
    let pods = async || cluster.list(&PODS, "team", "").await;
    cluster.until("pods run", async || pods().await.iter().filter(|p| is_running(p)).count() == 2).await;
    c.delete(&NAMESPACES, "", "team", &DeleteOptions::default()).await.unwrap();
    cluster.until("the namespace is gone", async || gone(&cluster, &NAMESPACES, "", "team").await).await;
    assert!(pods().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_find_their_pods() {
    let cluster = Cluster::whole().await;
    let c = &cluster.client;
    let service = Object(value!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }));
    c.create(&SERVICES, "default", &service).await.unwrap();
    c.create(&REPLICA_SETS, "default", &replica_set("web", 2)).await.unwrap();
    let ready = |o: &Object| {
        o["endpoints"].items().iter().filter(|e| e["conditions"]["ready"] == Value::Bool(true)).count()
    };
    cluster
        .until("two endpoints in slices", async || {
            let slices = cluster.list(&ENDPOINT_SLICES, "default", "kubernetes.io/service-name=web").await;
            slices.iter().map(|s| ready(s)).sum::<usize>() == 2
        })
        .await;
    cluster
        .until("two addresses in Endpoints", async || {
            let endpoints = c.get(&ENDPOINTS, "default", "web").await;
            endpoints.is_ok_and(|e| e["subsets"][0]["addresses"].items().len() == 2)
        })
        .await;
    c.delete(&SERVICES, "default", "web", &DeleteOptions::default()).await.unwrap();
    cluster.until("the Endpoints go", async || gone(&cluster, &ENDPOINTS, "default", "web").await).await;
    cluster
        .until("the slices go", async || {
            cluster.list(&ENDPOINT_SLICES, "default", "kubernetes.io/service-name=web").await.is_empty()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_moves_and_the_deposed_are_fenced() {
    let cluster = Cluster::bare().await;
    let holder = async || {
        let lease = cluster.client.get(&LEASES, "kube-system", "kube-controller-manager").await;
        lease.map(|l| l.spec()["holderIdentity"].str_or_empty().to_owned()).unwrap_or_default()
    };
    let first_stop = CancellationToken::new();
    let first = cluster.controllers("one", first_stop.clone());
    cluster.until("the first leads", async || holder().await == "one").await;
    let second_stop = CancellationToken::new();
    let second = cluster.controllers("two", second_stop.clone());
    // Killed: nothing is given up, the Lease must run out.
    first.abort();
    cluster.until("the second takes over", async || holder().await == "two").await;
    let lease = cluster.client.get(&LEASES, "kube-system", "kube-controller-manager").await.unwrap();
    assert_eq!(lease.spec()["leaseTransitions"].as_i64(), Some(1));

    let epoch: u64 = lease.annotation("trireme.io/fence-epoch").unwrap().parse().unwrap();
    let renewed = lease.spec()["renewTime"].clone();
    cluster
        .until("the Lease is renewed and keeps its epoch", async || {
            let now = cluster.client.get(&LEASES, "kube-system", "kube-controller-manager").await.unwrap();
            now.annotation("trireme.io/fence-epoch") == Some(&epoch.to_string())
                && now.spec()["renewTime"] != renewed
        })
        .await;
    let map = Object(value!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}}));
    let write_under = async |epoch: u64| {
        let fence = trireme_client::Fence::new("kube-system/kube-controller-manager", epoch);
        cluster.client.fenced(fence).create(&CONFIG_MAPS, "default", &map).await
    };
    let refused = write_under(epoch - 1).await.unwrap_err();
    assert!(matches!(refused, Error::Api { status: 409, .. }), "{refused}");
    write_under(epoch).await.unwrap();
    second_stop.cancel();
    second.await.unwrap();
    assert_eq!(holder().await, "", "given up in order");
}

fn pod(name: &str, spec: Value) -> Object {
    let mut pod = Object(
        value!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}}),
    );
    pod.make(&[]).set("spec", spec);
    pod
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hollow_containers_end_as_their_commands_say() {
    let cluster = Cluster::whole().await;
    let c = &cluster.client;
    cluster.until("the account", async || c.get(&SERVICE_ACCOUNTS, "default", "default").await.is_ok()).await;
    let run = |policy: &str, command: &str| value!({"restartPolicy": policy, "containers": [{"name": "c", "image": "i", "command": ["sh", "-c", command]}]});
    let with_init = value!({
        "initContainers": [{"name": "first", "image": "i"}],
        "containers": [{"name": "c", "image": "i"}],
        "readinessGates": [{"conditionType": "example.com/go"}],
    });
    for (name, spec) in [
        ("good", run("Never", "sleep 0.1")),
        ("bad", run("OnFailure", "exit 3")),
        ("over", run("Never", "sleep 0.1; exit 3")),
        ("gated", with_init),
    ] {
        c.create(&PODS, "default", &pod(name, spec)).await.unwrap();
    }
    let phase = async |name: &str| {
        c.get(&PODS, "default", name).await.unwrap().status()["phase"].str_or_empty().to_owned()
    };
    cluster.until("it succeeds", async || phase("good").await == "Succeeded").await;
    cluster.until("it fails", async || phase("over").await == "Failed").await;
    let over = c.get(&PODS, "default", "over").await.unwrap();
    assert_eq!(over.status()["containerStatuses"][0]["state"]["terminated"]["exitCode"].as_i64(), Some(3));
    cluster
        .until("it is held back after its restart", async || {
            let bad = c.get(&PODS, "default", "bad").await.unwrap();
            let container = &bad.status()["containerStatuses"][0];
            container["restartCount"].as_i64() == Some(1)
                && container["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        })
        .await;
    let told = async |pod: &str, reason: &str| {
        let events = cluster.list(&CORE_EVENTS, "default", "").await;
        events.iter().any(|e| {
            e["involvedObject"]["name"] == *pod
                && e["involvedObject"]["fieldPath"] == "spec.containers{c}"
                && e["reason"] == *reason
                && e["source"]["component"] == "kubelet"
                && e["source"]["host"] == "hollow-1"
        })
    };
    cluster
        .until("its node tells of it", async || {
            told("bad", "Pulled").await
                && told("bad", "Created").await
                && told("bad", "Started").await
                && told("bad", "BackOff").await
        })
        .await;
    let ready = async || is_running(&c.get(&PODS, "default", "gated").await.unwrap());
    cluster.until("it runs", async || phase("gated").await == "Running").await;
    assert!(!ready().await, "its gate is shut");
    let open = value!({"status": {"conditions": [{"type": "example.com/go", "status": "True"}]}});
    c.patch(&PODS, "default", "gated", "status", PatchKind::Strategic, &open).await.unwrap();
    cluster.until("it is ready", ready).await;
    let gated = c.get(&PODS, "default", "gated").await.unwrap();
    assert_eq!(
        gated.status()["initContainerStatuses"][0]["state"]["terminated"]["exitCode"].as_i64(),
        Some(0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphans_stay_and_can_be_adopted() {
    let cluster = Cluster::whole().await;
    let c = &cluster.client;
    c.create(&REPLICA_SETS, "default", &replica_set("kubia", 2)).await.unwrap();
    cluster.until("two pods run", async || running(&cluster, "kubia").await == 2).await;
    let names = async || {
        let mut names: Vec<String> =
            cluster.list(&PODS, "default", "app=kubia").await.iter().map(|p| p.name().to_owned()).collect();
        names.sort();
        names
    };
    let before = names().await;
    let orphan = DeleteOptions { propagation: Some(Propagation::Orphan), ..DeleteOptions::default() };
    c.delete(&REPLICA_SETS, "default", "kubia", &orphan).await.unwrap();
    cluster.until("the set goes", async || gone(&cluster, &REPLICA_SETS, "default", "kubia").await).await;
    let pods = cluster.list(&PODS, "default", "app=kubia").await;
    assert!(pods.iter().all(|p| p.controller_ref().is_none()), "{pods:?}");
    c.create(&REPLICA_SETS, "default", &replica_set("kubia", 2)).await.unwrap();
    cluster
        .until("another set adopts them", async || {
            let pods = cluster.list(&PODS, "default", "app=kubia").await;
            pods.iter().all(|p| p.controller_ref().is_some())
        })
        .await;
    assert_eq!(names().await, before, "none was made, none deleted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_leave_a_node_that_has_gone_silent() {
    let cluster = Cluster::whole().await;
    let c = &cluster.client;
    let many = cluster.nodes(2, 20);
    let ready = async || {
        let nodes = cluster.list(&NODES, "", "trireme.io/runtime=hollow").await;
        nodes
            .iter()
            .filter(|n| {
                n.status()["conditions"].items().iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
            })
            .count()
    };
    cluster.until("all nodes are ready", async || ready().await == 21).await;
    cluster
        .until("each has a range of its own", async || {
            let nodes = cluster.list(&NODES, "", "").await;
            let ranges: std::collections::BTreeSet<String> =
                nodes.iter().filter_map(|n| n.spec()["podCIDR"].as_str().map(str::to_owned)).collect();
            ranges.len() == 21
        })
        .await;
    let mut rs = replica_set("kubia", 4);
    rs.make(&["spec", "template", "spec"]).set(
        "tolerations",
        value!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0}]),
    );
    c.create(&REPLICA_SETS, "default", &rs).await.unwrap();
    cluster.until("four pods run", async || running(&cluster, "kubia").await == 4).await;
    many.cancel();
    cluster
        .until("all run on the node that is left", async || {
            let pods = cluster.list(&PODS, "default", "app=kubia").await;
            pods.iter().filter(|p| is_running(p) && p.spec()["nodeName"] == "hollow-1").count() == 4
        })
        .await;
    let silent = c.get(&NODES, "", "hollow-2").await.unwrap();
    let unreachable = silent.spec()["taints"]
        .items()
        .iter()
        .filter(|t| t["key"] == "node.kubernetes.io/unreachable")
        .count();
    assert_eq!(unreachable, 2, "{silent:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_pod_is_driven_off_when_all_nodes_have_gone_silent() {
    let cluster = Cluster::without_nodes().await;
    let many = cluster.nodes(1, 2);
    let nodes = async |status: &str| {
        let nodes = cluster.list(&NODES, "", "").await;
        let is = |n: &Object| {
            n.status()["conditions"].items().iter().any(|c| c["type"] == "Ready" && c["status"] == *status)
        };
        nodes.iter().filter(|n| is(n)).count()
    };
    let tainted = async |effect: &str| {
        let nodes = cluster.list(&NODES, "", "").await;
        nodes.iter().filter(|n| n.spec()["taints"].items().iter().any(|t| t["effect"] == *effect)).count()
    };
    cluster.until("both are ready", async || nodes("True").await == 2).await;
    many.cancel();
    cluster
        .until("both are given up, and nobody is driven off", async || {
            (nodes("Unknown").await, tainted("NoSchedule").await, tainted("NoExecute").await) == (2, 2, 0)
        })
        .await;
    cluster.nodes(2, 1);
    cluster.until("one is back", async || nodes("True").await == 1 && tainted("NoSchedule").await == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_process_that_restarts_plays_on() {
    let cluster = Cluster::whole().await;
    let c = &cluster.client;
    cluster.until("the account", async || c.get(&SERVICE_ACCOUNTS, "default", "default").await.is_ok()).await;
    let running_on_2 = async |name: &str| {
        let spec = value!({"nodeName": "hollow-2", "containers": [{"name": "c", "image": "i"}]});
        c.create(&PODS, "default", &pod(name, spec)).await.unwrap();
        cluster.until("it runs", async || is_running(&c.get(&PODS, "default", name).await.unwrap())).await;
        c.get(&PODS, "default", name).await.unwrap()
    };
    let process = cluster.nodes(2, 1);
    let first = running_on_2("first").await;
    process.cancel();
    cluster.nodes(2, 1);
    let second = running_on_2("second").await;
    assert_ne!(first.status()["podIP"], second.status()["podIP"]);
    let now = c.get(&PODS, "default", "first").await.unwrap();
    assert_eq!(now.status(), first.status(), "nothing was started again");
    c.delete(&PODS, "default", "first", &DeleteOptions::default()).await.unwrap();
    cluster.until("it is still driven", async || gone(&cluster, &PODS, "default", "first").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_in_another_namespace_is_told_of() {
    let cluster = Cluster::whole().await;
    let c = &cluster.client;
    let map =
        |name: &str| Object(value!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}));
    let owner = c.create(&CONFIG_MAPS, "kube-public", &map("owner")).await.unwrap();
    let mut owned = map("owned");
    owned.metadata_mut().set(
        "ownerReferences",
        value!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.uid()}]),
    );
    c.create(&CONFIG_MAPS, "default", &owned).await.unwrap();
    cluster.until("it goes", async || gone(&cluster, &CONFIG_MAPS, "default", "owned").await).await;
    cluster
        .until("an event says why", async || {
            let events = cluster.list(&CORE_EVENTS, "default", "").await;
            events.iter().any(|e| {
                e["reason"] == "OwnerRefInvalidNamespace"
                    && e["message"].str_or_empty().ends_with("does not exist in namespace \"default\"")
            })
        })
        .await;
}
