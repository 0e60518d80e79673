//! A client of the masters' stores.

use std::sync::Arc;

use anyhow::{Context, Result};
use trireme_raft::{Certificates, Remote, RemoteConfig, Tls};
use trireme_store::Kv;

use crate::exit::ConfigContext;
use crate::pki::Files;

/// The client, and where its certificates are exchanged.
pub(crate) struct StoreClient {
    pub kv: Arc<dyn Kv>,
    pub remote: Remote,
    tls: Tls,
    ca_pem: String,
    files: Files,
}

impl StoreClient {
    /// `endpoints` are `host:port`. Connects when it is first used.
    pub(crate) fn new(ca_pem: &str, files: &Files, endpoints: Vec<String>) -> Result<StoreClient> {
        let tls = Tls::new(&certificates(ca_pem, files)?).context("certificates of the store")?;
        let config = RemoteConfig { endpoints, tls: tls.client() };
        let remote = Remote::connect(config).context("store").config()?;
        Ok(StoreClient {
            kv: Arc::new(remote.clone()),
            remote,
            tls,
            ca_pem: ca_pem.to_owned(),
            files: files.clone(),
        })
    }

    /// New connections use the certificate that is on the disk now.
    pub(crate) fn reload(&self) {
        let reloaded = certificates(&self.ca_pem, &self.files).and_then(|new| Ok(self.tls.reload(&new)?));
        if let Err(error) = reloaded {
            tracing::error!(error = format!("{error:#}"), "the store's client keeps its old certificate");
        }
    }
}

fn certificates(ca_pem: &str, files: &Files) -> Result<Certificates> {
    let (cert_pem, key_pem) = files.read()?;
    Ok(Certificates { ca_pem: ca_pem.into(), cert_pem, key_pem })
}
