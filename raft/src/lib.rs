//! Members that agree: the durable log, the peers, and the replicated [`trireme_store::Kv`].

pub mod etcd;
mod remote;

pub use remote::{Remote, RemoteConfig};
