//! An authority: a self-signed certificate and its key, kept as two files.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Certificates are valid from a little before they were made, for members whose clocks lag.
pub(crate) const BACKDATE: Duration = Duration::from_secs(300);

/// Signs certificates. Has no `Debug`: it holds a key.
pub(crate) struct Authority {
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Reads `<dir>/<name>.crt` and `.key`, or makes both. One of them alone is an error: making
    /// a new authority would lock out everyone who holds a certificate of the old one.
    pub(crate) fn open_or_create(dir: &Path, name: &str, common_name: &str) -> Result<Authority> {
        let (cert_path, key_path) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
        match (cert_path.exists(), key_path.exists()) {
            (false, false) => Self::create(&cert_path, &key_path, common_name)?,
            (true, true) => {}
            (true, false) => {
                bail!("{} is there but its key {} is not", cert_path.display(), key_path.display())
            }
            (false, true) => {
                bail!("{} is there but its certificate {} is not", key_path.display(), cert_path.display())
            }
        }
        let certificate_pem = read(&cert_path)?;
        let key = KeyPair::from_pem(&read(&key_path)?)
            .with_context(|| format!("{} is no private key", key_path.display()))?;
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, key)
            .with_context(|| format!("{} is no certificate of an authority", cert_path.display()))?;
        Ok(Authority { certificate_pem, issuer })
    }

    fn create(cert_path: &Path, key_path: &Path, common_name: &str) -> Result<()> {
        let key = KeyPair::generate().context("make a key")?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let now = now();
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + (now - BACKDATE);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + (now + AUTHORITY_LIFE);
        let certificate = params.self_signed(&key).context("sign an authority")?;
        write_private(key_path, key.serialize_pem().as_bytes())?;
        write_public(cert_path, certificate.pem().as_bytes())
    }

    pub(crate) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    pub(super) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }
}

/// `<dir>/<name>.key` and `<name>.pub`, with which service-account tokens are signed and checked.
pub(super) fn open_or_create_signing_key(dir: &Path, name: &str) -> Result<()> {
    let (key_path, pub_path) = (dir.join(format!("{name}.key")), dir.join(format!("{name}.pub")));
    if !key_path.exists() {
        let key = KeyPair::generate().context("make a key")?;
        write_private(&key_path, key.serialize_pem().as_bytes())?;
    }
    if !pub_path.exists() {
        let key = KeyPair::from_pem(&read(&key_path)?)
            .with_context(|| format!("{} is no private key", key_path.display()))?;
        write_public(&pub_path, key.public_key_pem().as_bytes())?;
    }
    Ok(())
}

/// `<dir>/cluster`: drawn once, so that two clusters never have the same.
pub(super) fn open_or_create_cluster_name(dir: &Path) -> Result<String> {
    let path = dir.join("cluster");
    if !path.exists() {
        write_public(&path, format!("{}\n", draw_cluster_name()).as_bytes())?;
    }
    let name = read(&path)?.trim().to_owned();
    anyhow::ensure!(!name.is_empty(), "{} is empty", path.display());
    Ok(name)
}

pub(super) fn draw_cluster_name() -> String {
    format!("trireme-{:016x}", rand::random::<u64>())
}

pub(super) fn now() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

pub(super) fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

/// Writes a file that only its owner may read, whole or not at all.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    write(path, content, 0o600)
}

/// Writes a file that everyone may read, whole or not at all.
pub(crate) fn write_public(path: &Path, content: &[u8]) -> Result<()> {
    write(path, content, 0o644)
}

fn write(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = path.with_file_name(name);
    let attempt = || -> std::io::Result<()> {
        let _ = std::fs::remove_file(&temporary);
        let mut file =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    attempt().with_context(|| format!("write {}", path.display()))
}
