//! What bad input gets: an answer that names what is wrong, from a server that stays up.

mod support;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use support::{Cluster, TRIREME, eventually, free_ports, shared, text};

/// One request with curl, as a client without any Kubernetes in it. Status and body.
fn curl(cluster: &Cluster, certificate: Option<&str>, arguments: &[&str], path: &str) -> (u16, Value) {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--write-out", "\n%{http_code}", "--cacert"]);
    command.arg(cluster.pki("ca.crt"));
    if let Some(name) = certificate {
        command.arg("--cert").arg(cluster.pki(&format!("{name}.crt")));
        command.arg("--key").arg(cluster.pki(&format!("{name}.key")));
    }
    let output =
        command.args(arguments).arg(format!("{}{path}", cluster.server())).output().expect("run curl");
    let said = String::from_utf8_lossy(&output.stdout);
    let (body, status) = said.rsplit_once('\n').unwrap_or_else(|| panic!("curl: {}", text(&output)));
    let status = status.parse().unwrap_or_else(|_| panic!("curl: {}", text(&output)));
    (status, serde_json::from_str(body).unwrap_or_else(|_| Value::from(body)))
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn post(path: &str, kind: &str, body: &str) -> (u16, Value) {
    let header = format!("content-type: {kind}");
    curl(shared(), Some("admin"), &["-X", "POST", "-H", &header, "--data-binary", body], path)
}

fn refused(answer: &(u16, Value), status: u16, words: &[&str]) {
    assert_eq!(answer.0, status, "{}", answer.1);
    assert_eq!(answer.1["kind"], "Status", "{}", answer.1);
    let message = answer.1["message"].as_str().unwrap_or_default();
    for word in words {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
}

#[test]
fn a_body_that_cannot_be_read() {
    shared();
    refused(&post(MAPS, "application/json", "{\"kind\": "), 400, &[]);
    refused(&post(MAPS, "application/yaml", "a: [b"), 400, &[]);
    refused(&post(MAPS, "text/plain", "hello"), 415, &[]);
    let pod = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}"#;
    refused(&post(MAPS, "application/json", pod), 400, &["Pod", "ConfigMap"]);
    let elsewhere =
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"kube-system"}}"#;
    refused(&post(MAPS, "application/json", elsewhere), 400, &["namespace"]);
    let unknown = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"bogus":1}"#;
    refused(&post(&format!("{MAPS}?fieldValidation=Strict"), "application/json", unknown), 400, &["bogus"]);
}

#[test]
fn a_body_that_is_too_large() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("body");
    let value = "x".repeat(4 << 20);
    let body = format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"big"}},"data":{{"a":"{value}"}}}}"#
    );
    std::fs::write(&file, body).expect("write");
    let from = format!("@{}", file.display());
    refused(&post(MAPS, "application/json", &from), 413, &[]);
}

