//! `autoscaling`: HorizontalPodAutoscaler (hub v2) and Scale.

pub mod hpa;
pub mod metric;

use crate::field_error::{ErrorList, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::fields::{Fields, non_negative};
use crate::types::meta::object_meta::{self, Scope};

/// A Scale sent to a `scale` subresource.
pub fn validate_scale(scale: &Value, errs: &mut ErrorList) {
    object_meta::validate(&scale["metadata"], Scope::Namespaced, NameRule::DnsSubdomain, errs);
    let path = Path::new("spec");
    non_negative(errs, &path.child("replicas"), scale["spec"].int("replicas"));
}
