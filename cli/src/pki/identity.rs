//! A certificate and key as rustls wants them, exchanged while connections are served.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use arc_swap::ArcSwap;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};

/// Gives every new connection the certificate that is newest at that moment.
pub(crate) struct Identity {
    cert_path: PathBuf,
    key_path: PathBuf,
    current: ArcSwap<CertifiedKey>,
}

/// Secrets have no `Debug`; rustls asks its resolvers for one.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("cert_path", &self.cert_path).finish_non_exhaustive()
    }
}

impl Identity {
    pub(crate) fn load(cert_path: &Path, key_path: &Path) -> Result<Arc<Identity>> {
        Ok(Arc::new(Identity {
            cert_path: cert_path.to_owned(),
            key_path: key_path.to_owned(),
            current: ArcSwap::from_pointee(read_key(cert_path, key_path)?),
        }))
    }

    /// Takes what is on disk now; on an error the old certificate stays.
    pub(crate) fn reload(&self) -> Result<()> {
        self.current.store(Arc::new(read_key(&self.cert_path, &self.key_path)?));
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn current_chain(&self) -> Vec<CertificateDer<'static>> {
        self.current.load().cert.clone()
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
    fn has_certs(&self) -> bool {
        true
    }
}

fn read_key(cert_path: &Path, key_path: &Path) -> Result<CertifiedKey> {
    let chain = read_certificates(cert_path)?;
    let key = PrivateKeyDer::from_pem_file(key_path)
        .map_err(|error| anyhow!("{} holds no private key: {error}", key_path.display()))?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key)
        .with_context(|| format!("{}: kind of key not supported", key_path.display()))?;
    let certified = CertifiedKey::new(chain, key);
    certified
        .keys_match()
        .with_context(|| format!("{} and {} do not belong together", cert_path.display(), key_path.display()))?;
    Ok(certified)
}

/// Every certificate of a PEM file.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| anyhow!("{} holds no certificates: {error}", path.display()))?;
    anyhow::ensure!(!certificates.is_empty(), "{} holds no certificates", path.display());
    Ok(certificates)
}

/// The authorities of a PEM file.
pub(crate) fn roots(path: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(path)? {
        roots.add(certificate).with_context(|| format!("{}: not an authority", path.display()))?;
    }
    Ok(roots)
}

/// A client that trusts `ca` and shows `identity`, if any.
pub(crate) fn client_config(ca: &Path, identity: Option<Arc<Identity>>) -> Result<ClientConfig> {
    let builder =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .context("TLS versions")?
            .with_root_certificates(roots(ca)?);
    Ok(match identity {
        Some(identity) => builder.with_client_cert_resolver(identity),
        None => builder.with_no_client_auth(),
    })
}
