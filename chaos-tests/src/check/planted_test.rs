//! Every bug that is planted into a good history is found, by the checker that should find it.

mod reads;
mod watches;
mod writes;

use super::by;
use super::honest_test::{assert_good, honest};
use crate::history::{Event, History, Moment, Piece, Received, Sample, Tick};
use crate::traffic::store::Mix;
use reads::*;
use watches::*;
use writes::*;

/// Its name, who finds it, what is said, and how it is planted: false where there was no place for it.
type Bug = (&'static str, &'static str, &'static str, fn(&mut History) -> bool);

const WRITES: &str = "writes are done once, as acknowledged";
const READS: &str = "reads are of their revision";
const BEHIND: &str = "nothing falls behind what was known";
const MEMBERS: &str = "members never go back";
const COMPACTED: &str = "history is there until it is compacted";
const REGISTERS: &str = "each key is a register";
const ORDERED: &str = "watches are ordered";
const UNIQUE: &str = "watches deliver once";
const ATOMIC: &str = "watches deliver whole revisions";
const RELIABLE: &str = "watches deliver everything";
const ENDS: &str = "watches reach the end";
const TRUE: &str = "watches tell what happened";
const RESUMABLE: &str = "watches begin where they are asked to";
const PROGRESS: &str = "progress covers everything before it";
const PREVIOUS: &str = "watches give the version before";
const FILTERED: &str = "watches give what is asked for alone";

const BUGS: &[Bug] = &[
    ("a watch drops an event", RELIABLE, "never came", drop_event),
    ("a watch gives two events in the wrong order", ORDERED, "came after revision", swap_events),
    ("a watch gives an event twice", UNIQUE, "came twice", double_event),
    ("a watch cuts a revision in two", ATOMIC, "more than one response", cut_revision),
    ("a watch of the future gives what comes before it", RESUMABLE, "came in a stream from", future_early),
    ("a watch of the future misses what it begins with", RELIABLE, "never came", future_late),
    ("a slow watch stops before the end", ENDS, "and the end is at", slow_stops),
    ("a watch is ended without a word", ENDS, "without a reason", end_without_reason),
    ("a slow watch misses what came while it paused", RELIABLE, "never came", slow_misses),
    ("a watch tells what did not happen", WRITES, "two things of revision", change_event_of_one),
    ("a watch tells of another value", TRUE, "was told, and it was", change_event_of_one),
    ("a watch begins before its start", RESUMABLE, "came in a stream from", begin_too_early),
    ("progress runs ahead of events", PROGRESS, "came before", progress_too_early),
    ("an event comes after its progress", PROGRESS, "came after progress", progress_too_early),
    ("a watch gives the wrong version before", PREVIOUS, "before it, and it was", wrong_previous),
    (
        "a watch gives a version before that nobody asked for",
        PREVIOUS,
        "before it, and it was",
        unasked_previous,
    ),
    ("a watch gives what was filtered out", FILTERED, "a deletion of", ignore_filter),
    ("a watch gives another's keys", FILTERED, "a put of", ignore_range),
    ("an acknowledged write is lost", WRITES, "was acknowledged at revision", lose_write),
    ("two writes get one revision", WRITES, "was acknowledged at revision", share_revision),
    ("a refused write is done", WRITES, "was refused", refuse_what_was_done),
    ("an unknown write is done twice", WRITES, "was done twice", do_twice),
    ("a write is done that nobody asked for", WRITES, "was written by nobody", write_by_nobody),
    ("a key is deleted by nobody", WRITES, "were deleted at revision", delete_by_nobody),
    ("an acknowledged write is done at another revision", WRITES, "and done at", acknowledge_elsewhere),
    ("an unknown write is done before it began", WRITES, "older than it", do_too_early),
    ("a transaction takes the wrong branch", WRITES, "wrong branch", take_wrong_branch),
    ("a transaction that only reads takes the wrong branch", READS, "wrong branch", read_wrong_branch),
    ("a transaction reads the past wrongly", WRITES, "should be", past_in_transaction),
    ("a transaction is refused as compacted, and done", WRITES, "was refused", compacted_and_done),
    ("a transaction is refused as compacted, and nothing was", COMPACTED, "compact", compacted_and_done),
    ("a key gets the wrong version", WRITES, "was seen where", wrong_version_everywhere),
    ("a key gets the wrong create revision", WRITES, "was seen where", wrong_creation_everywhere),
    ("a put answers with the wrong version before", WRITES, "was put over", wrong_put_answer),
    ("a deletion miscounts", WRITES, "keys were deleted", miscount_deletion),
    ("a read gives the wrong version", READS, "should be", wrong_version_read),
    ("a read gives another value", READS, "should be", wrong_value_read),
    ("a list misses a key", READS, "should be", list_misses_one),
    ("a list miscounts", READS, "were counted", list_miscounts),
    ("a list hides that there is more", READS, "more is", list_hides_more),
    ("a serializable read is wrong at its revision", READS, "should be", wrong_serializable_read),
    ("a read of the past is wrong", READS, "should be", wrong_past_read),
    ("a read is answered about the future", READS, "had not come to", read_the_future),
    ("a linearizable read is stale", BEHIND, "after", stale_read),
    ("a stale read shows without revisions, too", REGISTERS, "no order", stale_read),
    ("two swaps of one version both succeed", REGISTERS, "no order", swap_twice),
    ("a write gets a revision of the past", BEHIND, "was known", write_in_the_past),
    ("a member goes back", MEMBERS, "was answered by one at revision", member_goes_back),
    ("a compaction hides more than it was asked to", COMPACTED, "compact", hide_too_much),
    ("a watch loses more than was compacted", COMPACTED, "refused as compacted", lose_place),
    ("what was seen is said to lie in the future", COMPACTED, "as of the future", deny_the_past),
    ("two members lead in one term", "one member leads a term", "lead in term 7", two_leaders),
    ("states differ at one index", "states are equal at an index", "at index 90", states_differ),
    ("a member forgets its term", "terms only grow", "was in term 9", forget_term),
];

fn good() -> History {
    let mix = Mix::whole(false, 5);
    honest(11, &mix, 6, 3_000)
}

#[test]
fn every_planted_bug_is_found() {
    let good = good();
    assert_good(&good, "before anything is planted");
    for (bug, finder, says, plant) in BUGS {
        let mut history = good.clone();
        assert!(plant(&mut history), "{bug}: the history has no place for it");
        let found = by(finder, &history);
        assert!(
            found.iter().any(|what| what.contains(says)),
            "{bug}: {finder} did not say {says:?}, but {:#?}",
            &found[..found.len().min(5)]
        );
    }
    println!("{} planted bugs found", BUGS.len());
}

/// Right after everything that happened.
fn afterwards(history: &History) -> (Moment, Moment) {
    let last = history.operations.iter().map(|operation| operation.end).max().unwrap_or_default();
    let later = |ticks| Moment { tick: Tick(last.tick.0 + ticks), ns: last.ns };
    (later(1), later(2))
}

fn events_of(piece: &mut Piece) -> Option<(&mut i64, &mut Vec<Event>)> {
    match &mut piece.what {
        Received::Events { revision, events } => Some((revision, events)),
        _ => None,
    }
}

fn sample(tick: u64, member: &str, term: u64, leads: bool, state_hash: &str) -> Sample {
    Sample {
        asked: Tick(tick),
        tick: Tick(tick + 1),
        member: member.into(),
        term,
        leads,
        applied_index: 90,
        revision: 0,
        state_hash: state_hash.into(),
    }
}

fn two_leaders(history: &mut History) -> bool {
    history.samples.extend([
        sample(1, "a", 7, true, ""),
        sample(3, "b", 6, true, ""),
        sample(5, "b", 7, true, ""),
    ]);
    true
}

fn states_differ(history: &mut History) -> bool {
    history.samples.extend([sample(1, "a", 7, true, "1f"), sample(3, "b", 7, false, "2f")]);
    true
}

fn forget_term(history: &mut History) -> bool {
    history.samples.extend([sample(1, "a", 9, false, ""), sample(3, "a", 8, false, "")]);
    true
}