#[test]
fn conflicts_and_stale_versions() {
    let map = |name: &str, version: &str| {
        format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"{version}}},"data":{{"a":"1"}}}}"#
        )
    };
    let (status, made) = post(MAPS, "application/json", &map("conflict", ""));
    assert_eq!(status, 201, "{made}");
    refused(&post(MAPS, "application/json", &map("conflict", "")), 409, &["already exists"]);
    let put = |body: &str| {
        let flags = ["-X", "PUT", "-H", "content-type: application/json", "--data-binary", body];
        curl(shared(), Some("admin"), &flags, &format!("{MAPS}/conflict"))
    };
    refused(&put(&map("conflict", r#","resourceVersion":"1""#)), 409, &["the object has been modified"]);
    let far = curl(shared(), Some("admin"), &[], &format!("{MAPS}?resourceVersion=999999999999"));
    refused(&far, 504, &["Too large resource version"]);
    refused(&curl(shared(), Some("admin"), &[], &format!("{MAPS}?resourceVersion=abc")), 400, &[]);
}

#[test]
fn who_is_not_known_gets_nothing() {
    let cluster = shared();
    refused(&curl(cluster, None, &[], MAPS), 403, &["system:anonymous"]);
    for path in ["/healthz", "/livez", "/readyz", "/version"] {
        assert_eq!(curl(cluster, None, &[], path).0, 200, "{path}");
    }
    // Signed by an authority of ours, but not by that of clients.
    refused(&curl(cluster, Some("store-client"), &[], MAPS), 401, &["Unauthorized"]);
    refused(&curl(cluster, None, &["-H", "authorization: Bearer nonsense"], MAPS), 401, &["Unauthorized"]);
}

fn server(dir: &Path, pki: &Path, port: u16, more: &[&str]) -> Command {
    let mut command = Command::new(TRIREME);
    command.args(["server", "--name", "a", "--data-dir"]).arg(dir).arg("--pki-dir").arg(pki);
    command.args(["--peer-listen", &format!("127.0.0.1:{port}")]);
    command.args(["--client-listen", &format!("127.0.0.1:{}", port + 1)]);
    command.args(["--api-listen", &format!("127.0.0.1:{}", port + 2)]).args(more);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn ends_misconfigured(output: &Output, words: &[&str]) {
    assert_eq!(output.status.code(), Some(78), "{}", text(output));
    for word in words {
        assert!(text(output).contains(word), "{word:?} is not said: {}", text(output));
    }
}

/// Runs until the API is ready, then stops in order.
fn run_once(dir: &Path, pki: &Path, port: u16) {
    let mut child = server(dir, pki, port, &[]).spawn().expect("run trireme server");
    eventually("a master that listens", || {
        if let Ok(Some(status)) = child.try_wait() {
            panic!("it ended: {status}");
        }
        let probe = Command::new("curl")
            .args(["--silent", "--insecure", "--fail", &format!("https://127.0.0.1:{}/readyz", port + 2)])
            .output()
            .expect("run curl");
        probe.status.success().then_some(()).ok_or_else(|| text(&probe))
    });
    let _ = Command::new("kill").arg(child.id().to_string()).status();
    let output = child.wait_with_output().expect("wait");
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn a_busy_port_is_named() {
    let folder = tempfile::tempdir().expect("folder");
    let port = free_ports();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port + 1)).expect("the port");
    let output =
        server(&folder.path().join("d"), &folder.path().join("pki"), port, &[]).output().expect("run");
    let flag = format!("--client-listen 127.0.0.1:{}", port + 1);
    ends_misconfigured(&output, &[&flag, "Address already in use"]);
}

#[test]
fn the_data_of_another_cluster_or_of_a_newer_version_is_left_alone() {
    let folder = tempfile::tempdir().expect("folder");
    let (dir, pki, port) = (folder.path().join("d"), folder.path().join("pki"), free_ports());
    run_once(&dir, &pki, port);
    let foreign = server(&dir, &folder.path().join("other-pki"), port, &[]).output().expect("run");
    ends_misconfigured(&foreign, &["belongs to cluster"]);
    let identity = dir.join("store/IDENTITY");
    let text = std::fs::read_to_string(&identity).expect("the member's identity");
    std::fs::write(&identity, text.replace("format = 1", "format = 99")).expect("write");
    ends_misconfigured(&server(&dir, &pki, port, &[]).output().expect("run"), &["format 99", "up to"]);
    std::fs::write(&identity, text).expect("write");
    run_once(&dir, &pki, port);
}

/// Whatever passes by itself ends the process in the way that has it started again.
#[test]
fn a_directory_in_use_is_tried_again_and_one_without_its_log_is_not() {
    let folder = tempfile::tempdir().expect("folder");
    let (dir, pki, port) = (folder.path().join("d"), folder.path().join("pki"), free_ports());
    run_once(&dir, &pki, port);
    let lock = std::fs::File::open(dir.join("store/LOCK")).expect("the lock");
    lock.try_lock().expect("nobody has it");
    let output = server(&dir, &pki, port, &[]).output().expect("run");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("in use by another process"), "{}", text(&output));
    drop(lock);
    let log = dir.join("store/log");
    std::fs::rename(&log, dir.join("log-that-is-gone")).expect("rename");
    std::fs::remove_dir_all(dir.join("store/state")).expect("remove");
    let output = server(&dir, &pki, port, &[]).output().expect("run");
    ends_misconfigured(&output, &["has an identity and no raft log"]);
    std::fs::remove_dir_all(&log).expect("remove");
    std::fs::rename(dir.join("log-that-is-gone"), &log).expect("rename");
    run_once(&dir, &pki, port);
}

#[test]
fn a_wrong_list_of_members_is_named() {
    let folder = tempfile::tempdir().expect("folder");
    let flags = ["--initial-cluster", "b=127.0.0.1:1"];
    let output = server(&folder.path().join("d"), &folder.path().join("pki"), free_ports(), &flags).output();
    ends_misconfigured(&output.expect("run"), &["--name \"a\" is not among --initial-cluster"]);
}
