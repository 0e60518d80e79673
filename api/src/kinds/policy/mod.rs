//! Kinds of the group `policy`, in the order discovery lists them.

use crate::kinds::Kind;

pub mod pod_disruption_budget;

pub(super) static KINDS: &[&Kind] = &[&pod_disruption_budget::KIND];
