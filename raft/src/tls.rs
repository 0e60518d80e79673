//! Mutual TLS with certificates that can be replaced while running.
//!
//! Each new connection, made or accepted, uses the certificates of the moment; those that stand go
//! on with theirs.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper_util::rt::TokioIo;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A connection that has not finished its handshake by then is dropped.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that have finished their handshake and wait to be served; more wait in the
/// kernel's queue.
const ACCEPTED_MAX: usize = 64;

/// Certificates and key, as PEM. Both sides prove who they are: whoever has a certificate of
/// `ca_pem` is let in, with everything.
#[derive(Clone)]
pub struct Certificates {
    pub ca_pem: Vec<u8>,
    /// The certificate and what chains it to the CA.
    pub cert_pem: Vec<u8>,
    pub key_pem: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("no certificate in the {0} PEM")]
    NoCertificate(&'static str),
    #[error("the {what} PEM cannot be read: {reason}")]
    Pem { what: &'static str, reason: String },
    #[error("the certificates cannot be used: {0}")]
    Rustls(#[from] rustls::Error),
    #[error("the CA cannot be used: {0}")]
    Verifier(String),
}

/// The certificates in use. Cheap to clone; a reload is seen by all clones.
#[derive(Clone)]
pub struct Tls {
    server: Arc<ArcSwap<ServerConfig>>,
    client: Arc<ArcSwap<ClientConfig>>,
}

impl Tls {
    pub fn new(certificates: &Certificates) -> Result<Self, TlsError> {
        let (server, client) = build(certificates)?;
        Ok(Self {
            server: Arc::new(ArcSwap::from_pointee(server)),
            client: Arc::new(ArcSwap::from_pointee(client)),
        })
    }

    /// Takes new certificates; on an error the old ones stay.
    pub fn reload(&self, certificates: &Certificates) -> Result<(), TlsError> {
        let (server, client) = build(certificates)?;
        self.server.store(Arc::new(server));
        self.client.store(Arc::new(client));
        Ok(())
    }

    /// The side that accepts, for [`crate::etcd::serve`].
    pub fn server(&self) -> Arc<ArcSwap<ServerConfig>> {
        self.server.clone()
    }

    /// The side that connects, for [`crate::RemoteConfig`].
    pub fn client(&self) -> Arc<ArcSwap<ClientConfig>> {
        self.client.clone()
    }

    /// Accepts connections until the stream is dropped; those whose handshake fails are left out.
    pub(crate) fn incoming(
        &self,
        listener: TcpListener,
    ) -> tokio_stream::wrappers::ReceiverStream<io::Result<tokio_rustls::server::TlsStream<TcpStream>>> {
        let (accepted, stream) = mpsc::channel(ACCEPTED_MAX);
        let tls = self.clone();
        tokio::spawn(async move {
            loop {
                let (socket, from) = tokio::select! {
                    _ = accepted.closed() => return,
                    connection = listener.accept() => match connection {
                        Ok(connection) => connection,
                        Err(error) => {
                            // Out of descriptors, mostly: others will be closed.
                            tracing::warn!(%error, "cannot accept a connection");
                            tokio::time::sleep(Duration::from_millis(50)).await;
                            continue;
                        }
                    },
                };
                let _ = socket.set_nodelay(true);
                let acceptor = TlsAcceptor::from(tls.server.load_full());
                let accepted = accepted.clone();
                tokio::spawn(async move {
                    match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket)).await {
                        Ok(Ok(stream)) => {
                            let _ = accepted.send(Ok(stream)).await;
                        }
                        Ok(Err(error)) => tracing::debug!(%from, %error, "TLS handshake refused"),
                        Err(_) => tracing::debug!(%from, "TLS handshake took too long"),
                    }
                });
            }
        });
        tokio_stream::wrappers::ReceiverStream::new(stream)
    }

    pub(crate) fn connector(&self) -> Connector {
        Connector { tls: self.clone() }
    }
}

fn build(certificates: &Certificates) -> Result<(ServerConfig, ClientConfig), TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for ca in read_certificates("CA", &certificates.ca_pem)? {
        roots.add(ca)?;
    }
    let roots = Arc::new(roots);
    let chain = read_certificates("certificate", &certificates.cert_pem)?;
    let key = PrivateKeyDer::from_pem_slice(&certificates.key_pem)
        .map_err(|error| TlsError::Pem { what: "key", reason: error.to_string() })?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
        .build()
        .map_err(|error| TlsError::Verifier(error.to_string()))?;
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain.clone(), key.clone_key())?;
    server.alpn_protocols = vec![b"h2".to_vec()];
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    client.alpn_protocols = vec![b"h2".to_vec()];
    Ok((server, client))
}

fn read_certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|error| TlsError::Pem { what, reason: error.to_string() })?;
    if read.is_empty() {
        return Err(TlsError::NoCertificate(what));
    }
    Ok(read)
}

/// Opens TLS connections for tonic's channels.
#[derive(Clone)]
pub(crate) struct Connector {
    tls: Tls,
}

impl tonic::codegen::Service<http::Uri> for Connector {
    type Response = TokioIo<tokio_rustls::client::TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: http::Uri) -> Self::Future {
        let config = self.tls.client.load_full();
        Box::pin(async move {
            let host = uri.host().unwrap_or_default();
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let port = uri.port_u16().unwrap_or(2380);
            let name = ServerName::try_from(host.clone()).map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidInput, format!("{host} is no host name"))
            })?;
            let socket = TcpStream::connect((host.as_str(), port)).await?;
            socket.set_nodelay(true)?;
            let stream = TlsConnector::from(config).connect(name, socket).await?;
            Ok(TokioIo::new(stream))
        })
    }
}
