//! What clients of a run do, and how often: each seed draws its own.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Without looking at what is there.
    Put,
    Delete,
    DeleteMany,
    /// A read and a write that holds only if nobody came between.
    Swap,
    /// Compares, puts, deletes and reads of several keys, now and of the past, in both branches.
    Txn,
    /// To a list that all clients append to.
    Append,
    Get,
    List,
    /// Of what some member has.
    StaleGet,
    StaleList,
    /// At a revision of the past.
    OldList,
    /// All of a list at one revision, page by page.
    Pages,
    Compact,
    Barrier,
    Grant,
    PutLeased,
    KeepAlive,
    Revoke,
    TimeToLive,
    /// What an API server does to an object.
    Create,
    Update,
    Remove,
}

use Action::*;

/// Whatever somebody might ask of a store.
const PLAIN: &[(Action, u32)] = &[
    (Put, 20),
    (Delete, 6),
    (DeleteMany, 1),
    (Swap, 15),
    (Txn, 15),
    (Append, 10),
    (Get, 12),
    (List, 6),
    (StaleGet, 6),
    (StaleList, 4),
    (OldList, 4),
    (Pages, 2),
    (Compact, 1),
    (Barrier, 2),
    (Grant, 3),
    (PutLeased, 6),
    (KeepAlive, 5),
    (Revoke, 1),
    (TimeToLive, 1),
];

/// What API servers ask.
const KUBERNETES: &[(Action, u32)] = &[
    (Create, 14),
    (Update, 40),
    (Remove, 10),
    (Get, 10),
    (List, 4),
    (StaleList, 2),
    (Pages, 4),
    (OldList, 2),
    (Compact, 1),
    (Barrier, 6),
    (Grant, 2),
    (PutLeased, 5),
    (TimeToLive, 1),
];

/// Without these a run would show nothing.
const ALWAYS: [Action; 5] = [Put, Get, Create, Update, Swap];

#[derive(Clone, Debug)]
pub struct Mix {
    pub kubernetes: bool,
    /// With weights above zero.
    pub actions: Vec<(Action, u32)>,
    /// Keys of each kind that clients share: few are fought over, many make long lists.
    pub keys: u64,
    /// Between two calls of a client.
    pub pace: Duration,
}

impl Mix {
    /// The mix of a seed: which of the two, what is left out, what comes three times as often.
    pub fn draw(seed: u64) -> Mix {
        let mut random = StdRng::seed_from_u64(seed ^ 0x6d69);
        let kubernetes = random.random_bool(0.4);
        let table = if kubernetes { KUBERNETES } else { PLAIN };
        let drawn = table.iter().map(|(action, weight)| {
            let factor = [0, 1, 1, 1, 3].choose(&mut random).copied().unwrap_or(1);
            let least = u32::from(ALWAYS.contains(action));
            (*action, weight * factor.max(least))
        });
        let actions = drawn.filter(|(_, weight)| *weight > 0).collect();
        let keys = [2, 5, 12, 30].choose(&mut random).copied().unwrap_or(5);
        let pace = Duration::from_millis([1, 1, 5, 20].choose(&mut random).copied().unwrap_or(1));
        Mix { kubernetes, actions, keys, pace }
    }

    /// Everything, without a pause: for tests of checkers.
    pub fn whole(kubernetes: bool, keys: u64) -> Mix {
        let table = if kubernetes { KUBERNETES } else { PLAIN };
        Mix { kubernetes, actions: table.to_vec(), keys, pace: Duration::ZERO }
    }

    pub(super) fn choose(&self, random: &mut StdRng) -> Action {
        self.actions.choose_weighted(random, |(_, weight)| *weight).map_or(Get, |(action, _)| *action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_draw_different_mixes_and_all_of_them_write_and_read() {
        let mixes: Vec<Mix> = (0..100).map(Mix::draw).collect();
        assert!(mixes.iter().any(|mix| mix.kubernetes) && mixes.iter().any(|mix| !mix.kubernetes));
        for mix in &mixes {
            let has = |wanted: &[Action]| mix.actions.iter().any(|(action, _)| wanted.contains(action));
            assert!(has(&[Put, Create]) && has(&[Get]), "{mix:?}");
        }
        let without_leases = |mix: &&Mix| mix.actions.iter().all(|(action, _)| *action != Grant);
        assert!(mixes.iter().any(|mix| without_leases(&mix)));
    }
}
