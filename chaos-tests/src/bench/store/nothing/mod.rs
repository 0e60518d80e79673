//! A server that takes Put and answers nothing else, without a store behind it: what the same calls over
//! the same TLS and HTTP/2 cost on this machine, with what is asked synced nowhere, in two of three files,
//! or by two of three such servers. No store of three members can pass that here.

mod files;
mod members;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::Args;
use futures::future::BoxFuture;
use nix::unistd::Pid;
use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::codegen::http::{Request as HttpRequest, Response as HttpResponse};
use tonic::server::{NamedService, StreamingService, UnaryService};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use super::client::Client;
use super::etcd::make_certificates;
use super::messages::{PutRequest, PutResponse, ResponseHeader};
use files::SyncedFile;
use members::{ASK, Asks, Follower, KEEP, Keeps, Leader};

const START_TIMEOUT: Duration = Duration::from_secs(20);
const FILES: usize = 3;
/// What a connection may have under way between members.
const WINDOW_BYTES: u32 = 16 << 20;

#[derive(Args, Clone, Debug)]
pub struct NothingOptions {
    /// Where it listens
    #[arg(long)]
    listen: SocketAddr,
    /// Folder with `ca.crt`, `member.crt` and `member.key`
    #[arg(long)]
    pki: PathBuf,
    /// Folder for files, a majority of which have what a Put holds synced before it is answered [default:
    /// none]
    #[arg(long)]
    synced: Option<PathBuf>,
    /// One of three members, each with a file of its own in the folder; the others name the first one,
    /// which puts in order what they are asked
    #[arg(long, requires = "synced")]
    member: Option<usize>,
    /// `host:port` of the member that puts in order
    #[arg(long, requires = "member")]
    leader: Option<String>,
}

/// Where what is asked goes.
#[derive(Clone)]
enum Kv {
    Nowhere,
    Files(Arc<Vec<SyncedFile>>),
    Leads(Leader),
    Follows(Follower),
}

impl Kv {
    async fn start(options: &NothingOptions) -> Result<Kv> {
        let Some(folder) = &options.synced else { return Ok(Kv::Nowhere) };
        let file = |n: usize| folder.join(format!("synced-{n}"));
        let Some(member) = options.member else {
            let files = (0..FILES).map(|n| SyncedFile::create(&file(n))).collect::<Result<_>>()?;
            return Ok(Kv::Files(Arc::new(files)));
        };
        match &options.leader {
            None => Ok(Kv::Leads(Leader::start(&file(member))?)),
            Some(leader) => {
                let channel = super::client::endpoint(&options.pki, "ca.crt", "member", leader)?
                    .initial_stream_window_size(WINDOW_BYTES)
                    .initial_connection_window_size(WINDOW_BYTES)
                    .connect()
                    .await
                    .with_context(|| format!("connect to {leader}"))?;
                Ok(Kv::Follows(Follower::start(&file(member), channel).await?))
            }
        }
    }

    async fn keep(&self, request: PutRequest) -> Result<(), Status> {
        let bytes = Bytes::from([request.key, request.value].concat());
        match self {
            Kv::Nowhere => Ok(()),
            Kv::Files(files) => {
                let synced = Arc::new(Semaphore::new(0));
                for file in files.iter() {
                    let synced = synced.clone();
                    file.keep(vec![bytes.clone()], move || synced.add_permits(1));
                }
                let majority = files.len().div_ceil(2) as u32;
                let permits = synced.acquire_many(majority).await;
                permits.map(|_| ()).map_err(|error| Status::internal(error.to_string()))
            }
            Kv::Leads(leader) => leader.keep(bytes).await,
            Kv::Follows(follower) => follower.keep(bytes).await,
        }
    }
}

impl NamedService for Kv {
    const NAME: &'static str = "etcdserverpb.KV";
}

impl NamedService for Leader {
    const NAME: &'static str = "trireme.Nothing";
}

impl tonic::codegen::Service<HttpRequest<Body>> for Leader {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        let leader = self.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                ASK => streaming(Asks(leader), request).await,
                KEEP => streaming(Keeps(leader), request).await,
                _ => Status::unimplemented("a member of nothing is asked and keeps").into_http(),
            })
        })
    }
}

async fn streaming<S, Q, A>(service: S, request: HttpRequest<Body>) -> HttpResponse<Body>
where
    S: StreamingService<Q, Response = A> + Send + Sync,
    S::ResponseStream: Send + 'static,
    S::Future: Send,
    Q: prost::Message + Default + 'static,
    A: prost::Message + 'static,
{
    tonic::server::Grpc::new(tonic_prost::ProstCodec::<A, Q>::default())
        .max_decoding_message_size(usize::MAX)
        .max_encoding_message_size(usize::MAX)
        .streaming(service, request)
        .await
}

