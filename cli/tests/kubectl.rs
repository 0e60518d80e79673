//! kubectl against three masters behind the balancer: what each manifest must give.

mod support;

use std::process::Command;

use support::{eventually, reference, shared, text};

/// Namespace, file; creates the namespace.
fn manifest(namespace: &str, file: &str) -> Option<String> {
    let path = reference(&format!("manifests/{file}"))?;
    shared().namespace(namespace);
    Some(path.to_str().expect("UTF-8").to_owned())
}

fn get(arguments: &[&str]) -> serde_json::Value {
    let mut all = vec!["get", "-o", "json"];
    all.extend_from_slice(arguments);
    serde_json::from_str(&shared().kubectl_ok(&all)).expect("JSON")
}

fn running_pods(namespace: &str, selector: &str, count: usize) -> Vec<serde_json::Value> {
    eventually(&format!("{count} pods with {selector}"), || {
        let list = get(&["pods", "-n", namespace, "-l", selector]);
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let live = items.iter().filter(|p| p["metadata"]["deletionTimestamp"].is_null());
        let running: Vec<_> = live.filter(|p| p["status"]["phase"] == "Running").cloned().collect();
        if running.len() == count && items.len() == count { Ok(running) } else { Err(list.to_string()) }
    })
}

#[test]
fn a_replicaset_runs_though_the_leader_is_killed() {
    let Some(file) = manifest("kubia", "01-replicaset-kubia.yaml") else { return };
    let cluster = shared();
    let killed = cluster.leader();
    cluster.kubectl_ok(&["-n", "kubia", "create", "-f", &file]);
    cluster.kill(&killed);
    for pod in running_pods("kubia", "app=kubia", 3) {
        assert_eq!(pod["metadata"]["labels"]["app"], "kubia");
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let suffix = name.strip_prefix("kubia-rs-").unwrap_or_else(|| panic!("{name}"));
        assert_eq!(suffix.len(), 5, "{name}");
    }
    let shown = cluster.kubectl_ok(&["-n", "kubia", "get", "pod", "--show-labels"]);
    assert_eq!(shown.matches("app=kubia").count(), 3, "{shown}");
    assert_eq!(shown.matches("Running").count(), 3, "{shown}");
    eventually("a word about the restart", || {
        let told = cluster.told();
        let said = told.contains(&format!("{killed} died (killed by SIGKILL)"))
            && told.contains(&format!("{killed} started again"));
        said.then_some(()).ok_or(told)
    });
}

#[test]
fn a_v1beta2_deployment_is_scaled_updated_and_undone() {
    let Some(file) = manifest("beta", "02-deployment-v1beta2.yaml") else { return };
    let cluster = shared();
    let created = cluster.kubectl(&["-n", "beta", "create", "-f", &file]);
    assert!(created.status.success(), "{}", text(&created));
    let said = text(&created);
    assert!(
        said.contains("apps/v1beta2") && said.to_lowercase().contains("deprecated"),
        "no warning: {said}"
    );
    let name = "deployment/nginx-deployment";
    let status = |n| {
        let timeout = format!("--timeout={}s", support::DEADLINE.as_secs());
        let out = cluster.kubectl_ok(&["-n", "beta", "rollout", "status", name, &timeout]);
        assert!(out.contains("successfully rolled out"), "{n}: {out}");
    };
    status("created");
    for version in ["deployments.v1.apps", "deployments.v1beta2.apps"] {
        let object = get(&["-n", "beta", version, "nginx-deployment"]);
        let expected = version.trim_start_matches("deployments.").trim_end_matches(".apps");
        assert_eq!(object["apiVersion"], format!("apps/{expected}"));
    }
    cluster.kubectl_ok(&["-n", "beta", "scale", "--replicas", "10", name]);
    running_pods("beta", "app=nginx", 10);
    cluster.kubectl_ok(&["-n", "beta", "set", "image", name, "nginx=nginx:1.9.1"]);
    status("updated");
    for pod in running_pods("beta", "app=nginx", 10) {
        assert_eq!(pod["spec"]["containers"][0]["image"], "nginx:1.9.1");
    }
    let history = cluster.kubectl_ok(&["-n", "beta", "rollout", "history", name]);
    assert!(
        history.lines().any(|l| l.starts_with('1')) && history.lines().any(|l| l.starts_with('2')),
        "{history}"
    );
    cluster.kubectl_ok(&["-n", "beta", "rollout", "undo", name]);
    status("undone");
    for pod in running_pods("beta", "app=nginx", 10) {
        assert_ne!(pod["spec"]["containers"][0]["image"], "nginx:1.9.1");
    }
    cluster.kubectl_ok(&["-n", "beta", "rollout", "pause", name]);
    cluster.kubectl_ok(&["-n", "beta", "set", "image", name, "nginx=nginx:1.9.2"]);
    let sets = get(&["-n", "beta", "replicasets"]);
    assert_eq!(sets["items"].as_array().map(Vec::len), Some(2), "a paused deployment made a set");
    cluster.kubectl_ok(&["-n", "beta", "rollout", "resume", name]);
    status("resumed");
    for pod in running_pods("beta", "app=nginx", 10) {
        assert_eq!(pod["spec"]["containers"][0]["image"], "nginx:1.9.2");
    }
}

