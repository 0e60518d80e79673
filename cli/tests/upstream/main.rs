//! An unmodified upstream kube-apiserver on the store of three masters, driven by kubectl, beside the
//! masters' own API servers.

mod chunks;
mod killed;
#[path = "../support/kube_apiserver.rs"]
mod kube_apiserver;
#[path = "../support/mod.rs"]
mod support;

use std::process::Command;
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard};

use kube_apiserver::{KubeApiserver, Options, USER};
use serde_json::{Value, json};
use support::{Cluster, eventually, text};
use trireme_client::Resource;

/// Where the keys of the one that all tests but one use begin.
const PREFIX: &str = "/upstream";
/// Tests that need masters that live share it; the one that kills them has it alone.
static MASTERS: RwLock<()> = RwLock::new(());

fn masters_live() -> RwLockReadGuard<'static, ()> {
    MASTERS.read().unwrap_or_else(PoisonError::into_inner)
}

/// Three masters, and no nodes: what upstream stores is run by nobody.
fn store() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(3, 0))
}

/// One for all tests, with a certificate that opens everything.
fn upstream() -> Option<&'static KubeApiserver> {
    static SERVER: OnceLock<KubeApiserver> = OnceLock::new();
    if !kube_apiserver::is_here() {
        return None;
    }
    Some(SERVER.get_or_init(|| {
        let options = Options {
            prefix: PREFIX,
            certificates: store().pki(""),
            certificate: "store-client",
            compaction_interval: "10s",
        };
        KubeApiserver::start(store(), &options).expect("it is here")
    }))
}

fn etcdctl(cluster: &Cluster, master: u16, arguments: &[&str]) -> String {
    let output = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", &cluster.store(master), "--cacert", "store-ca.crt"])
        .args(["--cert", "store-client.crt", "--key", "store-client.key"])
        .args(arguments)
        .current_dir(cluster.pki(""))
        .output()
        .expect("run etcdctl");
    assert!(output.status.success(), "etcdctl {arguments:?}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn text_of<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_else(|| panic!("no {path} in {object}"))
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().expect("items");
    items.iter().map(|item| text_of(item, "/metadata/name")).collect()
}

fn object(kind: &Resource, namespace: &str, name: &str) -> Value {
    let (kind, data) =
        if kind.plural == "secrets" { ("Secret", "stringData") } else { ("ConfigMap", "data") };
    let metadata = json!({"name": name, "namespace": namespace});
    json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, data: {"name": name}})
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

