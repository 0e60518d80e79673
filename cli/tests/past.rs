//! The past of a cluster that runs: histories, differences, and what is restored while it serves.

mod support;

use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Cluster, eventually, text, trireme};

/// One master and one node: everything here is about what is stored.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(1, 1))
}

fn run(arguments: &[&str]) -> Output {
    let dir = cluster().dir.to_str().unwrap();
    trireme(&[arguments, &["--dir", dir]].concat())
}

/// Standard output of a call that succeeds.
fn run_ok(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "trireme {arguments:?}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn apply(documents: &[Value]) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": documents});
    std::fs::write(file.path(), list.to_string()).unwrap();
    cluster().kubectl_ok(&["create", "-f", file.path().to_str().unwrap()]);
}

fn get(path: &str) -> Value {
    serde_json::from_str(&cluster().kubectl_ok(&["get", "--raw", path])).unwrap()
}

/// The newest revision, as `revision:N`.
fn revision() -> String {
    format!("revision:{}", get("/api/v1/namespaces")["metadata"]["resourceVersion"].as_str().unwrap())
}

fn deployment(namespace: &str, app: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": app}},
            "template": {
                "metadata": {"labels": {"app": app}},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "nginx"}]},
            },
        },
    })
}

fn config_map(namespace: &str, name: &str, value: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace}, "data": {"key": value},
    })
}

fn await_pods(namespace: &str, app: &str, count: usize) {
    eventually(&format!("{count} pods of {app} in {namespace}"), || {
        let list = get(&format!("/api/v1/namespaces/{namespace}/pods?labelSelector=app%3D{app}"));
        let pods = list["items"].as_array().unwrap();
        let running = pods.iter().filter(|pod| pod["status"]["phase"] == "Running").count();
        (running == count && pods.len() == count).then_some(()).ok_or_else(|| list.to_string())
    });
}

#[test]
fn a_history_tells_who_changed_what() {
    let (cluster, ns) = (cluster(), "past-history");
    cluster.namespace(ns);
    apply(&[deployment(ns, "web", 1)]);
    await_pods(ns, "web", 1);
    cluster.kubectl_ok(&["-n", ns, "scale", "deployment/web", "--replicas=2"]);
    await_pods(ns, "web", 2);
    cluster.kubectl_ok(&["-n", ns, "delete", "deployment", "web", "--wait"]);
    let history: Value =
        serde_json::from_str(&run_ok(&["history", "deploy/web", "-n", ns, "-o", "json", "--full"])).unwrap();
    let versions = history["versions"].as_array().unwrap();
    let find = |summary: &str| {
        let found = versions.iter().find(|version| version["summary"] == summary);
        found.unwrap_or_else(|| panic!("{summary}: {history:#}"))
    };
    let created = find("created");
    assert_eq!(created["who"][0]["manager"], "kubectl-create");
    assert!(created["time"].is_string(), "{created:#}");
    let scaled = find("spec.replicas 1 → 2");
    assert_eq!(scaled["changes"][0], json!({"path": "spec.replicas", "from": 1, "to": 2}));
    assert_eq!(scaled["object"]["spec"]["replicas"], 2);
    assert!(scaled["who"][0]["manager"].as_str().unwrap().starts_with("kubectl"), "{scaled:#}");
    find("status only");
    assert_eq!(versions.last().unwrap()["summary"], "deleted");
    let revisions: Vec<i64> = versions.iter().map(|version| version["revision"].as_i64().unwrap()).collect();
    assert!(revisions.is_sorted_by(|a, b| a < b), "{revisions:?}");
    let table = run_ok(&["history", "deployments.apps/web", "-n", ns, "--full"]);
    assert!(table.contains("-  replicas: 1\n    +  replicas: 2\n"), "{table}");
    let nobody = run(&["history", "cm/nobody", "-n", ns]);
    assert!(!nobody.status.success() && text(&nobody).contains("was not there"), "{}", text(&nobody));
    let kind = run(&["history", "wombats/x"]);
    assert!(text(&kind).contains("\"wombats\" is no kind"), "{}", text(&kind));
}

