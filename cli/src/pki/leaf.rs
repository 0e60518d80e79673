//! A leaf certificate kept as two files, issued again when it no longer serves.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType,
};
use trireme_raft::etcd::access::Grant;

use super::authority::{Authority, BACKDATE, now, read, write_private, write_public};

const LEAF_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// The user's name, for a client.
    pub common_name: String,
    /// The user's groups, for a client.
    pub organizations: Vec<String>,
    /// DNS names and IP addresses, for a server.
    pub names: Vec<String>,
    /// What a client of the store is limited to (`trireme_raft::etcd::access`).
    pub grants: Vec<Grant>,
    pub server: bool,
    pub client: bool,
}

impl Leaf {
    pub(crate) fn client(user: &str, groups: &[&str]) -> Leaf {
        Leaf {
            common_name: user.to_owned(),
            organizations: groups.iter().map(|g| (*g).to_owned()).collect(),
            names: Vec::new(),
            grants: Vec::new(),
            server: false,
            client: true,
        }
    }

    pub(crate) fn server(common_name: &str, names: &[&str]) -> Leaf {
        Leaf {
            common_name: common_name.to_owned(),
            organizations: Vec::new(),
            names: names.iter().map(|n| (*n).to_owned()).collect(),
            grants: Vec::new(),
            server: true,
            client: false,
        }
    }
}

/// Where a certificate and its key lie.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub cert_path: PathBuf,
    pub key_path: PathBuf,
}

impl Files {
    /// Both as PEM, as they are now.
    pub(crate) fn read(&self) -> Result<(Vec<u8>, Vec<u8>)> {
        Ok((read(&self.cert_path)?.into_bytes(), read(&self.key_path)?.into_bytes()))
    }

    /// A TLS client that trusts `ca_pem` and shows this certificate.
    pub(crate) fn client_config(&self, ca_pem: &str) -> Result<Arc<rustls::ClientConfig>> {
        let (certificate, key) = self.read()?;
        let identity = trireme_client::tls::Identity { certificate: &certificate, key: &key };
        trireme_client::tls::client_config(ca_pem.as_bytes(), Some(identity))
            .with_context(|| format!("use {}", self.cert_path.display()))
    }
}

/// A leaf, the authority that issues it, and where it lies.
pub(crate) struct LeafFile<'a> {
    authority: &'a Authority,
    leaf: Leaf,
    pub files: Files,
}

