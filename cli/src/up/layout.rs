//! What a local cluster consists of, and where each process listens and keeps its files.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::pki::write_public;
use crate::progress::count;

pub(crate) const FILE: &str = "cluster.json";
/// Ports of master `n` are `port + n * PORTS_PER_PROCESS` and the two after it.
const PORTS_PER_PROCESS: u16 = 10;
/// Stateless API servers come after the greatest number of masters.
const FIRST_REPLICA: u16 = 6;
const NODES_MAX: u32 = 5_000;
pub(crate) const API_REPLICAS_MAX: u16 = 20;

/// Chosen at the first start and kept in `<dir>/cluster.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Layout {
    pub masters: u16,
    pub nodes: u32,
    /// The balancer's.
    pub port: u16,
    pub api_replicas: u16,
}

const DEFAULT: Layout = Layout { masters: 3, nodes: 2, port: 6443, api_replicas: 0 };

/// One process's place in the layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Master {
    pub name: String,
    pub api: String,
    pub client: String,
    pub peer: String,
}

/// What the command line asked for; what is absent stays as it was.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    pub masters: Option<u16>,
    pub nodes: Option<u32>,
    pub port: Option<u16>,
    pub api_replicas: Option<u16>,
}

impl Layout {
    /// The layout of `dir`, with `wanted` taken over. Neither the number of masters nor the port can
    /// change: they are the membership of the cluster whose data lies there, and the addresses under
    /// which its members know each other.
    pub(crate) fn open(dir: &Path, wanted: Wanted) -> Result<Layout> {
        let stored = Self::read(dir)?;
        let base = stored.clone().unwrap_or(DEFAULT);
        let layout = base.with(wanted);
        if let Some(stored) = &stored {
            ensure!(
                stored.masters == layout.masters,
                "{} holds a cluster of {}: leave out --masters, or give another --dir",
                dir.display(),
                count(stored.masters, "master")
            );
            ensure!(
                stored.port == layout.port,
                "{} holds a cluster made with --port {}, by which its masters know each other: leave out \
                 --port, or give another --dir",
                dir.display(),
                stored.port
            );
        }
        layout.check()?;
        Ok(layout)
    }

    /// A layout for a folder that holds nothing.
    pub(crate) fn new(wanted: Wanted) -> Result<Layout> {
        let layout = DEFAULT.with(wanted);
        layout.check()?;
        Ok(layout)
    }

    fn with(self, wanted: Wanted) -> Layout {
        Layout {
            masters: wanted.masters.unwrap_or(self.masters),
            nodes: wanted.nodes.unwrap_or(self.nodes),
            port: wanted.port.unwrap_or(self.port),
            api_replicas: wanted.api_replicas.unwrap_or(self.api_replicas),
        }
    }

    /// Writes it down for the next start.
    pub(crate) fn keep(&self, dir: &Path) -> Result<()> {
        if Self::read(dir)?.as_ref() == Some(self) {
            return Ok(());
        }
        let text = serde_json::to_string_pretty(self).context("layout as JSON")? + "\n";
        write_public(&dir.join(FILE), text.as_bytes())
    }

