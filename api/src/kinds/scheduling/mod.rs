//! Kinds of the group `scheduling.k8s.io`, in the order discovery lists them.

use crate::kinds::Kind;

pub mod priority_class;

pub(super) static KINDS: &[&Kind] = &[&priority_class::KIND];
