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
use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_stream::wrappers::ReceiverStream;

/// A connection that has not finished its handshake by then is dropped.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that have finished their handshake and wait to be served; more wait in the
/// kernel's queue.
const ACCEPTED_MAX: usize = 64;

/// Certificates and key, as PEM. Both sides prove who they are. Whoever has a certificate of `ca_pem`
/// is let in at the clients' port, with everything that the certificate does not limit
/// ([`crate::etcd::access`]); at the peers' port it must also be one of a
/// server, as a member's is and a client's is not.
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
    /// At the peers' port. Sessions are resumed without looking at certificates again: so it shares
    /// none with the clients' port.
    peers: Arc<ArcSwap<ServerConfig>>,
    /// At the clients' port.
    server: Arc<ArcSwap<ServerConfig>>,
    client: Arc<ArcSwap<ClientConfig>>,
}

struct Configs {
    peers: ServerConfig,
    server: ServerConfig,
    client: ClientConfig,
}

impl Tls {
    pub fn new(certificates: &Certificates) -> Result<Self, TlsError> {
        let Configs { peers, server, client } = build(certificates)?;
        Ok(Self {
            peers: Arc::new(ArcSwap::from_pointee(peers)),
            server: Arc::new(ArcSwap::from_pointee(server)),
            client: Arc::new(ArcSwap::from_pointee(client)),
        })
    }

    /// Takes new certificates; on an error the old ones stay.
    pub fn reload(&self, certificates: &Certificates) -> Result<(), TlsError> {
        let Configs { peers, server, client } = build(certificates)?;
        self.peers.store(Arc::new(peers));
        self.server.store(Arc::new(server));
        self.client.store(Arc::new(client));
        Ok(())
    }

    /// The side that accepts clients, for [`crate::etcd::serve`].
    pub fn server(&self) -> Arc<ArcSwap<ServerConfig>> {
        self.server.clone()
    }

    /// The side that connects, for [`crate::RemoteConfig`].
    pub fn client(&self) -> Arc<ArcSwap<ClientConfig>> {
        self.client.clone()
    }

    /// Members' connections.
    pub(crate) fn incoming(&self, listener: TcpListener) -> Accepted {
        accept(listener, self.peers.clone())
    }

    pub(crate) fn connector(&self) -> Connector {
        Connector(self.client.clone())
    }
}

/// Connections whose handshake is done.
pub(crate) type Accepted = ReceiverStream<io::Result<TlsStream<TcpStream>>>;

/// Accepts connections until the stream is dropped; those whose handshake fails are left out.
pub(crate) fn accept(listener: TcpListener, tls: Arc<ArcSwap<ServerConfig>>) -> Accepted {
    let (accepted, stream) = mpsc::channel(ACCEPTED_MAX);
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
            let acceptor = TlsAcceptor::from(tls.load_full());
            let accepted = accepted.clone();
            tokio::spawn(async move {
                match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket)).await {
                    Ok(Ok(stream)) => {
                        let _ = accepted.send(Ok(stream)).await;
                    }
                    Ok(Err(error)) => tracing::info!(%from, %error, "refused: TLS handshake failed"),
                    Err(_) => tracing::info!(%from, "refused: TLS handshake took too long"),
                }
            });
        }
    });
    ReceiverStream::new(stream)
}

fn build(certificates: &Certificates) -> Result<Configs, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for ca in read_certificates("CA", &certificates.ca_pem)? {
        roots.add(ca)?;
    }
    let roots = Arc::new(roots);
    let chain = read_certificates("certificate", &certificates.cert_pem)?;
    let key = PrivateKeyDer::from_pem_slice(&certificates.key_pem)
        .map_err(|error| TlsError::Pem { what: "key", reason: error.to_string() })?;
    let of_authority = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
        .build()
        .map_err(|error| TlsError::Verifier(error.to_string()))?;
    let accepting = |verifier: Arc<dyn ClientCertVerifier>| -> Result<ServerConfig, TlsError> {
        let mut config = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    };
    let peers = accepting(Arc::new(MembersOnly { of_authority: of_authority.clone() }))?;
    let mut server = accepting(of_authority)?;
    // Prometheus and probes speak the older one.
    server.alpn_protocols.push(b"http/1.1".to_vec());
    let mut client = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain.clone(), key.clone_key())?;
    client.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Configs { peers, server, client })
}

/// Takes certificates of the authority that are a server's and a client's at once. One authority
/// issues to members and to the store's clients, and a client could end the cluster with one vote.
#[derive(Debug)]
struct MembersOnly {
    of_authority: Arc<dyn ClientCertVerifier>,
}

impl ClientCertVerifier for MembersOnly {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.of_authority.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.of_authority.verify_client_cert(end_entity, intermediates, now)?;
        let (_, certificate) = x509_parser::parse_x509_certificate(end_entity)
            .map_err(|_| rustls::Error::from(CertificateError::BadEncoding))?;
        // Said outright: one that names no use at all is not a member's.
        match certificate.extended_key_usage() {
            Ok(Some(usage)) if usage.value.server_auth && usage.value.client_auth => Ok(verified),
            _ => Err(CertificateError::InvalidPurpose.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.of_authority.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.of_authority.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.of_authority.supported_verify_schemes()
    }
}

fn read_certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|error| TlsError::Pem { what, reason: error.to_string() })?;
    if read.is_empty() {
        return Err(TlsError::NoCertificate(what));
    }
    Ok(read)
}

/// Opens TLS connections for tonic's channels, which bound the time that it may take.
#[derive(Clone)]
pub(crate) struct Connector(pub(crate) Arc<ArcSwap<ClientConfig>>);

impl tonic::codegen::Service<http::Uri> for Connector {
    type Response = TokioIo<tokio_rustls::client::TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: http::Uri) -> Self::Future {
        let config = self.0.load_full();
        Box::pin(async move {
            let invalid = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let port = uri.port_u16().ok_or_else(|| invalid(format!("{uri} names no port")))?;
            let name =
                ServerName::try_from(host.clone()).map_err(|_| invalid(format!("{host} is no host name")))?;
            let socket = TcpStream::connect((host.as_str(), port)).await?;
            socket.set_nodelay(true)?;
            let stream = TlsConnector::from(config).connect(name, socket).await?;
            Ok(TokioIo::new(stream))
        })
    }
}
