//! The smallest client of etcd v3's `Put`: the same for both sides, with nothing of ours in it.

use std::path::Path;

use anyhow::{Context, Result};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// `etcdserverpb.PutRequest`, as far as it is needed.
#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `etcdserverpb.PutResponse`; what is in it does not matter here.
#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

#[derive(Clone)]
pub(super) struct EtcdClient {
    grpc: tonic::client::Grpc<Channel>,
}

impl EtcdClient {
    /// `address` is `host:port`; `<pki>/<ca>`, `<pki>/<name>.crt` and `.key` are PEM files.
    pub(super) async fn connect(pki: &Path, ca: &str, name: &str, address: &str) -> Result<EtcdClient> {
        let read = |file: String| {
            let path = pki.join(file);
            std::fs::read(&path).with_context(|| format!("read {}", path.display()))
        };
        let identity = Identity::from_pem(read(format!("{name}.crt"))?, read(format!("{name}.key"))?);
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read(ca.to_owned())?))
            .identity(identity);
        let channel = Endpoint::from_shared(format!("https://{address}"))?
            .tls_config(tls)?
            .tcp_nodelay(true)
            .connect()
            .await
            .with_context(|| format!("connect to {address}"))?;
        Ok(EtcdClient { grpc: tonic::client::Grpc::new(channel) })
    }

    pub(super) async fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), tonic::Status> {
        self.grpc.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
        let codec = tonic_prost::ProstCodec::<PutRequest, PutResponse>::default();
        let path = PathAndQuery::from_static("/etcdserverpb.KV/Put");
        self.grpc.unary(tonic::Request::new(PutRequest { key, value }), path, codec).await.map(|_| ())
    }
}
