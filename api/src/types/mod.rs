//! What each message of the API means beyond its schema: its defaults, what makes it valid, and
//! what an update may change. Every rule lives once, at its message, and is applied wherever the
//! message is embedded (a pod template in a Deployment, a Job, a CronJob's Job template …).
//!
//! - `default(&mut Value)` fills in what the client left out, before validation.
//! - `validate(&Value, &Path, &mut ErrorList)` appends what is wrong, in upstream's order and words.
//! - `validate_update(new, old, …)` appends what may not change.
//!
//! Rules are pure and see the hub version of an object, with one exception: defaults of a legacy
//! version see that version's own shape.

pub mod admissionregistration;
pub mod apiextensions;
pub mod apiregistration;
pub mod apps;
pub mod authentication;
pub mod authorization;
pub mod autoscaling;
pub mod batch;
pub mod certificates;
pub mod coordination;
pub mod core;
pub mod diff;
pub mod discovery;
pub mod fields;
pub mod flowcontrol;
pub mod format;
pub mod internal;
pub mod meta;
pub mod networking;
pub mod node;
pub mod policy;
pub mod rbac;
pub mod resource;
pub mod scheduling;
pub mod storage;

use crate::field_error::ErrorList;

/// The errors that `check` appends.
pub fn errors(check: impl FnOnce(&mut ErrorList)) -> ErrorList {
    let mut errs = ErrorList::new();
    check(&mut errs);
    errs
}
