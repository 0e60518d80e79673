//! The two opinions on linearizability, one that believes revisions and one that does not, on many small
//! histories, right and broken.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::all;
use super::honest_test::honest;
use super::model::Model;
use super::registers::each_key_is_a_register;
use super::replay::Replay;
use crate::history::{Answer, Call, History, Outcome, Range};
use crate::traffic::store::Mix;

const HISTORIES: u64 = 24;
const BROKEN_OF_EACH: usize = 25;

fn believing(history: &History) -> Vec<String> {
    let believe = [
        "writes are done once, as acknowledged",
        "reads are of their revision",
        "nothing falls behind what was known",
    ];
    let found = all(history).into_iter().filter(|checked| believe.contains(&checked.name));
    found.flat_map(|checked| checked.violations).collect()
}

/// Places of reads that both opinions look at, of keys that go with no lease.
fn reads(history: &History) -> Vec<usize> {
    let suits = |range: &Range| {
        let whole = range.revision == 0 && !range.serializable && !range.keys_only && !range.count_only;
        whole && range.keys.is_one() && range.keys.start.starts_with("/chaos/k/")
    };
    let places = history.operations.iter().enumerate().filter(|(_, operation)| {
        matches!((&operation.call, &operation.outcome), (Call::Range(range), Outcome::Done(_)) if suits(range))
    });
    places.map(|(n, _)| n).collect()
}

/// One read is answered as it would have been at another revision, with that one or its own in the
/// answer.
fn answer_from_elsewhere(history: &mut History, model: &Model, random: &mut StdRng) -> bool {
    let places = reads(history);
    if places.is_empty() {
        return false;
    }
    let last = history.operations.iter().filter_map(|operation| match &operation.outcome {
        Outcome::Done(answer) => answer.revision(),
        _ => None,
    });
    let revision = random.random_range(1..=last.max().unwrap_or(1));
    let place = places[random.random_range(0..places.len())];
    let operation = &mut history.operations[place];
    let (Call::Range(range), Outcome::Done(Answer::Range(answer))) =
        (&operation.call, &mut operation.outcome)
    else {
        return false;
    };
    let own = answer.revision;
    *answer = model.range(range, revision);
    answer.revision = if random.random_bool(0.5) { revision } else { own };
    true
}

#[test]
fn who_does_not_believe_revisions_finds_nothing_that_the_other_misses() {
    let (mut broken, mut by_both, mut by_one) = (0, 0, 0);
    for seed in 0..HISTORIES {
        let history = honest(100 + seed, &Mix::whole(seed % 3 == 0, 2), 4, 120);
        assert_eq!(believing(&history), Vec::<String>::new(), "seed {seed}");
        assert_eq!(each_key_is_a_register(&history).wrong, Vec::<String>::new(), "seed {seed}");
        let model = Replay::of(&history).model;
        let mut random = StdRng::seed_from_u64(seed);
        for _ in 0..BROKEN_OF_EACH {
            let mut changed = history.clone();
            if !answer_from_elsewhere(&mut changed, &model, &mut random) {
                continue;
            }
            let (one, other) = (believing(&changed), each_key_is_a_register(&changed).wrong);
            assert!(
                other.is_empty() || !one.is_empty(),
                "seed {seed}: only the second opinion says {other:?}"
            );
            broken += 1;
            by_both += usize::from(!other.is_empty());
            by_one += usize::from(!one.is_empty());
        }
    }
    println!("{broken} broken histories: {by_one} found by revisions, {by_both} of them without, too");
    assert!(by_both > 50 && by_one < broken, "{by_both}, {by_one} of {broken}: nothing was tried");
}
