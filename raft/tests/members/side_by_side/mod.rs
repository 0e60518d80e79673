//! The etcd v3 face beside Debian's etcd: one script, played at both, and every difference known.

mod etcd;
mod play;
mod random;
mod script;

use tonic::Status;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::cluster::{Cluster, WAIT};
use crate::pb::etcdserverpb as pb;
use etcd::Etcd;
use pb::kv_client::KvClient;
use play::{Step, play};
use script::Script;
use trireme_raft::{Certificates, Limits};

/// A difference that is meant: `ours` stands where etcd 3.4 has `theirs`, and all else is equal.
/// Without `theirs` the whole answer is `ours`, whatever etcd says.
struct Difference {
    step: &'static str,
    theirs: &'static str,
    ours: &'static str,
}

const HEADER: &str =
    "header: Some(ResponseHeader { cluster_id: 0, member_id: 0, revision: 74, raft_term: 0 })";
const NO_USERS: &str = "FailedPrecondition: etcdserver: there are no users and roles: mutual TLS is this store's authentication, and a client's certificate says what it may do (trireme pki client)";
const NO_SORT: &str = "InvalidArgument: etcdserver: invalid sort option";

const fn differs(step: &'static str, theirs: &'static str, ours: &'static str) -> Difference {
    Difference { step, theirs, ours }
}

const DIFFERENCES: &[Difference] = &[
    // etcd 3.4 leaves the order out; newer ones refuse it in these words.
    differs("an unknown order", "", NO_SORT),
    // etcd sorts the first `limit` + 1 keys alone, so that its answer is not the least by value.
    differs(
        "a target without an order, limited",
        "",
        "RangeResponse { header: Some(ResponseHeader { cluster_id: 0, member_id: 0, revision: 17, raft_term: 0 }), kvs: [KeyValue { key: b\"k4\", create_revision: 13, mod_revision: 17, version: 3, value: b\"v1\", lease: 0 }, KeyValue { key: b\"k5\", create_revision: 14, mod_revision: 14, version: 1, value: b\"v2\", lease: 0 }], more: true, count: 5 }",
    ),
    // etcd takes what it does not understand as met.
    differs("an unknown target of a compare", "", "InvalidArgument: etcdserver: invalid compare target"),
    differs("an unknown result of a compare", "", "InvalidArgument: etcdserver: invalid compare result"),
    // etcd's shortest lease is one and a half election timeouts, and elections are shorter here.
    differs("a lease of no time", "ttl: 2", "ttl: 1"),
    differs("a lease of negative time", "ttl: 2", "ttl: 1"),
    // The revision of the hash is told since etcd 3.6, and so is one at the compact revision.
    differs("a hash of the history", "hash_revision: 0", "hash_revision: 20"),
    differs("a hash of all", "hash_revision: 0", "hash_revision: 49"),
    differs(
        "a hash at it",
        "",
        "HashKvResponse { header: Some(ResponseHeader { cluster_id: 0, member_id: 0, revision: 49, raft_term: 0 }), hash: 1, compact_revision: 25, hash_revision: 25 }",
    ),
    // A client can use the newest revision; etcd gives none there.
    differs("what is compacted", "compact 25 reason \"\" at 0", "compact 25 reason \"\" at 60"),
    // As newer etcds do; 3.4 begins at the first revision, compacted or not.
    differs(
        "from a negative revision",
        "",
        "watch -1: created true canceled true compact 0 reason \"etcdserver: mvcc: required revision has been compacted\" at 60",
    ),
    // Newer etcds give a header here; of defragmentation none does.
    differs("alarms", "header: None", HEADER),
    differs("alarms for want of space", "header: None", HEADER),
    differs("an alarm that is not raised is cleared", "header: None", HEADER),
    differs("defragmentation", "header: None", HEADER),
    // Newer than 3.4.
    differs(
        "whether users are kept",
        "",
        "AuthStatusResponse { header: Some(ResponseHeader { cluster_id: 0, member_id: 0, revision: 74, raft_term: 0 }), enabled: false, auth_revision: 0 }",
    ),
    // Mutual TLS is the authentication here.
    differs("the users", "", NO_USERS),
    differs("the roles", "", NO_USERS),
    differs("a user without a name", "", NO_USERS),
    differs("users are wanted", "", NO_USERS),
];

/// A connection to a member with a certificate.
pub(crate) async fn connect(address: &str, certificates: &Certificates) -> Channel {
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&certificates.ca_pem))
        .identity(Identity::from_pem(&certificates.cert_pem, &certificates.key_pem));
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap().tls_config(tls).unwrap();
    tokio::time::timeout(WAIT, endpoint.connect()).await.expect("in time").expect("a connection")
}

