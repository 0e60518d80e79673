//! `trireme up` and `down`: what a newcomer meets.

mod support;

use std::path::Path;
use std::process::Output;

use support::{Cluster, eventually, free_ports, text, trireme};

fn up(dir: &Path, more: &[&str]) -> Output {
    let mut arguments = vec!["up", "--dir", dir.to_str().expect("UTF-8")];
    arguments.extend_from_slice(more);
    trireme(&arguments)
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

#[test]
fn a_cluster_detaches_resumes_and_goes_down() {
    let folder = tempfile::tempdir().expect("folder");
    let (dir, port) = (folder.path().join("c"), free_ports().to_string());
    let dir_text = dir.to_str().expect("UTF-8");
    let flags = ["--masters", "1", "--nodes", "1", "--port", &port, "--detach"];
    let started = up(&dir, &flags);
    assert!(started.status.success(), "{}", text(&started));
    let said = text(&started);
    assert!(said.contains("1 master, 1 hollow node"), "{said}");
    assert!(said.contains(&format!("export KUBECONFIG={dir_text}/admin.kubeconfig")), "{said}");
    for file in
        ["admin.kubeconfig", "pki/ca.crt", "master-1/pid", "master-1/log", "balancer/pid", "nodes/pid"]
    {
        assert!(dir.join(file).exists(), "{file} is missing");
    }

    let again = up(&dir, &flags);
    assert_eq!(code(&again), Some(78), "{}", text(&again));
    assert!(text(&again).contains("a cluster is running from"), "{}", text(&again));

    let kubeconfig = dir.join("admin.kubeconfig");
    let kubectl = |arguments: &[&str]| support::kubectl_with(&kubeconfig, arguments);
    let made = kubectl(&["create", "configmap", "kept", "--from-literal=a=b"]);
    assert!(made.status.success(), "{}", text(&made));

    let down = trireme(&["down", "--dir", dir_text]);
    assert!(down.status.success() && text(&down).contains("stopped after"), "{}", text(&down));
    assert!(!dir.join("master-1/pid").exists());
    let down = trireme(&["down", "--dir", dir_text]);
    assert!(down.status.success() && text(&down).contains("not running"), "{}", text(&down));

    // The masters know each other by their ports.
    let moved = up(&dir, &["--port", "20000", "--detach"]);
    assert_eq!(code(&moved), Some(78), "{}", text(&moved));
    assert!(text(&moved).contains(&format!("made with --port {port}")), "{}", text(&moved));

    let resumed = up(&dir, &["--detach"]);
    assert!(resumed.status.success(), "{}", text(&resumed));
    let kept = kubectl(&["get", "configmap", "kept", "-o", "jsonpath={.data.a}"]);
    assert_eq!(String::from_utf8_lossy(&kept.stdout), "b", "{}", text(&kept));
    let down = trireme(&["down", "--dir", dir_text]);
    assert!(down.status.success(), "{}", text(&down));
}

#[test]
fn leadership_is_handed_over_only_to_who_stays() {
    let folder = tempfile::tempdir().expect("folder");
    let mut cluster = Cluster::start_in(folder.path(), free_ports(), 3, 0, &[]);
    let said = || {
        let log = |n| std::fs::read_to_string(folder.path().join(format!("master-{n}/log"))).expect("a log");
        let all: String = (1..=3).map(log).collect();
        all.lines().filter(|line| line.contains("leadership was")).map(str::to_owned).collect::<Vec<_>>()
    };
    let leader = cluster.leader();
    let pid = cluster.pid(&leader).expect("a pid").to_string();
    assert!(std::process::Command::new("kill").arg(&pid).status().expect("kill").success());
    eventually("it to be started again", || match cluster.pid(&leader) {
        Some(next) if next.to_string() != pid => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let before = said();
    assert!(before.len() == 1 && before[0].contains("leadership was handed over"), "{before:?}");
    cluster.leader();
    assert!(cluster.stop().success());
    assert_eq!(said(), before);
}

#[test]
fn without_restarts_what_dies_stays_dead() {
    let folder = tempfile::tempdir().expect("folder");
    let mut cluster = Cluster::start_in(folder.path(), free_ports(), 1, 0, &["--no-restart"]);
    cluster.kill("balancer");
    eventually("a word about the death", || {
        let told = cluster.told();
        told.contains("balancer died (killed by SIGKILL) and stays dead").then_some(()).ok_or(told)
    });
    assert!(!folder.path().join("balancer/pid").exists());
    assert!(cluster.stop().success());
}

#[test]
fn further_api_servers_serve_the_same_objects() {
    let folder = tempfile::tempdir().expect("folder");
    let cluster = Cluster::start_in(folder.path(), free_ports(), 1, 0, &["--api-replicas", "1"]);
    assert!(cluster.said.contains("1 further API server"), "{}", cluster.said);
    let replica = format!("--server=https://127.0.0.1:{}", cluster.port + 60);
    cluster.kubectl_ok(&[&replica, "create", "configmap", "seen", "--from-literal=a=b"]);
    let master = format!("--server=https://{}", cluster.api(1));
    let value = cluster.kubectl_ok(&[&master, "get", "configmap", "seen", "-o", "jsonpath={.data.a}"]);
    assert_eq!(value, "b");
}

#[test]
fn wrong_numbers_and_busy_ports_are_named() {
    let folder = tempfile::tempdir().expect("folder");
    let refuse = |flags: &[&str], words: &str| {
        let refused = up(folder.path(), flags);
        assert_eq!(code(&refused), Some(78), "{flags:?}: {}", text(&refused));
        assert!(text(&refused).contains(words), "{flags:?}: {}", text(&refused));
    };
    refuse(&["--masters", "2"], "--masters 2: 1, 3 or 5");
    refuse(&["--port", "80"], "--port 80");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port();
    if port < 64_000 {
        refuse(&["--port", &port.to_string()], &format!("127.0.0.1:{port}: Address already in use"));
    }
}

#[test]
fn status_needs_a_cluster() {
    let folder = tempfile::tempdir().expect("folder");
    let refused = trireme(&["status", "--dir", folder.path().to_str().expect("UTF-8")]);
    assert_eq!(code(&refused), Some(78));
    assert!(text(&refused).contains("no cluster was started in"), "{}", text(&refused));
}
