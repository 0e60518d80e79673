//! Kinds of the group `coordination.k8s.io`, in the order discovery lists them.

use crate::kinds::Kind;

pub mod lease;

pub(super) static KINDS: &[&Kind] = &[&lease::KIND];
