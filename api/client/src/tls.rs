//! The client's side of TLS: which server is trusted, who we are.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// What is wrong with the certificates that were given. Never holds key material.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the CA bundle holds no certificate that can be read")]
    Ca,
    #[error("the client certificate cannot be read: {0}")]
    Certificate(String),
    #[error("the client key cannot be read, or does not fit its certificate: {0}")]
    Key(String),
}

/// A certificate chain and its key, both PEM.
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    pub certificate: &'a [u8],
    pub key: &'a [u8],
}

/// TLS 1.2 or 1.3 with HTTP/2, trusting the certificates of `ca` alone.
pub fn client_config(ca: &[u8], identity: Option<Identity<'_>>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca) {
        roots.add(certificate.map_err(|_| TlsError::Ca)?).map_err(|_| TlsError::Ca)?;
    }
    if roots.is_empty() {
        return Err(TlsError::Ca);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the suites of every default version")
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = CertificateDer::pem_slice_iter(identity.certificate)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|e| TlsError::Certificate(e.to_string()))?;
            if chain.is_empty() {
                return Err(TlsError::Certificate("no certificate in it".into()));
            }
            let key =
                PrivateKeyDer::from_pem_slice(identity.key).map_err(|e| TlsError::Key(e.to_string()))?;
            builder.with_client_auth_cert(chain, key).map_err(|e| TlsError::Key(e.to_string()))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}
