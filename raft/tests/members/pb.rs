//! The messages of the clients' port, as the crate's build generates them.
#![allow(unreachable_pub, dead_code, clippy::all)]

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
