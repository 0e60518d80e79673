//! What a scrape of real members says, under the names that etcd's dashboards and alerts ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use trireme_raft::{Certificates, Limits};
use trireme_store::{DeleteRequest, KeyRange, Kv, LeaseId, Op, RangeRequest, TxnRequest, WatchRequest};

use crate::cluster::{Cluster, put_surely, wait_for};

/// What the queries of etcd's dashboard and alerts name, with the type that they need.
const ASKED_FOR: [(&str, &str); 23] = [
    ("etcd_server_has_leader", "gauge"),
    ("etcd_server_leader_changes_seen_total", "counter"),
    ("etcd_server_proposals_failed_total", "counter"),
    ("etcd_server_proposals_pending", "gauge"),
    ("etcd_server_proposals_committed_total", "gauge"),
    ("etcd_server_proposals_applied_total", "gauge"),
    ("etcd_server_quota_backend_bytes", "gauge"),
    ("etcd_disk_wal_fsync_duration_seconds", "histogram"),
    ("etcd_disk_backend_commit_duration_seconds", "histogram"),
    ("etcd_mvcc_db_total_size_in_bytes", "gauge"),
    ("etcd_mvcc_db_total_size_in_use_in_bytes", "gauge"),
    ("etcd_network_peer_round_trip_time_seconds", "histogram"),
    ("etcd_network_peer_sent_failures_total", "counter"),
    ("etcd_network_peer_sent_bytes_total", "counter"),
    ("etcd_network_peer_received_bytes_total", "counter"),
    ("etcd_network_client_grpc_sent_bytes_total", "counter"),
    ("etcd_network_client_grpc_received_bytes_total", "counter"),
    ("grpc_server_started_total", "counter"),
    ("grpc_server_handled_total", "counter"),
    ("grpc_server_handling_seconds", "histogram"),
    ("process_resident_memory_bytes", "gauge"),
    ("process_cpu_seconds_total", "counter"),
    ("process_start_time_seconds", "gauge"),
];

/// Further ones that etcd has and this document promises.
const PROMISED: [&str; 24] = [
    "etcd_server_is_leader",
    "etcd_server_is_learner",
    "etcd_server_read_indexes_failed_total",
    "etcd_server_slow_read_indexes_total",
    "etcd_server_slow_apply_total",
    "etcd_server_heartbeat_send_failures_total",
    "etcd_server_snapshot_apply_in_progress_total",
    "etcd_server_version",
    "etcd_cluster_version",
    "etcd_server_id",
    "etcd_server_health_success",
    "etcd_server_health_failures",
    "etcd_disk_wal_write_duration_seconds",
    "etcd_disk_backend_snapshot_duration_seconds",
    "etcd_mvcc_put_total",
    "etcd_mvcc_delete_total",
    "etcd_mvcc_txn_total",
    "etcd_mvcc_range_total",
    "etcd_debugging_mvcc_keys_total",
    "etcd_debugging_mvcc_watcher_total",
    "etcd_debugging_mvcc_events_total",
    "etcd_debugging_lease_granted_total",
    "grpc_server_msg_received_total",
    "grpc_server_msg_sent_total",
];

type Labels = BTreeMap<String, String>;

/// A scrape, taken apart by the rules of the format.
struct Scrape {
    types: BTreeMap<String, String>,
    samples: BTreeMap<(String, Labels), f64>,
}

