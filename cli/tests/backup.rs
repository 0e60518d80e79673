//! The continuous backup with real processes: whoever dies, what was acknowledged comes back.

mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use support::{Cluster, eventually, text, trireme};
use trireme_backup::{Archive, Key, KeySource, Location, Point, base};
use trireme_raft::Remote;
use trireme_store::engine::{RocksEngine, RocksOptions};
use trireme_store::{KeyRange, KeyValue, Kv, Op, PutRequest, RangeRequest, Revision, Store, TxnRequest};

/// How far the archive may be behind.
const BEHIND_MAX: Duration = Duration::from_secs(5);

fn remote(cluster: &Cluster) -> Remote {
    let endpoints = (1..=3).map(|master| cluster.store(master)).collect();
    support::writers::remote(&cluster.dir.join("pki"), endpoints)
}

fn backup(cluster: &Cluster, arguments: &[&str]) -> std::process::Output {
    let dir = cluster.dir.to_str().expect("UTF-8");
    trireme(&[&["backup"], arguments, &["--dir", dir]].concat())
}

fn ok(cluster: &Cluster, arguments: &[&str]) -> String {
    let output = backup(cluster, arguments);
    assert!(output.status.success(), "trireme backup {arguments:?}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn status(cluster: &Cluster) -> serde_json::Value {
    let output = backup(cluster, &["status", "-o", "json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("backup status: {}", text(&output)))
}

/// Every key of a state directory.
fn keys(state: &Path) -> Vec<KeyValue> {
    let engine = RocksEngine::open(state, RocksOptions::default()).expect("the restored state opens");
    let store = Store::open(Arc::new(engine)).expect("the restored state is a store's");
    store.range(&RangeRequest::new(KeyRange::prefix(""))).expect("read").kvs
}

async fn live(remote: &Remote, revision: i64) -> Vec<KeyValue> {
    let request = RangeRequest { revision: Revision(revision), ..RangeRequest::new(KeyRange::prefix("")) };
    remote.range(request).await.expect("the live range").kvs
}

async fn live_revision(remote: &Remote) -> i64 {
    remote.barrier().await.expect("a barrier").0
}

/// Writes one key after another, and notes what was acknowledged when.
fn traffic(
    remote: Remote,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<(i64, Instant)>>>,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut n = 0u64;
        while !stop.load(Ordering::Relaxed) {
            n += 1;
            let put = Op::Put(PutRequest::new(format!("/traffic/{}", n % 500), format!("{n}")));
            // One that fails while leadership moves may have been done, and is not counted.
            if let Ok(done) = remote.txn(TxnRequest { success: vec![put], ..TxnRequest::default() }).await {
                acknowledged.lock().push((done.revision.0, Instant::now()));
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_in_the_backup_whoever_dies() {
    let cluster = Cluster::start(3, 0);
    let folder = tempfile::tempdir().expect("temporary folder");
    let (to, key_file) = (folder.path().join("archive"), folder.path().join("key"));
    let (to, key_file) = (to.to_str().expect("UTF-8"), key_file.to_str().expect("UTF-8"));
    let output = trireme(&["backup", "key", key_file]);
    assert!(output.status.success(), "{}", text(&output));
    let refused = backup(&cluster, &["start", "--to", to]);
    assert!(!refused.status.success() && text(&refused).contains("--key-file"), "{}", text(&refused));
    ok(&cluster, &["start", "--to", to, "--key-file", key_file]);
    let written: serde_json::Value = status(&cluster);
    assert!(
        !written.to_string().contains(std::fs::read_to_string(key_file).unwrap().trim()),
        "the key was stored"
    );

    let remote = remote(&cluster);
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let writing = traffic(remote.clone(), stop.clone(), acknowledged.clone());
    let key: Key = KeySource::File(key_file.into()).read().expect("the key");
    let location: Location = to.parse().expect("a location");
    let archive = Archive::open(&location, key.clone()).await.expect("the archive");
    tokio::time::sleep(BEHIND_MAX * 2).await;

    let before = status(&cluster);
    let victim = before["member"].as_str().expect("a member archives").to_owned();
    assert_ne!(victim, cluster.leader(), "a follower was there to do it");
    cluster.kill(&victim);
    let killed = Instant::now();
    let due =
        acknowledged.lock().iter().rfind(|(_, at)| *at + BEHIND_MAX < killed).map(|(revision, _)| *revision);
    let due = due.expect("something was acknowledged");
    let into = folder.path().join("after-the-kill");
    let applied = archive.materialize(Point::Latest, &into, &|_| {}).await.expect("restored");
    assert!(applied.revision.0 >= due, "revision {} was acknowledged, {} is archived", due, applied.revision);
    assert_eq!(keys(&into), live(&remote, applied.revision.0).await, "the state differs from the live one");

    // Another takes over, or the victim when it is back: what is written from now on is archived.
    let after = live_revision(&remote).await;
    eventually("another archiver", || {
        let status = status(&cluster);
        let revision = status["revision"].as_i64().unwrap_or(0);
        if revision > after && status["member"].is_string() { Ok(()) } else { Err(status.to_string()) }
    });
    tokio::time::sleep(BEHIND_MAX).await;
    stop.store(true, Ordering::Relaxed);
    writing.await.expect("the traffic");
    let last = acknowledged.lock().last().expect("writes").0;
    assert!(last > due, "nothing was written after the kill");
    eventually("all of it in the archive", || {
        let status = status(&cluster);
        let revision = status["revision"].as_i64().unwrap_or(0);
        let well = status["problem"].is_null() && status["gaps"].as_array().is_some_and(Vec::is_empty);
        if revision >= last && well { Ok(()) } else { Err(status.to_string()) }
    });
    let middle = {
        let all = acknowledged.lock();
        [all[all.len() / 3].0, all[all.len() * 2 / 3].0, last]
    };
    for revision in middle {
        let into = folder.path().join(format!("at-{revision}"));
        let applied = archive.materialize(Point::Revision(revision), &into, &|_| {}).await.expect("restored");
        assert_eq!(applied.revision.0, revision);
        assert_eq!(keys(&into), live(&remote, revision).await, "at revision {revision}");
    }

    let listed: serde_json::Value =
        serde_json::from_str(&ok(&cluster, &["list", "-o", "json"])).expect("JSON");
    assert_eq!(listed["spans"].as_array().map(Vec::len), Some(1), "{listed}");
    eventually("the test restore", || {
        let base = status(&cluster)["lastBase"].clone();
        if base["good"] == true { Ok(()) } else { Err(base.to_string()) }
    });
    single_file(&cluster, &remote, folder.path(), key_file).await;
    assert!(ok(&cluster, &["verify"]).starts_with("restored: "));
    let logs = Path::new(to).join(format!("trireme-{}", archive.cluster())).join("log");
    let object = std::fs::read_dir(logs).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&object).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&object, bytes).unwrap();
    let damaged = backup(&cluster, &["verify"]);
    let name = object.file_name().unwrap().to_str().unwrap();
    assert!(!damaged.status.success() && text(&damaged).contains(name), "{}", text(&damaged));

    ok(&cluster, &["prune", "--dry-run"]);
    ok(&cluster, &["stop"]);
    assert_eq!(status(&cluster), serde_json::Value::Null);
    assert!(!backup(&cluster, &["stop"]).status.success(), "it was stopped twice");
}

/// A listener that takes connections and never answers, as storage behind a broken network.
fn silent() -> (std::net::TcpListener, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    (listener, address)
}

#[test]
fn a_start_that_cannot_write_is_taken_back() {
    let cluster = Cluster::start(1, 0);
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let key = path("key");
    assert!(trireme(&["backup", "key", &key]).status.success());
    let start = |place: &str| backup(&cluster, &["start", "--to", place, "--key-file", &key]);
    let refused = |place: &str, words: &[&str]| {
        let output = start(place);
        let said = text(&output);
        let missing: Vec<_> = words.iter().filter(|word| !said.contains(*word)).collect();
        assert!(!output.status.success() && missing.is_empty(), "{missing:?} is not said: {said}");
    };
    let works = |place: &str, before: &str| {
        let output = start(place);
        let said = text(&output);
        assert!(output.status.success() && said.contains(place) && !said.contains(before), "{said}");
    };
    std::fs::write(path("file"), "").expect("write");
    let nowhere = path("file/backup");

    refused(&nowhere, &[&nowhere, "taken back", "no backup is made, as before"]);
    assert_eq!(status(&cluster), serde_json::Value::Null);
    // At once, so that what was told of the other place is still there.
    let good = path("good");
    works(&good, &nowhere);

    // A place of its own kind of bad: the folder can be made, and nothing put into it.
    let own = std::fs::read_dir(&good).expect("the backup").next().expect("its folder").expect("its name");
    let stuck = path("stuck");
    std::fs::create_dir(&stuck).expect("a folder");
    std::fs::write(Path::new(&stuck).join(own.file_name()), "in the way").expect("write");
    for bad in [&nowhere, &stuck] {
        refused(bad, &[bad, "taken back", &format!("the backup goes to {good} as before")]);
        let now = status(&cluster);
        assert_eq!((&now["location"], &now["works"]), (&good.clone().into(), &true.into()), "{now}");
    }
    cluster.kubectl_ok(&["create", "configmap", "later", "--from-literal=a=b"]);
    let newest = status(&cluster)["clusterRevision"].as_i64().expect("a revision");
    eventually("the backup to go on where it was", || {
        let now = status(&cluster);
        let well = now["revision"].as_i64() >= Some(newest) && now["problem"].is_null();
        if well { Ok(()) } else { Err(now.to_string()) }
    });

    interrupted(&cluster, folder.path(), &key, &good);
    let other = path("other");
    works(&other, "s3://");
    let now = status(&cluster);
    assert_eq!((&now["works"], &now["before"]), (&true.into(), &serde_json::Value::Null), "{now}");
}

/// A start that is killed while nobody knows whether its place is good, and what is told then.
fn interrupted(cluster: &Cluster, folder: &Path, key: &str, before: &str) {
    use std::os::unix::fs::PermissionsExt;
    let (_listener, address) = silent();
    let credentials = folder.join("credentials");
    let lines = format!(
        "AWS_ENDPOINT=http://{address}\nAWS_ALLOW_HTTP=true\nAWS_REGION=a\nAWS_ACCESS_KEY_ID=a\n\
         AWS_SECRET_ACCESS_KEY=a\nAWS_TIMEOUT=2s\n"
    );
    std::fs::write(&credentials, lines).expect("write");
    std::fs::set_permissions(&credentials, std::fs::Permissions::from_mode(0o600)).expect("mode");
    let mut starting = std::process::Command::new(support::TRIREME)
        .args(["backup", "start", "--to", "s3://silent", "--key-file", key, "--credentials-file"])
        .arg(&credentials)
        .arg("--dir")
        .arg(&cluster.dir)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("run trireme");
    // Seen in the store and not in the status, which asks the storage as well.
    let written = |key: &str| {
        let output = etcdctl(cluster, &["get", "--print-value-only", key]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    eventually("the new place to be in the store", || {
        let config = written("/trireme/backup/config");
        if config.contains("s3://silent") { Ok(()) } else { Err(config) }
    });
    starting.kill().expect("kill");
    let _ = starting.wait();
    let output = backup(cluster, &["status"]);
    let said = text(&output);
    for word in ["s3://silent", "nothing was written there since", before] {
        assert!(said.contains(word), "{word:?} is not said: {said}");
    }
    let now = status(cluster);
    assert_eq!((&now["works"], &now["before"]), (&false.into(), &before.into()), "{now}");
    assert!(!written("/trireme/backup/trial").is_empty(), "nobody knows what was before");
}

fn etcdctl(cluster: &Cluster, arguments: &[&str]) -> std::process::Output {
    std::process::Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", &cluster.store(1), "--cacert"])
        .arg(cluster.pki("store-ca.crt"))
        .arg("--cert")
        .arg(cluster.pki("store-client.crt"))
        .arg("--key")
        .arg(cluster.pki("store-client.key"))
        .args(arguments)
        .output()
        .expect("run etcdctl")
}

async fn single_file(cluster: &Cluster, remote: &Remote, folder: &Path, key_file: &str) {
    for sealed in [false, true] {
        let file = folder.join(format!("saved-{sealed}"));
        let path = file.to_str().expect("UTF-8");
        let mut arguments = vec!["save", path];
        if sealed {
            arguments.extend(["--key-file", key_file]);
        }
        ok(cluster, &arguments);
        assert!(!backup(cluster, &arguments).status.success(), "a file was overwritten");
        let key = sealed.then(|| KeySource::File(key_file.into()).read().expect("the key"));
        let into = folder.join(format!("from-file-{sealed}"));
        let applied = base::read_file(&file, key.as_ref(), &into, &|_| {}).expect("restored");
        assert_eq!(keys(&into), live(remote, applied.revision.0).await);
        assert!(!folder.join(format!("saved-{sealed}.files")).exists(), "files were left");
    }
}

#[test]
fn a_master_that_is_configured_so_starts_the_backup_and_heeds_its_end() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let (data, pki, key, to) = (path("data"), path("pki"), path("key"), path("archive"));
    let output = trireme(&["backup", "key", &key]);
    assert!(output.status.success(), "{}", text(&output));
    let port = support::free_ports();
    let address = |n: u16| format!("127.0.0.1:{}", port + n);
    let start = || {
        let process = Command::new(support::TRIREME)
            .args(["server", "--name", "a", "--data-dir", &data, "--pki-dir", &pki])
            .args(["--api-listen", &address(0), "--client-listen", &address(1), "--peer-listen", &address(2)])
            .args(["--backup-to", &to, "--backup-key-file", &key, "--backup-keep", "7d"])
            .env("TRIREME_SUPERVISED", "1")
            .stdin(Stdio::piped())
            .stderr(std::fs::File::create(path("log")).expect("log"))
            .spawn();
        Ended(process.expect("run trireme"))
    };
    let backup = |arguments: &[&str]| {
        let reach = ["--pki-dir", &pki, "--endpoints", &address(1)];
        trireme(&[&["backup"], arguments, &reach].concat())
    };
    let status = || serde_json::from_slice::<serde_json::Value>(&backup(&["status", "-o", "json"]).stdout);
    let works = || match status() {
        Ok(status) if status["works"] == true && status["keepSeconds"] == 7 * 24 * 3600 => Ok(()),
        other => Err(format!("{other:?}; {}", std::fs::read_to_string(path("log")).unwrap_or_default())),
    };
    let running = start();
    eventually("the backup to be made", works);
    let stopped = backup(&["stop"]);
    assert!(stopped.status.success(), "{}", text(&stopped));
    // Several of a master's looks later.
    std::thread::sleep(Duration::from_secs(2));
    assert!(status().expect("JSON").is_null(), "it was started again by itself");
    drop(running);
    let _running = start();
    eventually("the backup to be made again", works);
}

/// A process that is ended when dropped.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
