//! The stock client against the server.

mod support;

use std::process::{Command, Output};

use support::Running;

const KUBIA: &str = r#"
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: kubia}
spec:
  replicas: 3
  selector: {matchLabels: {app: kubia}}
  template:
    metadata: {labels: {app: kubia}}
    spec: {containers: [{name: kubia, image: "luksa/kubia"}]}
"#;

fn kubectl(config: &str, args: &[&str]) -> Output {
    Command::new("kubectl").args(["--kubeconfig", config]).args(args).output().expect("kubectl runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_creates_shows_changes_and_deletes() {
    if Command::new("kubectl").args(["version", "--client"]).output().is_err() {
        eprintln!("skipped kubectl_creates_shows_changes_and_deletes: kubectl is not installed");
        return;
    }
    let t = Running::start().await;
    let dir = tempfile::tempdir().unwrap();
    t.pki.write(dir.path(), t.address).unwrap();
    let manifest = dir.path().join("kubia.yaml");
    std::fs::write(&manifest, KUBIA).unwrap();
    let (config, manifest) = (dir.path().join("admin.kubeconfig"), manifest.to_str().unwrap().to_owned());
    let home = dir.path().join("cache");
    let run = |args: &[&str]| {
        let mut all = vec!["--cache-dir", home.to_str().unwrap()];
        all.extend(args);
        let output = kubectl(config.to_str().unwrap(), &all);
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {args:?}: {text}");
        text
    };
    assert!(run(&["version"]).contains("v1.36"));
    assert!(run(&["api-resources"]).contains("replicasets"));
    assert!(run(&["create", "-f", &manifest]).contains("created"));
    let table = run(&["get", "rs", "kubia", "--show-labels"]);
    assert!(table.contains("DESIRED") && table.contains('3'), "{table}");
    assert!(run(&["explain", "replicaset.spec.replicas"]).contains("integer"));
    assert!(
        run(&["apply", "--server-side", "--force-conflicts", "-f", &manifest]).contains("serverside-applied")
    );
    assert!(run(&["apply", "--dry-run=server", "-f", &manifest]).contains("dry run"));
    run(&["scale", "rs", "kubia", "--replicas=5"]);
    assert_eq!(run(&["get", "rs", "kubia", "-o", "jsonpath={.spec.replicas}"]), "5");
    run(&["label", "rs", "kubia", "tier=x"]);
    assert!(run(&["get", "rs", "-l", "tier=x", "-o", "name"]).contains("kubia"));
    assert!(run(&["describe", "rs", "kubia"]).contains("kubia"));
    run(&["delete", "rs", "kubia", "--wait=false"]);
    assert!(run(&["get", "rs"]).contains("No resources"));
}
