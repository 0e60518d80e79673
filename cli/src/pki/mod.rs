//! The cluster's own certificates: authorities, what they issue, and their renewal while running.
//!
//! ```text
//!   <pki>/ca              signs API servers' certificates and those of everyone who calls them
//!   <pki>/store-ca        signs masters as raft peers and clients of the store: a node's or a user's
//!                         certificate of the API is worth nothing at the store's port
//!   <pki>/front-proxy-ca  signs proxies that may name the user (aggregation)
//!   <pki>/sa              signs service-account tokens
//! ```
//!
//! Every master holds the authorities' keys, and issues the leaves it needs for itself into its data
//! directory.

mod authority;
mod client;
mod leaf;
mod make;
mod renew;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use trireme_raft::etcd::access::Grant;

pub(crate) use authority::{Authority, write_private, write_public};
pub(crate) use leaf::{Files, Leaf, LeafFile};
pub(crate) use make::{Options, run};
pub(crate) use renew::Renewer;

/// First address of the service range, where `kubernetes.default.svc` answers.
pub(crate) const KUBERNETES_SERVICE_IP: &str = "10.96.0.1";

/// The file with the cluster's name.
const CLUSTER: &str = "cluster";

/// What a complete folder holds; each file is written whole or not at all.
const FILES: [&str; 9] = [
    CLUSTER,
    "ca.crt",
    "ca.key",
    "store-ca.crt",
    "store-ca.key",
    "front-proxy-ca.crt",
    "front-proxy-ca.key",
    "sa.key",
    "sa.pub",
];

/// The authorities of one cluster and the folder that holds them.
pub(crate) struct Pki {
    pub dir: PathBuf,
    /// Names the cluster: a data directory of another one is refused.
    pub cluster: String,
    pub ca: Authority,
    pub store_ca: Authority,
}

impl Pki {
    /// Opens the authorities under `dir`, making those that are missing. Masters that share the
    /// folder may do so at the same time. A folder that is complete may be read-only.
    pub(crate) fn open_or_create(dir: &Path) -> Result<Pki> {
        let _lock = if Self::is_complete(dir) { None } else { Some(lock(dir)?) };
        let pki = Pki {
            dir: dir.to_owned(),
            cluster: authority::open_or_create_cluster_name(dir)?,
            ca: Authority::open_or_create(dir, "ca", "kubernetes-ca")?,
            store_ca: Authority::open_or_create(dir, "store-ca", "trireme-store-ca")?,
        };
        // Nobody here asks for its certificates; whoever runs an authenticating proxy does.
        Authority::open_or_create(dir, "front-proxy-ca", "front-proxy-ca")?;
        authority::open_or_create_signing_key(dir, "sa")?;
        Ok(pki)
    }

    /// A name that no cluster has.
    pub(crate) fn draw_name() -> String {
        authority::draw_cluster_name()
    }

    /// Copies the authorities in `from`, which stays as it is, into `to`, for a cluster of another
    /// name: who trusts the old one's certificates trusts those of the new one, and members of the two
    /// refuse each other.
    pub(crate) fn adopt(from: &Path, to: &Path, name: &str) -> Result<Pki> {
        anyhow::ensure!(
            Self::is_complete(from),
            "{} holds no authorities of a cluster: {} are expected",
            from.display(),
            FILES.join(", ")
        );
        crate::server::private_dir(to)?;
        for file in FILES.into_iter().filter(|file| *file != CLUSTER) {
            let content = authority::read(&from.join(file))?;
            match file.ends_with(".key") {
                true => write_private(&to.join(file), content.as_bytes())?,
                false => write_public(&to.join(file), content.as_bytes())?,
            }
        }
        Self::rename(to, name)?;
        Self::open_or_create(to)
    }

    /// Gives the cluster whose authorities lie in `dir` another name.
    pub(crate) fn rename(dir: &Path, name: &str) -> Result<()> {
        write_public(&dir.join(CLUSTER), format!("{name}\n").as_bytes())
    }

    /// Names of the files that a complete folder holds.
    pub(crate) fn files() -> &'static [&'static str] {
        &FILES
    }

    pub(crate) fn is_complete(dir: &Path) -> bool {
        FILES.iter().all(|file| dir.join(file).exists())
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// The administrator's client certificate, for `admin.kubeconfig`.
    pub(crate) fn admin(&self) -> LeafFile<'_> {
        LeafFile::new(&self.ca, &self.dir, "admin", Leaf::client("kubernetes-admin", &["system:masters"]))
    }

    /// A client certificate for the store's port, for `trireme status` and `etcdctl`. It is worth
    /// nothing at the masters' own port, where a server's is asked for.
    pub(crate) fn store_client(&self) -> LeafFile<'_> {
        self.store_client_in(&self.dir)
    }

    /// The same for an API server of its own, in a folder that it may write to.
    pub(crate) fn store_client_in(&self, dir: &Path) -> LeafFile<'_> {
        LeafFile::new(&self.store_ca, dir, "store-client", Leaf::client("trireme-store-client", &[]))
    }

    /// A certificate for the store's port that is limited to `grants`, if there are any.
    pub(crate) fn limited_store_client(&self, dir: &Path, name: &str, grants: Vec<Grant>) -> LeafFile<'_> {
        let leaf = Leaf { grants, ..Leaf::client(name, &[]) };
        LeafFile::new(&self.store_ca, dir, name, leaf)
    }

    /// A node's certificate, as the Node authorizer wants it.
    pub(crate) fn node(&self, dir: &Path, name: &str) -> LeafFile<'_> {
        let user = format!("system:node:{name}");
        LeafFile::new(&self.ca, dir, &format!("node-{name}"), Leaf::client(&user, &["system:nodes"]))
    }

    /// What an API server shows to its clients.
    pub(crate) fn api_server(&self, dir: &Path, names: &[String]) -> LeafFile<'_> {
        let mut leaf =
            Leaf::server("kube-apiserver", &["localhost", "127.0.0.1", "::1", KUBERNETES_SERVICE_IP]);
        for name in [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ] {
            leaf.names.push(name.to_owned());
        }
        leaf.names.extend_from_slice(names);
        LeafFile::new(&self.ca, dir, "apiserver", leaf)
    }

    /// What a master shows to its peers and at the store's port, and with which it calls them.
    pub(crate) fn peer(&self, dir: &Path, name: &str, names: &[String]) -> LeafFile<'_> {
        let mut leaf = Leaf::server(name, &["localhost", "127.0.0.1", "::1"]);
        leaf.client = true;
        leaf.names.push(name.to_owned());
        leaf.names.extend_from_slice(names);
        LeafFile::new(&self.store_ca, dir, "peer", leaf)
    }
}

/// Keeps others from making the same authorities.
fn lock(dir: &Path) -> Result<nix::fcntl::Flock<std::fs::File>> {
    std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let path = dir.join(".lock");
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive)
        .map_err(|(_, errno)| anyhow::anyhow!("lock {}: {errno}", path.display()))
}

#[cfg(test)]
mod pki_test;
