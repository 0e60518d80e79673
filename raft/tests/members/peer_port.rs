//! Who may speak at the port between members, and what is refused there.

use std::time::Duration;

use crate::cluster::{Ca, Cluster, put_surely};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};
use trireme_raft::{Certificates, Limits};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Any message of the peers' with no field set.
#[derive(Clone, PartialEq, prost::Message)]
struct Empty {}

#[derive(Clone, PartialEq, prost::Message)]
struct Ballot {
    #[prost(uint64, tag = "1")]
    term: u64,
    #[prost(fixed64, tag = "2")]
    member: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct VoteRequest {
    #[prost(message, optional, tag = "1")]
    vote: Option<Ballot>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct IdentifyRequest {
    #[prost(string, tag = "1")]
    cluster: String,
}

/// What a stranger, or a member, gets for a call of the peers' service.
async fn call<M: prost::Message + Default + 'static>(
    address: &str,
    ca: &Ca,
    identity: Option<&Certificates>,
    method: &'static str,
    request: Request<M>,
) -> Result<(), Status> {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&ca.pem));
    if let Some(identity) = identity {
        tls = tls.identity(Identity::from_pem(&identity.cert_pem, &identity.key_pem));
    }
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap().tls_config(tls).unwrap();
    let unreachable = |error: tonic::transport::Error| Status::unavailable(format!("{error:?}"));
    let channel: Channel = endpoint.timeout(TIMEOUT).connect().await.map_err(unreachable)?;
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.map_err(unreachable)?;
    let codec = tonic_prost::ProstCodec::<M, Empty>::default();
    grpc.unary(request, PathAndQuery::from_static(method), codec).await.map(|_| ())
}

fn addressed<M>(message: M, cluster: &Cluster, member: u64) -> Request<M> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("trireme-cluster", MetadataValue::from(cluster.replica(0).cluster_id()));
    request.metadata_mut().insert("trireme-to", MetadataValue::from(member));
    request
}

fn who() -> Request<IdentifyRequest> {
    Request::new(IdentifyRequest { cluster: "test".into() })
}

const IDENTIFY: &str = "/trireme.peer.v1.Peer/Identify";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_members_get_in() {
    let cluster = Cluster::start(1, Limits::default()).await;
    cluster.leader().await;
    let address = &cluster.members[0].config.peer_address;
    let member = cluster.ca.issue("m9");
    call(address, &cluster.ca, Some(&member), IDENTIFY, who()).await.unwrap();
    let client = cluster.ca.issue_client("client");
    let no_use = cluster.ca.issue_for("nobody", Vec::new());
    let stranger = Ca::new().issue("stranger");
    for (what, identity) in [
        ("a client's certificate", Some(&client)),
        ("one without a use", Some(&no_use)),
        ("one of another authority", Some(&stranger)),
        ("none", None),
    ] {
        let refused = call(address, &cluster.ca, identity, IDENTIFY, who()).await.expect_err(what);
        // Ended in the handshake: no status of the service comes back.
        let broken = [Code::Unavailable, Code::Unknown, Code::Cancelled];
        assert!(broken.contains(&refused.code()), "{what}: {refused}");
    }
    // At the clients' port it is what it was made for.
    let tls = trireme_raft::Tls::new(&client).unwrap();
    let endpoints = vec![cluster.members[0].client_address.clone()];
    let remote =
        trireme_raft::Remote::connect(trireme_raft::RemoteConfig { endpoints, tls: tls.client() }).unwrap();
    put_surely(&remote, "a", "1").await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_term_that_cannot_be_is_refused() {
    let cluster = Cluster::start(1, Limits::default()).await;
    cluster.leader().await;
    let address = &cluster.members[0].config.peer_address;
    let member = cluster.ca.issue("m9");
    let own = cluster.replica(0).member().0;
    for method in ["/trireme.peer.v1.Peer/Vote", "/trireme.peer.v1.Peer/PreVote"] {
        let vote = VoteRequest { vote: Some(Ballot { term: u64::MAX, member: 9 }) };
        let request = addressed(vote, &cluster, own);
        let refused = call(address, &cluster.ca, Some(&member), method, request).await.unwrap_err();
        assert_eq!(refused.code(), Code::OutOfRange, "{method}: {refused}");
    }
    put_surely(cluster.replica(0), "still", "led").await;
    assert!(cluster.replica(0).status().term < 100);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_meant_for_another_member_is_refused() {
    let cluster = Cluster::start(1, Limits::default()).await;
    cluster.leader().await;
    let address = &cluster.members[0].config.peer_address;
    let member = cluster.ca.issue("m9");
    let own = cluster.replica(0).member().0;
    for method in [
        "/trireme.peer.v1.Peer/Propose",
        "/trireme.peer.v1.Peer/ReadIndex",
        "/trireme.peer.v1.Peer/LeaseKeepAlive",
        "/trireme.peer.v1.Peer/LeaseTimeToLive",
    ] {
        call(address, &cluster.ca, Some(&member), method, addressed(Empty {}, &cluster, own)).await.unwrap();
        for request in [addressed(Empty {}, &cluster, own + 1), Request::new(Empty {})] {
            let refused = call(address, &cluster.ca, Some(&member), method, request).await.unwrap_err();
            assert_eq!(refused.code(), Code::FailedPrecondition, "{method}: {refused}");
        }
    }
    cluster.stop().await;
}
