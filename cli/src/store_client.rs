//! A client of the masters' stores.

use std::sync::Arc;

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use rustls::ClientConfig;
use trireme_raft::{Remote, RemoteConfig};
use trireme_store::Kv;

use crate::exit::ConfigContext;
use crate::pki::Files;

/// The client, and where its certificates are exchanged.
pub(crate) struct StoreClient {
    pub kv: Arc<dyn Kv>,
    tls: Arc<ArcSwap<ClientConfig>>,
    ca_pem: String,
    files: Files,
}

impl StoreClient {
    /// `endpoints` are `host:port`. Connects when it is first used.
    pub(crate) fn new(ca_pem: &str, files: &Files, endpoints: Vec<String>) -> Result<StoreClient> {
        let tls = Arc::new(ArcSwap::new(files.client_config(ca_pem)?));
        let remote =
            Remote::connect(RemoteConfig { endpoints, tls: tls.clone() }).context("store").config()?;
        Ok(StoreClient { kv: Arc::new(remote), tls, ca_pem: ca_pem.to_owned(), files: files.clone() })
    }

    /// New connections use the certificate that is on the disk now.
    pub(crate) fn reload(&self) {
        match self.files.client_config(&self.ca_pem) {
            Ok(tls) => self.tls.store(tls),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "the store's client keeps its old certificate");
            }
        }
    }
}
