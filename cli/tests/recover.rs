//! The quorum is lost for good, and a cluster goes on with what one master holds.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use support::{Cluster, TRIREME, eventually, free_ports, text, trireme};

/// Writes that must be acknowledged before the masters die.
const WRITES_MIN: usize = 30;

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").args(["-r", path(from), path(to)]).status().expect("cp");
    assert!(status.success(), "cp {} {}", from.display(), to.display());
}

/// Names and content of the files below a directory that a member keeps.
fn tree(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).expect("read").flatten() {
        match entry.path() {
            path if path.is_dir() => all.extend(tree(&path)),
            path => all.push((path.clone(), std::fs::read(&path).expect("read"))),
        }
    }
    all.sort();
    all
}

fn recover(data: &Path, pki: &Path, more: &[&str]) -> String {
    let mut arguments = vec!["member", "recover", "--data-dir", path(data), "--pki-dir", path(pki)];
    arguments.extend_from_slice(more);
    let output = Command::new(TRIREME).args(arguments).stdin(Stdio::null()).output().expect("run trireme");
    assert!(output.status.success(), "{more:?}: {}", text(&output));
    text(&output)
}

/// Several clients write ConfigMaps until all fails; those that were acknowledged.
fn write_until_it_ends(cluster: &Cluster, then: impl FnOnce()) -> Vec<String> {
    let acknowledged = Mutex::new(Vec::new());
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for client in 0..4 {
            let (acknowledged, ended) = (&acknowledged, &ended);
            scope.spawn(move || {
                for i in 0..2000 {
                    let name = format!("w{client}-{i}");
                    let made = cluster.kubectl(&[
                        "create",
                        "configmap",
                        &name,
                        "--from-literal=a=b",
                        "--request-timeout=5s",
                    ]);
                    if made.status.success() {
                        acknowledged.lock().expect("not poisoned").push(name);
                    } else if ended.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        eventually("enough writes", || {
            let count = acknowledged.lock().expect("not poisoned").len();
            if count >= WRITES_MIN { Ok(()) } else { Err(count.to_string()) }
        });
        then();
        ended.store(true, Ordering::Relaxed);
    });
    acknowledged.into_inner().expect("not poisoned")
}

fn names(cluster: &Cluster) -> String {
    cluster.kubectl_ok(&["get", "configmaps", "-o", "name"])
}

fn voters(cluster: &Cluster) -> usize {
    let output = trireme(&["member", "list", "--dir", path(&cluster.dir)]);
    String::from_utf8_lossy(&output.stdout).matches(" yes ").count()
}

fn terms(cluster: &Cluster) -> Vec<u64> {
    let status = cluster.status();
    let members = status["members"].as_array().cloned().unwrap_or_default();
    members.iter().filter_map(|member| member["term"].as_u64()).collect()
}

#[test]
fn every_acknowledged_write_outlives_two_of_three_masters() {
    let root = tempfile::Builder::new().prefix("trireme-recover-").tempdir().expect("temporary folder");
    let dir = root.path().join("cluster");
    std::fs::create_dir(&dir).expect("folder");
    let port = free_ports();
    let mut old = Cluster::start_in(&dir, port, 3, 0, &["--no-restart"]);
    // One follower goes first: from then on whatever is acknowledged is on both of the others.
    let leader = old.leader();
    let followers: Vec<String> =
        (1..=3).map(|n| format!("master-{n}")).filter(|name| *name != leader).collect();
    old.kill(&followers[0]);
    let acknowledged = write_until_it_ends(&old, || {
        for name in [&leader, &followers[1]] {
            old.kill(name);
        }
    });
    old.stop();
    let survivor = dir.join(&followers[1]).join("data");
    let pki = dir.join("pki");
    let (forgotten, old_pki) = (root.path().join("forgotten"), root.path().join("old-pki"));
    copy(&dir.join(&leader).join("data"), &forgotten);
    copy(&pki, &old_pki);
    // Each is told apart by what it holds.
    let lesser = dir.join(&followers[0]).join("data");
    let compared = recover(&survivor, &pki, &["--survivors", path(&lesser)]);
    for part in [&*format!("{} (", followers[0]), ": less", "nothing was changed"] {
        assert!(compared.contains(part), "{part}: {compared}");
    }
    let worse = trireme(
        &[
            &["member", "recover", "--yes", "--data-dir", path(&lesser), "--pki-dir", path(&pki)][..],
            &["--survivors", path(&survivor)],
        ]
        .concat(),
    );
    assert!(!worse.status.success(), "{}", text(&worse));
    for part in ["more than this one", "holds entries that this one lacks: recover there"] {
        assert!(text(&worse).contains(part), "{part}: {}", text(&worse));
    }
    for gone in [&leader, &followers[0]] {
        std::fs::remove_dir_all(dir.join(gone).join("data/store")).expect("wipe");
    }

    // It says what there is, and asks.
    let before = tree(&survivor.join("store"));
    let shown = recover(&survivor, &pki, &[]);
    for part in
        ["last entry", "committed", "checked, whole", "master-1", "Lost is", "--yes", "nothing was changed"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert_eq!(tree(&survivor.join("store")), before);
    let name = std::fs::read_to_string(pki.join("cluster")).expect("a name");

    let done = recover(&survivor, &pki, &["--yes"]);
    assert!(done.contains("is alone in cluster") && done.contains("trireme token create"), "{done}");
    let new_name = std::fs::read_to_string(pki.join("cluster")).expect("a name");
    assert_ne!(new_name, name);
    let kept = std::fs::read_dir(&survivor).expect("read").flatten();
    let kept: Vec<PathBuf> = kept
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains("store.before-"))
        .collect();
    assert_eq!(kept.len(), 1);
    let contents =
        |files: Vec<(PathBuf, Vec<u8>)>| files.into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>();
    assert_eq!(contents(tree(&kept[0])), contents(before), "what it was is kept");

    // Interrupted before the name was changed, and before the new data was in its place.
    let mark = survivor.join("UNFINISHED");
    let interrupt = || {
        std::fs::write(&mark, "recovery\ntrireme member recover\n").expect("mark");
        std::fs::write(pki.join("cluster"), &name).expect("name");
    };
    let finished = || {
        assert!(recover(&survivor, &pki, &["--yes"]).contains("is alone in cluster"));
        assert_eq!(std::fs::read_to_string(pki.join("cluster")).expect("a name"), new_name);
        assert!(!mark.exists() && !survivor.join("store.recovered").exists());
    };
    interrupt();
    let server = |data: &Path, pki: &Path, more: &[&str]| {
        let port = free_ports();
        let address = |n: u16| format!("127.0.0.1:{}", port + n);
        let mut command = Command::new(TRIREME);
        command
            .args(["server", "--data-dir", path(data), "--name", &leader, "--pki-dir", path(pki)])
            .args(["--api-listen", &address(0), "--client-listen", &address(1), "--peer-listen", &address(2)])
            .args(more)
            .env("TRIREME_SUPERVISED", "1");
        command
    };
    let refused = server(&survivor, &pki, &[]).stdin(Stdio::null()).output().expect("run trireme");
    assert_eq!(refused.status.code(), Some(78), "{}", text(&refused));
    assert!(text(&refused).contains("run again: trireme member recover"), "{}", text(&refused));
    finished();
    interrupt();
    std::fs::rename(survivor.join("store"), survivor.join("store.recovered")).expect("rename");
    finished();
    // And with nothing left to do.
    assert!(recover(&survivor, &pki, &["--yes"]).contains("nobody is to be forgotten"));

    // Two new ones join by themselves, as the wiped ones of a cluster do.
    let new = Cluster::start_in(&dir, port, 3, 0, &[]);
    eventually("all to vote", || match voters(&new) {
        3 => Ok(()),
        count => Err(format!("{count} vote")),
    });
    let there = names(&new);
    let lost: Vec<_> = acknowledged.iter().filter(|name| !there.contains(&format!("/{name}\n"))).collect();
    assert!(lost.is_empty(), "of {}: {lost:?}", acknowledged.len());

    // The forgotten one comes back from its old disk, calls everyone it knew, and is nobody's peer.
    let refused = server(&forgotten, &pki, &[]).stdin(Stdio::null()).output().expect("run trireme");
    assert!(text(&refused).contains("belongs to cluster"), "{}", text(&refused));
    let quiet = terms(&new);
    let log = root.path().join("forgotten.log");
    let peers: Vec<String> =
        (1..=3u16).map(|n| format!("master-{n}=127.0.0.1:{}", port + 10 * n + 2)).collect();
    let mut back = server(&forgotten, &old_pki, &["--initial-cluster", &peers.join(",")])
        .stdin(Stdio::piped())
        .stderr(std::fs::File::create(&log).expect("log"))
        .spawn()
        .expect("run trireme");
    std::thread::sleep(Duration::from_secs(5));
    assert!(back.try_wait().expect("wait").is_none(), "it runs: {:?}", std::fs::read_to_string(&log));
    new.kubectl_ok(&["create", "configmap", "after", "--from-literal=a=b"]);
    assert_eq!((terms(&new), voters(&new)), (quiet, 3));
    let _ = back.kill();
    let _ = back.wait();
}
