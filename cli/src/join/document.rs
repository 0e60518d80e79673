//! What a master is told when it joins, and what of it is kept beside its data.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::pki::write_private;

/// Kept in the data directory; a restarted member goes on with it.
const FILE: &str = "join.json";

/// The answer to a token. No `Debug`: it holds the keys of the cluster.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Admission {
    pub cluster: String,
    /// The authorities' files by name.
    pub authorities: BTreeMap<String, String>,
    pub cluster_facts: Facts,
}

/// What a joined master goes by in the place of `--initial-cluster`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Facts {
    /// Peer addresses of members.
    pub peers: Vec<String>,
    pub service_cidr: String,
    /// Name of the dead member in whose place it comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
}

impl Facts {
    /// What was kept in `data_dir`, if the master came by joining.
    pub(crate) fn read(data_dir: &Path) -> Result<Option<Facts>> {
        let path = data_dir.join(FILE);
        match std::fs::read(&path) {
            Ok(bytes) => {
                let facts = serde_json::from_slice(&bytes);
                Ok(Some(facts.with_context(|| format!("{} is damaged", path.display()))?))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// None of the members that were known are there any more.
    pub(crate) fn forget_peers(data_dir: &Path) -> Result<()> {
        match Self::read(data_dir)? {
            Some(facts) => Facts { peers: Vec::new(), replaces: None, ..facts }.keep(data_dir),
            None => Ok(()),
        }
    }

    pub(super) fn keep(&self, data_dir: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("what was learnt, as JSON")? + "\n";
        write_private(&data_dir.join(FILE), text.as_bytes())
    }
}
