//! Kinds of the group `resource.k8s.io`, in the order discovery lists them.

use crate::kinds::Kind;

pub mod device_class;
pub mod resource_claim;
pub mod resource_claim_template;
pub mod resource_slice;

pub(super) static KINDS: &[&Kind] =
    &[&device_class::KIND, &resource_claim::KIND, &resource_claim_template::KIND, &resource_slice::KIND];
