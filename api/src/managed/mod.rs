//! Field ownership (`metadata.managedFields`) and server-side apply.
//!
//! ```text
//!   old, new ──compare──► added, modified, removed ──► the writer's entry gains them,
//!                                                      the others' entries lose them
//!   live + config ──merge──► ──prune──► new object, unless others own what it changes
//! ```
//!
//! The rules are those of upstream's structured merge: maps and keyed lists are owned element by
//! element, atomic ones as a whole, as the schema says.

mod apply;
mod compare;
mod entries;
mod field_json;
mod field_set;
mod last_applied;
mod merge;
mod reset;
mod scale;
mod types;
mod update;
mod validate;

#[cfg(test)]
mod apply_test;
#[cfg(test)]
mod update_test;

pub use apply::{ApplyError, Conflict, apply};
pub use compare::{Comparison, compare, set_of};
pub use entries::{EntriesError, Operation, UPDATE_MANAGERS_MAX};
pub use field_json::{FIELDS_DEPTH_MAX, FieldsV1Error};
pub use field_set::{FieldSet, Node, PathElement};
pub use reset::reset_fields;
pub use scale::{from_scale, to_scale};
pub use update::{Convert, Writer, ignore_time_changes, update};
