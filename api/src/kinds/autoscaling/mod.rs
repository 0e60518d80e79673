//! Kinds of the group `autoscaling`, in the order discovery lists them.

use crate::kinds::Kind;

pub mod horizontal_pod_autoscaler;

pub(super) static KINDS: &[&Kind] = &[&horizontal_pod_autoscaler::KIND];
