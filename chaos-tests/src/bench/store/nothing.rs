//! A server that takes Put and answers nothing else, without a store behind it: what the same calls over
//! the same TLS and HTTP/2 cost on this machine, with what is asked synced in two of three files or
//! nowhere. No store of three members can pass that here.

use std::convert::Infallible;
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use futures::future::BoxFuture;
use nix::unistd::Pid;
use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::codegen::http::{Request as HttpRequest, Response as HttpResponse};
use tonic::server::{NamedService, UnaryService};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use super::client::Client;
use super::etcd::make_certificates;
use super::messages::{PutRequest, PutResponse, ResponseHeader};

const START_TIMEOUT: Duration = Duration::from_secs(20);
const FILES: usize = 3;
/// More than any measurement writes before the file grows.
const FILE_MIB: usize = 512;

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
}

#[derive(Clone)]
struct Kv {
    files: Arc<Vec<mpsc::Sender<Piece>>>,
}

/// Bytes to be synced in a file, and who hears of it: a permit for each file that has them.
type Piece = (Arc<Vec<u8>>, Arc<Semaphore>);

/// Writes what comes one behind the other, all that waits with one sync.
fn keep(mut file: File, pieces: &mpsc::Receiver<Piece>) -> std::io::Result<()> {
    while let Ok(first) = pieces.recv() {
        let run: Vec<Piece> = std::iter::once(first).chain(pieces.try_iter()).collect();
        let bytes: Vec<u8> = run.iter().flat_map(|(bytes, _)| bytes.iter().copied()).collect();
        file.write_all(&bytes)?;
        file.sync_data()?;
        run.iter().for_each(|(_, synced)| synced.add_permits(1));
    }
    Ok(())
}

impl Kv {
    fn new(folder: Option<&Path>) -> Result<Kv> {
        let mut files = Vec::new();
        for n in 0..folder.map_or(0, |_| FILES) {
            let path = folder.unwrap_or(Path::new("")).join(format!("synced-{n}"));
            let mut file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
            // Made in advance and written over, as logs are: a sync then has no length to write.
            let zeroes = vec![0; 1 << 20];
            for _ in 0..FILE_MIB {
                file.write_all(&zeroes)?;
            }
            file.sync_all()?;
            std::io::Seek::rewind(&mut file)?;
            let (pieces, queue) = mpsc::channel();
            std::thread::spawn(move || keep(file, &queue).expect("a disk that takes what is written"));
            files.push(pieces);
        }
        Ok(Kv { files: Arc::new(files) })
    }

    async fn keep(&self, request: PutRequest) -> Result<(), Status> {
        let bytes = Arc::new([request.key, request.value].concat());
        let synced = Arc::new(Semaphore::new(0));
        for file in self.files.iter() {
            let piece = (bytes.clone(), synced.clone());
            file.send(piece).map_err(|_| Status::unavailable("a file cannot be written"))?;
        }
        let majority = self.files.len().div_ceil(2) as u32;
        synced.acquire_many(majority).await.map(|_| ()).map_err(|error| Status::internal(error.to_string()))
    }
}

impl NamedService for Kv {
    const NAME: &'static str = "etcdserverpb.KV";
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
pub async fn serve(options: &NothingOptions) -> Result<()> {
    let read = |file: &str| {
        let path = options.pki.join(file);
        std::fs::read(&path).with_context(|| format!("read {}", path.display()))
    };
    let kv = Kv::new(options.synced.as_deref())?;
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(read("member.crt")?, read("member.key")?))
        .client_ca_root(Certificate::from_pem(read("ca.crt")?));
    Server::builder().tls_config(tls)?.tcp_nodelay(true).add_service(kv).serve(options.listen).await?;
    Ok(())
}

/// Such a server as a process of its own.
pub(super) struct Nothing {
    child: tokio::process::Child,
    pub pki: PathBuf,
    pub endpoint: String,
}

impl Nothing {
    /// With files in `dir` that are synced, if `synced`.
    pub(super) async fn start(dir: &Path, port: u16, synced: bool) -> Result<Nothing> {
        let pki = dir.join("nothing-pki");
        make_certificates(&pki)?;
        let endpoint = format!("127.0.0.1:{port}");
        let child = tokio::process::Command::new(std::env::current_exe()?)
            .args(["serve-nothing", "--listen", &endpoint, "--pki"])
            .arg(&pki)
            .args(synced.then_some("--synced"))
            .args(synced.then_some(dir))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("run this program")?;
        let deadline = Instant::now() + START_TIMEOUT;
        while let Err(error) = Client::connect(&pki, "ca.crt", "member", &endpoint).await {
            if Instant::now() > deadline {
                bail!("the server that keeps nothing did not start: {error:#}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(Nothing { child, pki, endpoint })
    }

    pub(super) fn pids(&self) -> Vec<Pid> {
        self.child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw).into_iter().collect()
    }

    pub(super) async fn stop(mut self) -> Result<()> {
        self.child.kill().await.context("stop the server that keeps nothing")
    }
}
