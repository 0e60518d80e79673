//! Checkers: functions from a history to what is wrong with it. They know no cluster, no network
//! and no time but ticks and what clients' clocks said; each has first caught planted bugs
//! (`planted_test.rs`).
//!
//! ```text
//!   history ──► replay: the revisions in order, who made each, what it left
//!                 ├─► serial     answers are those of their revision, nothing falls behind
//!                 ├─► watches    one checker a promise
//!                 └─► leases     their ends
//!           ──► registers        a second opinion that does not believe revisions
//!           ──► members          leaders and states
//!           ──► api              objects, names, addresses, terms of leaders
//! ```

mod api;
mod compactions;
mod known;
mod leases;
mod members;
mod model;
mod registers;
mod replay;
mod serial;
mod watches;
mod wgl;
mod words;

use crate::history::History;

/// Violations printed per checker; the rest is counted.
pub const VIOLATIONS_SHOWN_MAX: usize = 10;

pub type Checker = fn(&History) -> Vec<String>;

/// Name and checker, in the order in which they are reported.
pub const ALL: &[(&str, Checker)] = &[
    ("writes are done once, as acknowledged", serial::writes_are_as_acknowledged),
    ("reads are of their revision", serial::reads_are_of_their_revision),
    ("nothing falls behind what was known", serial::nothing_falls_behind),
    ("members never go back", serial::members_never_go_back),
    ("history is there until it is compacted", compactions::history_is_there_until_compacted),
    ("each key is a register", registers::each_key_is_a_register),
    ("watches are ordered", watches::ordered),
    ("watches deliver once", watches::unique),
    ("watches deliver whole revisions", watches::atomic),
    ("watches deliver everything", watches::reliable),
    ("watches tell what happened", watches::true_to_what_happened),
    ("watches begin where they are asked to", watches::resumable),
    ("progress covers everything before it", watches::bookmarkable),
    ("watches give the version before", watches::previous_versions),
    ("watches give what is asked for alone", watches::filtered),
    ("leases never end early", leases::never_end_early),
    ("leases have the time they were given", leases::have_the_time_they_were_given),
    ("one member leads a term", members::one_leads_a_term),
    ("terms only grow", members::terms_only_grow),
    ("states are equal at an index", members::states_are_equal_at_an_index),
    ("no update is lost", api::no_update_is_lost),
    ("names and UIDs are given once", api::names_and_uids_are_unique),
    ("resource versions only grow", api::versions_only_grow),
    ("lists equal the watch's replay", api::lists_equal_the_replay),
    ("addresses and ports are given once", api::addresses_are_given_once),
    ("no deposed leader writes", api::no_deposed_leader_writes),
];

#[cfg(test)]
mod api_test;
#[cfg(test)]
mod honest_test;
#[cfg(test)]
mod opinions_test;
#[cfg(test)]
mod planted_test;
