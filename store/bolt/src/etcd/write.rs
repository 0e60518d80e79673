//! Writing a file that an etcd can be restored from.

use std::io::{Seek, Write};

use bytes::Bytes;
use prost::Message;

use super::record::{Change, KeyValue, Lease, Revision};
use super::{
    CONF_STATE, CONSISTENT_INDEX, EMPTY, FINISHED_COMPACT, KEY, LEASE, META, SCHEDULED_COMPACT, TERM,
};
use crate::{Error, Writer};

/// Where in its log the writer of the file was. etcd's restore sets it anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    pub index: u64,
    pub term: u64,
    pub voters: Vec<u64>,
}

/// Takes history from its beginning; holds a few pages of it.
pub struct SnapshotWriter<W: Write + Seek> {
    writer: Writer<W>,
    last: Revision,
    value: Vec<u8>,
}

impl<W: Write + Seek> SnapshotWriter<W> {
    /// Begins a file at the start of `out`, which is empty.
    pub fn new(out: W) -> Result<Self, Error> {
        let mut writer = Writer::new(out)?;
        writer.bucket(KEY)?;
        Ok(Self { writer, last: Revision::default(), value: Vec::new() })
    }

    /// Adds a change; revisions must ascend, and begin above zero.
    ///
    /// A reader finds a key only by its changes: of what is compacted, each live key needs its
    /// newest version, and above that every change is needed.
    pub fn put(&mut self, revision: Revision, change: &Change) -> Result<(), Error> {
        if revision <= self.last {
            return Err(Error::Refused("revisions do not ascend"));
        }
        self.last = revision;
        self.value.clear();
        let tombstone = matches!(change, Change::Delete(_));
        let encoded = match change {
            Change::Put(kv) => kv.encode(&mut self.value),
            Change::Delete(key) => {
                KeyValue { key: key.clone(), ..KeyValue::default() }.encode(&mut self.value)
            }
        };
        encoded.map_err(|_| Error::Refused("a version does not fit"))?;
        self.writer.put(&revision.encode(tombstone), &self.value)
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.writer.bytes()
    }

    /// Writes everything else. `leases` in order of their ids as unsigned numbers, each once. A
    /// compact revision of zero: nothing was ever compacted.
    ///
    /// The newest revision that a reader will know is the greater of the last change's and the
    /// compact revision.
    pub fn finish(
        self,
        leases: impl IntoIterator<Item = Lease>,
        compact_revision: i64,
        position: &Position,
    ) -> Result<W, Error> {
        let mut writer = self.writer;
        writer.bucket(LEASE)?;
        for lease in leases {
            writer.put(&lease.id.to_be_bytes(), &lease.encode_to_vec())?;
        }
        let compacted = Revision { main: compact_revision, sub: 0 }.encode(false);
        writer.bucket(META)?;
        let mut meta: Vec<(&[u8], Bytes)> = vec![
            (CONF_STATE, conf_state(&position.voters).into()),
            (CONSISTENT_INDEX, position.index.to_be_bytes().to_vec().into()),
            (TERM, position.term.to_be_bytes().to_vec().into()),
        ];
        if compact_revision > 0 {
            meta.push((FINISHED_COMPACT, compacted.clone().into()));
            meta.push((SCHEDULED_COMPACT, compacted.into()));
        }
        meta.sort();
        for (key, value) in meta {
            writer.put(key, &value)?;
        }
        for name in EMPTY {
            writer.bucket(name)?;
        }
        writer.finish()
    }
}

/// raftpb.ConfState as Go writes it.
fn conf_state(voters: &[u64]) -> String {
    let voters: Vec<String> = voters.iter().map(u64::to_string).collect();
    format!(r#"{{"voters":[{}],"auto_leave":false}}"#, voters.join(","))
}
