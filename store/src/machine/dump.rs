//! Everything there is, read from one unchanging view while the store goes on.

use bytes::Bytes;

use super::{Applied, LeaseRecord, Store};
use crate::engine::{self, View};
use crate::history::{History, Overlay};
use crate::kv::{Error, KeyRange, KeyValue, LeaseId, Revision};
use crate::layout;
use crate::machine::state::{self, State};

/// A view of the whole store. Nothing of it changes while it is there, and no write waits for it;
/// the engine keeps what it shows, so that it should not stay for hours.
pub struct Dump<'v> {
    view: &'v dyn View,
    applied: Applied,
}

impl Store {
    /// Shows everything as it is now to `reader`, on the caller's thread.
    pub fn dump<R>(&self, reader: impl FnOnce(&Dump<'_>) -> R) -> Result<R, Error> {
        engine::read(&*self.inner.engine, |view| {
            let applied = State::load(view)?.applied();
            Ok(reader(&Dump { view, applied }))
        })
    }
}

impl Dump<'_> {
    /// How far the store was.
    pub fn applied(&self) -> &Applied {
        &self.applied
    }

    /// The keys that were live at the compact revision, in order, each with the revision of its
    /// version then. Nothing where nothing was compacted.
    #[allow(clippy::type_complexity)]
    pub fn compacted<E: From<Error>>(
        &self,
        visit: &mut dyn FnMut(&[u8], Revision) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut ended = Ok(());
        let all = KeyRange::prefix(Bytes::new());
        let scanned = History::new(self.view).scan(
            &Overlay::default(),
            &all,
            self.applied.compact_revision,
            &mut |found| {
                ended = visit(found.key, found.mod_revision);
                ended.is_ok()
            },
        );
        scanned.map_err(Error::from)?;
        ended
    }

    /// Every change after the compact revision, in order: its revision, its place within that, the
    /// key, and what it became.
    pub fn changes<E: From<Error>>(
        &self,
        visit: &mut dyn FnMut(Revision, u32, Bytes, Option<KeyValue>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut versions = self.versions();
        let end = layout::revision_key(Revision(self.applied.revision.0 + 1), 0);
        let mut cursor = self.view.cursor(&end);
        cursor.seek(&layout::revision_key(Revision(self.applied.compact_revision.0 + 1), 0));
        let mut last = (Revision(0), 0);
        while let Some((stored, key)) = cursor.item().map_err(Error::from)? {
            let revision = layout::parse_revision_key(stored).map_err(Error::from)?;
            last = (revision, if revision == last.0 { last.1 + 1 } else { 0 });
            let key = Bytes::copy_from_slice(key);
            let change = versions.at(&key, revision)?;
            visit(revision, last.1, key, change)?;
            cursor.next();
        }
        Ok(())
    }

    /// Looks up versions of keys.
    pub fn versions(&self) -> Versions<'_> {
        Versions(History::new(self.view))
    }

    /// Every lease, in the order of their ids as unsigned numbers.
    pub fn leases(&self) -> Result<Vec<LeaseRecord>, Error> {
        let mut leases = Vec::new();
        let mut cursor = self.view.cursor(&[layout::LEASES + 1]);
        cursor.seek(&[layout::LEASES]);
        while let Some((key, value)) = cursor.item()? {
            let (id, _) = layout::parse_numbered(key)?;
            let (ttl_s, generation) = state::parse_lease(value)?;
            leases.push(LeaseRecord { id: LeaseId(id as i64), ttl_s, generation });
            cursor.next();
        }
        Ok(leases)
    }
}

/// Versions of keys, each by its revision.
pub struct Versions<'v>(History<'v>);

impl Versions<'_> {
    /// What `key` became at `revision`, at which it changed; `None`: it was deleted.
    pub fn at(&mut self, key: &[u8], revision: Revision) -> Result<Option<KeyValue>, Error> {
        match self.0.stored(key, revision)? {
            Some((found, version)) if found == revision => Ok(version.to_kv(key, revision)),
            _ => Err(Error::Broken(format!("revision {revision} of a key is missing"))),
        }
    }
}
