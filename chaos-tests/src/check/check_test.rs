//! Each checker passes a good history and catches a planted bug.

use super::*;
use crate::history::{Call, Operation, Outcome, Seen, Tick, Watcher};

fn write(client: u32, begin: u64, end: u64, key: &str, value: u64, outcome: Outcome) -> Operation {
    Operation {
        client,
        begin: Tick(begin),
        end: Tick(end),
        call: Call::Write { key: key.into(), value },
        outcome,
    }
}

fn read(begin: u64, end: u64, key: &str, value: Option<u64>, revision: i64) -> Operation {
    let outcome = Outcome::Read { value, revision: Some(revision) };
    Operation { client: 9, begin: Tick(begin), end: Tick(end), call: Call::Read { key: key.into() }, outcome }
}

fn at(revision: i64) -> Outcome {
    Outcome::Written { revision }
}

fn seen(watcher: u32, tick: u64, key: &str, value: u64, revision: i64) -> Seen {
    Seen { watcher, tick: Tick(tick), key: key.into(), value, revision }
}

fn watcher(id: u32, from: i64, reached: i64) -> Watcher {
    Watcher { id, prefix: String::new(), from, reached }
}

/// Two keys, one unknown outcome that did happen, a watcher that saw it all.
fn good() -> History {
    History {
        operations: vec![
            write(1, 0, 1, "a", 1, at(10)),
            write(2, 2, 5, "b", 1, at(11)),
            write(1, 3, 4, "a", 2, Outcome::Unknown("timeout".into())),
            read(6, 7, "a", Some(2), 12),
            write(1, 8, 9, "a", 3, Outcome::Refused("no leader".into())),
            write(2, 10, 11, "b", 2, at(13)),
            read(12, 13, "b", Some(2), 13),
        ],
        seen: vec![
            seen(1, 14, "a", 1, 10),
            seen(1, 15, "b", 1, 11),
            seen(1, 16, "a", 2, 12),
            seen(1, 17, "b", 2, 13),
        ],
        watchers: vec![watcher(1, 9, 13)],
        last: vec![("a".into(), 2), ("b".into(), 2)],
        members: vec![
            ("m1".into(), vec![("a".into(), 2, 12), ("b".into(), 2, 13)]),
            ("m2".into(), vec![("a".into(), 2, 12), ("b".into(), 2, 13)]),
        ],
    }
}

#[test]
fn a_good_history_passes() {
    for (name, check) in ALL {
        assert_eq!(check(&good()), Vec::<String>::new(), "{name}");
    }
}

/// Plants a bug; the checker named must find it with a message that says `what`.
fn planted(checker: &str, what: &str, plant: impl FnOnce(&mut History)) {
    let mut history = good();
    plant(&mut history);
    let (_, check) = ALL.iter().find(|(name, _)| *name == checker).expect("a checker of this name");
    let found = check(&history);
    assert!(found.iter().any(|message| message.contains(what)), "{checker} did not say {what:?}: {found:?}");
}

#[test]
fn planted_bugs_are_caught() {
    let durable = "every acknowledged write is there";
    planted(durable, "the key is gone", |h| h.last.retain(|(key, _)| key != "b"));
    planted(durable, "2 was acknowledged, 1 is there", |h| h.last[1].1 = 1);
    planted(durable, "at most 2 can have been written", |h| h.last[0].1 = 3);

    let reads = "reads see what was acknowledged before them";
    planted(reads, "read 1 after 2 was known", |h| h.operations[6] = read(12, 13, "b", Some(1), 13));
    planted(reads, "read 0 after 2", |h| h.operations[6] = read(12, 13, "b", None, 13));
    planted(reads, "read 1 after 2 was known", |h| h.operations.push(read(14, 15, "a", Some(1), 13)));
    planted(reads, "read 2 before it was written", |h| h.operations[3] = read(1, 2, "a", Some(2), 12));

    let revisions = "no revision goes back";
    planted(revisions, "written at 9 after 12", |h| h.operations[5] = write(2, 10, 11, "b", 2, at(9)));
    planted(revisions, "read at 11 after 13", |h| h.operations[6] = read(12, 13, "b", Some(2), 11));
    planted("a revision belongs to one write", "revision 10 was given", |h| {
        h.operations[5] = write(2, 10, 11, "b", 2, at(10));
    });

    let everything = "watches deliver every event";
    planted(everything, "never got b=1 of revision 11", |h| {
        h.seen.remove(1);
    });
    planted(everything, "watcher 2 never got a=2 of revision 12", |h| {
        h.watchers.push(watcher(2, 9, 12));
        h.seen.extend([seen(2, 20, "a", 1, 10), seen(2, 21, "b", 1, 11)]);
    });
    // One that started later, or follows other keys, need not have it.
    for (from, prefix) in [(11, ""), (9, "x")] {
        let mut history = good();
        history.watchers.push(Watcher { id: 3, prefix: prefix.into(), from, reached: 11 });
        assert_eq!(watches::deliver_everything(&history), Vec::<String>::new());
    }
    let order = "watches deliver once and in order";
    planted(order, "twice", |h| h.seen.push(seen(1, 30, "b", 2, 13)));
    planted(order, "revision 10 after 13", |h| h.seen[0].tick = Tick(40));

    planted("members agree", "is on m1 alone", |h| {
        h.members[1].1.remove(0);
    });
    planted("members agree", "is on m2 alone", |h| h.members[1].1.push(("c".into(), 1, 14)));
}
