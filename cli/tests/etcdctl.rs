//! Debian's etcdctl against the masters' store.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};

use support::{Cluster, shared, text};

fn etcdctl(cluster: &Cluster) -> Command {
    let endpoints: Vec<String> = (1..=3).map(|n| cluster.store(n)).collect();
    let mut command = Command::new("etcdctl");
    command
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", &endpoints.join(","), "--cacert"])
        .arg(cluster.pki("store-ca.crt"))
        .arg("--cert")
        .arg(cluster.pki("store-client.crt"))
        .arg("--key")
        .arg(cluster.pki("store-client.key"));
    command
}

fn run(arguments: &[&str]) -> String {
    let output = etcdctl(shared()).args(arguments).output().expect("run etcdctl");
    assert!(output.status.success(), "etcdctl {arguments:?}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn txn(input: &str) -> Output {
    let mut child = etcdctl(shared())
        .arg("txn")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run etcdctl");
    child.stdin.take().expect("stdin").write_all(input.as_bytes()).expect("write");
    child.wait_with_output().expect("wait")
}

#[test]
fn what_is_put_is_got_by_prefix() {
    assert_eq!(run(&["put", "/etcdctl/a", "1"]), "OK\n");
    run(&["put", "/etcdctl/b", "2"]);
    assert_eq!(run(&["get", "--prefix", "/etcdctl/"]), "/etcdctl/a\n1\n/etcdctl/b\n2\n");
    assert_eq!(run(&["del", "--prefix", "/etcdctl/"]), "2\n");
    assert_eq!(run(&["get", "--prefix", "/etcdctl/"]), "");
}

#[test]
fn a_watch_shows_what_happens() {
    let mut child = etcdctl(shared())
        .args(["watch", "--prefix", "/watched/"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("run etcdctl");
    let (sender, lines) = std::sync::mpsc::channel();
    let output = BufReader::new(child.stdout.take().expect("stdout"));
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    // The watch says nothing when it is there: writing goes on until it tells of one.
    let first = support::eventually("a first event", || {
        run(&["put", "/watched/x", "1"]);
        lines.recv_timeout(std::time::Duration::from_millis(100)).map_err(|e| e.to_string())
    });
    assert_eq!(first, "PUT");
    run(&["del", "/watched/x"]);
    support::eventually("the deletion", || {
        let line = lines.recv_timeout(std::time::Duration::from_secs(1)).map_err(|e| e.to_string())?;
        if line == "DELETE" { Ok(()) } else { Err(line) }
    });
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn a_transaction_takes_one_branch() {
    run(&["put", "/txn/a", "1"]);
    let said = txn("value(\"/txn/a\") = \"1\"\n\nput /txn/a 2\n\nput /txn/a 3\n\n");
    assert!(text(&said).contains("SUCCESS"), "{}", text(&said));
    assert_eq!(run(&["get", "/txn/a", "--print-value-only"]), "2\n");
    let said = txn("value(\"/txn/a\") = \"1\"\n\nput /txn/a 4\n\nget /txn/a\n\n");
    assert!(text(&said).contains("FAILURE"), "{}", text(&said));
    assert_eq!(run(&["get", "/txn/a", "--print-value-only"]), "2\n");
}

#[test]
fn keys_end_with_their_lease() {
    let said = run(&["lease", "grant", "600"]);
    let id = said.split_whitespace().nth(1).expect("an id").to_owned();
    run(&["put", "--lease", &id, "/leased/a", "1"]);
    assert!(run(&["lease", "timetolive", &id, "--keys"]).contains("/leased/a"));
    assert!(run(&["lease", "list"]).contains(&id));
    run(&["lease", "revoke", &id]);
    assert_eq!(run(&["get", "/leased/a"]), "");
}

#[test]
fn nobody_gets_in_without_a_certificate_of_the_store() {
    let cluster = shared();
    // A certificate of the API, even the administrator's, is worth nothing here.
    for certificate in [None, Some("admin")] {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &cluster.store(1), "--cacert"]);
        command.arg(cluster.pki("store-ca.crt")).args(["--command-timeout", "3s", "--dial-timeout", "2s"]);
        if let Some(name) = certificate {
            command.arg("--cert").arg(cluster.pki(&format!("{name}.crt")));
            command.arg("--key").arg(cluster.pki(&format!("{name}.key")));
        }
        let output = command.args(["get", "/registry", "--prefix"]).output().expect("run etcdctl");
        assert!(!output.status.success(), "let in with {certificate:?}: {}", text(&output));
    }
}

#[test]
fn etcdctl_shows_the_members() {
    let said = run(&["member", "list"]);
    for name in ["master-1", "master-2", "master-3"] {
        assert!(said.contains(name), "{said}");
    }
    let said = run(&["endpoint", "status", "-w", "fields"]);
    assert_eq!(said.matches("\"Leader\"").count(), 3, "{said}");
}

#[test]
fn a_limited_certificate_opens_its_prefix_alone() {
    let cluster = shared();
    let dir = tempfile::tempdir().expect("a folder");
    let issue = |name: &str, more: &[&str]| {
        let pki = cluster.pki("");
        let (pki, out) = (pki.to_str().expect("text"), dir.path().to_str().expect("text"));
        let arguments = [&["pki", "client", "--dir", pki, "--name", name, "--out", out][..], more].concat();
        support::trireme(&arguments)
    };
    for (name, more) in [
        ("writer", &["--prefix", "/limited/", "--prefix", "/more/"][..]),
        ("reader", &["--prefix", "/limited/", "--read-only"]),
    ] {
        let issued = issue(name, more);
        assert!(issued.status.success(), "{}", text(&issued));
    }
    let refused = issue("../outside", &[]);
    assert_eq!(refused.status.code(), Some(78), "{}", text(&refused));
    let refused = issue("x", &["--prefix", ""]);
    assert_eq!(refused.status.code(), Some(78), "{}", text(&refused));
    let as_client = |name: &str, arguments: &[&str]| {
        let file = |suffix: &str| dir.path().join(format!("{name}.{suffix}"));
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &cluster.store(1), "--cacert"]);
        command.arg(dir.path().join("store-ca.crt")).arg("--cert").arg(file("crt"));
        command.arg("--key").arg(file("key")).args(arguments);
        command.output().expect("run etcdctl")
    };
    let may = |name: &str, arguments: &[&str]| {
        let output = as_client(name, arguments);
        assert!(output.status.success(), "{name} {arguments:?}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let may_not = |name: &str, arguments: &[&str]| {
        let output = as_client(name, arguments);
        assert!(!output.status.success(), "{name} {arguments:?}: {}", text(&output));
        assert!(text(&output).contains("etcdserver: permission denied"), "{}", text(&output));
    };
    run(&["put", "/elsewhere/a", "1"]);
    may("writer", &["put", "/limited/a", "1"]);
    may("writer", &["put", "/more/a", "1"]);
    assert_eq!(may("reader", &["get", "--prefix", "/limited/"]), "/limited/a\n1\n");
    may_not("reader", &["put", "/limited/a", "2"]);
    may_not("reader", &["get", "/more/a"]);
    may_not("writer", &["get", "/elsewhere/a"]);
    may_not("writer", &["get", "--prefix", ""]);
    may_not("writer", &["del", "--prefix", "/"]);
    may_not("writer", &["compact", "2"]);
    let lease = may("writer", &["lease", "grant", "600"]);
    let lease = lease.split_whitespace().nth(1).expect("an id");
    may("writer", &["put", "--lease", lease, "/limited/leased", "1"]);
    may_not("reader", &["lease", "revoke", lease]);
    may("writer", &["lease", "revoke", lease]);
    assert_eq!(may("reader", &["get", "/limited/leased"]), "");
    run(&["del", "--prefix", "/limited/"]);
}