impl Scrape {
    fn parse(text: &str) -> Self {
        let mut scrape = Self { types: BTreeMap::new(), samples: BTreeMap::new() };
        let mut closed: BTreeSet<String> = BTreeSet::new();
        let mut open = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a name and a type");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(closed.insert(name.to_owned()), "{name} comes twice");
                assert!(scrape.types.insert(name.to_owned(), kind.to_owned()).is_none());
                open = name.to_owned();
                continue;
            }
            if line.starts_with("# HELP ") {
                continue;
            }
            assert!(!line.starts_with('#') && !line.is_empty(), "{line:?}");
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = match series.split_once('{') {
                Some((name, rest)) => (name, labels(rest.strip_suffix('}').expect("a brace"))),
                None => (series, Labels::new()),
            };
            let of_family = match &scrape.types[&open][..] {
                "histogram" => {
                    let ending = name.strip_prefix(&open).expect("of the open family");
                    ["_bucket", "_sum", "_count"].contains(&ending)
                }
                _ => name == open,
            };
            assert!(of_family, "{name} is within the family {open}");
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(value >= 0.0 && value.is_finite(), "{line}");
            let twice = scrape.samples.insert((name.to_owned(), labels), value);
            assert!(twice.is_none(), "{line} comes twice");
        }
        scrape.check_histograms();
        scrape
    }

    /// Buckets only rise, and the last is the count.
    fn check_histograms(&self) {
        for (family, _) in self.types.iter().filter(|(_, kind)| *kind == "histogram") {
            let mut series: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
            for ((name, labels), value) in &self.samples {
                if name.strip_suffix("_bucket") == Some(family) {
                    let mut labels = labels.clone();
                    let le = labels.remove("le").expect("a bound");
                    let bound = if le == "+Inf" { f64::INFINITY } else { le.parse().expect("a bound") };
                    series.entry(labels).or_default().push((bound, *value));
                }
            }
            for (labels, mut buckets) in series {
                buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
                assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{family} {buckets:?}");
                let last = buckets.last().expect("a bucket");
                assert!(last.0.is_infinite(), "{family} has no last bucket");
                let count = self.samples[&(format!("{family}_count"), labels.clone())];
                assert!((last.1 - count).abs() < 0.5, "{family}: {} of {count}", last.1);
                assert!(self.samples.contains_key(&(format!("{family}_sum"), labels)), "{family}");
            }
        }
    }

    /// The sum over all samples of `name` that have these labels.
    fn sum(&self, name: &str, with: &[(&str, &str)]) -> f64 {
        let has = |labels: &Labels| with.iter().all(|(k, v)| labels.get(*k).is_some_and(|found| found == v));
        self.samples.iter().filter(|((found, labels), _)| found == name && has(labels)).map(|(_, n)| n).sum()
    }

    fn one(&self, name: &str) -> f64 {
        *self.samples.get(&(name.to_owned(), Labels::new())).unwrap_or_else(|| panic!("there is no {name}"))
    }
}

fn labels(text: &str) -> Labels {
    let mut labels = Labels::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").expect("a label");
        let end = after.find('"').expect("its end");
        assert!(labels.insert(name.to_owned(), after[..end].to_owned()).is_none(), "{text}");
        rest = after[end + 1..].strip_prefix(',').unwrap_or(&after[end + 1..]);
    }
    labels
}

/// Asks as a monitor would; the status and the body.
fn ask(address: &str, path: &str, files: &Path, more: &[&str]) -> (u16, String) {
    let file = |name: &str| files.join(name).display().to_string();
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "20", "-w", "\n%{http_code}"])
        .args(["--cacert", &file("ca.pem"), "--cert", &file("cert.pem"), "--key", &file("key.pem")])
        .args(more)
        .arg(format!("https://{address}{path}"))
        .output()
        .expect("run curl");
    assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let (body, code) = text.rsplit_once('\n').expect("a code");
    (code.parse().expect("a code"), body.to_owned())
}

fn write_files(dir: &Path, certificates: &Certificates) {
    for (name, pem) in [
        ("ca.pem", &certificates.ca_pem),
        ("cert.pem", &certificates.cert_pem),
        ("key.pem", &certificates.key_pem),
    ] {
        std::fs::write(dir.join(name), pem).unwrap();
    }
}

