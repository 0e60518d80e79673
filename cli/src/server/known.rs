//! Who the other masters are, kept beside the authorities: a master that has lost its data finds its
//! way back by it, and makes no new cluster in the place of one that runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use trireme_raft::Replica;
use trireme_raft::etcd::Backend;

use crate::pki::write_private;

/// In the folder of the authorities, which is what is left where a disk with data is lost.
const FILE: &str = "masters.json";
/// Between two looks at who votes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Known {
    /// Another cluster of the same authorities, such as one after a recovery, has other masters.
    pub cluster: String,
    pub service_cidr: String,
    /// Name → peer address of all that vote.
    pub masters: BTreeMap<String, String>,
}

impl Known {
    /// What was kept of `cluster`, with its masters beside `name`; nothing, where there are none.
    pub(super) fn read(pki_dir: &Path, cluster: &str, name: &str) -> Result<Option<Known>> {
        let path = pki_dir.join(FILE);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.with_context(|| format!("read {}", path.display()))?,
        };
        let mut known: Known = serde_json::from_slice(&bytes).with_context(|| {
            format!("{} is damaged: without it, those in --initial-cluster are asked", path.display())
        })?;
        known.masters.retain(|master, _| master != name);
        Ok((known.cluster == cluster && !known.masters.is_empty()).then_some(known))
    }

    /// Keeps `self` with the masters that vote, for as long as this one is one of them. Not before the
    /// first leader: until then there is no cluster to find back into.
    pub(super) async fn keep(mut self, pki_dir: PathBuf, replica: Replica) {
        let mut kept = None;
        let led = replica.has_leader();
        loop {
            let voters = replica.members().into_iter().filter(|member| !member.is_learner);
            self.masters = voters.map(|member| (member.name, member.peer_address)).collect();
            if replica.votes() && *led.borrow() && kept.as_ref() != Some(&self) {
                match self.write(&pki_dir) {
                    Ok(()) => kept = Some(self.clone()),
                    Err(error) => {
                        let error = format!("{error:#}");
                        tracing::warn!(error, "who the masters are could not be kept");
                    }
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn write(&self, pki_dir: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("the masters, as JSON")? + "\n";
        write_private(&pki_dir.join(FILE), text.as_bytes())
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_others_of_this_cluster_are_known_and_of_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let read = |cluster: &str, name: &str| Known::read(dir.path(), cluster, name);
        let others = |cluster: &str, name: &str| {
            let masters = read(cluster, name).unwrap().map(|known| known.masters.into_values().collect());
            masters.unwrap_or_else(Vec::new)
        };
        assert!(others("a", "m1").is_empty());
        let mut known = Known { cluster: "a".into(), ..Known::default() };
        known.masters.insert("m1".into(), "h1:2380".into());
        known.write(dir.path()).unwrap();
        assert!(read("a", "m1").unwrap().is_none(), "it is alone");
        known.masters.insert("m2".into(), "h2:2380".into());
        known.write(dir.path()).unwrap();
        assert_eq!(others("a", "m1"), ["h2:2380"]);
        assert_eq!(others("a", "m3"), ["h1:2380", "h2:2380"]);
        assert!(others("b", "m1").is_empty());
        std::fs::write(dir.path().join(FILE), "{").unwrap();
        let error = format!("{:#}", read("a", "m1").unwrap_err());
        assert!(error.contains("masters.json is damaged"), "{error}");
    }
}
