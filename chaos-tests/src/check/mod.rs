//! Checkers: functions from a history to what is wrong with it. They know no cluster, no network
//! and no time but ticks; each is first shown a history with a planted bug (`check_test.rs`).

mod durability;
mod revisions;
mod watches;

use crate::history::History;

/// Violations printed per checker; the rest is counted.
pub const VIOLATIONS_SHOWN_MAX: usize = 10;

pub type Checker = fn(&History) -> Vec<String>;

/// Name and checker, in the order in which they are reported.
pub const ALL: &[(&str, Checker)] = &[
    ("every acknowledged write is there", durability::acknowledged_writes_survive),
    ("reads see what was acknowledged before them", durability::reads_are_linearizable),
    ("members agree", durability::members_agree),
    ("no revision goes back", revisions::never_go_back),
    ("a revision belongs to one write", revisions::belong_to_one_write),
    ("watches deliver every event", watches::deliver_everything),
    ("watches deliver once and in order", watches::once_and_in_order),
];

#[cfg(test)]
mod check_test;
