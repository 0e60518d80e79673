//! Where a restored cluster is made: the first master's data directory, or a local cluster's folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use trireme_raft::{Founder, MemberNode};

use crate::pki::Pki;
use crate::server::{STORE_DIR, private_dir};
use crate::unfinished::{self, Begun};
use crate::up::{Layout, PKI_DIR, Wanted, absolute};

/// Where the source is made readable; gone at the end.
const SCRATCH: &str = "restoring";

#[derive(Args, Clone, Debug)]
pub(super) struct TargetOptions {
    /// Data directory of the new cluster's first master, new or empty
    #[arg(long, required_unless_present = "dir", conflicts_with = "dir", requires = "name")]
    data_dir: Option<PathBuf>,
    /// The first master's name
    #[arg(long)]
    name: Option<String>,
    /// Folder of a new local cluster, for `trireme up --dir`
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Masters of the local cluster: 1, 3 or 5 [default: 3]
    #[arg(long, requires = "dir")]
    masters: Option<u16>,
    /// Port of the local cluster's balancer [default: 6443]
    #[arg(long, requires = "dir")]
    port: Option<u16>,
    /// The old cluster's authorities, which are copied: its clients' certificates and tokens stay good
    /// [default: new ones are made]
    #[arg(long, value_name = "DIR")]
    pki_from: Option<PathBuf>,
}

/// A place that is being made.
pub(super) struct Target {
    root: PathBuf,
    masters: Vec<Founder>,
    layout: Option<Layout>,
    name: Option<String>,
    pki_from: Option<PathBuf>,
}

impl TargetOptions {
    /// Checks that the place is free, without touching it.
    pub(super) fn target(&self) -> Result<Target> {
        let (root, layout) = match (&self.data_dir, &self.dir) {
            (Some(data_dir), _) => (absolute(data_dir)?, None),
            (None, Some(dir)) => (absolute(dir)?, Some(self.layout()?)),
            (None, None) => bail!("--data-dir or --dir is needed: where to make the new cluster"),
        };
        if !unfinished::is_marked(&root, Begun::Restore)
            && let Some(found) = unfinished::content(&root)?
        {
            bail!(
                "{} is not empty ({found} is there): a new cluster is made in a new folder",
                root.display()
            );
        }
        if let Some(from) = &self.pki_from {
            anyhow::ensure!(
                Pki::is_complete(from),
                "--pki-from {}: no cluster's authorities",
                from.display()
            );
        }
        let founder = |data_dir: PathBuf, name: &str, peer: &str, client: &str| Founder {
            data_dir: data_dir.join(STORE_DIR),
            node: MemberNode { name: name.into(), peer_address: peer.into(), client_address: client.into() },
        };
        let masters = match (&layout, &self.name) {
            (Some(layout), _) => layout
                .masters()
                .into_iter()
                .map(|master| {
                    let data_dir = root.join(&master.name).join("data");
                    founder(data_dir, &master.name, &master.peer, &master.client)
                })
                .collect(),
            // It tells where it is when it is started.
            (None, Some(name)) => vec![founder(root.clone(), name, "127.0.0.1:2380", "127.0.0.1:2379")],
            (None, None) => bail!("--name is needed: the first master's"),
        };
        let (name, pki_from) = (self.name.clone(), self.pki_from.clone());
        Ok(Target { root, masters, layout, name, pki_from })
    }

    fn layout(&self) -> Result<Layout> {
        Layout::new(Wanted { masters: self.masters, port: self.port, ..Wanted::default() })
    }
}

impl Target {
    /// Marks every directory in which a process could be started, and removes what an interrupted run
    /// left.
    pub(super) fn begin(&self) -> Result<PathBuf> {
        private_dir(&self.root)?;
        unfinished::mark(&self.root, Begun::Restore)?;
        for entry in std::fs::read_dir(&self.root).context("read the folder")? {
            let path = entry.context("read the folder")?.path();
            if path.is_dir() {
                std::fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))?;
            }
        }
        for data_dir in self.data_dirs() {
            private_dir(&data_dir)?;
            unfinished::mark(&data_dir, Begun::Restore)?;
        }
        Ok(self.root.join(SCRATCH))
    }

    fn data_dirs(&self) -> Vec<PathBuf> {
        let parent = |founder: &Founder| founder.data_dir.parent().map(Path::to_owned);
        self.masters.iter().filter_map(parent).collect()
    }

    pub(super) fn founders(&self) -> &[Founder] {
        &self.masters
    }

    /// The new cluster's authorities.
    pub(super) fn make_pki(&self) -> Result<Pki> {
        let dir = self.root.join(PKI_DIR);
        match &self.pki_from {
            Some(from) => Pki::adopt(from, &dir, &Pki::draw_name()),
            None => Pki::open_or_create(&dir),
        }
    }

    /// What is left to do when the members are made.
    pub(super) fn finish(self) -> Result<String> {
        if let Some(layout) = &self.layout {
            layout.keep(&self.root)?;
        }
        let scratch = self.root.join(SCRATCH);
        if scratch.exists() {
            std::fs::remove_dir_all(&scratch).with_context(|| format!("remove {}", scratch.display()))?;
        }
        for dir in [self.root.join(PKI_DIR)].iter().chain(&self.data_dirs()) {
            unfinished::sync(dir)?;
        }
        // The folder's own last: until then nothing in it is started.
        for dir in self.data_dirs().iter().chain([&self.root]) {
            unfinished::clear(dir)?;
        }
        Ok(self.next_steps())
    }

    fn next_steps(&self) -> String {
        let root = self.root.display();
        if let Some(layout) = &self.layout {
            return format!("start it:\n  trireme up --dir {root}   ({layout})\n");
        }
        let name = self.name.as_deref().unwrap_or_default();
        format!(
            "start the first master, with its addresses:\n  \
               trireme server --data-dir {root} --name {name} --advertise-address ADDRESS \
             --peer-listen ADDRESS:2380 --client-listen ADDRESS:2379\n\
             for clients, a kubeconfig:\n  \
               trireme pki --dir {root}/{PKI_DIR} --server https://ADDRESS:6443\n\
             for 3 or 5 masters, make a token for the others, on which nothing of the old cluster may be left \
             in the data directory:\n  \
               trireme token create --pki-dir {root}/{PKI_DIR} --endpoints ADDRESS:2379 --server https://ADDRESS:6443\n"
        )
    }
}
