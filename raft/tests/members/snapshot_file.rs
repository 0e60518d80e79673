//! `etcdctl snapshot save` from a member that is being written to, and a real etcd that starts
//! from what it saved.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use trireme_raft::{Limits, Remote, RemoteConfig};
use trireme_store::{
    DeleteRequest, Kv, LeaseId, Op, PutRequest, RangeRequest, RangeResponse, Revision, TxnRequest,
};
use trireme_store::{KeyRange, KeyValue};

use crate::cluster::{Cluster, WAIT, free_listener, put, put_surely};

/// Debian's tools, with the cluster's certificates.
struct Tools {
    dir: PathBuf,
}

impl Tools {
    fn new(cluster: &Cluster) -> Option<Self> {
        for tool in ["etcd", "etcdctl"] {
            let found = Command::new(tool).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status();
            if found.is_err() {
                // Past the capture of what tests that pass print.
                let name = std::thread::current().name().unwrap_or("?").to_owned();
                let skipped = format_args!("skipped: {name}: {tool} is not installed\n");
                let _ = std::io::Write::write_fmt(&mut std::io::stderr(), skipped);
                return None;
            }
        }
        let both = cluster.ca.issue("both");
        for (name, pem) in [("ca", &both.ca_pem), ("cert", &both.cert_pem), ("key", &both.key_pem)] {
            std::fs::write(cluster.dir.join(name), pem).unwrap();
        }
        Some(Self { dir: cluster.dir.clone() })
    }

    fn file(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().to_owned()
    }

    fn etcdctl(&self, arguments: &[&str]) -> Output {
        Command::new("etcdctl").env("ETCDCTL_API", "3").args(arguments).output().unwrap()
    }

    /// A call to a server.
    fn client(&self, endpoint: &str, arguments: &[&str]) -> Output {
        let (ca, cert, key) = (self.file("ca"), self.file("cert"), self.file("key"));
        let tls = ["--cacert", &ca, "--cert", &cert, "--key", &key];
        self.etcdctl(&[&["--endpoints", endpoint][..], &tls, arguments].concat())
    }

    fn save(&self, endpoint: &str, path: &str) -> Output {
        self.client(endpoint, &["snapshot", "save", path])
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.etcdctl(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Restores a file into a new etcd and starts it; its endpoint.
    fn restore(&self, file: &str) -> (Etcd, String) {
        let data = self.file("restored");
        let address = || free_listener().local_addr().unwrap();
        let (client, peer) = (address().to_string(), format!("http://{}", address()));
        let initial = format!("one={peer}");
        let restore = ["snapshot", "restore", file, "--data-dir", &data, "--name", "one"];
        let members = ["--initial-cluster", &initial, "--initial-advertise-peer-urls", &peer];
        self.ok(&[&restore[..], &members].concat());
        let url = format!("https://{client}");
        let child = Command::new("etcd")
            .args(["--data-dir", &data, "--name", "one", "--unsafe-no-fsync", "--client-cert-auth"])
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &initial, "--trusted-ca-file", &self.file("ca")])
            .args(["--cert-file", &self.file("cert"), "--key-file", &self.file("key")])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.file("etcd.log")).unwrap())
            .spawn()
            .unwrap();
        (Etcd(child), client)
    }
}

/// A process; killed when dropped.
struct Etcd(Child);

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

async fn blocking<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(run).await.unwrap()
}

async fn all_at(kv: &dyn Kv, revision: Revision) -> Vec<KeyValue> {
    let request = RangeRequest { revision, ..RangeRequest::new(KeyRange::prefix(Bytes::new())) };
    let RangeResponse { kvs, .. } = kv.range(request).await.unwrap();
    kvs
}

fn number(json: &str, field: &str) -> i64 {
    let (_, rest) = json.split_once(&format!("\"{field}\":")).unwrap_or_else(|| panic!("{field} in {json}"));
    rest.chars().take_while(|c| c.is_ascii_digit()).collect::<String>().parse().unwrap()
}

