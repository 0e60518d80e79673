//! A member's machine: what its disks hold, and what crashes leave of it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use trireme_raft::log::{Astray, Change, SimDir};
use trireme_raft::{Join, Limits, ReplicaConfig, Tls};
use trireme_store::engine::{Engine, Model};
use trireme_store::log::FEATURE_LEVEL;

use super::control::ApiSlot;
use super::fuse::Fuse;
use super::kv::Slot;
use super::network::Host;
use super::room::Shared;

pub(super) fn name(host: Host) -> String {
    format!("member-{host}")
}

pub(super) fn address(host: Host) -> String {
    format!("{}:2380", name(host))
}

/// The raft log and the state. The member's other files are few, each replaced whole: they are on a disk
/// that nothing happens to.
#[derive(Clone, Default)]
pub(super) struct Disks {
    pub log: SimDir,
    pub state: Arc<Model>,
}

/// What ended a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// What was written stays, what was synced stays through a later loss of power.
    Kill,
    /// Of what was not synced some pages may be there.
    PowerLoss,
}

impl Disks {
    /// What is left of them; how much of what was not synced, is drawn from `seed`.
    pub(super) fn after(&self, end: End, seed: u64) -> Disks {
        let log = match end {
            End::Kill => self.log.after_kill(),
            End::PowerLoss => self.log.after_power_loss_between_pages(seed),
        };
        let unflushed = self.state.unflushed();
        let keep = StdRng::seed_from_u64(seed ^ 1).random_range(0..=unflushed);
        Disks { log, state: Arc::new(self.state.crashed(keep)) }
    }

    /// Has `fuse` burn with each change of what they hold.
    pub(super) fn watch(&self, fuse: &Fuse) {
        let (log, state) = (fuse.clone(), fuse.clone());
        self.log.before(move |_: Change| {
            log.burn();
        });
        self.state.before(move || {
            state.burn();
        });
    }
}

/// Why a member does not start.
pub(super) struct Refused {
    pub why: String,
    /// Its data must be built anew from the others.
    pub is_damage: bool,
    /// It would be refused again.
    pub is_permanent: bool,
}

pub(super) struct Member {
    pub disks: Disks,
    pub fuse: Fuse,
    pub slot: Slot,
    pub api: ApiSlot,
    pub refused: Arc<Mutex<Option<Refused>>>,
    pub restart_at: Option<Duration>,
    /// In the cluster, or on its way into it.
    pub is_member: bool,
    /// How it ends when its fuse burns down.
    pub ends_as: End,
    /// What was done to its disks lets it end by itself.
    pub may_fail: bool,
    /// Its data is damaged: it may end by itself, and refuse to start.
    pub may_refuse: bool,
    /// Somebody has taken the room of its disk.
    pub is_full: bool,
    /// A write of its log went astray: it must not start from it.
    pub must_refuse: Option<Astray>,
    /// A bit of its log has flipped since it started.
    pub is_flipped: bool,
    /// It starts on such a log: once it has started, that bit was of no importance.
    pub reads_flip: bool,
    /// It has lost its data, and does not vote again yet.
    pub is_lost: bool,
    /// What a lying disk really has: a log of some time ago.
    pub believed: Option<SimDir>,
    /// A copy of everything, made a while ago.
    pub copy: Option<(Disks, PathBuf)>,
    pub dir: PathBuf,
    pub feature_level: u32,
    /// How it came in, unless it was there when the cluster was made.
    pub join: Option<Join>,
    copies: u32,
}

impl Member {
    pub(super) fn new(dir: &Path, host: Host) -> Member {
        Member {
            disks: Disks::default(),
            fuse: Fuse::default(),
            slot: Slot::default(),
            api: ApiSlot::default(),
            refused: Arc::default(),
            restart_at: None,
            is_member: false,
            ends_as: End::PowerLoss,
            may_fail: false,
            may_refuse: false,
            is_full: false,
            must_refuse: None,
            is_flipped: false,
            reads_flip: false,
            is_lost: false,
            believed: None,
            copy: None,
            dir: dir.join(name(host)),
            feature_level: FEATURE_LEVEL,
            join: None,
            copies: 0,
        }
    }

    /// How its next life is begun.
    pub(super) fn config(
        &self,
        host: Host,
        founders: impl Iterator<Item = Host>,
        tls: Tls,
        on_fatal: impl Fn(&str) + Send + Sync + 'static,
    ) -> ReplicaConfig {
        let log = self.disks.log.clone();
        let disks = self.disks.clone();
        let open_engine = Arc::new(move |_: &Path| {
            Ok(Arc::new(Shared::new(disks.state.clone(), disks.log.clone())) as Arc<dyn Engine>)
        });
        let mut config = ReplicaConfig::new(&self.dir, "sim", &name(host), tls, open_engine);
        config.peer_address = address(host);
        config.client_address = format!("{}:2379", name(host));
        match &self.join {
            Some(join) => config.join = Some(join.clone()),
            None => config.initial_members = founders.map(|host| (name(host), address(host))).collect(),
        }
        config.open_log = Arc::new(move |_| Ok(Arc::new(log.clone())));
        // Small, so that segments, flushes, purges and snapshots come often.
        config.limits = Limits {
            log_segment_bytes: 256 * 1024,
            log_cache_bytes: 64 * 1024,
            log_keep_bytes: 256 * 1024,
            flush_log_bytes: 256 * 1024,
            ..Limits::default()
        };
        config.feature_level = self.feature_level;
        config.on_fatal = Arc::new(on_fatal);
        config
    }

    /// Makes a copy of everything, for [`Member::restore_copy`].
    pub(super) fn make_copy(&mut self) -> io::Result<()> {
        self.copies += 1;
        let to = self.dir.with_extension(format!("copy-{}", self.copies));
        copy_files(&self.dir, &to)?;
        self.copy = Some((self.disks.after(End::Kill, 0), to));
        Ok(())
    }

    /// Whether there is a copy, and the member was started since: others have seen that start.
    pub(super) fn has_old_copy(&self) -> bool {
        let starts = |dir: &Path| std::fs::read(dir.join("BOOTS")).ok();
        self.copy.as_ref().is_some_and(|(_, copy)| starts(copy) != starts(&self.dir))
    }

    /// Puts the copy in place of what there is.
    pub(super) fn restore_copy(&mut self) -> io::Result<()> {
        if let Some((disks, dir)) = self.copy.take() {
            std::fs::remove_dir_all(&self.dir)?;
            std::fs::rename(dir, &self.dir)?;
            self.disks = disks;
            self.disks.log.set_space(None);
        }
        Ok(())
    }

    /// Its process is gone.
    pub(super) fn forget_process(&mut self) {
        *self.slot.lock() = None;
        *self.api.lock() = None;
    }

    /// A new machine of the same name.
    pub(super) fn wipe(&mut self) -> io::Result<()> {
        match std::fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        (self.disks, self.copy) = (Disks::default(), None);
        Ok(())
    }
}

/// The files of a member's directory itself: what lies in folders of it comes and goes.
fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