fn scrape(cluster: &Cluster, i: usize, files: &Path) -> Scrape {
    let (code, body) = ask(&cluster.members[i].client_address, "/metrics", files, &["--http1.1"]);
    assert_eq!(code, 200, "{body}");
    Scrape::parse(&body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scrape_answers_what_etcds_dashboard_and_alerts_ask() {
    let mut cluster = Cluster::prepare(3, Limits::default());
    for i in 0..3 {
        cluster.members[i].config.timing.disk_check = std::time::Duration::from_millis(200);
        cluster.start_member(i).await;
    }
    let leader = cluster.leader().await;
    let files = tempfile::tempdir().unwrap();
    // One that may read nothing is enough.
    let uris = vec!["trireme:store?prefix=/nothing/&access=read".to_owned()];
    write_files(files.path(), &cluster.ca.issue_limited("monitor", uris));
    let before = scrape(&cluster, leader, files.path());
    let remote = cluster.remote();
    let mut watch =
        remote.watch(WatchRequest::new(KeyRange::prefix("k"), trireme_store::Revision(0))).await.unwrap();
    for i in 0..50 {
        put_surely(&remote, &format!("k{i}"), "0123456789").await;
    }
    let delete = Op::Delete(DeleteRequest { range: KeyRange::key("k3"), prev_kv: false });
    remote.txn(TxnRequest { success: vec![delete], ..TxnRequest::default() }).await.unwrap();
    remote.lease_grant(LeaseId(0), 60).await.unwrap();
    for i in 0..10 {
        remote.range(RangeRequest::new(KeyRange::key(format!("k{i}")))).await.unwrap();
    }
    let mut seen = 0;
    while seen < 51 {
        let item = futures::StreamExt::next(&mut watch).await.unwrap().unwrap();
        if let trireme_store::WatchItem::Events { events, .. } = item {
            seen += events.len();
        }
    }
    cluster.assert_same_state().await;
    let (bytes, keys) = ("trireme_store_disk_check_last_bytes", "etcd_debugging_mvcc_keys_total");
    let deadline = std::time::Instant::now() + crate::cluster::WAIT;
    while scrape(&cluster, leader, files.path()).one(keys) < 49.0 {
        assert!(std::time::Instant::now() < deadline, "no check of the disk has counted the keys");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }

    let all: Vec<_> = (0..3).map(|i| scrape(&cluster, i, files.path())).collect();
    for found in &all {
        for (name, kind) in ASKED_FOR {
            assert_eq!(found.types.get(name).map(String::as_str), Some(kind), "{name}");
            assert!(
                found.samples.keys().any(|(sample, _)| sample.starts_with(name)) || name.contains("peer")
                    // Nobody may have called this one.
                    || name == "grpc_server_handling_seconds",
                "{name}"
            );
        }
        for name in PROMISED {
            assert!(found.types.contains_key(name), "there is no {name}");
        }
        assert!((found.one("etcd_server_has_leader") - 1.0).abs() < 0.1);
        assert!(found.one("etcd_server_leader_changes_seen_total") >= 1.0);
        assert!(
            found.one("etcd_server_proposals_committed_total")
                >= found.one("etcd_server_proposals_applied_total")
        );
        assert!(found.one("etcd_server_proposals_applied_total") >= 52.0);
        // Applied by every member, wherever it was asked for.
        assert!(found.one("etcd_mvcc_put_total") >= 50.0 && found.one("etcd_mvcc_delete_total") >= 1.0);
        assert!(found.one("etcd_debugging_lease_granted_total") >= 1.0);
        assert!(found.one("etcd_disk_wal_fsync_duration_seconds_count") >= 1.0);
        assert!(found.one("etcd_disk_backend_commit_duration_seconds_count") >= 1.0);
        assert!(found.one("etcd_server_quota_backend_bytes") > found.one("etcd_mvcc_db_total_size_in_bytes"));
        assert!(found.one("process_resident_memory_bytes") > 1e6);
        assert!(found.one("process_start_time_seconds") > 1.7e9);
        assert!(found.sum("etcd_network_peer_received_bytes_total", &[]) > 1000.0);
        assert!(found.sum("trireme_store_log_bytes", &[]) > 0.0);
        assert!(found.sum("trireme_store_disk_checks_total", &[("result", "damaged")]) < 0.5);
    }
    let led = &all[leader];
    assert!((led.one("etcd_server_is_leader") - 1.0).abs() < 0.1);
    assert!(all.iter().map(|found| found.one("etcd_server_is_leader")).sum::<f64>() < 1.1);
    let committed = "etcd_server_proposals_committed_total";
    assert!(led.one(committed) - before.one(committed) >= 52.0, "{}", led.one(committed));
    for (i, member) in cluster.members.iter().enumerate().filter(|(i, _)| *i != leader) {
        let id = format!("{:x}", cluster.replica(i).member().0);
        let name = &member.config.name;
        let rtt = led.sum("etcd_network_peer_round_trip_time_seconds_count", &[("To", &id)]);
        assert!(rtt >= 5.0, "{name}: {rtt} round trips");
        assert!(led.sum("etcd_network_peer_sent_bytes_total", &[("To", &id)]) > 1000.0, "{name}");
    }
    assert!(led.sum(bytes, &[("part", "state")]) > 0.0 && led.sum(bytes, &[("part", "log")]) > 50.0 * 10.0);
    assert!(led.one("trireme_store_disk_check_last_end_timestamp_seconds") > 1.7e9);

    // The remote client has gone to one or several members with all this.
    let total =
        |name: &str, with: &[(&str, &str)]| all.iter().map(|found| found.sum(name, with)).sum::<f64>();
    let ok = |service, method| {
        let with = [("grpc_service", service), ("grpc_method", method), ("grpc_code", "OK")];
        total("grpc_server_handled_total", &with)
    };
    assert!(ok("trireme.v1.Store", "Propose") >= 1.0);
    assert!(ok("etcdserverpb.KV", "Range") >= 10.0);
    assert!(total("grpc_server_msg_sent_total", &[("grpc_service", "etcdserverpb.Watch")]) >= 1.0);
    let streams = [("grpc_service", "etcdserverpb.Watch"), ("grpc_type", "bidi_stream")];
    assert!(total("grpc_server_started_total", &streams) > total("grpc_server_handled_total", &streams));
    assert!(total("etcd_debugging_mvcc_watcher_total", &[]) >= 1.0);
    assert!(total("etcd_debugging_mvcc_events_total", &[]) >= 51.0);
    assert!(total("etcd_network_client_grpc_received_bytes_total", &[]) >= 500.0);
    assert!(total("etcd_network_client_grpc_sent_bytes_total", &[]) >= 500.0);
    assert!(total("grpc_server_handling_seconds_count", &[("grpc_method", "Range")]) >= 10.0);

    // Where the leader goes, the others see a change; where two go, the third sees no leader.
    let left = (leader + 1) % 3;
    let changes = "etcd_server_leader_changes_seen_total";
    let seen = all[left].one(changes);
    cluster.stop_member(leader, false).await;
    cluster.leader().await;
    wait_for("the change to be counted", || {
        (scrape(&cluster, left, files.path()).one(changes) > seen).then_some(())
    })
    .await;
    cluster.stop_member((leader + 2) % 3, false).await;
    wait_for("the loss to be told", || {
        (scrape(&cluster, left, files.path()).one("etcd_server_has_leader") < 0.5).then_some(())
    })
    .await;
    drop((watch, remote));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_answer_as_etcds_do() {
    let mut cluster = Cluster::start(3, Limits::default()).await;
    let leader = cluster.leader().await;
    wait_for("the leader to have caught up", || cluster.replica(leader).status().caught_up.then_some(()))
        .await;
    let files = tempfile::tempdir().unwrap();
    write_files(files.path(), &cluster.ca.issue_client("monitor"));
    let address = cluster.members[leader].client_address.clone();
    let get = |path: &str| ask(&address, path, files.path(), &[]);
    assert_eq!(get("/health"), (200, r#"{"health":"true","reason":""}"#.to_owned()));
    assert_eq!(get("/livez"), (200, "ok\n".to_owned()));
    assert_eq!(get("/readyz"), (200, "ok\n".to_owned()));
    assert_eq!(get("/readyz/linearizable_read?verbose"), (200, "[+]linearizable_read ok\nok\n".to_owned()));
    assert!(get("/version").1.contains("\"etcdserver\":\"3."));
    assert_eq!(ask(&address, "/health", files.path(), &["-X", "PUT"]).0, 405);
    // The older protocol, which probes speak, and the newer.
    for version in ["--http1.1", "--http2"] {
        assert_eq!(ask(&address, "/livez", files.path(), &[version]).0, 200, "{version}");
    }
    for i in (0..3).filter(|i| *i != leader) {
        cluster.stop_member(i, false).await;
    }
    wait_for("the loss to be told", || (get("/health").0 == 503).then_some(())).await;
    assert_eq!(get("/health"), (503, r#"{"health":"false","reason":"RAFT NO LEADER"}"#.to_owned()));
    let (code, body) = get("/readyz");
    assert_eq!(code, 503);
    assert!(
        body.contains("[-]linearizable_read failed: RAFT NO LEADER\n")
            && body.contains("[+]serializable_read ok\n"),
        "{body}"
    );
    // It lives, and says so: a restart would mend nothing.
    assert_eq!(get("/livez").0, 200);
    assert_eq!(get("/health?serializable=true").0, 200);
    assert_eq!(get("/readyz?exclude=linearizable_read").0, 200);
    let checks = scrape(&cluster, leader, files.path());
    let errors = [("type", "readyz"), ("name", "linearizable_read"), ("status", "error")];
    assert!(checks.sum("etcd_server_healthchecks_total", &errors) >= 1.0);
    assert!(checks.one("etcd_server_health_failures") >= 1.0);
    cluster.stop().await;
}
