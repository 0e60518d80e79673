//! Kinds of the group `certificates.k8s.io`, in the order discovery lists them.

use crate::kinds::Kind;

pub mod certificate_signing_request;

pub(super) static KINDS: &[&Kind] = &[&certificate_signing_request::KIND];
