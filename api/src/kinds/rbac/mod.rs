//! Kinds of the group `rbac.authorization.k8s.io`, in the order discovery lists them.

use crate::kinds::Kind;

pub mod cluster_role;
pub mod cluster_role_binding;
pub mod role;
pub mod role_binding;

pub(super) static KINDS: &[&Kind] =
    &[&cluster_role_binding::KIND, &cluster_role::KIND, &role_binding::KIND, &role::KIND];
