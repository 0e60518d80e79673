//! Backups of the store: an archive that follows the raft log, and single files.
//!
//! ```text
//!   Store::checkpoint ──► base/<position>/part-*, MANIFEST ─┐
//!                                                           ├─► materialize(point) ──► a state directory
//!   committed entries ──► log/<first>-<last>… ──────────────┘
//! ```
//!
//! Every object is written once, under a name that says what it holds, and nothing is ever changed
//! (small objects of log are written again as large ones, beside them, and go later): a crash between any two writes leaves an archive that ends earlier, and two writers write the
//! same. A base counts from its manifest on, which is written last.
//!
//! **Invariant**: knows no Kubernetes kind, no raft and no peers. What a backup holds is keys and
//! bytes, and who may archive is for others to say.

mod error;
mod key;
mod location;
mod names;
mod seal;

mod archive;
pub mod base;
mod entry;
mod points;

mod materialize;
mod merge;
mod prune;
mod verify;

mod archiver;

pub use archive::Archive;
pub use archiver::{Archiver, Config as ArchiverConfig, Progressed, Source};
pub use entry::{RawBody, RawEntry};
pub use error::Error;
pub use key::{Key, KeySource};
pub use location::Location;
pub use materialize::{Phase, Point, Progress};
pub use merge::Merged;
pub use points::{Base, Gap, Points, Span};
pub use prune::{Pruned, Retention};
pub use verify::{READING, Verified};
