//! Files made here are taken by the real tools, and files that they made are read: Debian's etcd
//! and etcdctl, which `deploy/packages.sh` installs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use trireme_bolt::etcd::{Change, KeyValue, Lease, Position, Revision, Snapshot, SnapshotWriter};

const DEADLINE: Duration = Duration::from_secs(60);

/// False, and said, where the tools are not installed.
fn tools() -> bool {
    let there = ["etcd", "etcdctl"].iter().all(|tool| Command::new(tool).arg("--help").output().is_ok());
    if !there {
        // Past the capture of what tests that pass print.
        let name = std::thread::current().name().unwrap_or("?").to_owned();
        let _ = writeln!(std::io::stderr(), "skipped: {name}: etcd and etcdctl are not installed");
    }
    there
}

fn etcdctl(arguments: &[&str]) -> Output {
    Command::new("etcdctl").env("ETCDCTL_API", "3").args(arguments).output().expect("run etcdctl")
}

fn succeeded(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A real etcd; killed when dropped.
struct Etcd {
    child: Child,
    endpoint: String,
    dir: PathBuf,
}

impl Etcd {
    fn start(dir: &Path) -> Self {
        let (client, peer) = (free_port(), free_port());
        let endpoint = format!("http://127.0.0.1:{client}");
        let peer = format!("http://127.0.0.1:{peer}");
        let child = Command::new("etcd")
            .arg("--data-dir")
            .arg(dir)
            .args(["--name", "one", "--listen-client-urls", &endpoint, "--advertise-client-urls", &endpoint])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("one={peer}"), "--unsafe-no-fsync"])
            .stdout(Stdio::null())
            .stderr(File::create(dir.with_extension("log")).unwrap())
            .spawn()
            .expect("run etcd");
        let mut etcd = Self { child, endpoint, dir: dir.to_owned() };
        let deadline = Instant::now() + DEADLINE;
        while !etcd.run(&["get", "probe"]).status.success() {
            let ended = etcd.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "etcd does not serve: {}", etcd.log());
            std::thread::sleep(Duration::from_millis(100));
        }
        etcd
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.with_extension("log")).unwrap_or_default()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        etcdctl(&[&["--endpoints", &self.endpoint], arguments].concat())
    }

    fn ok(&self, arguments: &[&str]) -> String {
        succeeded(&self.run(arguments))
    }

    /// Every live key, with all its fields, and the revision.
    fn keys(&self) -> (BTreeMap<Bytes, KeyValue>, i64) {
        let answer = self.ok(&["get", "", "--prefix", "-w", "json"]);
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        let none = Vec::new();
        let kvs = answer["kvs"].as_array().unwrap_or(&none).iter().map(|kv| {
            let text = |field: &str| base64(kv[field].as_str().unwrap_or_default());
            let number = |field: &str| kv[field].as_i64().unwrap_or(0);
            let key = text("key");
            let kv = KeyValue {
                key: key.clone(),
                create_revision: number("create_revision"),
                mod_revision: number("mod_revision"),
                version: number("version"),
                value: text("value"),
                lease: number("lease"),
            };
            (key, kv)
        });
        (kvs.collect(), answer["header"]["revision"].as_i64().unwrap())
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn base64(text: &str) -> Bytes {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut out, mut bits, mut count) = (Vec::new(), 0u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        bits = bits << 6 | DIGITS.iter().position(|digit| *digit == byte).expect("base64") as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    out.into()
}

type Written = Option<(Vec<u8>, i64)>;

/// Some history: keys put, put again and deleted, leases, values of every size.
struct History {
    changes: Vec<(Revision, Change)>,
    live: BTreeMap<Bytes, KeyValue>,
    revision: i64,
}

impl History {
    fn new() -> Self {
        Self { changes: Vec::new(), live: BTreeMap::new(), revision: 1 }
    }

    /// `None` deletes; otherwise the value and the lease.
    fn transaction(&mut self, changes: &[(&str, Written)]) {
        self.revision += 1;
        for (sub, (key, change)) in changes.iter().enumerate() {
            let key = Bytes::copy_from_slice(key.as_bytes());
            let change = match change {
                None => {
                    self.live.remove(&key);
                    Change::Delete(key)
                }
                Some((value, lease)) => {
                    let old = self.live.get(&key);
                    let kv = KeyValue {
                        key: key.clone(),
                        create_revision: old.map_or(self.revision, |old| old.create_revision),
                        mod_revision: self.revision,
                        version: old.map_or(1, |old| old.version + 1),
                        value: value.clone().into(),
                        lease: *lease,
                    };
                    self.live.insert(key, kv.clone());
                    Change::Put(kv)
                }
            };
            self.changes.push((Revision { main: self.revision, sub: sub as i64 }, change));
        }
    }

    /// Leaves out what a compaction to `compact` removes.
    fn compacted(&self, compact: i64) -> Vec<(Revision, Change)> {
        let mut newest: BTreeMap<&Bytes, Revision> = BTreeMap::new();
        for (revision, change) in self.changes.iter().filter(|(revision, _)| revision.main <= compact) {
            newest.insert(change.key(), *revision);
        }
        let kept = |(revision, change): &&(Revision, Change)| {
            let live = matches!(change, Change::Put(_)) && newest.get(change.key()) == Some(revision);
            revision.main > compact || live
        };
        self.changes.iter().filter(kept).cloned().collect()
    }
}

fn sample(keys: usize) -> History {
    let mut history = History::new();
    for i in 0..keys {
        let lease = if i % 10 == 0 { 7 } else { 0 };
        history.transaction(&[(&format!("/k/{i:05}"), Some((format!("value {i}").into_bytes(), lease)))]);
    }
    let large = |byte: u8, len: usize| Some((vec![byte; len], 0));
    history.transaction(&[
        ("/large/a", large(b'a', 5_000)),
        ("/large/b", large(b'b', 70_000)),
        ("/large/c", large(b'c', 900_000)),
    ]);
    for i in (0..keys).step_by(3) {
        history.transaction(&[
            (&format!("/k/{i:05}"), None),
            (&format!("/k/{:05}", i + 1), Some((b"again".to_vec(), 9))),
        ]);
    }
    history.transaction(&[("/empty", Some((Vec::new(), 0)))]);
    history
}

const LEASES: [Lease; 2] =
    [Lease { id: 7, ttl_s: 5_000, remaining_ttl_s: 0 }, Lease { id: 9, ttl_s: 9_000, remaining_ttl_s: 0 }];

fn write(path: &Path, changes: &[(Revision, Change)], compact: i64) {
    let mut writer = SnapshotWriter::new(File::create_new(path).unwrap()).unwrap();
    for (revision, change) in changes {
        writer.put(*revision, change).unwrap();
    }
    let position = Position { index: 77, term: 3, voters: vec![11, 12, 13] };
    let file = writer.finish(LEASES, compact, &position).unwrap();
    drop(file);
    let mut file = File::options().read(true).write(true).open(path).unwrap();
    trireme_bolt::append_digest(&mut file).unwrap();
}

fn check_written(keys: usize, compact: impl Fn(&History) -> i64) {
    if !tools() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("snapshot.db");
    let history = sample(keys);
    let compact = compact(&history);
    let changes = history.compacted(compact);
    write(&file, &changes, compact);
    let file = file.to_str().unwrap();

    let status = succeeded(&etcdctl(&["snapshot", "status", file, "-w", "json"]));
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let last = changes.last().unwrap().0.main;
    let meta = if compact > 0 { 5 } else { 3 };
    assert_eq!(status["revision"], last, "{status}");
    assert_eq!(status["totalKey"], changes.len() + LEASES.len() + meta, "{status}");

    let data = dir.path().join("restored");
    succeeded(&etcdctl(&[
        "snapshot",
        "restore",
        file,
        "--data-dir",
        data.to_str().unwrap(),
        "--name",
        "one",
        "--initial-cluster",
        "one=http://127.0.0.1:1",
        "--initial-advertise-peer-urls",
        "http://127.0.0.1:1",
    ]));
    let etcd = Etcd::start(&data);
    let (served, revision) = etcd.keys();
    assert_eq!(revision, history.revision);
    assert_eq!(served.len(), history.live.len());
    for (key, kv) in &history.live {
        assert_eq!(served.get(key), Some(kv));
    }
    for lease in LEASES {
        let text = etcd.ok(&["lease", "timetolive", &format!("{:x}", lease.id), "--keys"]);
        assert!(text.contains(&format!("granted with TTL({}s", lease.ttl_s)), "{text}");
        let attached = history.live.values().filter(|kv| kv.lease == lease.id).count();
        assert_eq!(text.matches("/k/").count(), attached, "{text}");
    }
    let too_old = etcd.run(&["get", "/empty", "--rev", &(compact - 1).max(1).to_string()]);
    assert_eq!(too_old.status.success(), compact <= 1, "{too_old:?}");
    if let Some((revision, _)) = changes.iter().find(|(revision, _)| revision.main > compact) {
        etcd.ok(&["get", "/empty", "--rev", &revision.main.to_string()]);
    }
    // bbolt takes the pages as its own: keys are removed, and pages merged and written anew.
    etcd.ok(&["put", "/new", "1"]);
    etcd.ok(&["del", "/k/", "--prefix"]);
    etcd.ok(&["put", "/k/1", "back"]);
    etcd.ok(&["compaction", &(history.revision + 3).to_string(), "--physical"]);
    etcd.ok(&["defrag"]);
    assert_eq!(etcd.keys().0.len(), 4 + 2);
}

#[test]
fn etcd_starts_from_a_file_with_all_history() {
    check_written(40, |_| 0);
}

#[test]
fn etcd_starts_from_a_compacted_file_with_branches() {
    check_written(6_000, |history| history.revision - 700);
}

#[test]
fn etcd_starts_from_a_file_compacted_to_its_end() {
    check_written(500, |history| history.revision);
}

/// Puts and deletions of a script in few calls.
fn txn(etcd: &Etcd, lines: &[String]) {
    let mut child = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", &etcd.endpoint, "txn"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let script = format!("\n{}\n\n\n", lines.join("\n"));
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn what_etcd_saved_is_read_exactly() {
    if !tools() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let etcd = Etcd::start(&dir.path().join("data"));
    let grant = |ttl: &str| {
        let text = etcd.ok(&["lease", "grant", ttl]);
        text.split_whitespace().nth(1).expect("an id").to_owned()
    };
    let lease = grant("7000");
    for block in 0..60 {
        let puts: Vec<_> = (0..100).map(|i| format!("put /k/{:05} value-{i}", block * 100 + i)).collect();
        txn(&etcd, &puts);
    }
    for len in [3_000, 5_000, 70_000] {
        etcd.ok(&["put", &format!("/large/{len}"), &"x".repeat(len)]);
    }
    etcd.ok(&["put", "/leased", "1", "--lease", &lease]);
    etcd.ok(&["del", "/k/01000", "/k/01500"]);
    let compact = etcd.keys().1 - 1;
    etcd.ok(&["compaction", &compact.to_string(), "--physical"]);
    etcd.ok(&["put", "/k/01001", "back"]);
    etcd.ok(&["put", "/k/00005", "again"]);
    etcd.ok(&["del", "/k/00006"]);
    let (expected, revision) = etcd.keys();
    let path = dir.path().join("saved.db");
    etcd.ok(&["snapshot", "save", path.to_str().unwrap()]);

    let snapshot = Snapshot::open(File::open(&path).unwrap()).unwrap();
    assert!(snapshot.db().is_verified());
    // etcd does not write its freelist: the check takes what nothing uses as free.
    let usage = snapshot.db().check().unwrap();
    assert!(usage.pages_used > 100 && usage.pages_free > 0, "{usage:?}");
    assert_eq!((snapshot.revision, snapshot.compact_revision), (revision, compact));
    assert_eq!(snapshot.leases.len(), 1);
    assert_eq!(Ok(snapshot.leases[0].id), i64::from_str_radix(&lease, 16));
    assert_eq!(snapshot.leases[0].ttl_s, 7_000);
    let mut live = snapshot.live(|_| true).unwrap();
    assert_eq!(live.count(), expected.len());
    let mut read = BTreeMap::new();
    while let Some(kv) = live.next().unwrap() {
        assert!(read.insert(kv.key.clone(), kv).is_none());
    }
    assert!(read == expected);
    let mut some = snapshot.live(|key| key.starts_with(b"/large/")).unwrap();
    assert_eq!((some.count(), some.next().unwrap().unwrap().key), (3, Bytes::from("/large/3000")));
    let (mut changes, mut deleted) = (snapshot.changes().unwrap(), Vec::new());
    while let Some((revision, change)) = changes.next().unwrap() {
        if let Change::Delete(key) = change {
            deleted.push((revision.main, key));
        }
    }
    assert_eq!(deleted.last(), Some(&(revision, Bytes::from("/k/00006"))));

    // The database of a member that is stopped: no digest, and it may be larger than its pages.
    drop(etcd);
    let own = Snapshot::open(File::open(dir.path().join("data/member/snap/db")).unwrap()).unwrap();
    assert!(!own.db().is_verified());
    let mut live = own.live(|_| true).unwrap();
    let mut count = 0;
    while live.next().unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, expected.len());
}