impl UnaryService<PutRequest> for Kv {
    type Response = PutResponse;
    type Future = BoxFuture<'static, Result<Response<PutResponse>, Status>>;

    fn call(&mut self, request: Request<PutRequest>) -> Self::Future {
        let kv = self.clone();
        Box::pin(async move {
            kv.keep(request.into_inner()).await?;
            Ok(Response::new(PutResponse { header: Some(ResponseHeader { revision: 1 }) }))
        })
    }
}

impl tonic::codegen::Service<HttpRequest<Body>> for Kv {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        let codec = tonic_prost::ProstCodec::<PutResponse, PutRequest>::default();
        let kv = self.clone();
        Box::pin(async move { Ok(tonic::server::Grpc::new(codec).unary(kv, request).await) })
    }
}

/// Answers until it is ended.
pub fn serve(options: &NothingOptions) -> Result<()> {
    // Of three one thread each: on a few cores each one more is a thread to wake.
    let mut runtime = match options.member {
        Some(_) => tokio::runtime::Builder::new_current_thread(),
        None => tokio::runtime::Builder::new_multi_thread(),
    };
    runtime.enable_all().build()?.block_on(run(options))
}

async fn run(options: &NothingOptions) -> Result<()> {
    let read = |file: &str| {
        let path = options.pki.join(file);
        std::fs::read(&path).with_context(|| format!("read {}", path.display()))
    };
    let kv = Kv::start(options).await?;
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(read("member.crt")?, read("member.key")?))
        .client_ca_root(Certificate::from_pem(read("ca.crt")?));
    let leader = match &kv {
        Kv::Leads(leader) => Some(leader.clone()),
        _ => None,
    };
    Server::builder()
        .tls_config(tls)?
        .tcp_nodelay(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .add_service(kv)
        .add_optional_service(leader)
        .serve(options.listen)
        .await?;
    Ok(())
}

/// How far such a server goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// It answers.
    Calls,
    /// What it answers is synced in two of three files.
    Files,
    /// The same on three members, over connections between them.
    Members,
}

/// Such servers as processes of their own.
pub(super) struct Nothing {
    children: Vec<tokio::process::Child>,
    pub pki: PathBuf,
    pub endpoints: Vec<String>,
}

impl Nothing {
    /// With files in `dir`, on `port` and those after it.
    pub(super) async fn start(dir: &Path, port: u16, depth: Depth) -> Result<Nothing> {
        let pki = dir.join("nothing-pki");
        make_certificates(&pki)?;
        let mut nothing = Nothing { children: Vec::new(), pki, endpoints: Vec::new() };
        for member in 0..if depth == Depth::Members { FILES } else { 1 } {
            nothing.add(dir, port, depth, member).await?;
        }
        Ok(nothing)
    }

    async fn add(&mut self, dir: &Path, port: u16, depth: Depth, member: usize) -> Result<()> {
        let endpoint = format!("127.0.0.1:{}", port + member as u16);
        let mut command = tokio::process::Command::new(std::env::current_exe()?);
        command.args(["serve-nothing", "--listen", &endpoint, "--pki"]).arg(&self.pki);
        if depth != Depth::Calls {
            command.arg("--synced").arg(dir);
        }
        if depth == Depth::Members {
            command.args(["--member", &member.to_string()]);
        }
        if let Some(leader) = self.endpoints.first() {
            command.args(["--leader", leader]);
        }
        let child = command.stdin(Stdio::null()).kill_on_drop(true).spawn().context("run this program")?;
        self.children.push(child);
        let deadline = Instant::now() + START_TIMEOUT;
        while let Err(error) = Client::connect(&self.pki, "ca.crt", "member", &endpoint).await {
            if Instant::now() > deadline {
                bail!("the server that keeps nothing did not start: {error:#}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.endpoints.push(endpoint);
        Ok(())
    }

    pub(super) fn pids(&self) -> Vec<Pid> {
        let ids = self.children.iter().filter_map(|child| i32::try_from(child.id()?).ok());
        ids.map(Pid::from_raw).collect()
    }

    pub(super) async fn stop(mut self) -> Result<()> {
        for child in &mut self.children {
            child.kill().await.context("stop the server that keeps nothing")?;
        }
        Ok(())
    }
}
