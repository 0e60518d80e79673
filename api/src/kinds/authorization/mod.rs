//! Kinds of the group `authorization.k8s.io`, in the order discovery lists them.

use crate::kinds::Kind;

pub mod local_subject_access_review;
pub mod self_subject_access_review;
pub mod self_subject_rules_review;
pub mod subject_access_review;

pub(super) static KINDS: &[&Kind] = &[
    &local_subject_access_review::KIND,
    &self_subject_access_review::KIND,
    &self_subject_rules_review::KIND,
    &subject_access_review::KIND,
];
