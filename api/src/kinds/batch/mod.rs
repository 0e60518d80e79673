//! Kinds of the group `batch`, in the order discovery lists them.

use crate::kinds::Kind;

pub mod cron_job;
pub mod job;

pub(super) static KINDS: &[&Kind] = &[&cron_job::KIND, &job::KIND];
