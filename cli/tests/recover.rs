//! The quorum is lost for good, and a cluster goes on with what one master holds; or its data is damaged,
//! and it says what is lost.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
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

/// What no other object has, and what does not get smaller: it is found in files as it is.
fn marker(i: u64) -> String {
    let mut state = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'A' + (state >> 33) as u8 % 26)
    };
    (0..12_000).map(|_| draw()).collect()
}

fn make(cluster: &Cluster, names: std::ops::Range<u64>) {
    for i in names {
        let value = format!("--from-literal=a={}", marker(i));
        cluster.kubectl_ok(&["create", "configmap", &format!("c{i}"), &value]);
    }
}

/// The file with this ending below a directory that has an object's value, and where in it.
fn find(dir: &Path, ending: &str, i: u64) -> Option<(PathBuf, usize)> {
    let sought = marker(i);
    let sought = &sought.as_bytes()[4000..4040];
    tree(dir).into_iter().filter(|(path, _)| path.to_string_lossy().ends_with(ending)).find_map(
        |(path, bytes)| bytes.windows(sought.len()).position(|found| found == sought).map(|at| (path, at)),
    )
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).expect("read");
    bytes[at] ^= 0x55;
    std::fs::write(path, bytes).expect("write");
}

/// A start of the only master of the cluster in `dir`, which ends by itself.
fn start_alone(dir: &Path, port: u16) -> Output {
    let address = |n: u16| format!("127.0.0.1:{}", port + 10 + n);
    Command::new(TRIREME)
        .args(["server", "--name", "master-1", "--data-dir", path(&dir.join("master-1/data"))])
        .args(["--pki-dir", path(&dir.join("pki")), "--api-listen", &address(0)])
        .args(["--client-listen", &address(1), "--peer-listen", &address(2)])
        .env("TRIREME_SUPERVISED", "1")
        .stdin(Stdio::null())
        .output()
        .expect("run trireme")
}

/// What is said of the only master of the cluster in `dir`, whose data is damaged: on the screen and in
/// the file.
fn told_of_damage(dir: &Path, port: u16) -> (String, String) {
    let (data, pki) = (dir.join("master-1/data"), dir.join("pki"));
    let command = format!("trireme member recover --data-dir {} --pki-dir {}", data.display(), pki.display());
    let refused = start_alone(dir, port);
    assert_eq!(refused.status.code(), Some(78), "{}", text(&refused));
    assert!(text(&refused).contains(&command), "{}", text(&refused));
    let before = tree(&data.join("store"));
    let told = trireme(&["member", "recover", "--data-dir", path(&data), "--pki-dir", path(&pki), "--yes"]);
    assert_eq!(told.status.code(), Some(1), "{}", text(&told));
    assert!(text(&told).contains("nothing was changed"), "{}", text(&told));
    assert_eq!(tree(&data.join("store")), before);
    let file = data.join("lost.txt");
    assert_eq!(file.metadata().expect("the file").permissions().mode() & 0o777, 0o600);
    assert!(text(&told).contains(path(&file)), "{}", text(&told));
    (text(&told), std::fs::read_to_string(&file).expect("what is lost"))
}

#[test]
fn a_lone_master_whose_state_is_damaged_says_which_keys_are_lost() {
    let root = tempfile::Builder::new().prefix("trireme-lost-").tempdir().expect("temporary folder");
    let (dir, port) = (root.path(), free_ports());
    let mut cluster = Cluster::start_in(dir, port, 1, 0, &["--no-restart"]);
    make(&cluster, 0..30);
    cluster.stop();
    let state = dir.join("master-1/data/store/state");
    let (table, at) = find(&state, ".sst", 17).expect("the state is on the disk");
    let (other, _) = find(&state, ".sst", 20).expect("the state is on the disk");
    flip(&table, at);
    // What a start reads first.
    flip(&other, 100);
    let (shown, all) = told_of_damage(dir, port);
    for told in [&shown, &all] {
        assert!(told.contains("/registry/configmaps/default/c17   changed at revision"), "{told}");
    }
    for whole in ["c3", "c16", "c18", "c29"] {
        assert!(!all.contains(&format!("/registry/configmaps/default/{whole}   ")), "{whole}: {all}");
    }
    assert!(!shown.contains("--accept-loss"), "{shown}");
    // With it, too: what is damaged is the state itself.
    let (data, pki) = (dir.join("master-1/data"), dir.join("pki"));
    let refused =
        trireme(&["member", "recover", "--data-dir", path(&data), "--pki-dir", path(&pki), "--accept-loss"]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
}

#[test]
fn a_lone_master_whose_log_is_damaged_goes_on_without_what_it_says_is_lost() {
    let root = tempfile::Builder::new().prefix("trireme-lost-").tempdir().expect("temporary folder");
    let (dir, port) = (root.path(), free_ports());
    let mut cluster = Cluster::start_in(dir, port, 1, 0, &["--no-restart"]);
    let data = dir.join("master-1/data");
    let (state, log) = (data.join("store/state"), data.join("store/log"));
    let mut made = 0;
    // The state goes to the disk now and then: of the last ones the log alone must have some.
    let lost = loop {
        assert!(made < 200, "the state is written all the time");
        make(&cluster, made..made + 12);
        made += 12;
        let first = (0..made).find(|i| find(&state, ".sst", *i).is_none());
        if let Some(first) = first.filter(|first| first + 6 < made) {
            break first + 2;
        }
    };
    cluster.kill("master-1");
    cluster.stop();
    let (segment, at) = find(&log, ".log", lost).expect("the log has it");
    flip(&segment, at);
    let (shown, all) = told_of_damage(dir, port);
    assert!(shown.contains("are gone") && shown.contains("--accept-loss"), "{shown}");
    let is_named = |i: u64| all.contains(&format!("/registry/configmaps/default/c{i}   entry"));
    assert!((lost + 1..made).all(is_named), "{all}");
    assert!(!(0..=lost).any(is_named), "{all}");

    let done = recover(&data, &dir.join("pki"), &["--accept-loss", "--yes"]);
    assert!(done.contains("is alone in cluster"), "{done}");
    let cluster = Cluster::start_in(dir, port, 1, 0, &[]);
    let there = names(&cluster);
    for i in 0..made {
        assert_eq!(there.contains(&format!("/c{i}\n")), i < lost, "c{i}, of {made} without {lost}: {there}");
    }
}
