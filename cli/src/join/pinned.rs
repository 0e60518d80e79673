//! The first call to a cluster of which only the hash of its authority is known. That hash came with
//! the token, so the server is proved before it is told the secret.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};

use super::token::hex;

/// The hash by which an authority's certificate is known: SHA-256 over its DER, hexadecimal.
pub(super) fn pin(certificate_pem: &str) -> Result<String> {
    let certificate =
        CertificateDer::from_pem_slice(certificate_pem.as_bytes()).context("the authority's certificate")?;
    Ok(pin_of(&certificate))
}

fn pin_of(certificate: &CertificateDer<'_>) -> String {
    hex(&Sha256::digest(certificate))
}

/// `HOST:PORT` of `https://HOST:PORT`.
pub(super) fn address(url: &str) -> Result<String> {
    let address = url.strip_prefix("https://").map(|rest| rest.trim_end_matches('/'));
    match address.and_then(|address| address.rsplit_once(':')) {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(address.unwrap_or_default().to_owned())
        }
        _ => bail!("{url:?}: https://HOST:PORT is expected"),
    }
}

/// A client that takes servers whose chain ends in the authority with this pin, and no others.
pub(super) fn client_config(pin: &str) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Pinned { pin: pin.to_owned(), provider: provider.clone() };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("TLS versions")?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct Pinned {
    pin: String,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.provider.signature_verification_algorithms
    }
}

impl ServerCertVerifier for Pinned {
    /// As strict as any client that has the authority's certificate: it is found in the chain by its
    /// hash, and the rest is verified against it alone.
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(authority) = intermediates.iter().find(|certificate| pin_of(certificate) == self.pin) else {
            return Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
        };
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, self.algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, self.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms().supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        assert_eq!(address("https://h:6443").unwrap(), "h:6443");
        assert_eq!(address("https://[::1]:6443/").unwrap(), "[::1]:6443");
        for wrong in ["h:6443", "http://h:6443", "https://h", "https://:1", "https://h:x"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_the_pinned_authority_is_believed() {
        use crate::pki::Pki;
        let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (ours, theirs) =
            (Pki::open_or_create(ours.path()).unwrap(), Pki::open_or_create(theirs.path()).unwrap());
        let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let chain = |pki: &Pki| {
            let leaf = pki.api_server(&pki.dir, &[]);
            leaf.ensure().unwrap();
            let (certificate, _) = leaf.files.read().unwrap();
            (CertificateDer::from_pem_slice(&certificate).unwrap(), der(pki.ca.certificate_pem()))
        };
        let verifier = Pinned {
            pin: pin(ours.ca.certificate_pem()).unwrap(),
            provider: Arc::new(rustls::crypto::ring::default_provider()),
        };
        let verify = |leaf: &CertificateDer<'_>, rest: &[CertificateDer<'_>], name: &'static str| {
            let name = ServerName::try_from(name).unwrap();
            verifier.verify_server_cert(leaf, rest, &name, &[], UnixTime::now())
        };
        let (leaf, authority) = chain(&ours);
        let (other_leaf, other_authority) = chain(&theirs);
        verify(&leaf, std::slice::from_ref(&authority), "localhost").unwrap();
        assert!(verify(&leaf, std::slice::from_ref(&authority), "elsewhere").is_err());
        assert!(verify(&leaf, &[], "localhost").is_err());
        assert!(verify(&other_leaf, std::slice::from_ref(&other_authority), "localhost").is_err());
        // One who adds our public certificate to a chain of its own.
        assert!(verify(&other_leaf, &[authority, other_authority], "localhost").is_err());
    }
}
