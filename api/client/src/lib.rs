//! The API client that controllers, the node agent and the command line use: over TLS to any API
//! server, or in-process to the one on the same master. List-watch caches on top.
//!
//! ```text
//!   Client ── get, create, patch, … ──┐
//!                                     ├─► Transport ── Http (TLS, HTTP/2) or in-process
//!   InformerFactory ── Informer ──────┘        one list-watch per resource and process
//!                        └─ Store: Arc<Object> by namespace and name, with indexes
//! ```
//!
//! **Invariant**: knows no store. What it can do, any client can do.

pub mod transport;

pub mod resource;

pub mod answer;

pub mod client;

pub mod http_transport;

pub mod tls;

pub mod kubeconfig;

pub mod discovery;

pub mod informer;

pub mod clock;

pub mod recorder;

pub use client::{Client, DeleteOptions, Fence, ListParams, PatchKind, Propagation};
pub use discovery::{ApiResource, Discovery};
pub use http_transport::{Http, HttpConfig, Token};
pub use informer::{Change, Informer, InformerFactory, Scope, Store, Subscription};
pub use kubeconfig::Kubeconfig;
pub use recorder::{EventKind, Recorder};
pub use resource::Resource;
pub use transport::*;