/// Plays the script at both and says what differs beyond what is listed.
async fn compare(ours: &Channel, theirs: &Channel, script: &Script, known: &[Difference]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, step) in script {
        let (our, their) = tokio::join!(play(ours, step), play(theirs, step));
        if their.starts_with("Unknown: transport error") {
            found.push(format!("{name}\n  {step:.300?}\n  etcd did not survive it; ours: {our}"));
            return found;
        }
        let listed = known.iter().find(|difference| difference.step == name);
        let expected = listed.map_or(their.clone(), |d| match d.theirs {
            "" => d.ours.to_owned(),
            theirs => their.replace(theirs, d.ours),
        });
        if expected != our {
            let listed = if listed.is_some() { " (listed, and not like this)" } else { "" };
            found.push(format!("{name}{listed}\n  {step:.300?}\n  ours:   {our}\n  theirs: {their}"));
        } else if listed.is_some() && our == their {
            found.push(format!("{name}: listed as a difference, and there is none"));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn debians_etcd_answers_the_same() {
    let Some(judge) = Etcd::start() else { return };
    let cluster = Cluster::start(3, Limits::default()).await;
    let leader = cluster.leader().await;
    let ours = connect(&cluster.members[leader].client_address, &cluster.ca.issue_client("client")).await;
    let theirs = judge.connect().await;
    let script = script::script();
    for difference in DIFFERENCES {
        assert!(script.iter().any(|(name, _)| name == difference.step), "no step {}", difference.step);
    }
    let mut found = compare(&ours, &theirs, &script, DIFFERENCES).await;
    let revision = cluster.replica(leader).store().revision().0;
    for seed in [1, 20_261_121] {
        found.extend(compare(&ours, &theirs, &random::random(seed, revision), &[]).await);
    }
    assert!(found.is_empty(), "{} steps differ\n\n{}", found.len(), found.join("\n\n"));
    drop((ours, theirs));
    cluster.stop().await;
}

/// etcd 3.4 does not survive a target that it does not know; newer ones refuse it, as we do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_target_is_refused() {
    let cluster = Cluster::start(1, Limits::default()).await;
    cluster.leader().await;
    let ours = connect(&cluster.members[0].client_address, &cluster.ca.issue_client("client")).await;
    for sort_order in 0..3 {
        let request = pb::RangeRequest { sort_target: 9, sort_order, ..script::prefix("k") };
        let answer = play(&ours, &Step::Range(request)).await;
        assert_eq!(answer, "InvalidArgument: etcdserver: invalid sort option");
    }
    drop(ours);
    cluster.stop().await;
}

/// Merges a stream's parts as clients do.
async fn merged(channel: &Channel, request: &pb::RangeRequest) -> Result<pb::RangeResponse, Status> {
    let mut kv = KvClient::new(channel.clone());
    let mut parts = kv.range_stream(request.clone()).await?.into_inner();
    let mut whole = pb::RangeResponse::default();
    while let Some(part) = parts.message().await? {
        let part = part.range_response.unwrap_or_default();
        whole.kvs.extend(part.kvs);
        whole.header = part.header.or(whole.header);
        whole.more |= part.more;
        whole.count += part.count;
    }
    Ok(whole)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_a_range_gives_what_the_range_gives() {
    let cluster = Cluster::start(1, Limits::default()).await;
    cluster.leader().await;
    let ours = connect(&cluster.members[0].client_address, &cluster.ca.issue_client("client")).await;
    let mut script = script::script();
    script.extend(random::random(3, 1));
    let (mut streamed, mut refused) = (0, 0);
    for (name, step) in script {
        let Step::Range(request) = step else {
            if !matches!(step, Step::Watch(_)) {
                play(&ours, &step).await;
            }
            continue;
        };
        let range = KvClient::new(ours.clone()).range(request.clone()).await.map(|r| r.into_inner());
        let stream = merged(&ours, &request).await;
        match (&range, &stream) {
            // Whether the range itself could be read or not.
            (_, Err(status)) if status.code() == tonic::Code::Unimplemented => {
                let in_order = request.sort_order != 2 && request.sort_target == 0;
                assert!(!in_order, "{name}: {status}");
                refused += 1;
            }
            (Ok(range), Ok(stream)) => {
                assert_eq!(range, stream, "{name}");
                streamed += 1;
            }
            (Err(range), Err(stream)) => {
                assert_eq!((range.code(), range.message()), (stream.code(), stream.message()), "{name}")
            }
            _ => panic!("{name}: {range:?}, and as a stream {stream:?}"),
        }
    }
    assert!(streamed > 50 && refused > 10, "{streamed} streamed, {refused} refused");
    drop(ours);
    cluster.stop().await;
}
