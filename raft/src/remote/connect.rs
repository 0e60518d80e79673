//! Connections to members: TCP, TLS with our certificate, HTTP/2.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::Service;
use tonic::transport::{Channel, Endpoint, Uri};
use trireme_store::Error;

const CONNECT_MAX: Duration = Duration::from_secs(1);
/// A member from which nothing comes back for this long is given up; power that fails closes no
/// socket.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(1);
const KEEPALIVE_MAX: Duration = Duration::from_secs(1);

/// A channel to `host:port` that connects when it is used, and again when it broke.
pub(super) fn channel(address: &str, tls: Arc<ArcSwap<ClientConfig>>) -> Result<Channel, Error> {
    let bad = |why: &str| {
        Error::Invalid(format!("{address:?} is not an endpoint of the store: {why}; expected host:port"))
    };
    let (host, _) = address.rsplit_once(':').ok_or_else(|| bad("no port"))?;
    let name =
        ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|e| bad(&e.to_string()))?;
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|e| bad(&e.to_string()))?
        .http2_keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_MAX)
        .keep_alive_while_idle(true)
        .initial_connection_window_size(8 << 20)
        .initial_stream_window_size(2 << 20);
    Ok(endpoint.connect_with_connector_lazy(Connector { address: address.into(), name, tls }))
}

#[derive(Clone)]
struct Connector {
    address: Arc<str>,
    name: ServerName<'static>,
    tls: Arc<ArcSwap<ClientConfig>>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Connector { address, name, tls } = self.clone();
        Box::pin(async move {
            let connect = async {
                let tcp = TcpStream::connect(&*address).await?;
                tcp.set_nodelay(true)?;
                TlsConnector::from(tls.load_full()).connect(name, tcp).await
            };
            match tokio::time::timeout(CONNECT_MAX, connect).await {
                Ok(connected) => connected.map(TokioIo::new),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            }
        })
    }
}
