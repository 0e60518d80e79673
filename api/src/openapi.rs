//! OpenAPI documents, v3 (one per group and version) and v2 (one for all, also as protobuf), made
//! from the schema table and the rows of kinds. Clients validate bodies, print `explain`, choose
//! how to patch and look up whether `dryRun` is known by them.
//!
//! Pure functions that take milliseconds: whoever serves the documents keeps them. Descriptions
//! are not in the table; [`describe`] adds them from wherever the caller has them.

mod gnostic;
mod operation;
mod paths;
mod schemas;
mod v2;
mod v3;

pub use gnostic::encode as v2_protobuf;
pub use schemas::{definition_name, describe};
pub use v2::document as v2;
pub use v3::{document as v3, index as v3_index};

/// `info.title` and `info.version` of every document.
const TITLE: &str = "Kubernetes";
const VERSION: &str = "1.36";

#[cfg(test)]
#[path = "openapi/openapi_test.rs"]
mod openapi_test;
