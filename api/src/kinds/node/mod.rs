//! Kinds of the group `node.k8s.io`, in the order discovery lists them.

use crate::kinds::Kind;

pub mod runtime_class;

pub(super) static KINDS: &[&Kind] = &[&runtime_class::KIND];
