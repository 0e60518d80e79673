//! Kinds of the group `flowcontrol.apiserver.k8s.io`, in the order discovery lists them.

use crate::kinds::Kind;

pub mod flow_schema;
pub mod priority_level_configuration;

pub(super) static KINDS: &[&Kind] = &[&flow_schema::KIND, &priority_level_configuration::KIND];