#[test]
fn a_difference_shows_what_came_and_went() {
    let (cluster, ns) = (cluster(), "past-diff");
    cluster.namespace(ns);
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": ns},
        "stringData": {"password": "zebra-then"},
    });
    apply(&[
        config_map(ns, "goes", "1"),
        config_map(ns, "changes", "1"),
        config_map(ns, "stays", "1"),
        secret,
    ]);
    let exact = revision();
    // Objects tell their times in whole seconds: the moment needs one between the changes to itself.
    std::thread::sleep(Duration::from_millis(1_100));
    let moment = cluster_time();
    std::thread::sleep(Duration::from_millis(1_100));
    cluster.kubectl_ok(&["-n", ns, "delete", "configmap", "goes"]);
    cluster.kubectl_ok(&["-n", ns, "patch", "configmap", "changes", "-p", r#"{"data":{"key":"2"}}"#]);
    cluster.kubectl_ok(&[
        "-n",
        ns,
        "patch",
        "secret",
        "s",
        "-p",
        r#"{"stringData":{"password":"zebra-now"}}"#,
    ]);
    apply(&[config_map(ns, "comes", "1")]);
    for at in [exact.as_str(), moment.as_str()] {
        let shown = run_ok(&["diff", "--at", at, "-n", ns, "--full"]);
        for line in [
            "- configmaps/goes -n past-diff",
            "~ configmaps/changes -n past-diff: data.key 1 → 2",
            "+ configmaps/comes -n past-diff",
            "-  key: \"1\"\n+  key: \"2\"",
            "~ secrets/s -n past-diff: data.password (hidden, before) → (hidden, after)",
            "1 created, 2 changed, 0 replaced, 1 deleted",
        ] {
            assert!(shown.contains(line), "--at {at}: {line}: {shown}");
        }
        assert!(!shown.contains("stays"), "{shown}");
        for held in ["emVicmE", "zebra"] {
            assert!(!shown.contains(held), "what a Secret holds is shown: {shown}");
        }
    }
    let one = run_ok(&["diff", "--at", &exact, "--to", &revision(), "-n", ns, "-o", "json", "cm/goes"]);
    let one: Value = serde_json::from_str(&one).unwrap();
    assert_eq!(one["objects"].as_array().map(Vec::len), Some(1), "{one:#}");
    assert_eq!(one["objects"][0]["what"], "deleted");
    for (at, says) in [
        ("2020-01-01T00:00:00Z", "is before this cluster was made, at 2"),
        ("2020-01-01T00:00:00Z", "there is history since 2"),
        ("2999-01-01T00:00:00Z", "is not yet"),
        ("2020-01-01T00:00:00", "has no zone"),
        ("revision:99999999999", "is not yet"),
        ("yesterday", "is expected"),
    ] {
        let output = run(&["diff", "--at", at]);
        assert!(!output.status.success() && text(&output).contains(says), "{at}: {}", text(&output));
    }
}

/// Now, as an RFC 3339 time.
fn cluster_time() -> String {
    let output = std::process::Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_namespace_that_was_deleted_comes_back() {
    let (cluster, ns) = (cluster(), "past-shop");
    cluster.namespace(ns);
    cluster.kubectl_ok(&["label", "namespace", ns, "team=blue"]);
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": ns},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    });
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": ns},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    });
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": ns},
        "data": {"password": "c2VjcmV0"},
    });
    apply(&[deployment(ns, "web", 2), config_map(ns, "settings", "1"), secret, service, claim]);
    let path = |rest: &str| format!("/api/v1/namespaces/{ns}/{rest}");
    let web = format!("/apis/apps/v1/namespaces/{ns}/deployments/web");
    let uid = |object: &Value| object["metadata"]["uid"].as_str().unwrap().to_owned();
    let old = uid(&get(&web));
    let owned_by = |name: &str, uid: &str| {
        let mut owned = config_map(ns, name, "1");
        owned["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": uid}]);
        owned
    };
    apply(&[owned_by("owned", &old)]);
    await_pods(ns, "web", 2);
    let address = get(&path("services/web"))["spec"]["clusterIP"].clone();
    let moment = revision();
    cluster.kubectl_ok(&["delete", "namespace", ns]);

    let restore = |more: &[&str]| run(&[&["restore", "--namespace", ns, "--at", &moment][..], more].concat());
    let dry = restore(&[]);
    assert!(dry.status.success() && text(&dry).contains("this was a dry run"), "{}", text(&dry));
    assert!(!cluster.kubectl(&["get", "namespace", ns]).status.success(), "the dry run made the namespace");
    let done = restore(&["--yes"]);
    assert!(done.status.success(), "{}", text(&done));
    let said = text(&done);
    for line in [
        "+ namespaces/past-shop",
        "+ deployments.apps/web -n past-shop",
        "Deployment web makes it",
        "created services/web -n past-shop",
        "0 not done",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(!said.contains("c2VjcmV0"), "what a Secret holds is shown: {said}");

    await_pods(ns, "web", 2);
    let new = uid(&get(&web));
    assert_ne!(new, old);
    assert_eq!(get(&format!("/api/v1/namespaces/{ns}"))["metadata"]["labels"]["team"], "blue");
    assert_eq!(get(&path("services/web"))["spec"]["clusterIP"], address);
    assert_eq!(get(&path("secrets/s"))["data"]["password"], "c2VjcmV0");
    assert_eq!(get(&path("persistentvolumeclaims/data"))["spec"]["accessModes"][0], "ReadWriteOnce");
    assert_eq!(get(&path("configmaps/owned"))["metadata"]["ownerReferences"][0]["uid"], new.as_str());
    // What names the dead uid is collected; when that has happened, so would be what still did.
    apply(&[owned_by("canary", &old)]);
    eventually("the canary's collection", || {
        let canary = cluster.kubectl(&["-n", ns, "get", "configmap", "canary"]);
        (!canary.status.success()).then_some(()).ok_or_else(|| text(&canary))
    });
    for name in ["configmaps/owned", "configmaps/settings", "services/web"] {
        assert!(get(&path(name))["metadata"]["deletionTimestamp"].is_null());
    }
    await_pods(ns, "web", 2);
    let again = restore(&["--yes"]);
    assert!(again.status.success() && text(&again).contains("nothing is to be done"), "{}", text(&again));
}

