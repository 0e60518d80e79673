//! Revisions, versions of keys and leases, as etcd stores them.

use bytes::Bytes;
use prost::Message;

/// Where in history a change is: the transaction, and the change's place in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    pub main: i64,
    pub sub: i64,
}

const REVISION_BYTES: usize = 17;
const TOMBSTONE: u8 = b't';

impl Revision {
    pub(super) fn encode(self, tombstone: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(REVISION_BYTES + 1);
        out.extend_from_slice(&self.main.to_be_bytes());
        out.push(b'_');
        out.extend_from_slice(&self.sub.to_be_bytes());
        if tombstone {
            out.push(TOMBSTONE);
        }
        out
    }

    /// The revision, and whether the key was deleted at it.
    pub(super) fn parse(stored: &[u8]) -> Option<(Self, bool)> {
        let (main, rest) = stored.split_first_chunk::<8>()?;
        let (sub, mark) = rest.strip_prefix(b"_")?.split_first_chunk::<8>()?;
        let revision = Self { main: i64::from_be_bytes(*main), sub: i64::from_be_bytes(*sub) };
        let tombstone = match mark {
            [] => false,
            [TOMBSTONE] => true,
            _ => return None,
        };
        (revision.main >= 0 && revision.sub >= 0).then_some((revision, tombstone))
    }
}

/// A version of a key; etcd's message of that name.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct KeyValue {
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    #[prost(int64, tag = "2")]
    pub create_revision: i64,
    #[prost(int64, tag = "3")]
    pub mod_revision: i64,
    #[prost(int64, tag = "4")]
    pub version: i64,
    #[prost(bytes = "bytes", tag = "5")]
    pub value: Bytes,
    #[prost(int64, tag = "6")]
    pub lease: i64,
}

/// A lease; etcd's message of that name.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Lease {
    #[prost(int64, tag = "1")]
    pub id: i64,
    /// As it was granted, in seconds.
    #[prost(int64, tag = "2")]
    pub ttl_s: i64,
    /// What is left of it in seconds; zero: all.
    #[prost(int64, tag = "3")]
    pub remaining_ttl_s: i64,
}

/// What happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Put(KeyValue),
    /// The key is gone.
    Delete(Bytes),
}

impl Change {
    pub fn key(&self) -> &Bytes {
        match self {
            Self::Put(kv) => &kv.key,
            Self::Delete(key) => key,
        }
    }
}
