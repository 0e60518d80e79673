//! The API server: HTTP, authentication, authorization, admission, the registry of objects, the
//! watch cache, discovery and OpenAPI.
//!
//! ```text
//!   connection ─► filters ─► routes ─► registry ─► admission ─► Kv::txn
//!                                        ▲                        │
//!                               cache ◄──┴──── one store watch ◄──┘
//! ```
//!
//! **Invariant**: knows no Raft and no RocksDB; it reaches state through `store::Kv` alone, and
//! keeps nothing that it could not read there again.

mod config;
pub mod identity;
pub mod limits;
pub mod server;
pub mod status;

mod admission;
mod authn;
mod authz;
mod bootstrap;
mod cache;
mod clock;
mod compaction;
mod discovery;
mod filters;
mod gate;
mod health;
mod in_process;
mod metrics;
mod negotiate;
mod openapi;
mod present;
mod registry;
mod routes;
mod services;
mod slow;
mod wire;
mod yaml;

pub use config::{Error, ServerConfig, ServiceAccountKeys};
pub use gate::{Gate, JOIN_PATH};
pub use identity::Identity;
pub use in_process::InProcess;
pub use metrics::MoreMetrics;
pub use server::{Body, FENCE_HEADER, List, Server, TlsMaterial, WatchEvent, WatchStream};
pub use status::ApiError;
pub use yaml::encode as encode_yaml;