#[test]
fn what_cannot_be_changed_is_made_anew_only_when_asked_for() {
    let (cluster, ns) = (cluster(), "past-fixed");
    cluster.namespace(ns);
    apply(&[deployment(ns, "a", 1), config_map(ns, "settings", "then")]);
    await_pods(ns, "a", 1);
    let moment = revision();
    cluster.kubectl_ok(&["-n", ns, "delete", "deployment", "web", "--wait"]);
    apply(&[deployment(ns, "b", 1), config_map(ns, "later", "1")]);
    cluster.kubectl_ok(&["-n", ns, "patch", "configmap", "settings", "-p", r#"{"data":{"key":"now"}}"#]);
    await_pods(ns, "b", 1);

    let one = ["restore", "deployment/web", "-n", ns, "--at", &moment];
    let kept = run_ok(&[&one[..], &["--yes"]].concat());
    assert!(kept.contains("spec.selector") && kept.contains("--recreate deletes and creates"), "{kept}");
    let selector =
        || get(&format!("/apis/apps/v1/namespaces/{ns}/deployments/web"))["spec"]["selector"].clone();
    assert_eq!(selector()["matchLabels"]["app"], "b");

    // Every object's version, before and after a dry run of everything.
    let versions = || {
        let list = |path: &str| {
            let list = get(path);
            let items = list["items"].as_array().unwrap().iter();
            items.map(|item| item["metadata"]["resourceVersion"].to_string()).collect::<Vec<_>>()
        };
        (
            list(&format!("/apis/apps/v1/namespaces/{ns}/deployments")),
            list(&format!("/api/v1/namespaces/{ns}/configmaps")),
        )
    };
    let before = eventually("a quiet deployment", || {
        let first = versions();
        std::thread::sleep(Duration::from_millis(300));
        (first == versions()).then_some(first).ok_or_else(|| "it changes".to_owned())
    });
    let all = ["restore", "-n", ns, "--at", &moment, "--recreate", "--delete-new"];
    let dry = run_ok(&[&all[..], &["--dry-run"]].concat());
    for line in [
        "± deployments.apps/web -n past-fixed",
        "~ configmaps/settings -n past-fixed: data.key now → then",
        "- configmaps/later -n past-fixed",
        "0 to create, 1 to update, 1 to make anew, 1 to delete",
    ] {
        assert!(dry.contains(line), "{line}: {dry}");
    }
    assert_eq!(versions(), before, "a dry run changed something");

    let done = run_ok(&[&all[..], &["--yes"]].concat());
    assert!(done.contains("3 done, 0 not done"), "{done}");
    assert_eq!(selector()["matchLabels"]["app"], "a");
    assert_eq!(get(&format!("/api/v1/namespaces/{ns}/configmaps/settings"))["data"]["key"], "then");
    assert!(!cluster.kubectl(&["-n", ns, "get", "configmap", "later"]).status.success());
    await_pods(ns, "a", 1);
    await_pods(ns, "b", 0);
}

#[test]
fn what_could_not_be_made_again_is_not_deleted() {
    let (cluster, ns) = (cluster(), "past-refused");
    cluster.namespace(ns);
    let account = |name: &str| {
        let metadata = json!({"name": name, "namespace": ns});
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    };
    let pod = |account: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "solo", "namespace": ns},
            "spec": {
                "serviceAccountName": account, "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "c", "image": "nginx"}],
            },
        })
    };
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": ns},
        "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30_777}]},
    });
    apply(&[account("gone"), account("stays"), pod("gone"), service.clone()]);
    let address = || get(&format!("/api/v1/namespaces/{ns}/services/web"))["spec"]["clusterIP"].clone();
    let (moment, first_address) = (revision(), address());
    cluster.kubectl_ok(&["-n", ns, "delete", "pod/solo", "service/web", "serviceaccount/gone", "--wait"]);
    apply(&[pod("stays"), service]);
    let uid = || get(&format!("/api/v1/namespaces/{ns}/pods/solo"))["metadata"]["uid"].clone();
    let before = uid();

    let restore = |object| ["restore", object, "-n", ns, "--at", &moment, "--recreate", "--yes"];
    let refused = run(&restore("pod/solo"));
    let said = text(&refused);
    assert!(!refused.status.success() && said.contains("nothing was changed"), "{said}");
    assert!(said.contains("serviceaccount") && said.contains("gone"), "{said}");
    // Who passes over that is stopped before the deletion.
    let passed = run(&[&restore("pod/solo")[..], &["--skip-refused"]].concat());
    let said = text(&passed);
    assert!(!passed.status.success() && said.contains("0 done, 1 not done"), "{said}");
    assert_eq!(uid(), before, "it was deleted");

    // Its port is taken by itself alone.
    assert_ne!(address(), first_address);
    let made = run_ok(&restore("service/web"));
    assert!(made.contains("1 done, 0 not done"), "{made}");
    assert_eq!(address(), first_address);
}

