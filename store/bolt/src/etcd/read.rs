//! Reading what an etcd had.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message;

use super::record::{Change, KeyValue, Lease, Revision};
use super::{FINISHED_COMPACT, KEY, LEASE, META, SCHEDULED_COMPACT};
use crate::{Db, Error, Item, Items, ReadAt};

/// A file of etcd: a snapshot, or the database of a member that is stopped.
pub struct Snapshot<S> {
    db: Db<S>,
    /// The newest.
    pub revision: i64,
    /// Below it history is gone; zero: nothing was compacted.
    pub compact_revision: i64,
    pub leases: Vec<Lease>,
}

impl<S: ReadAt> Snapshot<S> {
    /// Opens a file; if it carries a SHA-256, reads all of it and compares.
    pub fn open(source: S) -> Result<Self, Error> {
        let db = Db::open(source)?;
        let mut compact_revision = 0;
        let mut meta = db.bucket(META)?;
        while let Some(item) = meta.next()? {
            // A compaction that was decided counts: what it removes may be gone in part.
            if item.key[..] == *FINISHED_COMPACT || item.key[..] == *SCHEDULED_COMPACT {
                let (revision, _) = parse_revision(&item, &item.value)?;
                compact_revision = compact_revision.max(revision.main);
            }
        }
        let mut leases = Vec::new();
        let mut stored = db.bucket(LEASE)?;
        while let Some(item) = stored.next()? {
            let lease = Lease::decode(&item.value[..]);
            leases.push(lease.map_err(|_| Error::damaged(item.page, "a lease in it cannot be decoded"))?);
        }
        let last = match db.bucket(KEY)?.last()? {
            Some(item) => parse_revision(&item, &item.key)?.0.main,
            // etcd's first.
            None => 1,
        };
        Ok(Self { db, revision: last.max(compact_revision), compact_revision, leases })
    }

    /// The file itself.
    pub fn db(&self) -> &Db<S> {
        &self.db
    }

    /// All changes that the file has, in the order of their revisions. Of what is compacted only
    /// the newest versions are sure to be there.
    pub fn changes(&self) -> Result<Changes<'_, S>, Error> {
        Ok(Changes { items: self.db.bucket(KEY)? })
    }

    /// The newest version of each live key that `wanted` says yes to, in the order of their
    /// revisions. Reads the file twice and holds the keys, not the values.
    pub fn live(&self, wanted: impl Fn(&[u8]) -> bool) -> Result<LiveKeys<'_, S>, Error> {
        let mut newest: HashMap<Box<[u8]>, Revision> = HashMap::new();
        let mut changes = self.changes()?;
        while let Some((revision, change)) = changes.next()? {
            match change {
                Change::Put(kv) if wanted(&kv.key) => {
                    newest.insert(kv.key[..].into(), revision);
                }
                Change::Put(_) => {}
                Change::Delete(key) => {
                    newest.remove(&key[..]);
                }
            }
        }
        Ok(LiveKeys { newest, changes: self.changes()? })
    }
}

fn parse_revision(item: &Item, stored: &Bytes) -> Result<(Revision, bool), Error> {
    Revision::parse(stored).ok_or_else(|| Error::damaged(item.page, "a revision in it is no revision"))
}

/// History, from its beginning.
pub struct Changes<'s, S> {
    items: Items<'s, S>,
}

impl<S: ReadAt> Changes<'_, S> {
    #[allow(clippy::should_implement_trait)] // see Items::next
    pub fn next(&mut self) -> Result<Option<(Revision, Change)>, Error> {
        let Some(item) = self.items.next()? else { return Ok(None) };
        let (revision, tombstone) = parse_revision(&item, &item.key)?;
        let kv = KeyValue::decode(item.value.clone())
            .map_err(|_| Error::damaged(item.page, "a version of a key in it cannot be decoded"))?;
        Ok(Some((revision, if tombstone { Change::Delete(kv.key) } else { Change::Put(kv) })))
    }
}

/// Live keys, in the order of their revisions.
pub struct LiveKeys<'s, S> {
    newest: HashMap<Box<[u8]>, Revision>,
    changes: Changes<'s, S>,
}

impl<S: ReadAt> LiveKeys<'_, S> {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.newest.len()
    }

    /// Their names, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.newest.keys().map(|key| &**key)
    }

    #[allow(clippy::should_implement_trait)] // see Items::next
    pub fn next(&mut self) -> Result<Option<KeyValue>, Error> {
        while let Some((revision, change)) = self.changes.next()? {
            if let Change::Put(kv) = change
                && self.newest.get(&kv.key[..]) == Some(&revision)
            {
                return Ok(Some(kv));
            }
        }
        Ok(None)
    }
}