#[test]
fn kubectl_creates_changes_and_deletes() {
    let _live = masters_live();
    let Some(server) = upstream() else { return };
    assert_eq!(server.json("/version")["gitVersion"], "v1.20.2");
    assert_eq!(server.get("/readyz").as_deref(), Ok("ok"));
    server.kubectl_ok(&["create", "namespace", "shop"]);
    let get = |what: &str, path: &str| {
        server.kubectl_ok(&["-n", "shop", "get", what, "-o", &format!("jsonpath={path}")])
    };

    server.kubectl_ok(&["-n", "shop", "create", "configmap", "settings", "--from-literal=a=1"]);
    let before = server.kubectl_ok(&["-n", "shop", "get", "configmap", "settings", "-o", "json"]);
    server.kubectl_ok(&["-n", "shop", "patch", "configmap", "settings", "-p", r#"{"data":{"a":"2"}}"#]);
    assert_eq!(get("configmap/settings", "{.data.a}"), "2");
    // An update of what has changed since it was read.
    let stale = server.file("stale.json", &before);
    let refusal = server.kubectl_refused(&["replace", "-f", &stale]);
    assert!(refusal.contains("the object has been modified"), "{refusal}");
    assert_eq!(get("configmap/settings", "{.data.a}"), "2");
    let again = server.kubectl_refused(&["-n", "shop", "create", "configmap", "settings"]);
    assert!(again.contains("already exists"), "{again}");
    server.kubectl_ok(&["-n", "shop", "delete", "configmap", "settings"]);
    let gone = server.kubectl_refused(&["-n", "shop", "get", "configmap", "settings"]);
    assert!(gone.contains("NotFound"), "{gone}");

    server.kubectl_ok(&["-n", "shop", "create", "secret", "generic", "token", "--from-literal=t=sesame"]);
    assert_eq!(get("secret/token", "{.data.t}"), "c2VzYW1l");
    // Where upstream has it, and as upstream writes it; the masters' own API servers do not see it.
    let key = format!("{PREFIX}/secrets/shop/token");
    assert!(etcdctl(store(), 1, &["get", &key, "--print-value-only"]).starts_with("k8s\0"));
    let beside = store().kubectl(&["get", "namespace", "shop"]);
    assert!(text(&beside).contains("NotFound"), "{}", text(&beside));

    server.kubectl_ok(&["-n", "shop", "create", "deployment", "web", "--image=nginx"]);
    server.kubectl_ok(&["-n", "shop", "scale", "deployment", "web", "--replicas=3"]);
    server.kubectl_ok(&["-n", "shop", "set", "image", "deployment/web", "nginx=nginx:2"]);
    assert_eq!(get("deployment/web", "{.spec.replicas} {.metadata.generation}"), "3 3");
    server.kubectl_ok(&["-n", "shop", "delete", "deployment", "web"]);
    assert_eq!(get("deployments", "{.items}"), "[]");

    // Nobody empties namespaces here: it waits for its finalizer, and goes without it.
    server.kubectl_ok(&["create", "namespace", "passing"]);
    server.kubectl_ok(&["delete", "namespace", "passing", "--wait=false"]);
    let mut passing = server.json("/api/v1/namespaces/passing");
    assert_eq!(passing["status"]["phase"], "Terminating");
    passing["spec"]["finalizers"] = json!([]);
    let file = server.file("passing.json", &passing.to_string());
    server.kubectl_ok(&["replace", "--raw", "/api/v1/namespaces/passing/finalize", "-f", &file]);
    let gone = server.kubectl_refused(&["get", "namespace", "passing"]);
    assert!(gone.contains("NotFound"), "{gone}");
}

#[test]
fn custom_resources_are_defined_and_served() {
    let _live = masters_live();
    let Some(server) = upstream() else { return };
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "size": {"type": "integer", "minimum": 1}}}}});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "boats.trireme.example"},
        "spec": {"group": "trireme.example", "scope": "Namespaced",
            "names": {"plural": "boats", "singular": "boat", "kind": "Boat"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]},
    });
    server.kubectl_ok(&["create", "-f", &server.file("crd.json", &definition.to_string())]);
    server.kubectl_ok(&["wait", "--for=condition=Established", "crd/boats.trireme.example", "--timeout=60s"]);
    let boat = |name: &str, size: i64| {
        let object = json!({"apiVersion": "trireme.example/v1", "kind": "Boat",
            "metadata": {"name": name, "namespace": "default"}, "spec": {"size": size}});
        server.file(&format!("{name}.json"), &object.to_string())
    };
    eventually("the new kind to be served", || {
        let created = server.kubectl(&["create", "--validate=false", "-f", &boat("argo", 50)]);
        if created.status.success() { Ok(()) } else { Err(text(&created)) }
    });
    let refusal = server.kubectl_refused(&["create", "--validate=false", "-f", &boat("raft", 0)]);
    assert!(refusal.contains("spec.size"), "{refusal}");
    server.kubectl_ok(&["patch", "boat", "argo", "--type=merge", "-p", r#"{"spec":{"size":51}}"#]);
    assert_eq!(server.kubectl_ok(&["get", "boats", "-o", "jsonpath={.items[*].spec.size}"]), "51");
    let key = format!("{PREFIX}/trireme.example/boats/default/argo");
    assert!(etcdctl(store(), 2, &["get", &key, "--print-value-only"]).contains(r#""size":51"#));
    server.kubectl_ok(&["delete", "boat", "argo"]);
    server.kubectl_ok(&["delete", "crd", "boats.trireme.example"]);
}

#[test]
fn fields_are_owned_and_roles_are_heeded() {
    let _live = masters_live();
    let Some(server) = upstream() else { return };
    server.kubectl_ok(&["create", "namespace", "owned"]);
    let map = |file: &str, color: &str| {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "paint", "namespace": "owned"}, "data": {"color": color}});
        server.file(file, &object.to_string())
    };
    let (red, blue) = (map("red.json", "red"), map("blue.json", "blue"));
    let apply = |manager: &str, file: &str, more: &[&str]| {
        let manager = format!("--field-manager={manager}");
        server.kubectl(&[&["apply", "--server-side", &manager, "-f", file][..], more].concat())
    };
    let first = apply("one", &red, &[]);
    assert!(first.status.success(), "{}", text(&first));
    let second = apply("two", &blue, &[]);
    assert!(text(&second).contains("conflict"), "{}", text(&second));
    let forced = apply("two", &blue, &["--force-conflicts"]);
    assert!(forced.status.success(), "{}", text(&forced));
    let paint = server.json("/api/v1/namespaces/owned/configmaps/paint");
    assert_eq!(paint["data"]["color"], "blue");
    assert_eq!(paint.pointer("/metadata/managedFields/0/manager"), Some(&json!("two")), "{paint}");

    let read = || server.kubectl_as_user(&["-n", "owned", "get", "configmap", "paint"]);
    assert!(text(&read()).contains("Forbidden"), "{}", text(&read()));
    server.kubectl_ok(&["-n", "owned", "create", "role", "r", "--verb=get", "--resource=configmaps"]);
    server.kubectl_ok(&["-n", "owned", "create", "rolebinding", "r", "--role=r", &format!("--user={USER}")]);
    eventually("the role to be heeded", || match read() {
        output if output.status.success() => Ok(()),
        output => Err(text(&output)),
    });
}

