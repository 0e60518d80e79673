//! What is compared: Debian's etcd and Trireme, three members each on this machine, and beside them a
//! server that keeps nothing.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::unistd::Pid;

use super::client::Client;
use super::etcd::Etcd;
use super::nothing::{Depth, Nothing};
use crate::bench::usage::{Usage, resident_bytes};
use crate::cluster::{Cluster, free_ports};

/// Connections that clients share, as a fleet of API servers would have.
pub(super) const CONNECTIONS_MAX: usize = 16;

enum Members {
    Etcd(Etcd),
    Trireme(Cluster),
    Nothing(Nothing),
}

/// Three running members with nothing in them.
pub(in crate::bench) struct Side {
    pub name: &'static str,
    members: Members,
    endpoints: Vec<String>,
    pids: Vec<Pid>,
    pki: PathBuf,
    ca: &'static str,
    certificate: &'static str,
}

impl Side {
    pub(super) async fn etcd(folder: &Path) -> Result<Side> {
        let etcd = Etcd::start(folder, free_ports()?).await?;
        Ok(Side {
            name: "etcd",
            endpoints: etcd.endpoints.clone(),
            pids: etcd.pids(),
            pki: etcd.pki.clone(),
            ca: "ca.crt",
            certificate: "member",
            members: Members::Etcd(etcd),
        })
    }

    pub(super) async fn nothing(folder: &Path, depth: Depth) -> Result<Side> {
        let nothing = Nothing::start(folder, free_ports()?, depth).await?;
        Ok(Side {
            name: match depth {
                Depth::Calls => "nothing",
                Depth::Files => "synced",
                Depth::Members => "members",
            },
            endpoints: nothing.endpoints.clone(),
            pids: nothing.pids(),
            pki: nothing.pki.clone(),
            ca: "ca.crt",
            certificate: "member",
            members: Members::Nothing(nothing),
        })
    }

    pub(in crate::bench) async fn trireme(folder: &Path, masters: u16) -> Result<Side> {
        let cluster = Cluster::start(&folder.join("cluster"), free_ports()?, masters, 0).await?;
        let masters = cluster.masters();
        let pids = masters.iter().map(|master| cluster.pid(&master.name)).collect::<Result<_>>()?;
        Ok(Side {
            name: "trireme",
            endpoints: masters.into_iter().map(|master| master.client).collect(),
            pids,
            pki: cluster.dir.join("pki"),
            ca: "store-ca.crt",
            certificate: "store-client",
            members: Members::Trireme(cluster),
        })
    }

    /// The members, where they are ours.
    pub(in crate::bench) fn cluster(&self) -> Option<&Cluster> {
        match &self.members {
            Members::Etcd(_) | Members::Nothing(_) => None,
            Members::Trireme(cluster) => Some(cluster),
        }
    }

    pub(super) fn members(&self) -> usize {
        self.endpoints.len()
    }

    /// A client of member `n`, of the first one again after the last.
    pub(super) async fn connect_to(&self, n: usize) -> Result<Client> {
        let address = &self.endpoints[n % self.endpoints.len()];
        Client::connect(&self.pki, self.ca, self.certificate, address).await
    }

    /// One connection for each of `clients` up to a limit; connection `n` goes to member `n % 3`. Fewer
    /// clients than members have one to each: what they see must not hang on where the leader is.
    pub(super) async fn connect(&self, clients: usize) -> Result<Vec<Client>> {
        let mut all = Vec::new();
        for first in 0..clients.min(CONNECTIONS_MAX) {
            let mut client = self.connect_to(first).await?;
            if clients < self.members() {
                for n in 1..self.members() {
                    client = client.and(self.connect_to(first + n).await?);
                }
            }
            all.push(client);
        }
        Ok(all)
    }

    pub(super) fn usage(&self) -> Usage {
        Usage::of(self.pids.clone())
    }

    /// Resident bytes of the member that has most.
    pub(super) fn resident(&self) -> Result<u64> {
        let all = self.pids.iter().filter_map(|pid| resident_bytes(*pid));
        all.max().with_context(|| format!("no member of {} runs", self.name))
    }

    pub(in crate::bench) async fn stop(self) -> Result<()> {
        match self.members {
            Members::Etcd(etcd) => etcd.stop().await,
            Members::Trireme(cluster) => cluster.stop().await,
            Members::Nothing(nothing) => nothing.stop().await,
        }
    }
}
