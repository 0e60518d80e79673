//! A master's side of joining: a good token gets the authorities and where the members are.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use trireme_apiserver::{ApiError, Gate};
use trireme_store::Kv;

use super::document::{Admission, Facts};
use super::token;
use crate::pki::Pki;

/// Finds the peer addresses of the members.
pub(crate) type FindPeers = Arc<dyn Fn() -> BoxFuture<'static, anyhow::Result<Vec<String>>> + Send + Sync>;

pub(crate) struct Doorkeeper {
    pub kv: Arc<dyn Kv>,
    pub pki: Arc<Pki>,
    pub peers: FindPeers,
    pub service_cidr: String,
}

#[async_trait]
impl Gate for Doorkeeper {
    async fn admit(&self, token: &str) -> Result<Bytes, ApiError> {
        let good = token::is_good(&*self.kv, token).await;
        let good = good.map_err(|error| ApiError::unavailable(error.to_string()))?;
        let id = token.split('.').next().unwrap_or_default();
        if !good {
            tracing::warn!(
                token = id.escape_debug().to_string(),
                "a machine came with a token that is not good"
            );
            return Err(ApiError::unauthorized());
        }
        tracing::info!(token = id, "a machine gets the authorities of the cluster");
        self.admission().await.map_err(|error| ApiError::unavailable(format!("{error:#}")))
    }
}

impl Doorkeeper {
    async fn admission(&self) -> anyhow::Result<Bytes> {
        let peers = (self.peers)().await?;
        anyhow::ensure!(!peers.is_empty(), "the members are not known");
        let mut authorities = BTreeMap::new();
        for name in Pki::files() {
            let path = self.pki.path(name);
            let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            authorities.insert((*name).to_owned(), text);
        }
        let cluster_facts = Facts { peers, service_cidr: self.service_cidr.clone(), replaces: None };
        let admission = Admission { cluster: self.pki.cluster.clone(), authorities, cluster_facts };
        Ok(serde_json::to_vec(&admission)?.into())
    }
}
