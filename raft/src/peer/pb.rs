//! Generated from `proto/trireme_peer.proto`.
#![allow(unreachable_pub, missing_docs, clippy::all)]

tonic::include_proto!("trireme.peer.v1");
