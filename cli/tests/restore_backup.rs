//! New clusters out of backups, as an operator makes them: of the archive that followed the old one, at
//! a time and at a revision, and of a single file; and what clients and members of the old one meet
//! there, which goes on all the while.

#[path = "support/moto.rs"]
mod moto;
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use support::{Cluster, TRIREME, eventually, free_ports, text, trireme};

/// No revision or version that is known to have been seen may come again within this of it.
const DISTANCE: i64 = 1_000_000_000;
/// Seconds of the leases.
const TTL_S: i64 = 3_000;

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn ok(arguments: &[&str]) -> String {
    let output = trireme(arguments);
    assert!(output.status.success(), "trireme {arguments:?}: {}", text(&output));
    text(&output)
}

fn refused(arguments: &[&str], says: &str) {
    let output = trireme(arguments);
    assert!(
        !output.status.success() && text(&output).contains(says),
        "{arguments:?}: {says}: {}",
        text(&output)
    );
}

/// A client of etcd's, at the first master.
fn etcdctl(cluster: &Cluster, arguments: &[&str]) -> Output {
    Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", &cluster.store(1)])
        .args(["--cacert", "store-ca.crt", "--cert", "store-client.crt", "--key", "store-client.key"])
        .args(arguments)
        .current_dir(cluster.dir.join("pki"))
        .output()
        .expect("run etcdctl")
}

