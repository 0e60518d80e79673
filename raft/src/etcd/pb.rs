//! Generated from `proto/`.
#![allow(unreachable_pub, missing_docs, clippy::all)]

pub mod authpb {
    tonic::include_proto!("authpb");
}
pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}
pub mod trireme {
    pub mod v1 {
        tonic::include_proto!("trireme.v1");
    }
}
