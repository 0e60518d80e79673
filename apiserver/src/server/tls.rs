//! TLS of the listener: certificates that can change while running, and client certificates that
//! are optional and judged by authentication instead of by the handshake, so that a wrong one
//! gets a readable 401 instead of a broken connection.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::DistinguishedName;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer, UnixTime};
use sha2::{Digest, Sha256};

use crate::clock;
use crate::config::Error;
use crate::identity::Identity;

/// Certificate, key and client CA, as PEM. No `Debug`: it holds a private key.
#[derive(Clone)]
pub struct TlsMaterial {
    pub certificate_chain_pem: Vec<u8>,
    pub private_key_pem: Vec<u8>,
    pub client_ca_pem: Vec<u8>,
}

/// The material in use. `replace` takes effect with the next connection.
pub(crate) struct Tls {
    current: ArcSwap<Current>,
    provider: Arc<CryptoProvider>,
}

struct Current {
    key: Arc<CertifiedKey>,
    clients: Arc<dyn ClientCertVerifier>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    pub(crate) fn new(material: &TlsMaterial) -> Result<Arc<Tls>, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let current = ArcSwap::from_pointee(load(material, &provider)?);
        Ok(Arc::new(Tls { current, provider }))
    }

    /// Takes new material, or keeps the old and says what is wrong with the new.
    pub(crate) fn replace(&self, material: &TlsMaterial) -> Result<(), Error> {
        self.current.store(Arc::new(load(material, &self.provider)?));
        Ok(())
    }

    pub(crate) fn server_config(self: &Arc<Self>) -> Result<rustls::ServerConfig, Error> {
        let mut config = rustls::ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::Tls(e.to_string()))?
            .with_client_cert_verifier(Arc::new(AcceptAny(self.clone())))
            .with_cert_resolver(Arc::new(Resolver(self.clone())));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// Who shows these certificates: `Ok(None)` without one, `Err` when they are not signed by the
    /// client CA or are out of their time.
    ///
    /// Judged for each request, as upstream does, since a connection may outlive what was wrong with
    /// its certificate: this machine's clock, or an authority that was not known yet. What was found
    /// good is remembered until the material changes or the certificate's time is over.
    pub(crate) fn identify(&self, shown: &Shown) -> Result<Option<Identity>, String> {
        let Some((end_entity, intermediates)) = shown.chain.split_first() else { return Ok(None) };
        let current = self.current.load();
        if let Some(good) = &*shown.good.load()
            && Arc::ptr_eq(&good.by, &current)
            && clock::unix_seconds() <= good.not_after_s
        {
            return Ok(Some(good.identity.clone()));
        }
        current
            .clients
            .verify_client_cert(end_entity, intermediates, UnixTime::now())
            .map_err(|e| e.to_string())?;
        let (_, parsed) = x509_parser::parse_x509_certificate(end_entity).map_err(|e| e.to_string())?;
        let subject = parsed.subject();
        let name = subject.iter_common_name().next().and_then(|a| a.as_str().ok()).unwrap_or_default();
        if name.is_empty() {
            return Err("the certificate's subject has no common name".into());
        }
        let groups: Vec<String> =
            subject.iter_organization().filter_map(|a| a.as_str().ok()).map(str::to_owned).collect();
        let mut identity = Identity::user(name, groups);
        let digest: String = Sha256::digest(end_entity.as_ref()).iter().map(|b| format!("{b:02x}")).collect();
        identity.extra.push((
            "authentication.kubernetes.io/credential-id".into(),
            vec![format!("X509SHA256={digest}")],
        ));
        let not_after_s = parsed.validity().not_after.timestamp();
        let good = Good { by: current.clone(), identity: identity.clone(), not_after_s };
        shown.good.store(Some(Arc::new(good)));
        Ok(Some(identity))
    }
}

/// The certificates that the client of a connection showed, its own first; none without one.
pub(crate) struct Shown {
    chain: Vec<CertificateDer<'static>>,
    good: ArcSwapOption<Good>,
}

/// A client certificate that was found good.
struct Good {
    /// What it was judged by.
    by: Arc<Current>,
    identity: Identity,
    /// Seconds since 1970; a connection outlives its certificate otherwise.
    not_after_s: i64,
}

impl Shown {
    pub(crate) fn new(chain: &[CertificateDer<'_>]) -> Self {
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        Self { chain, good: ArcSwapOption::empty() }
    }
}

fn load(material: &TlsMaterial, provider: &Arc<CryptoProvider>) -> Result<Current, Error> {
    let tls = |e: &dyn std::fmt::Display, what: &str| Error::Tls(format!("{what}: {e}"));
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&material.certificate_chain_pem)
        .collect::<Result<_, _>>()
        .map_err(|e| tls(&e, "certificate"))?;
    if chain.is_empty() {
        return Err(Error::Tls("certificate: no certificate in the PEM data".into()));
    }
    let key = PrivateKeyDer::from_pem_slice(&material.private_key_pem).map_err(|e| tls(&e, "private key"))?;
    let key = provider.key_provider.load_private_key(key).map_err(|e| tls(&e, "private key"))?;
    let key = CertifiedKey::new(chain, key);
    key.keys_match().map_err(|e| tls(&e, "certificate and private key"))?;
    let mut roots = rustls::RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(&material.client_ca_pem) {
        let cert = cert.map_err(|e| tls(&e, "client CA"))?;
        roots.add(cert).map_err(|e| tls(&e, "client CA"))?;
    }
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|e| tls(&e, "client CA"))?;
    Ok(Current { key: Arc::new(key), clients })
}

#[derive(Debug)]
struct Resolver(Arc<Tls>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current.load().key.clone())
    }
}

/// The public key of a certificate of X.509's first version; `None` for every other.
fn first_version_key(cert: &CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'static>> {
    let (_, parsed) = x509_parser::parse_x509_certificate(cert).ok()?;
    (parsed.version() == x509_parser::x509::X509Version::V1)
        .then(|| SubjectPublicKeyInfoDer::from(parsed.public_key().raw.to_vec()))
}

/// Accepts every certificate whose key the client holds; [`Tls::identify`] judges it.
#[derive(Debug)]
struct AcceptAny(Arc<Tls>);

impl ClientCertVerifier for AcceptAny {
    fn client_auth_mandatory(&self) -> bool {
        false
    }
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Without hints a client sends what it has, and learns from the 401 that it was wrong.
        &[]
    }
    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.provider.signature_verification_algorithms,
        )
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms).or_else(|error| {
            // A certificate of X.509's first version cannot be read there. Whoever holds its key
            // gets as far as a 401, instead of a connection that breaks.
            let spki = first_version_key(cert).ok_or(error)?;
            rustls::crypto::verify_tls13_signature_with_raw_key(message, &spki, dss, algorithms)
        })
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.provider.signature_verification_algorithms.supported_schemes()
    }
}
