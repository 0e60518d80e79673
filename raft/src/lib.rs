//! Members that agree: a durable log, the peers, and the store replicated over them.
//!
//! ```text
//!   Remote ──gRPC──► etcd::serve ─┐
//!                                 ▼
//!   Kv ───────────────────────► Replica ──► openraft ──► log (one fdatasync for many)
//!                                 ▲            │  ▲
//!                                 │            │  └── peer (tonic over mutual TLS) ──► members
//!                                 └── Store ◄──┘ machine (apply on its own thread)
//! ```
//!
//! **Invariant**: knows no meaning of a value. What a key holds is bytes to this crate, and what a
//! command does is the store's to say.

mod replica;

pub mod log;
mod machine;
mod metrics;
mod peer;

pub mod etcd;
mod remote;

mod codec;
mod identity;
mod offline;
pub mod tls;
pub mod types;

pub use identity::{Identity, IdentityError};
pub use offline::{
    Damaged, DamagedLog, Founder, OfflineError, OpenCopy, ReadDamaged, ReadLogError, Stopped, StoppedMember,
    Survey, Work, Written, found, read_log,
};
pub use peer::{PeerAnswers, PeerNetwork, PeerPort, PeerRequest, PeerResponse};
pub use remote::{ChangeError, Remote, RemoteConfig};
pub use replica::{
    AgreedBody, AgreedEntry, ChaosFault, FAULT_LASTS_MAX, Join, Joining, Limits, MemberChange, MemberError,
    OpenEngine, OpenLogDir, PeerStatus, Replica, ReplicaConfig, ReplicaStatus, Role, StartError, Timing,
    cluster_id,
};
pub use tls::{Certificates, Tls, TlsError};
pub use types::{MemberId, MemberNode};
