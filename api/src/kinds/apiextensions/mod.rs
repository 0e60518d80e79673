//! Kinds of the group `apiextensions.k8s.io`, in the order discovery lists them.

use crate::kinds::Kind;

pub mod custom_resource_definition;

pub(super) static KINDS: &[&Kind] = &[&custom_resource_definition::KIND];
