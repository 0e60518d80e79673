//! Clients of the store, as a stateless API server is one.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use trireme_client::tls::{Identity, client_config};
use trireme_raft::{Remote, RemoteConfig};
use trireme_store::Kv;

/// A client of `endpoints`, `host:port` each, with the certificate `name` of the folder `pki`.
pub fn connect(pki: &Path, ca: &str, name: &str, endpoints: Vec<String>) -> Result<Arc<dyn Kv>> {
    let read = |file: String| {
        let path = pki.join(file);
        std::fs::read(&path).with_context(|| format!("read {}", path.display()))
    };
    let (certificate, key) = (read(format!("{name}.crt"))?, read(format!("{name}.key"))?);
    let identity = Identity { certificate: &certificate, key: &key };
    let tls = client_config(&read(ca.to_owned())?, Some(identity)).context("certificates of the store")?;
    let config = RemoteConfig { endpoints, tls: Arc::new(arc_swap::ArcSwap::new(tls)) };
    Ok(Arc::new(Remote::connect(config).context("endpoints of the store")?))
}
