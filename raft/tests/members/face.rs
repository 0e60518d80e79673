//! The etcd face of real members, used by the remote client and by Debian's `etcdctl`.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::cluster::{Cluster, WAIT, put_surely, wait_for};
use futures::StreamExt;
use trireme_raft::etcd;
use trireme_raft::{Limits, Remote, RemoteConfig, Replica};
use trireme_store::log::Outcome;
use trireme_store::{
    Compare, Error, KeyRange, Kv, KvHash, LeaseGrant, LeaseId, LeaseTimeToLive, Op, PutRequest, RangePage,
    RangeRequest, RangeResponse, Revision, Status, TxnRequest, TxnResponse, WatchItem, WatchRequest,
    WatchStream,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remote_client_survives_the_loss_of_members() {
    let mut cluster = Cluster::start(3, Limits::default()).await;
    let leader = cluster.leader().await;
    let remote = cluster.remote();
    let first = put_surely(&remote, "a", "1").await;
    let request = WatchRequest { progress_notify: true, ..WatchRequest::new(KeyRange::prefix("a"), first) };
    let mut watch = remote.watch(request).await.unwrap();

    let writer = cluster.remote();
    let writes = tokio::spawn(async move {
        for i in 0..100 {
            put_surely(&writer, "a", &i.to_string()).await;
        }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    cluster.stop_member(leader, false).await;
    writes.await.unwrap();

    let mut seen: Vec<Revision> = Vec::new();
    while seen.len() < 101 {
        let item = tokio::time::timeout(WAIT, watch.next()).await.expect("events").unwrap().unwrap();
        if let WatchItem::Events { events, .. } = item {
            seen.extend(events.into_iter().map(|event| event.kv.mod_revision));
        }
    }
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
    let read = remote.range(RangeRequest::new(KeyRange::key("a"))).await.unwrap();
    assert_eq!(&read.kvs[0].value[..], b"99");
    assert!(remote.barrier().await.unwrap() >= *seen.last().unwrap());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compare_and_swap_wins_once_from_anywhere() {
    let cluster = Cluster::start(3, Limits::default()).await;
    cluster.leader().await;
    let remote = cluster.remote();
    let created = put_surely(cluster.replica(0), "lock", "free").await;
    let swap = |value: &str| TxnRequest {
        compare: vec![Compare::mod_revision("lock", created)],
        success: vec![Op::Put(PutRequest::new("lock", value.to_owned()))],
        failure: vec![Op::Range(RangeRequest::new(KeyRange::key("lock")))],
        ..TxnRequest::default()
    };
    let results = futures::future::join_all((0..8).map(|i| {
        let kv: Box<dyn Kv> =
            if i % 2 == 0 { Box::new(remote.clone()) } else { Box::new(cluster.replica(i % 3).clone()) };
        let swap = swap(&i.to_string());
        async move { kv.txn(swap).await.unwrap().succeeded }
    }))
    .await;
    assert_eq!(results.iter().filter(|won| **won).count(), 1, "{results:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_end_live_on_and_outlast_a_leader() {
    let mut cluster = Cluster::start(3, Limits::default()).await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    let kv = cluster.replica(follower).clone();
    let short = kv.lease_grant(LeaseId(0), 1).await.unwrap().id;
    let kept = kv.lease_grant(LeaseId(0), 2).await.unwrap().id;
    for (key, lease) in [("short", short), ("kept", kept)] {
        let mut put = PutRequest::new(key, "v");
        put.lease = lease;
        kv.txn(TxnRequest { success: vec![Op::Put(put)], ..TxnRequest::default() }).await.unwrap();
    }
    assert_eq!(kv.lease_time_to_live(kept, true).await.unwrap().keys, vec!["kept"]);
    let exists = |key: &'static str| {
        let kv = kv.clone();
        async move { kv.range(RangeRequest::new(KeyRange::key(key))).await.unwrap().count == 1 }
    };
    let deadline = std::time::Instant::now() + WAIT;
    while exists("short").await {
        assert!(kv.lease_keep_alive(kept).await.unwrap() > 0);
        assert!(std::time::Instant::now() < deadline, "the lease never ended");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(exists("kept").await);
    assert_eq!(kv.lease_keep_alive(short).await, Err(Error::LeaseNotFound));
    assert_eq!(kv.lease_time_to_live(short, false).await.unwrap().ttl_s, -1);
    assert_eq!(kv.leases().await.unwrap(), vec![kept]);

    // A new leader knows it, and gives it its whole time.
    cluster.stop_member(leader, false).await;
    cluster.leader().await;
    assert_eq!(kv.lease_keep_alive(kept).await.unwrap(), 2);
    assert!(exists("kept").await);
    kv.lease_revoke(kept).await.unwrap();
    assert!(!exists("kept").await);
    drop(kv);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_without_our_certificate_gets_nowhere() {
    let cluster = Cluster::start(1, Limits::default()).await;
    cluster.leader().await;
    let stranger = trireme_raft::Tls::new(&crate::cluster::Ca::new().issue("stranger")).unwrap();
    let endpoints = vec![cluster.members[0].client_address.clone()];
    let remote =
        trireme_raft::Remote::connect(trireme_raft::RemoteConfig { endpoints, tls: stranger.client() })
            .unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(2), remote.barrier()).await;
    assert!(!matches!(answer, Ok(Ok(_))), "{answer:?}");
    cluster.stop().await;
}

/// A member at which a write is committed just before each watch is known to its store.
struct CommitsBeforeWatch(Replica);

#[async_trait::async_trait]
impl Kv for CommitsBeforeWatch {
    async fn watch(&self, request: WatchRequest) -> Result<WatchStream, Error> {
        put_surely(&self.0, "between", "v").await;
        self.0.watch(request).await
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        self.0.range(request).await
    }

    async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Error> {
        self.0.txn(request).await
    }

    async fn compact(&self, revision: Revision, physical: bool) -> Result<Revision, Error> {
        self.0.compact(revision, physical).await
    }

    async fn lease_grant(&self, id: LeaseId, ttl_s: i64) -> Result<LeaseGrant, Error> {
        self.0.lease_grant(id, ttl_s).await
    }

    async fn lease_revoke(&self, id: LeaseId) -> Result<Revision, Error> {
        self.0.lease_revoke(id).await
    }

    async fn lease_keep_alive(&self, id: LeaseId) -> Result<i64, Error> {
        self.0.lease_keep_alive(id).await
    }

    async fn lease_time_to_live(&self, id: LeaseId, keys: bool) -> Result<LeaseTimeToLive, Error> {
        self.0.lease_time_to_live(id, keys).await
    }

    async fn leases(&self) -> Result<Vec<LeaseId>, Error> {
        self.0.leases().await
    }

    async fn barrier(&self) -> Result<Revision, Error> {
        self.0.barrier().await
    }

    async fn status(&self) -> Result<Status, Error> {
        Kv::status(&self.0).await
    }
}

#[async_trait::async_trait]
impl etcd::Backend for CommitsBeforeWatch {
    async fn propose(&self, commands: Vec<bytes::Bytes>) -> Result<Vec<Outcome>, Error> {
        etcd::Backend::propose(&self.0, commands).await
    }

    fn standing(&self) -> etcd::Standing {
        self.0.standing()
    }

    fn members(&self) -> Vec<etcd::MemberInfo> {
        self.0.members()
    }

    fn has_leader(&self) -> tokio::sync::watch::Receiver<bool> {
        self.0.has_leader()
    }

    async fn change_members(
        &self,
        change: trireme_raft::MemberChange,
    ) -> Result<trireme_raft::MemberId, trireme_raft::MemberError> {
        etcd::Backend::change_members(&self.0, change).await
    }

    async fn range_page(&self, request: RangeRequest, bytes_max: usize) -> Result<RangePage, Error> {
        etcd::Backend::range_page(&self.0, request, bytes_max).await
    }

    async fn hash_kv(&self, revision: Revision) -> Result<KvHash, Error> {
        etcd::Backend::hash_kv(&self.0, revision).await
    }

    fn state_hash(&self) -> u128 {
        self.0.state_hash()
    }

    fn has_room(&self) -> bool {
        self.0.has_room()
    }

    async fn without_room(&self) -> Vec<u64> {
        self.0.without_room().await
    }

    async fn move_leader(&self, target: u64) -> Result<(), Error> {
        self.0.move_leader(target).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_from_now_sees_what_follows_the_revision_it_was_told() {
    let cluster = Cluster::start(1, Limits::default()).await;
    cluster.leader().await;
    put_surely(cluster.replica(0), "before", "v").await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoints = vec![format!("127.0.0.1:{}", listener.local_addr().unwrap().port())];
    let stop = tokio_util::sync::CancellationToken::new();
    let serve = etcd::ServeConfig { listener, tls: cluster.tls.server(), stop: stop.clone() };
    let backend = std::sync::Arc::new(CommitsBeforeWatch(cluster.replica(0).clone()));
    let served = tokio::spawn(etcd::serve(backend, serve));
    let remote = Remote::connect(RemoteConfig { endpoints, tls: cluster.tls.client() }).unwrap();
    let mut watch = remote.watch(WatchRequest::new(KeyRange::prefix("be"), Revision(0))).await.unwrap();
    let seen = tokio::time::timeout(WAIT, async {
        loop {
            if let WatchItem::Events { events, .. } = watch.next().await.unwrap().unwrap() {
                return events.into_iter().map(|event| event.kv.key).collect::<Vec<_>>();
            }
        }
    });
    assert_eq!(seen.await.expect("the event in between"), vec!["between"]);
    drop((watch, remote));
    stop.cancel();
    served.await.unwrap().unwrap();
    cluster.stop().await;
}

/// Debian's client, with the cluster's certificates.
struct Etcdctl {
    dir: std::path::PathBuf,
    endpoints: String,
}

impl Etcdctl {
    fn new(cluster: &Cluster) -> Option<Self> {
        let found =
            Command::new("etcdctl").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if found.is_err() {
            // Past the capture of what tests that pass print.
            let _ = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!(
                    "skipped: {}: etcdctl is not installed (package etcd-client)\n",
                    std::thread::current().name().unwrap_or("?")
                ),
            );
            return None;
        }
        let client = cluster.ca.issue_client("client");
        for (name, pem) in [("ca", &client.ca_pem), ("cert", &client.cert_pem), ("key", &client.key_pem)] {
            std::fs::write(cluster.dir.join(name), pem).unwrap();
        }
        let endpoints: Vec<_> = cluster.members.iter().map(|member| member.client_address.clone()).collect();
        Some(Self { dir: cluster.dir.clone(), endpoints: endpoints.join(",") })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.endpoints]);
        for (flag, file) in [("--cacert", "ca"), ("--cert", "cert"), ("--key", "key")] {
            command.arg(flag).arg(self.dir.join(file));
        }
        command.args(args);
        command
    }

    fn run(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn etcdctl_works() {
    let cluster = Cluster::start(3, Limits::default()).await;
    cluster.leader().await;
    let Some(etcdctl) = Etcdctl::new(&cluster) else { return };
    tokio::task::spawn_blocking(move || etcdctl_script(&etcdctl)).await.unwrap();
    cluster.stop().await;
}

fn etcdctl_script(etcdctl: &Etcdctl) {
    assert_eq!(etcdctl.run(&["put", "foo/1", "one"]), "OK\n");
    assert_eq!(etcdctl.run(&["put", "foo/2", "two"]), "OK\n");
    assert_eq!(etcdctl.run(&["get", "--prefix", "foo/"]), "foo/1\none\nfoo/2\ntwo\n");
    let keys = etcdctl.run(&["get", "--prefix", "foo/", "--keys-only", "--sort-by=KEY", "--order=DESCEND"]);
    assert_eq!(keys.split_whitespace().collect::<Vec<_>>(), ["foo/2", "foo/1"]);
    assert_eq!(etcdctl.run(&["del", "foo/2"]), "1\n");
    assert_eq!(etcdctl.run(&["put", "--prev-kv", "foo/1", "uno"]), "OK\nfoo/1\none\n");

    let mut txn = etcdctl.command(&["txn"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let script = "value(\"foo/1\") = \"uno\"\n\nput foo/3 three\nget foo/1\n\nget foo/2\n\n";
    std::io::Write::write_all(txn.stdin.as_mut().unwrap(), script.as_bytes()).unwrap();
    let output = txn.wait_with_output().unwrap();
    assert_eq!(text(&output), "SUCCESS\n\nOK\n\nfoo/1\nuno\n");

    let granted = etcdctl.run(&["lease", "grant", "60"]);
    let id = granted.split_whitespace().nth(1).unwrap();
    assert_eq!(granted, format!("lease {id} granted with TTL(60s)\n"));
    etcdctl.run(&["put", "--lease", id, "leased", "v"]);
    assert_eq!(
        etcdctl.run(&["lease", "keep-alive", "--once", id]),
        format!("lease {id} keepalived with TTL(60)\n")
    );
    assert!(etcdctl.run(&["lease", "timetolive", "--keys", id]).contains("attached keys([leased])"));
    assert!(etcdctl.run(&["lease", "list"]).contains(id));
    etcdctl.run(&["lease", "revoke", id]);
    assert_eq!(etcdctl.run(&["get", "leased"]), "");

    let status = etcdctl.run(&["endpoint", "status", "-w", "table"]);
    assert_eq!(status.matches("true").count(), 1, "one leader:\n{status}");
    assert_eq!(status.lines().filter(|line| line.contains("127.0.0.1")).count(), 3, "{status}");
    let members = etcdctl.run(&["member", "list"]);
    assert_eq!(members.lines().filter(|line| line.contains(", started, m")).count(), 3, "{members}");
    etcdctl.run(&["endpoint", "health"]);

    let compacted = etcdctl.command(&["compact", "4"]).output().unwrap();
    assert!(compacted.status.success(), "{}", text(&compacted));
    let old = etcdctl.command(&["get", "--rev", "2", "foo/1"]).output().unwrap();
    assert!(text(&old).contains("etcdserver: mvcc: required revision has been compacted"), "{}", text(&old));
    let future = etcdctl.command(&["get", "--rev", "9999", "foo/1"]).output().unwrap();
    assert!(text(&future).contains("required revision is a future revision"), "{}", text(&future));

    let mut watch = etcdctl.command(&["watch", "--prefix", "w/"]).stdout(Stdio::piped()).spawn().unwrap();
    let out = watch.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut out = std::io::BufReader::new(out);
        let mut lines = Vec::new();
        while lines.len() < 5 {
            let mut line = String::new();
            if std::io::BufRead::read_line(&mut out, &mut line).unwrap() == 0 {
                break;
            }
            lines.push(line.trim_end().to_owned());
        }
        lines
    });
    // The watch starts "now": its first event is written until it is seen.
    let deadline = std::time::Instant::now() + WAIT;
    while !reader.is_finished() {
        etcdctl.run(&["put", "w/1", "v"]);
        etcdctl.run(&["del", "w/1"]);
        assert!(std::time::Instant::now() < deadline, "the watch saw nothing");
    }
    let lines = reader.join().unwrap();
    let all = ["PUT", "w/1", "v", "DELETE", "w/1", "", "PUT", "w/1", "v", "DELETE"];
    assert!(lines == all[..5] || lines == all[3..8], "{lines:?}");
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_end_in_a_minority() {
    let mut cluster = Cluster::start(3, Limits::default()).await;
    cluster.leader().await;
    let kv = cluster.replica(0).clone();
    let mut watch = kv.watch(WatchRequest::new(KeyRange::prefix("x"), Revision(0))).await.unwrap();
    cluster.stop_member(1, false).await;
    cluster.stop_member(2, false).await;
    let end = tokio::time::timeout(WAIT, async {
        loop {
            match watch.next().await {
                Some(Ok(_)) => {}
                end => return end,
            }
        }
    });
    assert_eq!(end.await.unwrap(), Some(Err(Error::NoLeader)));
    wait_for("the problem to be shown", || {
        cluster.replica(0).status().problems.iter().any(|problem| problem.contains("no leader")).then_some(())
    })
    .await;
    // Writes are not claimed to have failed when they may yet happen.
    let error = kv.txn(crate::cluster::put("x", "v")).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown | Error::NoLeader), "{error}");
    drop(kv);
    cluster.stop().await;
}