    /// The layout of `dir`, if a cluster was started there.
    pub(crate) fn read(dir: &Path) -> Result<Option<Layout>> {
        let path = dir.join(FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let layout: Layout =
                    serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
                Ok(Some(layout))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    fn check(&self) -> Result<()> {
        if ![1, 3, 5].contains(&self.masters) {
            bail!("--masters {}: 1, 3 or 5 (an even number tolerates no more losses)", self.masters);
        }
        ensure!(self.nodes <= NODES_MAX, "--nodes {}: at most {NODES_MAX}", self.nodes);
        ensure!(
            self.api_replicas <= API_REPLICAS_MAX,
            "--api-replicas {}: at most {API_REPLICAS_MAX}",
            self.api_replicas
        );
        let last =
            u32::from(self.port) + u32::from(PORTS_PER_PROCESS) * u32::from(FIRST_REPLICA + API_REPLICAS_MAX);
        ensure!(
            self.port >= 1024 && last <= u32::from(u16::MAX),
            "--port {}: a cluster uses up to {} ports from there on, between 1024 and 65535",
            self.port,
            last - u32::from(self.port)
        );
        Ok(())
    }

    pub(crate) fn masters(&self) -> Vec<Master> {
        (1..=self.masters)
            .map(|n| {
                let port = self.port + n * PORTS_PER_PROCESS;
                Master {
                    name: format!("master-{n}"),
                    api: loopback(port),
                    client: loopback(port + 1),
                    peer: loopback(port + 2),
                }
            })
            .collect()
    }

    /// Names and addresses of the stateless API servers.
    pub(crate) fn replicas(&self) -> Vec<(String, String)> {
        (0..self.api_replicas)
            .map(|n| {
                let port = self.port + (FIRST_REPLICA + n) * PORTS_PER_PROCESS;
                (format!("apiserver-{}", n + 1), loopback(port))
            })
            .collect()
    }

    pub(crate) fn balancer(&self) -> String {
        loopback(self.port)
    }

    /// Every address that a process of this cluster listens on.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let mut all = vec![self.balancer()];
        for master in self.masters() {
            all.extend([master.api, master.client, master.peer]);
        }
        all.extend(self.replicas().into_iter().map(|(_, address)| address));
        all
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", count(self.masters, "master"))?;
        if self.api_replicas > 0 {
            write!(f, ", {}", count(self.api_replicas, "further API server"))?;
        }
        write!(f, ", {}", count(self.nodes, "hollow node"))
    }
}

fn loopback(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// `<dir>`, absolute, so that what is printed can be used from anywhere.
pub(crate) fn absolute(dir: &Path) -> Result<PathBuf> {
    std::path::absolute(dir).with_context(|| format!("resolve {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_chosen_stays_and_the_membership_cannot_change() {
        let dir = std::env::temp_dir().join(format!("trireme-layout-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let open = |wanted| Layout::open(&dir, wanted);
        let first = open(Wanted { masters: Some(5), port: Some(7000), ..Wanted::default() }).unwrap();
        first.keep(&dir).unwrap();
        let again = open(Wanted { nodes: Some(7), port: Some(7000), ..Wanted::default() }).unwrap();
        assert_eq!((again.masters, again.nodes, again.port), (5, 7, 7000));
        let error = open(Wanted { masters: Some(3), ..Wanted::default() }).unwrap_err().to_string();
        assert!(error.contains("holds a cluster of 5 masters"), "{error}");
        let error = open(Wanted { port: Some(8000), ..Wanted::default() }).unwrap_err().to_string();
        assert!(error.contains("made with --port 7000"), "{error}");
        assert_eq!(Layout::read(&dir).unwrap(), Some(first));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn wrong_numbers_are_named() {
        let check = |masters, nodes, port, api_replicas| {
            Layout { masters, nodes, port, api_replicas }.check().map_err(|e| e.to_string())
        };
        assert!(check(3, 2, 6443, 0).is_ok());
        assert!(check(2, 2, 6443, 0).unwrap_err().contains("--masters 2"));
        assert!(check(3, 9999, 6443, 0).unwrap_err().contains("--nodes 9999"));
        assert!(check(3, 2, 80, 0).unwrap_err().contains("--port 80"));
        assert!(check(3, 2, 65500, 0).unwrap_err().contains("--port 65500"));
        assert!(check(3, 2, 6443, 99).unwrap_err().contains("--api-replicas 99"));
    }

    #[test]
    fn no_address_is_used_twice() {
        let layout = Layout { masters: 5, nodes: 0, port: 6443, api_replicas: API_REPLICAS_MAX };
        let mut addresses = layout.addresses();
        let count = addresses.len();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), count);
    }
}