/// History of every sort; the revision that it is compacted to.
async fn fill(kv: &dyn Kv) -> Revision {
    for block in 0..30 {
        let key = |i: usize| format!("old/{:05}", block * 100 + i);
        let puts = (0..100).map(|i| Op::Put(PutRequest::new(key(i), format!("value {i}"))));
        kv.txn(TxnRequest { success: puts.collect(), ..TxnRequest::default() }).await.unwrap();
    }
    for (id, ttl) in [(7, 5_000), (-9, 9_000)] {
        kv.lease_grant(LeaseId(id), ttl).await.unwrap();
        let leased = PutRequest { lease: LeaseId(id), ..PutRequest::new(format!("leased/{id}"), "v") };
        kv.txn(TxnRequest { success: vec![Op::Put(leased)], ..TxnRequest::default() }).await.unwrap();
    }
    for bytes in [4_000, 100_000, 1_000_000] {
        kv.txn(put(format!("large/{bytes}"), vec![b'x'; bytes])).await.unwrap();
    }
    let delete = |from: &str, to: &str| {
        let range = KeyRange { start: from.to_owned().into(), end: to.to_owned().into() };
        Op::Delete(DeleteRequest { range, prev_kv: false })
    };
    let mixed = vec![delete("old/00100", "old/00200"), Op::Put(PutRequest::new("zero\0byte", ""))];
    let compact = kv.txn(TxnRequest { success: mixed, ..TxnRequest::default() }).await.unwrap().revision;
    put_surely(kv, "old/00150", "again").await;
    put_surely(kv, "old/00001", "changed").await;
    let gone = vec![delete("old/00300", "old/00310")];
    kv.txn(TxnRequest { success: gone, ..TxnRequest::default() }).await.unwrap();
    kv.compact(compact, true).await.unwrap();
    compact
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_real_etcd_starts_from_what_was_saved_under_writes() {
    let cluster = Cluster::start(3, Limits::default()).await;
    let leader = cluster.leader().await;
    let Some(tools) = Tools::new(&cluster).map(Arc::new) else { return };
    let remote = cluster.remote();
    let compact = fill(&remote).await;

    let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writer = tokio::spawn({
        let (stop, written, remote) = (stop.clone(), written.clone(), remote.clone());
        async move {
            while !stop.load(Ordering::Relaxed) {
                let n = written.fetch_add(1, Ordering::Relaxed);
                put_surely(&remote, &format!("busy/{}", n % 50), &n.to_string()).await;
            }
        }
    });
    let busy = async |more: u64| {
        let (from, deadline) = (written.load(Ordering::Relaxed), Instant::now() + WAIT);
        while written.load(Ordering::Relaxed) < from + more {
            assert!(Instant::now() < deadline, "writes stand still");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    busy(20).await;
    // Every member gives one, whoever leads.
    let follower = cluster.members[(leader + 1) % 3].client_address.clone();
    let (file, second) = (tools.file("saved.db"), tools.file("second.db"));
    for (endpoint, path) in
        [(follower, file.clone()), (cluster.members[leader].client_address.clone(), second)]
    {
        let saved = blocking({
            let tools = tools.clone();
            move || tools.save(&endpoint, &path)
        });
        let saved = saved.await;
        assert!(saved.status.success(), "{}", text(&saved));
        busy(20).await;
    }
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();

    let status = tools.ok(&["snapshot", "status", &file, "-w", "json"]);
    let revision = Revision(number(&status, "revision"));
    assert!(revision > compact && revision < remote.barrier().await.unwrap(), "{status}");
    let (etcd, endpoint) = blocking({
        let (tools, file) = (tools.clone(), file.clone());
        move || tools.restore(&file)
    })
    .await;
    let restored =
        Remote::connect(RemoteConfig { endpoints: vec![endpoint.clone()], tls: cluster.tls.client() })
            .unwrap();
    let deadline = Instant::now() + WAIT;
    while restored.range(RangeRequest::new(KeyRange::key("probe"))).await.is_err() {
        let log = std::fs::read_to_string(tools.file("etcd.log")).unwrap_or_default();
        assert!(Instant::now() < deadline, "etcd does not serve: {log}");
    }

    assert_eq!(restored.range(RangeRequest::new(KeyRange::key("probe"))).await.unwrap().revision, revision);
    // Now, and every kind of change since the compaction.
    for at in (compact.0..compact.0 + 5).chain([revision.0 - 1, revision.0]).map(Revision) {
        let (ours, theirs) = (all_at(&remote, at).await, all_at(&restored, at).await);
        assert!(ours.len() > 2_800 && ours == theirs, "at {at}: {} and {} keys", ours.len(), theirs.len());
    }
    let too_old = tools.client(&endpoint, &["get", "old/00001", "--rev", &(compact.0 - 1).to_string()]);
    assert!(text(&too_old).contains("has been compacted"), "{}", text(&too_old));
    for (id, ttl) in [(7, 5_000), (-9, 9_000)] {
        let lease = restored.lease_time_to_live(LeaseId(id), true).await.unwrap();
        assert_eq!((lease.granted_ttl_s, lease.keys), (ttl, vec![Bytes::from(format!("leased/{id}"))]));
    }
    drop(etcd);
    for member in &cluster.members {
        assert_eq!(left_behind(&member.config.data_dir), Vec::<String>::new());
    }
    cluster.stop().await;
}

/// What lies in a member's directory for snapshots that come and go.
fn left_behind(data_dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(data_dir.join("snapshots")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_snapshot_is_taken_at_a_time_and_a_crash_leaves_none() {
    let mut cluster = Cluster::start(1, Limits::default()).await;
    cluster.leader().await;
    let Some(tools) = Tools::new(&cluster).map(Arc::new) else { return };
    put_surely(cluster.replica(0), "a", "1").await;
    let endpoint = cluster.members[0].client_address.clone();
    let save = async |path: &str| {
        let (tools, endpoint, path) = (tools.clone(), endpoint.clone(), tools.file(path));
        blocking(move || tools.save(&endpoint, &path)).await
    };
    // As it is while one is taken, and as a crash leaves it.
    let data_dir = cluster.members[0].config.data_dir.clone();
    let file = data_dir.join("snapshots/etcd-file");
    std::fs::create_dir(&file).unwrap();
    std::fs::write(file.join("db"), vec![0; 10_000]).unwrap();
    let refused = save("refused.db").await;
    assert!(!refused.status.success(), "{}", text(&refused));
    assert!(text(&refused).contains("a snapshot is being taken from this member"), "{}", text(&refused));
    cluster.stop_member(0, false).await;
    cluster.start_member(0).await;
    cluster.leader().await;
    assert_eq!(left_behind(&data_dir), Vec::<String>::new());
    let saved = save("saved.db").await;
    assert!(saved.status.success(), "{}", text(&saved));
    let status = tools.ok(&["snapshot", "status", &tools.file("saved.db"), "-w", "json"]);
    assert_eq!(number(&status, "revision"), 2, "{status}");
    assert_eq!(left_behind(&data_dir), Vec::<String>::new());
    cluster.stop().await;
}
