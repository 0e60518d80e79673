//! Checkers: functions from a history to what is wrong with it. They know no cluster, no network
//! and no time but ticks and what clients' clocks said; each has first caught planted bugs
//! (`planted_test.rs`).
//!
//! ```text
//!   history ──► replay: the revisions in order, who made each, what it left
//!                 ├─► serial     answers are those of their revision, nothing falls behind
//!                 ├─► watches    one checker a promise
//!                 ├─► fences     epochs of leaders
//!                 └─► leases     their ends
//!           ──► registers        a second opinion that does not believe revisions
//!           ──► members          leaders and states
//!           ──► api              objects, watches, names, addresses, terms of leaders
//! ```
//!
//! Each counts the cases that it looked at: of none it has said nothing.

mod api;
mod compactions;
mod fences;
mod judged;
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

use std::collections::BTreeMap;

use crate::history::History;
use compactions::Compactions;
use judged::Judged;
use known::Known;
use model::Change;
use replay::Replay;

/// Violations printed per checker; the rest is counted.
pub const VIOLATIONS_SHOWN_MAX: usize = 10;

/// What several checkers find in a history, found once.
struct Found<'h> {
    history: &'h History,
    replay: &'h Replay<'h>,
    /// By revision and key.
    changes: &'h BTreeMap<(i64, &'h str), Change<'h>>,
    known: &'h Known,
    compactions: &'h Compactions,
}

/// Says what is wrong, from the history alone or from what was found in it.
enum Checker {
    Alone(fn(&History) -> Judged),
    Shared(fn(&Found<'_>) -> Judged),
}

use Checker::{Alone, Shared};

/// What one checker came to.
#[derive(Clone, Debug)]
pub struct Checked {
    pub name: &'static str,
    pub violations: Vec<String>,
    /// Cases that could have been violations: where it is zero, nothing was judged.
    pub looked_at: u64,
    /// What could not be decided, and is not among these cases; empty where all could.
    pub undecided: String,
}

/// What each checker came to, in the order in which they are reported; each is told to `done` when it
/// has ended.
pub fn all_with(history: &History, mut done: impl FnMut(&str)) -> Vec<Checked> {
    let (replay, known, compactions) = (Replay::of(history), Known::of(history), Compactions::of(history));
    let changes = replay.model.changes();
    let found =
        Found { history, replay: &replay, changes: &changes, known: &known, compactions: &compactions };
    done("the replay");
    let check = |(name, checker): &(&'static str, Checker)| {
        let Judged { looked_at, wrong, undecided } = match checker {
            Alone(checker) => checker(history),
            Shared(checker) => checker(&found),
        };
        done(name);
        Checked { name, violations: wrong, looked_at, undecided }
    };
    ALL.iter().map(check).collect()
}

/// What each checker came to, in the order in which they are reported.
pub fn all(history: &History) -> Vec<Checked> {
    all_with(history, |_| {})
}

/// What the checker of this name finds.
#[cfg(test)]
fn by(name: &str, history: &History) -> Vec<String> {
    let found = all(history).into_iter().find(|checked| checked.name == name);
    found.expect("a checker of this name").violations
}

const ALL: &[(&str, Checker)] = &[
    ("writes are done once, as acknowledged", Shared(serial::writes_are_as_acknowledged)),
    ("reads are of their revision", Shared(serial::reads_are_of_their_revision)),
    ("nothing falls behind what was known", Shared(serial::nothing_falls_behind)),
    ("members never go back", Alone(serial::members_never_go_back)),
    ("history is there until it is compacted", Shared(compactions::history_is_there_until_compacted)),
    ("each key is a register", Alone(registers::each_key_is_a_register)),
    ("watches are ordered", Alone(watches::ordered)),
    ("watches deliver once", Alone(watches::unique)),
    ("watches deliver whole revisions", Alone(watches::atomic)),
    ("watches deliver everything", Shared(watches::reliable)),
    ("watches reach the end", Alone(watches::reach_the_end)),
    ("watches tell what happened", Shared(watches::true_to_what_happened)),
    ("watches begin where they are asked to", Alone(watches::resumable)),
    ("progress covers everything before it", Shared(watches::bookmarkable)),
    ("watches give the version before", Shared(watches::previous_versions)),
    ("watches give what is asked for alone", Alone(watches::filtered)),
    ("deposed leaders write nothing", Shared(fences::deposed_leaders_write_nothing)),
    ("leases never end early", Shared(leases::never_end_early)),
    ("leases have the time they were given", Alone(leases::have_the_time_they_were_given)),
    ("one member leads a term", Alone(members::one_leads_a_term)),
    ("terms only grow", Alone(members::terms_only_grow)),
    ("states are equal at an index", Alone(members::states_are_equal_at_an_index)),
    ("API watches deliver everything", Alone(api::watches_deliver_everything)),
    ("no update is lost", Alone(api::no_update_is_lost)),
    ("names and UIDs are given once", Alone(api::names_and_uids_are_unique)),
    ("resource versions only grow", Alone(api::versions_only_grow)),
    ("lists equal the watch's replay", Alone(api::lists_equal_the_replay)),
    ("addresses and ports are given once", Alone(api::addresses_are_given_once)),
    ("no deposed leader writes", Alone(api::no_deposed_leader_writes)),
    ("evictions keep to budgets", Alone(api::evictions_keep_to_budgets)),
];

#[cfg(test)]
mod api_test;
#[cfg(test)]
mod honest_test;
#[cfg(test)]
mod opinions_test;
#[cfg(test)]
mod planted_test;
