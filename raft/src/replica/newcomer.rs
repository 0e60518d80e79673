//! Whether any membership that was agreed on has had this member.
//!
//! Who asks to be taken in and has a log was either removed, and must not come back by itself; or the
//! leader that took it in was lost before that was agreed on, and the others never heard of it. Only its
//! own directory knows which: a mark is there from the beginning until the first membership with this
//! member is applied, or the leader says that there is one. A directory of an older version has none, and
//! counts as one that was in, unless there is nothing in it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::identity::NEWCOMER;
use crate::types::{MemberId, Membership};

pub(super) struct Newcomer {
    dir: PathBuf,
    member: MemberId,
    is: AtomicBool,
}

impl Newcomer {
    /// Of a directory in which `applied` is the last membership; `is_blank`: there is no log and no state.
    pub(super) fn open(
        dir: &Path,
        member: MemberId,
        applied: &Membership,
        is_blank: bool,
    ) -> io::Result<Self> {
        let is = is_blank || dir.join(NEWCOMER).try_exists()?;
        let newcomer = Self { dir: dir.to_owned(), member, is: AtomicBool::new(is) };
        newcomer.agreed(applied);
        Ok(newcomer)
    }

    pub(super) fn is(&self) -> bool {
        self.is.load(Ordering::Relaxed)
    }

    /// Notes a membership that was agreed on, durably before it returns.
    pub(super) fn agreed(&self, membership: &Membership) {
        if membership.get_node(&self.member).is_some() {
            self.taken_in();
        }
    }

    /// Notes that one with this member was agreed on, durably before it returns.
    pub(super) fn taken_in(&self) {
        if !self.is() {
            return;
        }
        let removed = match std::fs::remove_file(self.dir.join(NEWCOMER)) {
            // By an earlier try, which was not made durable.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        match removed.and_then(|()| File::open(&self.dir)?.sync_all()) {
            Ok(()) => self.is.store(false, Ordering::Relaxed),
            // The next word of it, or the next start, tries it again.
            Err(error) => tracing::warn!(%error, "that this member is in the cluster could not be noted"),
        }
    }
}