impl<'a> LeafFile<'a> {
    pub(super) fn new(authority: &'a Authority, dir: &Path, file: &str, leaf: Leaf) -> LeafFile<'a> {
        LeafFile {
            authority,
            leaf,
            files: Files {
                cert_path: dir.join(format!("{file}.crt")),
                key_path: dir.join(format!("{file}.key")),
            },
        }
    }

    /// Issues the certificate unless the one on disk still serves: same authority, every name and
    /// usage asked for, and more than a third of its life left. Says whether it was issued.
    pub(crate) fn ensure(&self) -> Result<bool> {
        self.ensure_at(now())
    }

    pub(super) fn ensure_at(&self, now: Duration) -> Result<bool> {
        if self.serves(now) {
            return Ok(false);
        }
        if let Some(dir) = self.files.cert_path.parent() {
            std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        }
        let key = KeyPair::generate().context("make a key")?;
        let mut params = CertificateParams::new(self.leaf.names.clone())
            .with_context(|| format!("names of {}", self.files.cert_path.display()))?;
        for grant in &self.leaf.grants {
            params.subject_alt_names.push(SanType::URI(grant.to_uri().try_into().context("a grant's URI")?));
        }
        params.distinguished_name = DistinguishedName::new();
        for organization in &self.leaf.organizations {
            params.distinguished_name.push(DnType::OrganizationName, organization.as_str());
        }
        params.distinguished_name.push(DnType::CommonName, self.leaf.common_name.as_str());
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        if self.leaf.server {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        if self.leaf.client {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + now.saturating_sub(BACKDATE);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + (now + LEAF_LIFE);
        let certificate = params
            .signed_by(&key, self.authority.issuer())
            .with_context(|| format!("issue {}", self.files.cert_path.display()))?;
        // The key first: a crash in between leaves a pair that does not match, which is not served.
        write_private(&self.files.key_path, key.serialize_pem().as_bytes())?;
        write_public(&self.files.cert_path, certificate.pem().as_bytes())?;
        Ok(true)
    }

    fn serves(&self, now: Duration) -> bool {
        self.check(now).unwrap_or(false)
    }

    fn check(&self, now: Duration) -> Result<bool> {
        let pem = read(&self.files.cert_path)?;
        let key = KeyPair::from_pem(&read(&self.files.key_path)?)?;
        let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes())?;
        let cert = block.parse_x509()?;
        let (_, ca_block) = x509_parser::pem::parse_x509_pem(self.authority.certificate_pem().as_bytes())?;
        let ca = ca_block.parse_x509()?;
        if cert.public_key().subject_public_key.data != key.public_key_raw()
            || cert.verify_signature(Some(ca.public_key())).is_err()
        {
            return Ok(false);
        }
        let end = u64::try_from(cert.validity().not_after.timestamp()).unwrap_or(0);
        let start = u64::try_from(cert.validity().not_before.timestamp()).unwrap_or(0);
        if end.saturating_sub(now.as_secs()) < end.saturating_sub(start) / 3 {
            return Ok(false);
        }
        let mut organizations: Vec<&str> =
            cert.subject().iter_organization().filter_map(|o| o.as_str().ok()).collect();
        let mut wanted: Vec<&str> = self.leaf.organizations.iter().map(String::as_str).collect();
        organizations.sort_unstable();
        wanted.sort_unstable();
        let common_name = cert.subject().iter_common_name().next().and_then(|n| n.as_str().ok());
        if organizations != wanted || common_name != Some(&self.leaf.common_name) {
            return Ok(false);
        }
        let usage = cert.extended_key_usage()?.map(|u| (u.value.server_auth, u.value.client_auth));
        if usage != Some((self.leaf.server, self.leaf.client)) {
            return Ok(false);
        }
        // All of them and no others: fewer would let the holder do more.
        let mut uris: Vec<String> = self.leaf.grants.iter().map(Grant::to_uri).collect();
        uris.sort_unstable();
        if uris != alternative_uris(&cert)? {
            return Ok(false);
        }
        let names = alternative_names(&cert)?;
        Ok(self.leaf.names.iter().all(|name| names.contains(&normal(name))))
    }
}

fn normal(name: &str) -> String {
    name.parse::<IpAddr>().map_or_else(|_| name.to_ascii_lowercase(), |ip| ip.to_string())
}

fn alternative_names(cert: &x509_parser::certificate::X509Certificate<'_>) -> Result<Vec<String>> {
    use x509_parser::extensions::GeneralName;
    let mut names = Vec::new();
    if let Some(extension) = cert.subject_alternative_name()? {
        for name in &extension.value.general_names {
            match name {
                GeneralName::DNSName(name) => names.push(name.to_ascii_lowercase()),
                GeneralName::IPAddress(bytes) => {
                    if let Ok(v4) = <[u8; 4]>::try_from(*bytes) {
                        names.push(IpAddr::from(v4).to_string());
                    } else if let Ok(v6) = <[u8; 16]>::try_from(*bytes) {
                        names.push(IpAddr::from(v6).to_string());
                    }
                }
                _ => {}
            }
        }
    }
    Ok(names)
}

/// Sorted.
fn alternative_uris(cert: &x509_parser::certificate::X509Certificate<'_>) -> Result<Vec<String>> {
    use x509_parser::extensions::GeneralName;
    let extension = cert.subject_alternative_name()?;
    let names = extension.as_ref().map_or(&[][..], |extension| &extension.value.general_names);
    let mut uris: Vec<String> = names
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        })
        .collect();
    uris.sort_unstable();
    Ok(uris)
}
