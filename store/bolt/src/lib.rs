//! etcd's database files: what `etcdctl snapshot save` stores and an etcd starts from.
//!
//! ```text
//!   file      pages of a bbolt database │ SHA-256 of them (in snapshots)
//!   database  two meta pages │ a freelist │ branch and leaf pages of the buckets
//!   etcd's    bucket `key`: revision → version of a key; `lease`, `meta`, …
//! ```
//!
//! **Invariant**: knows nothing of a store, of Raft or of Kubernetes, and believes nothing of what
//! it reads: every length and page number is checked before it is used.

mod page;

mod check;
mod digest;
mod read;
mod write;

mod sort;

pub mod etcd;

pub use check::Usage;
pub use digest::{append_digest, has_digest};
pub use page::{PAGE_SIZE, SHA256_BYTES};
pub use read::{Db, Item, Items, ReadAt};
pub use sort::{Sorted, Sorter};
pub use write::Writer;

use std::io;

/// Why a file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("not a database file: {0}")]
    NotADatabase(&'static str),
    /// It was changed or cut since it was written.
    #[error("the file is not what it was when it was written: the SHA-256 at its end differs")]
    Digest,
    #[error("the file is cut: its pages go to byte {expected}, and it ends at {found}")]
    Truncated { expected: u64, found: u64 },
    #[error("page {page} is damaged: {what}")]
    Damaged { page: u64, what: String },
    #[error("it has no bucket {0:?}: not a file of etcd")]
    NoBucket(String),
    /// What was to be written does not fit the format.
    #[error("cannot be written: {0}")]
    Refused(&'static str),
}

impl Error {
    fn damaged(page: u64, what: impl Into<String>) -> Self {
        Self::Damaged { page, what: what.into() }
    }
}
