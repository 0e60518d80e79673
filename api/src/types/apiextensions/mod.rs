//! `apiextensions.k8s.io/v1`: CustomResourceDefinition. Its CEL rules are compiled where CEL is
//! evaluated.

pub mod definition;
pub mod definition_schema;