#[test]
fn what_somebody_else_writes_meanwhile_is_not_lost() {
    let (cluster, ns) = (cluster(), "past-race");
    cluster.namespace(ns);
    apply(&[config_map(ns, "settings", "then")]);
    let moment = revision();
    cluster.kubectl_ok(&["-n", ns, "patch", "configmap", "settings", "-p", r#"{"data":{"key":"now"}}"#]);
    // On a terminal, so that it asks, and somebody writes between the plan and the answer.
    let command = format!(
        "{} restore configmap/settings -n {ns} --at {moment} --dir {}",
        support::TRIREME,
        cluster.dir.display()
    );
    let mut asking = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("run script");
    let (mut answer, mut out) = (asking.stdin.take().unwrap(), asking.stdout.take().unwrap());
    let mut said = Vec::new();
    while !String::from_utf8_lossy(&said).contains("Type yes") {
        let mut part = [0; 1024];
        let n = out.read(&mut part).unwrap();
        assert!(n > 0, "it did not ask: {}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&part[..n]);
    }
    let finalizer = r#"{"metadata":{"finalizers":["example.org/held"]}}"#;
    cluster.kubectl_ok(&["-n", ns, "patch", "configmap", "settings", "-p", finalizer]);
    answer.write_all(b"yes\n").unwrap();
    out.read_to_end(&mut said).unwrap();
    let said = String::from_utf8_lossy(&said);
    assert!(asking.wait().unwrap().success(), "{said}");
    let restored = get(&format!("/api/v1/namespaces/{ns}/configmaps/settings"));
    assert_eq!(restored["data"]["key"], "then", "{said}");
    assert_eq!(
        restored["metadata"]["finalizers"],
        json!(["example.org/held"]),
        "it was written over: {said}"
    );
    cluster.kubectl_ok(&[
        "-n",
        ns,
        "patch",
        "configmap",
        "settings",
        "-p",
        r#"{"metadata":{"finalizers":null}}"#,
    ]);
}

#[test]
fn what_is_wrong_with_a_restore_is_said() {
    for (arguments, says) in [
        (&["restore"][..], "--namespace NAME) --at MOMENT"),
        (&["restore"], "trireme restore --from WHERE"),
        (&["restore", "--at", "-1m"], "KIND/NAME or --namespace"),
        (&["restore", "-n", "default"], "--at MOMENT or --revision N is needed"),
        (&["restore", "web", "--at", "now"], "KIND/NAME is expected"),
        (&["restore", "cm/nobody", "--at", "now"], "was not there at revision"),
        (&["restore", "-n", "nowhere", "--at", "now"], "\"nowhere\" was not there"),
    ] {
        let output = run(arguments);
        assert!(!output.status.success() && text(&output).contains(says), "{arguments:?}: {}", text(&output));
    }
}

#[test]
fn both_forms_of_restore_are_in_the_help() {
    for form in [&["restore", "--help"][..], &["restore", "--from", "/b", "--help"]] {
        let output = trireme(form);
        let said = text(&output);
        assert!(output.status.success(), "{said}");
        for usage in ["trireme restore <KIND/NAME | --namespace NAME> --at", "trireme restore --from WHERE"] {
            assert!(said.contains(usage), "{usage}: {said}");
        }
    }
}

#[test]
fn what_the_store_has_no_more_comes_from_the_backup() {
    let cluster = Cluster::start(1, 0);
    let (dir, folder) = (cluster.dir.to_str().unwrap(), tempfile::tempdir().unwrap());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let run = |arguments: &[&str]| trireme(&[arguments, &["--dir", dir]].concat());
    let run_ok = |arguments: &[&str]| {
        let output = run(arguments);
        assert!(output.status.success(), "trireme {arguments:?}: {}", text(&output));
        text(&output)
    };
    let (key, to, scratch) = (path("key"), path("backup"), path("scratch"));
    std::fs::create_dir(&scratch).unwrap();
    assert!(trireme(&["backup", "key", &key]).status.success());
    run_ok(&["backup", "start", "--to", &to, "--key-file", &key]);
    cluster.namespace("old");
    cluster.kubectl_ok(&["-n", "old", "create", "configmap", "a", "--from-literal=key=then"]);
    let newest = || {
        let list = cluster.kubectl_ok(&["get", "--raw", "/api/v1/namespaces"]);
        let list: Value = serde_json::from_str(&list).unwrap();
        list["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
    };
    let (revision, moment) = (newest(), format!("revision:{}", newest()));
    cluster.kubectl_ok(&["-n", "old", "patch", "configmap", "a", "-p", r#"{"data":{"key":"now"}}"#]);
    let named =
        ["diff", "--at", &moment, "-n", "old", "--from", &to, "--key-file", &key, "--scratch", &scratch];
    let shown = eventually("the backup to reach the revision", || {
        let output = run(&named);
        output.status.success().then(|| text(&output)).ok_or_else(|| text(&output))
    });
    assert!(shown.contains("from the backup") && shown.contains("data.key then → now"), "{shown}");

    let certificates =
        ["--cacert", "store-ca.crt", "--cert", "store-client.crt", "--key", "store-client.key"];
    let mut etcdctl = std::process::Command::new("etcdctl");
    etcdctl
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", &cluster.store(1)])
        .current_dir(cluster.dir.join("pki"));
    let compacted = etcdctl.args(certificates).args(["compact", &newest()]).output().unwrap();
    assert!(compacted.status.success(), "{}", text(&compacted));
    // The one that the cluster makes is found without being named.
    let shown = run_ok(&["diff", "--at", &moment, "-n", "old", "cm", "--scratch", &scratch]);
    assert!(shown.contains("from the backup") && shown.contains("data.key then → now"), "{shown}");
    // Neither blames the backup for what was never there.
    let named = ["--from", to.as_str(), "--key-file", key.as_str()];
    for (at, backup, says) in [
        ("2020-01-01T00:00:00Z", &[][..], "is before this cluster was made, at 2"),
        ("2020-01-01T00:00:00Z", &named, "is before this cluster was made, at 2"),
        ("revision:1", &[], "revision 1 is before all history: there is one since 2"),
        ("revision:1", &named, "revision 1 is before all history: there is one since 2"),
    ] {
        let output = run(&[&["diff", "--at", at, "--scratch", &scratch], backup].concat());
        let said = text(&output);
        let place = format!("in the backup at {to}");
        assert!(!output.status.success() && said.contains(says) && said.contains(&place), "{at}: {said}");
    }
    // The archive follows within seconds; until then what is in neither is said to be missing.
    let history = eventually("the backup to reach what was compacted", || {
        let told = run_ok(&["history", "cm/a", "-n", "old", "--since", "1h", "--scratch", &scratch]);
        if told.contains("the backup ends at") { Err(told) } else { Ok(told) }
    });
    for line in ["created", "data.key then → now"] {
        assert_eq!(history.matches(line).count(), 1, "{line}: {history}");
    }
    let restore = ["restore", "cm/a", "-n", "old", "--revision", &revision, "--yes", "--scratch", &scratch];
    assert!(run_ok(&restore).contains("updated configmaps/a -n old"));
    let value = cluster.kubectl_ok(&["-n", "old", "get", "configmap", "a", "-o", "jsonpath={.data.key}"]);
    assert_eq!(value, "then");
    let left: Vec<_> = std::fs::read_dir(&scratch).unwrap().collect();
    assert!(left.is_empty(), "states with secrets in them are left: {left:?}");
}
