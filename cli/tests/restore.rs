//! A new cluster out of a stopped master's data, as an operator makes it, and what clients of the old
//! one meet there.

mod support;

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use support::{Cluster, TRIREME, eventually, free_ports, kubectl_with, text, trireme};

const CONFIGMAPS: usize = 20;
/// No revision that is known to have been seen may come again within this of it.
const DISTANCE: u64 = 1_000_000_000;

const WEB: &str = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},
"spec":{"replicas":2,"selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":{"app":"web"}},
"spec":{"terminationGracePeriodSeconds":0,"containers":[{"name":"c","image":"i"}]}}}}"#;

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn refused(arguments: &[&str]) -> String {
    let output = trireme(arguments);
    assert!(!output.status.success(), "{arguments:?}: {}", text(&output));
    text(&output)
}

fn ok(arguments: &[&str]) -> String {
    let output = trireme(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    text(&output)
}

/// Names and revisions of what there is of a kind.
fn revisions(kubeconfig: &Path, kind: &str) -> Vec<(String, u64)> {
    let columns = "custom-columns=N:.metadata.name,R:.metadata.resourceVersion";
    let output = kubectl_with(kubeconfig, &["-n", "shop", "get", kind, "--no-headers", "-o", columns]);
    assert!(output.status.success(), "{}", text(&output));
    let rows = String::from_utf8_lossy(&output.stdout).into_owned();
    let rows = rows.lines().map(|row| row.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    let mut all: Vec<_> = rows.map(|row| (row[0].clone(), row[1].parse().expect("a revision"))).collect();
    all.sort();
    all
}

fn wait_for_pods(cluster: &Cluster, count: usize) {
    eventually("the pods to run", || {
        let columns = "jsonpath={range .items[*]}{.status.phase} {end}";
        let phases = cluster.kubectl_ok(&["-n", "shop", "get", "pods", "-l", "app=web", "-o", columns]);
        let running = phases.split_whitespace().filter(|phase| *phase == "Running").count();
        if running == count && phases.split_whitespace().count() == count { Ok(()) } else { Err(phases) }
    });
}

fn largest_table(dir: &Path) -> PathBuf {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).expect("read").flatten() {
            match entry.path() {
                path if path.is_dir() => dirs.push(path),
                path if path.extension().is_some_and(|ending| ending == "sst") => found.push(path),
                _ => {}
            }
        }
    }
    found.sort_by_key(|path| path.metadata().map_or(0, |meta| meta.len()));
    found.pop().expect("a table")
}

fn flip(path: &Path, at: u64) {
    let mut file = std::fs::OpenOptions::new().read(true).write(true).open(path).expect("open");
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).expect("seek");
    file.read_exact(&mut byte).expect("read");
    file.seek(SeekFrom::Start(at)).expect("seek");
    file.write_all(&[byte[0] ^ 0x55]).expect("write");
}

