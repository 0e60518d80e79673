//! The smallest client of etcd v3: the same for both sides, with nothing of ours in it.

use std::path::Path;

use anyhow::{Context, Result};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status, Streaming};

use super::messages::{
    CompactionRequest, CompactionResponse, Compare, CompareTarget, CompareValue, PutRequest, PutResponse,
    RangeRequest, RangeResponse, RequestOp, TxnRequest, TxnResponse, WatchRequest, WatchResponse,
};

type Grpc = tonic::client::Grpc<Channel>;

/// Calls go to one connection after the other, as those of etcd's own client do.
#[derive(Clone)]
pub(super) struct Client {
    connections: Vec<Grpc>,
    next: usize,
}

/// Over TLS, with a certificate.
pub(super) fn endpoint(pki: &Path, ca: &str, name: &str, address: &str) -> Result<Endpoint> {
    let read = |file: String| {
        let path = pki.join(file);
        std::fs::read(&path).with_context(|| format!("read {}", path.display()))
    };
    let identity = Identity::from_pem(read(format!("{name}.crt"))?, read(format!("{name}.key"))?);
    let tls =
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca.to_owned())?)).identity(identity);
    Ok(Endpoint::from_shared(format!("https://{address}"))?.tls_config(tls)?.tcp_nodelay(true))
}

impl Client {
    /// `address` is `host:port`; `<pki>/<ca>`, `<pki>/<name>.crt` and `.key` are PEM files.
    pub(super) async fn connect(pki: &Path, ca: &str, name: &str, address: &str) -> Result<Client> {
        let channel = endpoint(pki, ca, name, address)?
            .connect()
            .await
            .with_context(|| format!("connect to {address}"))?;
        let grpc = Grpc::new(channel).max_decoding_message_size(usize::MAX);
        Ok(Client { connections: vec![grpc], next: 0 })
    }

    /// The connections of both.
    pub(super) fn and(mut self, other: Client) -> Client {
        self.connections.extend(other.connections);
        self
    }

    /// The revision of the write.
    pub(super) async fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<i64, Status> {
        let request = PutRequest { key, value };
        let answer: PutResponse = self.call(request, "/etcdserverpb.KV/Put").await?;
        Ok(answer.header.unwrap_or_default().revision)
    }

    /// All of them in one transaction; etcd takes 128 at most. Its revision.
    pub(super) async fn put_all(&mut self, pairs: Vec<(Vec<u8>, Vec<u8>)>) -> Result<i64, Status> {
        let put = |(key, value)| RequestOp { put: Some(PutRequest { key, value }) };
        let request = TxnRequest { compare: Vec::new(), success: pairs.into_iter().map(put).collect() };
        let answer: TxnResponse = self.call(request, "/etcdserverpb.KV/Txn").await?;
        Ok(answer.header.unwrap_or_default().revision)
    }

    /// Writes `key` if it was last changed at `revision`; zero for a key that is not there. The
    /// revision of the write.
    pub(super) async fn put_if(
        &mut self,
        key: Vec<u8>,
        value: Vec<u8>,
        revision: i64,
    ) -> Result<i64, Status> {
        let compare = Compare {
            target: CompareTarget::Mod.into(),
            key: key.clone(),
            value: Some(CompareValue::ModRevision(revision)),
        };
        let put = RequestOp { put: Some(PutRequest { key, value }) };
        let request = TxnRequest { compare: vec![compare], success: vec![put] };
        let answer: TxnResponse = self.call(request, "/etcdserverpb.KV/Txn").await?;
        if !answer.succeeded {
            return Err(Status::aborted("the key was changed by somebody else"));
        }
        Ok(answer.header.unwrap_or_default().revision)
    }

    pub(super) async fn range(&mut self, request: RangeRequest) -> Result<RangeResponse, Status> {
        self.call(request, "/etcdserverpb.KV/Range").await
    }

    pub(super) async fn compact(&mut self, revision: i64) -> Result<(), Status> {
        let request = CompactionRequest { revision };
        let _: CompactionResponse = self.call(request, "/etcdserverpb.KV/Compact").await?;
        Ok(())
    }

    /// One stream of watches, to which `requests` adds more.
    pub(super) async fn watch(
        &mut self,
        requests: tokio::sync::mpsc::Receiver<WatchRequest>,
    ) -> Result<Streaming<WatchResponse>, Status> {
        let grpc = self.ready().await?;
        let codec = tonic_prost::ProstCodec::<WatchRequest, WatchResponse>::default();
        let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
        let request = Request::new(ReceiverStream::new(requests));
        Ok(grpc.streaming(request, path, codec).await?.into_inner())
    }

    async fn call<Q, A>(&mut self, request: Q, path: &'static str) -> Result<A, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let grpc = self.ready().await?;
        let codec = tonic_prost::ProstCodec::<Q, A>::default();
        let path = PathAndQuery::from_static(path);
        Ok(grpc.unary(Request::new(request), path, codec).await?.into_inner())
    }

    /// The connection whose turn it is.
    async fn ready(&mut self) -> Result<&mut Grpc, Status> {
        self.next = (self.next + 1) % self.connections.len();
        let grpc = &mut self.connections[self.next];
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(grpc)
    }
}
