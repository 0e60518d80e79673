//! Kinds of the group `discovery.k8s.io`, in the order discovery lists them.

use crate::kinds::Kind;

pub mod endpoint_slice;

pub(super) static KINDS: &[&Kind] = &[&endpoint_slice::KIND];