/// A master by itself, ended with this.
struct Server(std::process::Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn server(data_dir: &Path, name: &str, port: u16, more: &[&str]) -> Command {
    let address = |n: u16| format!("127.0.0.1:{}", port + n);
    let mut command = Command::new(TRIREME);
    command
        .args(["server", "--data-dir", path(data_dir), "--name", name])
        .args(["--api-listen", &address(0), "--client-listen", &address(1), "--peer-listen", &address(2)])
        .args(more)
        .env("TRIREME_SUPERVISED", "1");
    command
}

fn start(data_dir: &Path, name: &str, port: u16) -> Server {
    let log = std::fs::File::create(data_dir.with_extension("log")).expect("log");
    let child = server(data_dir, name, port, &[]).stdin(Stdio::piped()).stderr(log).spawn();
    Server(child.expect("run trireme"))
}

#[test]
fn a_cluster_is_restored_to_three_masters_and_to_one() {
    let mut old = Cluster::start(3, 2);
    old.namespace("shop");
    for i in 0..CONFIGMAPS {
        let name = format!("c{i}");
        old.kubectl_ok(&["-n", "shop", "create", "configmap", &name, "--from-literal=a=b"]);
    }
    let web = old.dir.join("web.json");
    std::fs::write(&web, WEB).expect("write");
    old.kubectl_ok(&["-n", "shop", "apply", "-f", path(&web)]);
    wait_for_pods(&old, 2);
    ok(&["token", "create", "--dir", path(&old.dir)]);
    let before = revisions(&old.kubeconfig(), "configmaps");
    let list = old.kubectl_ok(&["get", "--raw", "/api/v1/namespaces/shop/configmaps"]);
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    let seen = list["metadata"]["resourceVersion"].as_str().expect("a revision").to_owned();
    let newest: u64 = seen.parse().expect("a number");

    let (data, old_pki) = (old.dir.join("master-1/data"), old.dir.join("pki"));
    let root = tempfile::Builder::new().prefix("trireme-restored-").tempdir().expect("temporary folder");
    let new_dir = root.path().join("new");
    let port = free_ports().to_string();
    let arguments = |from: &Path| -> Vec<String> {
        let arguments = ["restore", "--from", path(from), "--dir", path(&new_dir), "--port", &port];
        let more = ["--pki-from", path(&old_pki)].map(str::to_owned);
        arguments.into_iter().map(str::to_owned).chain(more).collect()
    };
    let run = |from: &Path| -> Output {
        let arguments = arguments(from);
        trireme(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let in_use = run(&data);
    assert!(text(&in_use).contains("stop its master first"), "{}", text(&in_use));
    assert!(old.stop().success());

    // A source that is damaged leaves something that nothing starts on.
    let damaged = root.path().join("damaged");
    assert!(Command::new("cp").args(["-r", path(&data), path(&damaged)]).status().expect("cp").success());
    flip(&largest_table(&damaged), 300);
    let refusal = run(&damaged);
    assert!(!refusal.status.success() && text(&refusal).contains("take another"), "{}", text(&refusal));
    for command in [
        Command::new(TRIREME).args(["up", "--dir", path(&new_dir)]).output(),
        server(&new_dir.join("master-2/data"), "master-2", free_ports(), &[]).stdin(Stdio::null()).output(),
    ] {
        let output = command.expect("run trireme");
        assert_eq!(output.status.code(), Some(78), "{}", text(&output));
        assert!(
            text(&output).contains("run again: ") && text(&output).contains("restore"),
            "{}",
            text(&output)
        );
    }

    // The same command with a good one makes it.
    let made = run(&data);
    assert!(made.status.success(), "{}", text(&made));
    for part in ["MB/s", "keys/s", "join tokens ended: 1", "trireme up --dir"] {
        assert!(text(&made).contains(part), "{part}: {}", text(&made));
    }
    assert!(text(&run(&data)).contains("is not empty"));
    let new = Cluster::start_in(&new_dir, port.parse().expect("a port"), 3, 2, &[]);
    let after = revisions(&new.kubeconfig(), "configmaps");
    let names = |all: &[(String, u64)]| all.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&after), names(&before));
    let lowest = after.iter().map(|(_, revision)| *revision).min().expect("objects");
    assert!(lowest > newest + DISTANCE, "{lowest} comes {newest}");
    // Whoever was let into the old cluster by its certificate is known here.
    let mut kubeconfig = std::fs::read_to_string(old.kubeconfig()).expect("kubeconfig");
    kubeconfig = kubeconfig.replace(&format!(":{}", old.port), &format!(":{}", new.port));
    let held = root.path().join("held.kubeconfig");
    std::fs::write(&held, kubeconfig).expect("write");
    assert_eq!(revisions(&held, "configmaps"), after);

    // A client that goes on from what it has seen is told to begin anew.
    for query in ["watch=1&timeoutSeconds=5&", "limit=5&resourceVersionMatch=Exact&"] {
        let url = format!("/api/v1/namespaces/shop/configmaps?{query}resourceVersion={seen}");
        let answer = text(&new.kubectl(&["get", "--raw", &url]));
        let told = ["too old resource version", "Expired", "410", "too old"];
        assert!(told.iter().any(|word| answer.contains(word)), "{query}: {answer}");
    }
    // Controllers and nodes work.
    wait_for_pods(&new, 2);
    new.kubectl_ok(&["-n", "shop", "scale", "deployment", "web", "--replicas=3"]);
    wait_for_pods(&new, 3);
    assert_eq!(ok(&["token", "list", "--dir", path(&new_dir)]).lines().count(), 1, "no token is left");
    let members = ok(&["member", "list", "--dir", path(&new_dir)]);
    assert_eq!(members.matches(" yes ").count(), 3, "{members}");
    // All of the three have one state, by its hash.
    eventually("one state", || {
        let status = new.status();
        let members = status["members"].as_array().cloned().unwrap_or_default();
        let healthy = members.len() == 3 && members.iter().all(|member| member["healthy"] == true);
        if healthy { Ok(()) } else { Err(status.to_string()) }
    });

    // An old member and the new authorities refuse each other.
    let pki = new_dir.join("pki");
    let mixed =
        server(&data, "master-1", free_ports(), &["--pki-dir", path(&pki)]).stdin(Stdio::null()).output();
    let mixed = mixed.expect("run trireme");
    assert_eq!(mixed.status.code(), Some(78), "{}", text(&mixed));
    assert!(text(&mixed).contains("belongs to cluster"), "{}", text(&mixed));
    drop(new);

    // One master, of the restored cluster's own data this time: it can be done again.
    let one = root.path().join("one");
    let from = new_dir.join("master-3/data");
    let made = ok(&["restore", "--from", path(&from), "--data-dir", path(&one), "--name", "solo"]);
    assert!(made.contains("trireme token create") && made.contains("trireme server --data-dir"), "{made}");
    let port = free_ports();
    let _solo = start(&one, "solo", port);
    let url = format!("https://127.0.0.1:{port}");
    ok(&["pki", "--dir", path(&one.join("pki")), "--server", &url]);
    let kubeconfig = one.join("pki/admin.kubeconfig");
    eventually("it to serve", || {
        let output = kubectl_with(&kubeconfig, &["get", "--raw", "/readyz"]);
        if output.status.success() { Ok(()) } else { Err(text(&output)) }
    });
    let third = revisions(&kubeconfig, "configmaps");
    assert_eq!(names(&third), names(&before));
    let highest = after.iter().map(|(_, revision)| *revision).max().expect("objects");
    assert!(third.iter().all(|(_, revision)| *revision > highest + DISTANCE));
}

#[test]
fn what_cannot_be_restored_is_named() {
    let root = tempfile::tempdir().expect("a folder");
    let target = root.path().join("target");
    let restore = |more: &[&str]| {
        let mut arguments = vec!["restore", "--data-dir", path(&target), "--name", "a"];
        arguments.extend_from_slice(more);
        refused(&arguments)
    };
    assert!(restore(&["--from", "/nowhere"]).contains("/nowhere is not there"));
    for ambiguous in ["2026-11-20T10:42:00", "2026-11-20"] {
        assert!(restore(&["--from", "/x", "--at", ambiguous]).contains("names no zone"));
    }
    assert!(restore(&["--from", "/x", "--at", "2999-01-01T00:00:00Z"]).contains("has not come yet"));
    assert!(restore(&["--from", "/x", "--revision", "0"]).contains("--revision"));
    assert!(
        restore(&["--from", "/x", "--revision", "5", "--at", "2020-01-01T00:00:00Z"])
            .contains("cannot be used")
    );
    assert!(restore(&["--from", "/x", "--dir", "/y"]).contains("cannot be used"));
    assert!(!target.exists(), "nothing was begun");
}
