//! What a client of the store makes of a member's refusal when another may have taken the same write.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpListener;
use tonic::transport::{Identity, Server, ServerTlsConfig, server::TcpIncoming};
use tonic::{Request, Response, Status};
use trireme_raft::{Remote, RemoteConfig, Tls};
use trireme_store::log::Outcome;
use trireme_store::{Error, Kv};

use crate::cluster::{Ca, put};
use crate::pb::trireme::v1 as ext;
use ext::store_server::{Store, StoreServer};

/// A member that takes the first writes it is asked for and never says so, and refuses what comes then.
struct Silent {
    asked: Arc<AtomicUsize>,
    silent_for: usize,
    refusal: Error,
}

fn no<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("a test's member takes proposals"))
}

#[tonic::async_trait]
impl Store for Silent {
    type CheckpointStream = futures::stream::Empty<Result<ext::CheckpointPiece, Status>>;

    async fn propose(
        &self,
        _: Request<ext::ProposeRequest>,
    ) -> Result<Response<ext::ProposeResponse>, Status> {
        if self.asked.fetch_add(1, Ordering::SeqCst) < self.silent_for {
            return std::future::pending().await;
        }
        let outcomes = vec![Outcome::Failed(self.refusal.clone()).encode()];
        Ok(Response::new(ext::ProposeResponse { outcomes }))
    }

    async fn barrier(
        &self,
        _: Request<ext::BarrierRequest>,
    ) -> Result<Response<ext::BarrierResponse>, Status> {
        no()
    }

    async fn status(&self, _: Request<ext::StatusRequest>) -> Result<Response<ext::StatusResponse>, Status> {
        no()
    }

    async fn replace_member(
        &self,
        _: Request<ext::ReplaceMemberRequest>,
    ) -> Result<Response<ext::ReplaceMemberResponse>, Status> {
        no()
    }

    async fn times(&self, _: Request<ext::TimesRequest>) -> Result<Response<ext::TimesResponse>, Status> {
        no()
    }

    async fn checkpoint(
        &self,
        _: Request<ext::CheckpointRequest>,
    ) -> Result<Response<Self::CheckpointStream>, Status> {
        no()
    }
}

/// What a write comes to that the member leaves without an answer so many times, and then refuses.
async fn told(ca: &Ca, silent_for: usize, refusal: Error) -> Error {
    let identity = ca.issue("m1");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let member = Silent { asked: asked.clone(), silent_for, refusal };
    let tls = ServerTlsConfig::new().identity(Identity::from_pem(&identity.cert_pem, &identity.key_pem));
    let server = Server::builder().tls_config(tls).unwrap().add_service(StoreServer::new(member));
    let serving = tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let client = Tls::new(&ca.issue_client("client")).unwrap();
    let endpoints = vec![address.to_string()];
    let remote = Remote::connect(RemoteConfig { endpoints, tls: client.client() }).unwrap();
    let error = remote.txn(put("a", "1")).await.unwrap_err();
    assert_eq!(asked.load(Ordering::SeqCst), silent_for + 1);
    serving.abort();
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_may_have_taken_is_not_refused() {
    let ca = Ca::new();
    for refusal in [Error::NoSpace, Error::TooManyRequests] {
        assert_eq!(told(&ca, 0, refusal.clone()).await, refusal);
        assert_eq!(told(&ca, 1, refusal).await, Error::OutcomeUnknown);
    }
    // What judges the write itself has seen it: it was not done before.
    assert_eq!(told(&ca, 1, Error::LeaseNotFound).await, Error::LeaseNotFound);
}
