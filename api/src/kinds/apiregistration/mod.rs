//! Kinds of the group `apiregistration.k8s.io`, in the order discovery lists them.

use crate::kinds::Kind;

pub mod api_service;

pub(super) static KINDS: &[&Kind] = &[&api_service::KIND];
