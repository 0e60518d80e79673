//! Rules of kinds whose metadata is all there is to check.

use crate::field_error::ErrorList;
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::errors;
use crate::types::meta::object_meta::{self, Scope};

pub fn namespaced(object: &Value) -> ErrorList {
    errors(|e| object_meta::validate(&object["metadata"], Scope::Namespaced, NameRule::DnsSubdomain, e))
}

pub fn cluster(object: &Value) -> ErrorList {
    errors(|e| object_meta::validate(&object["metadata"], Scope::Cluster, NameRule::DnsSubdomain, e))
}

pub fn update(new: &Value, old: &Value) -> ErrorList {
    errors(|e| object_meta::validate_update(&new["metadata"], &old["metadata"], e))
}
