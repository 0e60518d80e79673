//! Each verdict is fed with what it must find.

use super::super::load::{Read, Write};
use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn write(object: usize, count: u64, at_ms: u64, outcome: Outcome) -> Write {
    Write { object, count, began: ms(at_ms), ended: ms(at_ms + 10), outcome }
}

fn read(object: usize, count: u64, at_ms: u64) -> Read {
    Read { object, count, began: ms(at_ms), ended: ms(at_ms + 5) }
}

/// Two objects: the first is written at 100, 200 and 400 ms, with one of unknown outcome at 300; the
/// second once.
fn honest() -> History {
    let event = |object, count, revision| Seen::Event { object, count, revision };
    History {
        writes: vec![
            write(0, 1, 100, Outcome::Acknowledged(11)),
            write(1, 1, 150, Outcome::Acknowledged(12)),
            write(0, 2, 200, Outcome::Acknowledged(13)),
            write(0, 3, 300, Outcome::Not),
            write(0, 4, 400, Outcome::Acknowledged(15)),
        ],
        reads: vec![read(0, 0, 50), read(0, 1, 115), read(0, 3, 320), read(0, 4, 500)],
        seen: vec![event(0, 1, 11), event(1, 1, 12), event(0, 2, 13), event(0, 3, 14), event(0, 4, 15)],
        last: vec![Some(4), Some(1)],
        ..History::default()
    }
}

type Verdict = fn(&History) -> Vec<String>;

const VERDICTS: [Verdict; 3] = [nothing_is_lost, no_read_is_stale, the_watch_misses_nothing];

/// What all of them find; the one that is meant must be among those who find something.
fn found(by: Verdict, plant: impl FnOnce(&mut History)) -> String {
    let mut history = honest();
    plant(&mut history);
    by(&history).join("\n")
}

#[test]
fn honest_histories_pass() {
    for verdict in VERDICTS {
        assert_eq!(verdict(&honest()), Vec::<String>::new());
        assert_eq!(verdict(&History::default()), Vec::<String>::new());
    }
    // One that was not acknowledged is there, or is not.
    let mut history = honest();
    history.writes.pop();
    history.seen.pop();
    history.reads.pop();
    for last in [2, 3] {
        history.last[0] = Some(last);
        assert_eq!(nothing_is_lost(&history), Vec::<String>::new());
    }
}

#[test]
fn a_lost_write_is_found() {
    let lost = found(nothing_is_lost, |history| history.last[0] = Some(3));
    assert_eq!(lost, "counter-0 is 3 at the end; 4 was acknowledged");
    assert!(found(nothing_is_lost, |history| history.last[1] = None).contains("counter-1 is gone"));
    assert!(found(nothing_is_lost, |history| history.last[1] = Some(9)).contains("which nobody wrote"));
    let back = found(nothing_is_lost, |history| history.writes[4].outcome = Outcome::Acknowledged(12));
    assert!(back.contains("and 4 after it at 12"), "{back}");
}

#[test]
fn a_stale_read_is_found() {
    let stale = found(no_read_is_stale, |history| history.reads.push(read(0, 1, 250)));
    assert_eq!(stale, "at 0.25 s a read of counter-0 gave 1; 2 had been acknowledged before");
    let early = found(no_read_is_stale, |history| history.reads.push(read(0, 4, 250)));
    assert!(early.contains("which nobody had written"), "{early}");
    // While a write is under way either is right.
    let during = |count| found(no_read_is_stale, |history| history.reads.push(read(0, count, 202)));
    assert_eq!((during(1), during(2)), (String::new(), String::new()));
}

#[test]
fn what_the_watch_gets_wrong_is_found() {
    let watch = the_watch_misses_nothing as Verdict;
    let missed = found(watch, |history| {
        history.seen.remove(2);
    });
    assert_eq!(missed, "counter-0 = 2 at revision 13 was not watched");
    let swapped = found(watch, |history| history.seen.swap(1, 2));
    assert_eq!(swapped, "counter-1 = 1 at revision 12 came after revision 13");
    let twice = found(watch, |history| history.seen.insert(3, history.seen[2].clone()));
    assert!(twice.contains("came after revision 13"), "{twice}");
    let invented = found(watch, |history| {
        history.seen.push(Seen::Event { object: 1, count: 7, revision: 16 });
    });
    assert_eq!(invented, "counter-1 = 7 was watched, and nobody wrote it");
    let other = found(watch, |history| {
        history.seen[1] = Seen::Event { object: 0, count: 1, revision: 12 };
    });
    assert!(other.contains("revision 12 is counter-1 = 1, and was watched as counter-0 = 1"), "{other}");
    let gone = found(watch, |history| history.seen.push(Seen::Deleted { object: 1, revision: 17 }));
    assert!(gone.contains("was deleted at revision 17"), "{gone}");
}

#[test]
fn a_watch_that_had_to_begin_anew_is_excused_for_the_time_between_alone() {
    let anew = |keep: usize| {
        found(the_watch_misses_nothing, |history| {
            let rest = history.seen.split_off(keep);
            history.seen.push(Seen::Anew { revision: 13 });
            history.seen.extend(rest.into_iter().skip(2));
        })
    };
    // 12 and 13 fell between; 14 and 15 came.
    assert_eq!(anew(1), "");
    let missed = found(the_watch_misses_nothing, |history| {
        history.seen.truncate(1);
        history.seen.push(Seen::Anew { revision: 13 });
    });
    assert_eq!(missed, "counter-0 = 4 at revision 15 was not watched");
}

#[test]
fn gaps_and_failures_are_found() {
    let history = honest();
    // Acknowledged at 110, 160, 210 and 410 ms.
    assert_eq!(writes_resume(&history, ms(100), ms(500), ms(200)), Vec::<String>::new());
    let gap = writes_resume(&history, ms(100), ms(500), ms(199));
    assert_eq!(gap, ["no write was acknowledged from 0.2 s to 0.4 s, for 0.2 s"]);
    assert_eq!(writes_resume(&history, ms(100), ms(1_000), ms(400)).len(), 1, "the end is open");
    assert_eq!(writes_resume(&History::default(), ms(0), ms(900), ms(800)).len(), 1);
    assert_eq!(no_write_fails(&history, ms(311)), Vec::<String>::new());
    assert_eq!(no_write_fails(&history, ms(310)).len(), 1);
}
