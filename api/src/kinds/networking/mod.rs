//! Kinds of the group `networking.k8s.io`, in the order discovery lists them.

use crate::kinds::Kind;

pub mod ingress;
pub mod ingress_class;
pub mod ip_address;
pub mod network_policy;
pub mod service_cidr;

pub(super) static KINDS: &[&Kind] =
    &[&ingress_class::KIND, &ingress::KIND, &ip_address::KIND, &network_policy::KIND, &service_cidr::KIND];
