//! Kinds of the group `authentication.k8s.io`, in the order discovery lists them.

use crate::kinds::Kind;

pub mod self_subject_review;
pub mod token_review;

pub(super) static KINDS: &[&Kind] = &[&self_subject_review::KIND, &token_review::KIND];
