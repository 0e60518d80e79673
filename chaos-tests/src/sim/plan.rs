//! What is done to a world, and when: drawn from its seed before it begins.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::network::Weather;

/// Whom a fault is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    Leader,
    /// By number, of those that do not lead.
    Follower(usize),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    /// `kill -9`: what was written stays, what was synced stays through a later loss of power.
    Kill(Whom),
    /// Nobody hears of it; of what was not synced some pages may be there.
    PowerLoss(Whom),
    PowerLossOfAll,
    /// SIGSTOP, or a machine that is paused.
    Freeze(Whom),
    /// No message to it or from it.
    Isolate(Whom),
    /// What it says is not heard.
    Mute(Whom),
    /// What it is told it does not hear.
    Deafen(Whom),
    /// Two of the members do not reach each other, and the others reach both.
    Bridge,
    Weather(Weather),
    SlowDisk(Whom, Duration),
    /// Parts per million.
    Drift(Whom, i64),
    /// Milliseconds.
    Jump(Whom, i64),
    /// Membership and leadership as an operator moves them.
    MoveLeader,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// After the step before was over.
    pub pause: Duration,
    pub fault: Fault,
    /// Until it is taken back, or the process is started again.
    pub lasts: Duration,
}

const KINDS: usize = 13;

/// The kinds of faults that this world knows and how often they come: each world has its own.
pub(super) struct Plan {
    random: StdRng,
    kinds: Vec<usize>,
    pauses_ms: (u64, u64),
    lasts_ms: (u64, u64),
}

impl Plan {
    pub(super) fn new(seed: u64) -> Plan {
        let mut random = StdRng::seed_from_u64(seed ^ 3);
        let mut kinds: Vec<_> = (0..KINDS).filter(|_| random.random_bool(0.5)).collect();
        if kinds.is_empty() {
            kinds.push(0);
        }
        let longest = [500, 2_000, 8_000].choose(&mut random).copied().unwrap_or(2_000);
        let pauses_ms = (0, [200, 1_500, 6_000].choose(&mut random).copied().unwrap_or(1_500));
        Plan { random, kinds, pauses_ms, lasts_ms: (20, longest) }
    }

    pub(super) fn next(&mut self) -> Step {
        let random = &mut self.random;
        let kind = self.kinds.choose(random).copied().unwrap_or(0);
        let whom =
            if random.random_bool(0.6) { Whom::Leader } else { Whom::Follower(random.random_range(0..8)) };
        let sign = if random.random_bool(0.5) { 1 } else { -1 };
        let fault = match kind {
            0 => Fault::Kill(whom),
            1 => Fault::PowerLoss(whom),
            2 => Fault::PowerLossOfAll,
            3 => Fault::Freeze(whom),
            4 => Fault::Isolate(whom),
            5 => Fault::Mute(whom),
            6 => Fault::Deafen(whom),
            7 => Fault::Bridge,
            8 => Fault::Weather(Weather {
                delay_ns: (100_000, random.random_range(1..60) * 1_000_000),
                lost_of_1000: random.random_range(0..30),
            }),
            9 => Fault::SlowDisk(whom, Duration::from_millis(random.random_range(1..300))),
            10 => Fault::Drift(whom, sign * random.random_range(1..50_000)),
            11 => Fault::Jump(whom, sign * random.random_range(1..3_600_000)),
            _ => Fault::MoveLeader,
        };
        let between = |random: &mut StdRng, (least, most): (u64, u64)| {
            Duration::from_millis(random.random_range(least..=most))
        };
        Step { pause: between(random, self.pauses_ms), fault, lasts: between(random, self.lasts_ms) }
    }
}