#[test]
fn a_set_based_selector_and_resources_of_an_extensions_replicaset() {
    let Some(file) = manifest("front", "11-replicaset-extensions-v1beta1.yaml") else { return };
    shared().kubectl_ok(&["-n", "front", "create", "-f", &file]);
    for pod in running_pods("front", "app=guestbook,tier in (frontend)", 3) {
        let resources = &pod["spec"]["containers"][0]["resources"];
        for side in ["requests", "limits"] {
            assert_eq!(resources[side]["cpu"], "100m");
            assert_eq!(resources[side]["memory"], "100Mi");
        }
    }
    let set = get(&["-n", "front", "replicasets.v1.apps", "frontend"]);
    assert_eq!(set["spec"]["selector"]["matchExpressions"][0]["key"], "tier");
}

#[test]
fn an_extensions_deployment_gets_the_defaults_of_its_version() {
    let Some(file) = manifest("ext", "12-deployment-extensions-v1beta1.yaml") else { return };
    let cluster = shared();
    let created = cluster.kubectl(&["-n", "ext", "create", "-f", &file]);
    assert!(created.status.success(), "{}", text(&created));
    assert!(text(&created).to_lowercase().contains("deprecated"), "no warning: {}", text(&created));
    let list = get(&["-n", "ext", "deployments.v1.apps"]);
    let deployment = &list["items"][0];
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&deployment["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(&deployment["metadata"]["labels"], labels);
    assert_eq!(deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"], 1);
    assert_eq!(deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"], 1);
}

#[test]
fn bad_manifests_are_refused_with_what_is_wrong_and_nothing_is_stored() {
    let cases: [(&str, &str, &[&str]); 4] = [
        (
            "bad-01-deployment-no-selector.yaml",
            "deployments",
            &["spec.selector", "spec.template.metadata.labels"],
        ),
        ("bad-02-service-name-with-space.yaml", "services", &["metadata.name", "DNS-1035"]),
        ("bad-03-pod-unknown-field.yaml", "pods", &["strict decoding error", "spec.volumes[0].hostpath"]),
        (
            "bad-04-replicaset-selector-mismatch.yaml",
            "replicasets",
            &["`selector` does not match template `labels`"],
        ),
    ];
    let Some(_) = reference("manifests") else { return };
    let cluster = shared();
    cluster.namespace("bad");
    for (file, plural, expected) in cases {
        let path = reference(&format!("manifests/{file}")).expect("the folder is there");
        let path = path.to_str().expect("UTF-8");
        // The server's own answer: the check of kubectl comes before it otherwise, and an old one
        // refuses an unknown field in words of its own.
        let refused = if file.starts_with("bad-03") {
            post_pod(path, "Strict")
        } else {
            let refused = cluster.kubectl(&["-n", "bad", "create", "--validate=false", "-f", path]);
            assert!(!refused.status.success(), "{file} was accepted");
            refused
        };
        for words in expected {
            assert!(text(&refused).contains(words), "{file} does not say {words:?}: {}", text(&refused));
        }
        let list = get(&["-n", "bad", plural]);
        assert_eq!(list["items"].as_array().map(Vec::len), Some(0), "{file} left something behind");
    }
    let path = reference("manifests/bad-03-pod-unknown-field.yaml").expect("the folder is there");
    let path = path.to_str().expect("UTF-8");
    let warned = post_pod(path, "Warn");
    let said = text(&warned).to_lowercase();
    assert!(said.contains("warning: 299") && said.contains("unknown field"), "no warning: {said}");
    let pods = get(&["-n", "bad", "pods"]);
    assert!(pods["items"][0]["spec"]["volumes"][0]["emptyDir"].is_object(), "{pods}");
}

/// What a new kubectl sends with `--validate`; the answer with its headers.
fn post_pod(file: &str, validation: &str) -> std::process::Output {
    let cluster = shared();
    Command::new("curl")
        .args(["--silent", "--include", "--cacert"])
        .arg(cluster.pki("ca.crt"))
        .arg("--cert")
        .arg(cluster.pki("admin.crt"))
        .arg("--key")
        .arg(cluster.pki("admin.key"))
        .args(["-H", "content-type: application/yaml", "--data-binary", &format!("@{file}")])
        .arg(format!("{}/api/v1/namespaces/bad/pods?fieldValidation={validation}", cluster.server()))
        .output()
        .expect("run curl")
}
