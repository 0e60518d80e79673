//! Nodes: which are alive, what that means for their pods, and which addresses they give out.

pub(crate) mod eviction;
pub(crate) mod ipam;
pub(crate) mod lifecycle;

use std::time::Duration;

/// What an operator may set about nodes.
#[derive(Clone, Debug)]
pub struct Options {
    /// A node that was not heard of for this long is not trusted any more.
    pub monitor_grace: Duration,
    /// The range that nodes' pod addresses come from; "" hands out none.
    pub pod_cidr: String,
    /// The size of one node's part of it.
    pub pod_cidr_mask_bits: u32,
}

impl Default for Options {
    /// Room for thirty thousand nodes with 250 pods each.
    fn default() -> Options {
        Options {
            monitor_grace: Duration::from_secs(50),
            pod_cidr: "10.128.0.0/9".into(),
            pod_cidr_mask_bits: 24,
        }
    }
}