#[test]
fn events_end_with_their_leases() {
    let _live = masters_live();
    let Some(server) = upstream() else { return };
    server.kubectl_ok(&["create", "namespace", "told"]);
    let event = json!({"apiVersion": "v1", "kind": "Event", "type": "Normal", "reason": "Told",
        "metadata": {"name": "e", "namespace": "told"}, "message": "once",
        "involvedObject": {"apiVersion": "v1", "kind": "Namespace", "name": "told", "namespace": "told"}});
    server.kubectl_ok(&["create", "-f", &server.file("event.json", &event.to_string())]);
    assert_eq!(server.kubectl_ok(&["-n", "told", "get", "events", "-o", "name"]).trim(), "event/e");
    let key = format!("{PREFIX}/events/told/e");
    let kept: Value = serde_json::from_str(&etcdctl(store(), 1, &["get", &key, "-w", "json"])).expect("JSON");
    let lease = kept.pointer("/kvs/0/lease").and_then(Value::as_i64).expect("a lease");
    eventually("the event to end", || {
        match server.kubectl_ok(&["-n", "told", "get", "events", "-o", "name"]).as_str() {
            "" => Ok(()),
            there => Err(there.to_owned()),
        }
    });
    let leases = etcdctl(store(), 1, &["lease", "list"]);
    assert!(!leases.contains(&format!("{lease:x}")), "{lease:x} is still there: {leases}");
}

#[test]
fn a_certificate_for_its_own_prefix_is_enough() {
    let _live = masters_live();
    if !kube_apiserver::is_here() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let pki = store().pki("");
    let (pki, out) = (pki.to_str().expect("UTF-8"), dir.path().to_str().expect("UTF-8"));
    let issued = support::trireme(&[
        "pki",
        "client",
        "--dir",
        pki,
        "--name",
        "upstream",
        "--prefix",
        "/limited/",
        "--out",
        out,
    ]);
    assert!(issued.status.success(), "{}", text(&issued));
    let options = Options {
        prefix: "/limited",
        certificates: dir.path().to_owned(),
        certificate: "upstream",
        // The masters compact; nobody else with such a certificate may.
        compaction_interval: "0",
    };
    let Some(server) = KubeApiserver::start(store(), &options) else { return };
    server.kubectl_ok(&["create", "namespace", "shop"]);
    server.kubectl_ok(&["-n", "shop", "create", "secret", "generic", "token", "--from-literal=t=sesame"]);
    let list = server.json("/api/v1/namespaces/shop/secrets?limit=1");
    let from = text_of(&list, "/metadata/resourceVersion");
    server.kubectl_ok(&["-n", "shop", "delete", "secret", "token"]);
    let events = server.watched("/api/v1/namespaces/shop/secrets", from, 2);
    assert!(events.iter().any(|event| event["type"] == "DELETED"), "{events:?}");
    // It keeps its address under a lease, and asks the members how large they are.
    eventually("its address among the endpoints", || {
        let endpoints = server.json("/api/v1/namespaces/default/endpoints/kubernetes");
        if endpoints.to_string().contains("192.0.2.1") { Ok(()) } else { Err(endpoints.to_string()) }
    });
    eventually("the sizes of three members", || {
        let metrics = server.get("/metrics")?;
        let sizes = metrics.lines().filter_map(|line| line.strip_prefix("etcd_db_total_size_in_bytes{"));
        let sizes: Vec<f64> = sizes
            .filter_map(|line| line.rsplit_once(' ')?.1.parse().ok())
            .filter(|size| *size > 0.0)
            .collect();
        // Less than nothing where a member did not say.
        if sizes.len() == 3 { Ok(()) } else { Err(format!("{sizes:?}")) }
    });
    let log = server.log();
    assert!(!log.to_lowercase().contains("permission"), "something was refused: {log}");
    drop(server);
    let keys = etcdctl(store(), 1, &["get", "--prefix", "/limited/masterleases/", "--keys-only"]);
    assert!(keys.contains("192.0.2.1"), "{keys}");
}
