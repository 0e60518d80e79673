//! The way to another member's port: TLS, or the network of a simulated world.

use std::net::TcpListener;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::TryFutureExt;
use futures::future::{BoxFuture, Either, MapErr};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, StdError};
use tonic::transport::Channel;
use tonic::transport::channel::ResponseFuture;

/// A call to a member, and its answer.
pub type PeerRequest = http::Request<Body>;
pub type PeerResponse = http::Response<Body>;

/// Answers what other members call.
pub type PeerAnswers = Arc<dyn Fn(PeerRequest) -> BoxFuture<'static, PeerResponse> + Send + Sync>;

/// A simulated world's network as one of its members has it.
pub trait PeerNetwork: Send + Sync + 'static {
    /// Calls who answers at `address`.
    fn call(&self, address: &str, request: PeerRequest) -> BoxFuture<'static, Result<PeerResponse, Status>>;

    /// Has `answers` called for what comes to this member.
    fn serve(&self, answers: PeerAnswers);
}

/// Where the other members reach this one.
pub enum PeerPort {
    /// Over mutual TLS.
    Tls(TcpListener),
    /// In a simulated world.
    Simulated(Arc<dyn PeerNetwork>),
}

impl From<TcpListener> for PeerPort {
    fn from(listener: TcpListener) -> Self {
        Self::Tls(listener)
    }
}

/// To one member.
#[derive(Clone)]
pub(crate) enum Line {
    Tls(Channel),
    Simulated { network: Arc<dyn PeerNetwork>, address: String },
}

type Transported = MapErr<ResponseFuture, fn(tonic::transport::Error) -> StdError>;
type Simulated = BoxFuture<'static, Result<PeerResponse, StdError>>;

impl Service<PeerRequest> for Line {
    type Response = PeerResponse;
    type Error = StdError;
    type Future = Either<Transported, Simulated>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        match self {
            Self::Tls(channel) => channel.poll_ready(cx).map_err(StdError::from),
            Self::Simulated { .. } => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, request: PeerRequest) -> Self::Future {
        match self {
            Self::Tls(channel) => Either::Left(channel.call(request).map_err(StdError::from)),
            Self::Simulated { network, address } => {
                Either::Right(Box::pin(network.call(address, request).map_err(StdError::from)))
            }
        }
    }
}
