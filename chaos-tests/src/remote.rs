//! Clients of the store, as a stateless API server is one.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use trireme_raft::{Certificates, Remote, RemoteConfig, Tls};
use trireme_store::Kv;

/// A client of `endpoints`, `host:port` each, with the certificate `name` of the folder `pki`.
pub fn connect(pki: &Path, ca: &str, name: &str, endpoints: Vec<String>) -> Result<Arc<dyn Kv>> {
    let read = |file: String| {
        let path = pki.join(file);
        std::fs::read(&path).with_context(|| format!("read {}", path.display()))
    };
    let tls = Tls::new(&Certificates {
        ca_pem: read(ca.to_owned())?,
        cert_pem: read(format!("{name}.crt"))?,
        key_pem: read(format!("{name}.key"))?,
    })
    .context("certificates of the store")?;
    let config = RemoteConfig { endpoints, tls: tls.client() };
    Ok(Arc::new(Remote::connect(config).context("endpoints of the store")?))
}