fn etcd(cluster: &Cluster, arguments: &[&str]) -> String {
    let output = etcdctl(cluster, arguments);
    assert!(output.status.success(), "etcdctl {arguments:?}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn json(cluster: &Cluster, arguments: &[&str]) -> serde_json::Value {
    serde_json::from_str(&etcd(cluster, &[arguments, &["-w", "json"]].concat())).expect("JSON")
}

fn value(cluster: &Cluster, key: &str) -> String {
    etcd(cluster, &["get", "--print-value-only", key])
}

/// The newest revision.
fn revision(cluster: &Cluster) -> i64 {
    json(cluster, &["get", "/nothing"])["header"]["revision"].as_i64().expect("a revision")
}

/// A lease, in hexadecimal, with a key on it.
fn leased(cluster: &Cluster, key: &str) -> String {
    let granted = etcd(cluster, &["lease", "grant", &TTL_S.to_string()]);
    let id = granted.split_whitespace().nth(1).expect("an id").to_owned();
    etcd(cluster, &["put", key, "held", "--lease", &id]);
    id
}

/// The lease's time left, seconds; -1: there is none.
fn left(cluster: &Cluster, lease: &str) -> i64 {
    json(cluster, &["lease", "timetolive", lease])["ttl"].as_i64().expect("a time")
}

/// Now, by RFC 3339, to the second. Changes before and after are at least a second away.
fn moment() -> String {
    std::thread::sleep(Duration::from_millis(1_200));
    let output = Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).output().expect("date");
    std::thread::sleep(Duration::from_millis(1_200));
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

fn config_maps(cluster: &Cluster) -> Vec<(String, String, i64)> {
    let list = cluster.kubectl_ok(&["get", "--raw", "/api/v1/namespaces/shop/configmaps"]);
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    let items = list["items"].as_array().expect("items").iter();
    let of = |item: &serde_json::Value| {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let revision = text(&item["metadata"]["resourceVersion"]).parse().expect("a revision");
        (text(&item["metadata"]["name"]), text(&item["data"]["key"]), revision)
    };
    items.map(of).filter(|(name, ..)| name != "kube-root-ca.crt").collect()
}

/// Names and values of what there is in the shop.
fn shop(cluster: &Cluster) -> Vec<(String, String)> {
    config_maps(cluster).into_iter().map(|(name, value, _)| (name, value)).collect()
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

fn set(cluster: &Cluster, name: &str, value: &str) {
    let patch = format!(r#"{{"data":{{"key":"{value}"}}}}"#);
    cluster.kubectl_ok(&["-n", "shop", "patch", "configmap", name, "-p", &patch]);
}

fn make(cluster: &Cluster, name: &str, value: &str) {
    let literal = format!("--from-literal=key={value}");
    cluster.kubectl_ok(&["-n", "shop", "create", "configmap", name, &literal]);
}

/// What the old cluster had, and when.
struct Old {
    cluster: Cluster,
    folder: tempfile::TempDir,
    first: String,
    second: i64,
    /// The newest revision of all.
    newest: i64,
    kept: String,
    revoked: String,
}

impl Old {
    fn path(&self, name: &str) -> String {
        path(&self.folder.path().join(name)).to_owned()
    }

    /// Three states, the first at a time and the second at a revision; an archive and files of the third.
    fn make() -> Old {
        let cluster = Cluster::start(1, 0);
        let folder = tempfile::Builder::new().prefix("trireme-depot-").tempdir().expect("temporary folder");
        let file = |name: &str| path(&folder.path().join(name)).to_owned();
        ok(&["backup", "key", &file("key")]);
        ok(&["backup", "key", &file("other-key")]);
        let dir = path(&cluster.dir).to_owned();
        ok(&["backup", "start", "--to", &file("archive"), "--key-file", &file("key"), "--dir", &dir]);
        cluster.namespace("shop");
        let (kept, revoked) = (leased(&cluster, "/app/kept"), leased(&cluster, "/app/revoked"));
        etcd(&cluster, &["put", "/app/x", "one"]);
        make(&cluster, "a", "one");
        make(&cluster, "b", "one");
        ok(&["token", "create", "--dir", &dir]);
        let first = moment();
        set(&cluster, "a", "two");
        cluster.kubectl_ok(&["-n", "shop", "delete", "configmap", "b"]);
        make(&cluster, "c", "two");
        etcd(&cluster, &["put", "/app/x", "two"]);
        etcd(&cluster, &["lease", "revoke", &revoked]);
        let second = revision(&cluster);
        set(&cluster, "a", "three");
        make(&cluster, "d", "three");
        etcd(&cluster, &["put", "/app/x", "three"]);
        let newest = revision(&cluster);
        let save = |name: &str, more: &[&str]| {
            ok(&[&["backup", "save", &file(name), "--dir", &dir][..], more].concat());
        };
        save("sealed", &["--key-file", &file("key")]);
        save("plain", &[]);
        etcd(&cluster, &["snapshot", "save", &file("etcd.db")]);
        eventually("the archive to have all of it", || {
            let status = trireme(&["backup", "status", "-o", "json", "--dir", &dir]);
            let status: serde_json::Value =
                serde_json::from_slice(&status.stdout).map_err(|_| text(&status))?;
            if status["revision"].as_i64() >= Some(newest) { Ok(()) } else { Err(status.to_string()) }
        });
        Old { cluster, folder, first, second, newest, kept, revoked }
    }

    /// Its id in the archive, where restored clusters soon have their own backups beside it.
    fn archived_as(&self) -> String {
        let entry = std::fs::read_dir(self.path("archive")).expect("archive").next().expect("a backup");
        let name = entry.expect("its name").file_name().into_string().expect("UTF-8");
        name.strip_prefix("trireme-").expect("a cluster's folder").to_owned()
    }

    /// A new cluster in a folder of this name, which runs beside the old one.
    fn restored(&self, name: &str, masters: u16, more: &[&str]) -> Cluster {
        let (dir, port) = (self.path(name), free_ports());
        let (count, base) = (masters.to_string(), port.to_string());
        let place = ["restore", "--dir", &dir, "--masters", &count, "--port", &base];
        let said = ok(&[&place[..], more].concat());
        for part in ["MB/s", "keys/s", "every object now has revision", "join tokens ended: 1"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        Cluster::start_in(Path::new(&dir), port, masters, 0, &[])
    }

    /// Whatever clients of the old cluster have seen does not come again.
    fn is_left_behind_by(&self, new: &Cluster) {
        for (name, _, revision) in config_maps(new) {
            assert!(revision > self.newest + DISTANCE, "{name}: {revision} comes after {}", self.newest);
        }
        for seen in [self.second, self.newest] {
            let refused = etcdctl(new, &["get", "/app/x", "--rev", &seen.to_string()]);
            assert!(text(&refused).contains("has been compacted"), "revision {seen}: {}", text(&refused));
            let watch = Command::new("timeout")
                .args(["10", "etcdctl", "--endpoints", &new.store(1)])
                .args(["--cacert", "store-ca.crt", "--cert", "store-client.crt", "--key", "store-client.key"])
                .args(["watch", "/app/x", "--rev", &seen.to_string()])
                .env("ETCDCTL_API", "3")
                .current_dir(new.dir.join("pki"))
                .stdin(Stdio::null())
                .output()
                .expect("run etcdctl");
            assert!(text(&watch).contains("compacted"), "revision {seen}: {}", text(&watch));
            let url =
                format!("/api/v1/namespaces/shop/configmaps?watch=1&timeoutSeconds=5&resourceVersion={seen}");
            let answer = text(&new.kubectl(&["get", "--raw", &url]));
            let told = ["too old", "Expired", "410"].iter().any(|word| answer.contains(word));
            assert!(told, "revision {seen}: {answer}");
        }
        let x = json(new, &["get", "/app/x"])["kvs"][0].clone();
        assert!(x["version"].as_i64() > Some(DISTANCE), "{x}");
        assert!(x["create_revision"].as_i64() < Some(self.newest), "{x}");
    }
}

#[test]
fn clusters_are_restored_from_a_backup_beside_the_old_one() {
    let old = Old::make();
    let (archive, key) = (old.path("archive"), old.path("key"));
    let (old_dir, old_pki) =
        (path(&old.cluster.dir).to_owned(), path(&old.cluster.dir.join("pki")).to_owned());

    // What cannot be done is said, and the same place can be taken after it.
    let place = ["--dir", &old.path("first"), "--masters", "3"];
    let from = |more: &[&str], says: &str| {
        refused(&[&["restore", "--from", &archive][..], &place, more].concat(), says);
    };
    from(&[], "an archive is encrypted: give --key-file or --key-command");
    from(&["--key-file", &old.path("other-key")], "was sealed with another key");
    from(&["--key-file", &key, "--revision", &(old.newest + 1_000_000).to_string()], "the backup ends at");
    from(&["--key-file", &key, "--at", "2020-01-01T00:00:00Z"], "begins");
    let mixed = ["restore", "--namespace", "shop", "--from", &archive, "--data-dir", &old.path("first")];
    refused(&[&mixed[..], &["--name", "a"]].concat(), "there are two forms of `trireme restore`");

    let own = old.archived_as();
    let at = ["--from", &archive, "--at", &old.first, "--key-file", &key, "--pki-from", &old_pki];
    let first = old.restored("first", 3, &at);
    assert_eq!(shop(&first), pairs(&[("a", "one"), ("b", "one")]));
    assert_eq!(value(&first, "/app/x"), "one");
    old.is_left_behind_by(&first);
    // Leases live as then, each with its full time, also one that has ended since.
    for (lease, name) in [(&old.kept, "/app/kept"), (&old.revoked, "/app/revoked")] {
        assert!((TTL_S - 120..=TTL_S).contains(&left(&first, lease)), "{name}: {}", left(&first, lease));
        assert_eq!(value(&first, name), "held");
    }
    etcd(&first, &["lease", "revoke", &old.revoked]);
    assert_eq!(value(&first, "/app/revoked"), "");
    // Who read it in the old cluster does not change it here by comparing what it read.
    let seen = json(&old.cluster, &["get", "/app/x"])["kvs"][0]["mod_revision"].as_i64().expect("a revision");
    let compare = format!("mod(\"/app/x\") = \"{seen}\"\n\nput /app/x stale\n\n\n\n");
    let script = old.path("script");
    std::fs::write(&script, compare).expect("write");
    let swapped = Command::new("etcdctl")
        .args(["--endpoints", &first.store(1)])
        .args(["--cacert", "store-ca.crt", "--cert", "store-client.crt", "--key", "store-client.key", "txn"])
        .env("ETCDCTL_API", "3")
        .current_dir(first.dir.join("pki"))
        .stdin(std::fs::File::open(&script).expect("open"))
        .output()
        .expect("run etcdctl");
    assert!(text(&swapped).contains("FAILURE"), "{}", text(&swapped));
    assert_eq!(value(&first, "/app/x"), "one");
    // Controllers lead, and act.
    first.namespace("new");
    assert_eq!(ok(&["token", "list", "--dir", path(&first.dir)]).lines().count(), 1, "no token is left");

    let second_revision = old.second.to_string();
    // A part of a cluster that runs, from the backup of the one before: the other form.
    let part = ["restore", "configmap/c", "-n", "shop", "--from", &archive, "--key-file", &key, "--yes"];
    let part = [&part[..], &["--revision", &second_revision, "--dir", path(&first.dir), "--cluster", &own]];
    let part = part.concat();
    assert!(ok(&part).contains("created configmaps/c -n shop"));
    assert_eq!(shop(&first), pairs(&[("a", "one"), ("b", "one"), ("c", "two")]));

    // At a revision, with authorities of its own.
    let at = ["--from", &archive, "--cluster", &own, "--revision", &second_revision, "--key-file", &key];
    let second = old.restored("second", 1, &at);
    assert_eq!(shop(&second), pairs(&[("a", "two"), ("c", "two")]));
    assert_eq!((value(&second, "/app/x"), value(&second, "/app/revoked")), ("two".into(), String::new()));
    assert_eq!(left(&second, &old.revoked), -1);
    old.is_left_behind_by(&second);
    drop(second);

    // Of one file: as it was saved, and at a revision that it still has.
    let sealed = old.path("sealed");
    let third = old.restored("third", 1, &["--from", &sealed, "--key-file", &key]);
    assert_eq!(shop(&third), pairs(&[("a", "three"), ("c", "two"), ("d", "three")]));
    assert_eq!(value(&third, "/app/kept"), "held");
    old.is_left_behind_by(&third);
    drop(third);
    let plain = old.path("plain");
    let fourth = old.restored("fourth", 1, &["--from", &plain, "--revision", &second_revision]);
    assert_eq!(shop(&fourth), pairs(&[("a", "two"), ("c", "two")]));
    old.is_left_behind_by(&fourth);
    drop(fourth);
    let no_key = ["restore", "--from", &sealed, "--dir", &old.path("none")];
    refused(&no_key, "its key is needed");

    // What etcd's own client saved is for `import`, into a cluster that runs.
    let etcd_file = old.path("etcd.db");
    let hint = format!("trireme import etcd --file {etcd_file}");
    refused(&["restore", "--from", &etcd_file, "--dir", &old.path("none")], &hint);
    let fifth = Cluster::start(1, 0);
    ok(&["import", "etcd", "--file", &etcd_file, "--dir", path(&fifth.dir)]);
    let imported = || {
        let shop = shop(&fifth);
        if shop == pairs(&[("a", "three"), ("c", "two"), ("d", "three")]) {
            Ok(())
        } else {
            Err(format!("{shop:?}"))
        }
    };
    eventually("what was saved", imported);
    drop(fifth);

    // The old cluster has noticed nothing of all this, and goes its own way.
    set(&old.cluster, "a", "four");
    assert_eq!(shop(&first), pairs(&[("a", "one"), ("b", "one"), ("c", "two")]));
    old_member_is_nobody_there(old.cluster, &first, &old_dir, &old_pki);
}

#[test]
fn a_backup_lives_in_a_bucket_and_comes_back_from_it() {
    let Some(bucket) = moto::Moto::start() else { return };
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = |name: &str| path(&folder.path().join(name)).to_owned();
    let (location, credentials, key) = (bucket.location(), file("credentials"), file("key"));
    bucket.credentials(Path::new(&credentials));
    ok(&["backup", "key", &key]);
    let cluster = Cluster::start(3, 0);
    let dir = path(&cluster.dir).to_owned();
    let place = ["--credentials-file", &credentials, "--key-file", &key];
    ok(&[&["backup", "start", "--to", &location, "--dir", &dir][..], &place].concat());
    cluster.namespace("shop");
    make(&cluster, "a", "one");
    let first = revision(&cluster);
    set(&cluster, "a", "two");
    let newest = revision(&cluster);
    let status = || {
        let status = trireme(&["backup", "status", "-o", "json", "--dir", &dir]);
        serde_json::from_slice::<serde_json::Value>(&status.stdout).map_err(|_| text(&status))
    };
    eventually("the archive to have all of it, and its test restore", || {
        let status = status()?;
        let there = status["revision"].as_i64() >= Some(newest) && status["lastBase"]["good"] == true;
        if there { Ok(()) } else { Err(status.to_string()) }
    });
    let listed = ok(&["backup", "list", "--from", &location, "--credentials-file", &credentials]);
    assert!(listed.contains("good"), "{listed}");
    let verified = ok(&[&["backup", "verify", "--from", &location][..], &place].concat());
    assert!(verified.contains("restored: 1 base;"), "{verified}");
    let pruned = ok(&[
        &["backup", "prune", "--from", &location, "--credentials-file", &credentials][..],
        &["--keep", "1d"],
    ]
    .concat());
    assert!(pruned.starts_with("0 bases and 0 log objects removed"), "{pruned}");

    let (new, port, at) = (file("new"), free_ports(), first.to_string());
    let base = port.to_string();
    let restore = ["restore", "--from", &location, "--dir", &new, "--masters", "1", "--port", &base];
    ok(&[&restore[..], &place, &["--revision", &at]].concat());
    let new = Cluster::start_in(Path::new(&new), port, 1, 0, &[]);
    assert_eq!(shop(&new), pairs(&[("a", "one")]));
    drop(new);

    // The bucket goes: it is told, and the cluster writes on.
    drop(bucket);
    set(&cluster, "a", "three");
    eventually("the problem to be told", || {
        let status = status()?;
        if status["problem"].is_string() { Ok(()) } else { Err(status.to_string()) }
    });
    set(&cluster, "a", "four");
    let said = trireme(&["backup", "status", "--dir", &dir]);
    assert!(!said.status.success() && text(&said).contains("the backup is not well"), "{}", text(&said));
    assert!(!text(&said).contains("not-a-secret"));
}

/// A master of the old cluster, started with the new members' addresses as its peers.
fn old_member_is_nobody_there(mut old: Cluster, new: &Cluster, old_dir: &str, old_pki: &str) {
    let data = PathBuf::from(old_dir).join("master-1/data");
    assert!(old.stop().success());
    let state = || {
        let status = new.status();
        let members = status["members"].as_array().cloned().unwrap_or_default();
        members.iter().map(|member| (member["name"].clone(), member["term"].clone())).collect::<Vec<_>>()
    };
    let before = state();
    assert_eq!(before.len(), 3);
    let port = free_ports();
    let address = |n: u16| format!("127.0.0.1:{}", port + n);
    let peers: Vec<String> =
        (1..=3u16).map(|n| format!("master-{n}=127.0.0.1:{}", new.port + 10 * n + 2)).collect();
    let log = Path::new(old_dir).join("astray.log");
    let mut astray = Command::new(TRIREME)
        .args(["server", "--data-dir", path(&data), "--name", "master-1", "--pki-dir", old_pki])
        .args(["--api-listen", &address(0), "--client-listen", &address(1), "--peer-listen", &address(2)])
        .args(["--initial-cluster", &peers.join(",")])
        .env("TRIREME_SUPERVISED", "1")
        .stdin(Stdio::piped())
        .stderr(std::fs::File::create(&log).expect("log"))
        .spawn()
        .expect("run trireme");
    std::thread::sleep(Duration::from_secs(4));
    assert!(astray.try_wait().expect("wait").is_none(), "it runs: {:?}", std::fs::read_to_string(&log));
    make(new, "after", "all");
    assert_eq!(state(), before);
    let _ = astray.kill();
    let _ = astray.wait();
}
