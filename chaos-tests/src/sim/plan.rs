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
    /// `kill -9`, before the process has done this many more things that last or that others see.
    Kill(Whom, u64),
    /// The same with a loss of power; nobody hears of it.
    PowerLoss(Whom, u64),
    PowerLossOfAll,
    /// SIGSTOP, or a machine that is paused.
    Freeze(Whom),
    /// No message to it or from it, of other members or, half of the times, of anybody.
    Isolate(Whom),
    /// What it says is not heard, likewise.
    Mute(Whom),
    /// What it is told it does not hear, likewise.
    Deafen(Whom),
    /// Two of the members do not reach each other, and the others reach both.
    Bridge,
    /// Two groups that do not reach each other.
    Split(u64),
    /// Established connections break.
    Reset(Whom),
    Weather(Weather),
    SlowDisk(Whom, Duration),
    /// Syncs do not come back.
    StuckDisk(Whom),
    /// The next sync fails, and the process must end.
    FailSync(Whom),
    /// A bit flips in the log of a member that is down, or of one that runs.
    FlipBit(Whom, u64, bool),
    /// A member's machine is lost; a new one has its name.
    Wipe(Whom),
    /// Only the log of it is lost.
    LoseLog(Whom),
    /// An old copy of everything a member has comes back in its place.
    OldCopy(Whom),
    /// Parts per million.
    Drift(Whom, i64),
    /// Milliseconds.
    Jump(Whom, i64),
    MoveLeader,
    /// One more member.
    Join,
    /// One less, if there are more than three.
    Leave(Whom),
    /// A member goes over to the newer of two versions.
    Upgrade,
    /// Of a member's disk, or of the disks of all, somebody takes all but so many bytes.
    FullDisk(Whom, usize, bool),
    /// A write of a member's log is done elsewhere, or not at all, and is said to be done.
    Misdirected(Whom, u64),
    /// Some members lag, another's log is lost, and nobody else is there until all of these run: had that
    /// one a voice still, they would elect, and forget what those who lag never had.
    LoseLogAndLeader,
    /// The same with an old copy of everything that the one has.
    OldCopyAndLeader,
    /// A machine of nodes, by number: `kill -9`, a pause, or no message to it or from it.
    NodeKill(usize),
    NodeFreeze(usize),
    NodeCut(usize),
}

/// Kinds of faults by name; the place is what [`Plan::next`] draws.
pub(super) const KINDS: [&str; 31] = [
    "kills",
    "power-losses",
    "power-losses-of-all",
    "freezes",
    "isolations",
    "mute",
    "deaf",
    "bridges",
    "splits",
    "resets",
    "storms",
    "slow-disks",
    "stuck-disks",
    "failed-syncs",
    "bit-flips",
    "wipes",
    "lost-logs",
    "old-copies",
    "drifts",
    "clock-jumps",
    "handovers",
    "joins",
    "leaves",
    "upgrades",
    "full-disks",
    "misdirected-writes",
    "lost-logs-and-leaders",
    "old-copies-and-leaders",
    "node-kills",
    "node-freezes",
    "node-cuts",
];

/// Kinds from here on came later: what they draw they draw apart, so that other worlds stay what they were.
const LATER: usize = 24;
/// Kinds from here on are of machines of nodes.
const OF_NODES: usize = 28;

impl Fault {
    pub(super) fn kind(self) -> &'static str {
        let place = match self {
            Fault::Kill(..) => 0,
            Fault::PowerLoss(..) => 1,
            Fault::PowerLossOfAll => 2,
            Fault::Freeze(_) => 3,
            Fault::Isolate(_) => 4,
            Fault::Mute(_) => 5,
            Fault::Deafen(_) => 6,
            Fault::Bridge => 7,
            Fault::Split(_) => 8,
            Fault::Reset(_) => 9,
            Fault::Weather(_) => 10,
            Fault::SlowDisk(..) => 11,
            Fault::StuckDisk(_) => 12,
            Fault::FailSync(_) => 13,
            Fault::FlipBit(..) => 14,
            Fault::Wipe(_) => 15,
            Fault::LoseLog(_) => 16,
            Fault::OldCopy(_) => 17,
            Fault::Drift(..) => 18,
            Fault::Jump(..) => 19,
            Fault::MoveLeader => 20,
            Fault::Join => 21,
            Fault::Leave(_) => 22,
            Fault::Upgrade => 23,
            Fault::FullDisk(..) => 24,
            Fault::Misdirected(..) => 25,
            Fault::LoseLogAndLeader => 26,
            Fault::OldCopyAndLeader => 27,
            Fault::NodeKill(_) => 28,
            Fault::NodeFreeze(_) => 29,
            Fault::NodeCut(_) => 30,
        };
        KINDS[place]
    }

    /// Whether it leaves the members alone, and so may last while others come.
    pub(super) fn is_of_nodes(self) -> bool {
        matches!(self, Fault::NodeKill(_) | Fault::NodeFreeze(_) | Fault::NodeCut(_))
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// After the step before began or, where faults do not overlap, was over.
    pub pause: Duration,
    pub fault: Fault,
    /// Until it is taken back, or the process is started again.
    pub lasts: Duration,
}

/// The kinds of faults that this world knows and how often they come: each world has its own.
pub(super) struct Plan {
    random: StdRng,
    kinds: Vec<usize>,
    pauses_ms: (u64, u64),
    lasts_ms: (u64, u64),
    /// Faults may come while others last.
    pub overlaps: bool,
}

impl Plan {
    /// Leaves out the kinds of these names: the rest comes as it would. Kinds of faults of nodes are drawn
    /// where there are nodes.
    pub(super) fn new(seed: u64, without: &[String], has_nodes: bool) -> Plan {
        let mut random = StdRng::seed_from_u64(seed ^ 3);
        let mut kinds: Vec<_> = (0..LATER).filter(|_| random.random_bool(0.4)).collect();
        let mut later = StdRng::seed_from_u64(seed ^ 6);
        kinds.extend((LATER..OF_NODES).filter(|_| later.random_bool(0.4)));
        if has_nodes {
            kinds.extend((OF_NODES..KINDS.len()).filter(|_| later.random_bool(0.6)));
        }
        if kinds.is_empty() {
            kinds.push(0);
        }
        let longest = [500, 2_000, 8_000].choose(&mut random).copied().unwrap_or(2_000);
        let pauses_ms = (0, [200, 1_500, 6_000].choose(&mut random).copied().unwrap_or(1_500));
        let overlaps = random.random_bool(0.3);
        kinds.retain(|kind| !without.iter().any(|name| name == KINDS[*kind]));
        Plan { random, kinds, pauses_ms, lasts_ms: (20, longest), overlaps }
    }

    /// `None` where no kind of fault is left.
    pub(super) fn next(&mut self) -> Option<Step> {
        let random = &mut self.random;
        let kind = *self.kinds.choose(random)?;
        let whom =
            if random.random_bool(0.6) { Whom::Leader } else { Whom::Follower(random.random_range(0..8)) };
        let sign = if random.random_bool(0.5) { 1 } else { -1 };
        // Often in the middle of what a write takes, and sometimes much later.
        let count =
            if random.random_bool(0.5) { random.random_range(0..12) } else { random.random_range(0..400) };
        let seed = random.random();
        let fault = match kind {
            0 => Fault::Kill(whom, count),
            1 => Fault::PowerLoss(whom, count),
            2 => Fault::PowerLossOfAll,
            3 => Fault::Freeze(whom),
            4 => Fault::Isolate(whom),
            5 => Fault::Mute(whom),
            6 => Fault::Deafen(whom),
            7 => Fault::Bridge,
            8 => Fault::Split(seed),
            9 => Fault::Reset(whom),
            10 => Fault::Weather(Weather {
                delay_ns: (100_000, random.random_range(1..60) * 1_000_000),
                lost_of_1000: random.random_range(0..30),
            }),
            11 => Fault::SlowDisk(whom, Duration::from_millis(random.random_range(1..300))),
            12 => Fault::StuckDisk(whom),
            13 => Fault::FailSync(whom),
            14 => Fault::FlipBit(whom, seed, random.random_bool(0.5)),
            15 => Fault::Wipe(whom),
            16 => Fault::LoseLog(whom),
            17 => Fault::OldCopy(whom),
            18 => Fault::Drift(whom, sign * random.random_range(1..50_000)),
            19 => Fault::Jump(whom, sign * random.random_range(1..3_600_000)),
            20 => Fault::MoveLeader,
            21 => Fault::Join,
            22 => Fault::Leave(whom),
            23 => Fault::Upgrade,
            24 => {
                let left = [0, 20_000, 150_000, 400_000].choose(random).copied().unwrap_or(0);
                Fault::FullDisk(whom, left, random.random_bool(0.2))
            }
            25 => Fault::Misdirected(whom, seed),
            26 => Fault::LoseLogAndLeader,
            27 => Fault::OldCopyAndLeader,
            28 => Fault::NodeKill(random.random_range(0..8)),
            29 => Fault::NodeFreeze(random.random_range(0..8)),
            _ => Fault::NodeCut(random.random_range(0..8)),
        };
        let between = |random: &mut StdRng, (least, most): (u64, u64)| {
            Duration::from_millis(random.random_range(least..=most))
        };
        let pause = between(random, self.pauses_ms);
        let mut lasts = between(random, self.lasts_ms);
        if let Fault::FullDisk(..) = fault {
            // Until it is noticed, and somewhat longer.
            lasts += Duration::from_millis(random.random_range(1_000..6_000));
        }
        if fault.is_of_nodes() && random.random_bool(0.5) {
            // Until its nodes are given up, and their pods.
            lasts += Duration::from_secs(random.random_range(30..80));
        }
        Some(Step { pause, fault, lasts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_and_has_its_name() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let mut plan = Plan::new(seed, &[], true);
            for _ in 0..50 {
                seen.extend(plan.next().map(|step| step.fault.kind()));
            }
        }
        assert_eq!(seen, KINDS.into_iter().collect());
    }

    #[test]
    fn what_is_left_out_does_not_come() {
        let without: Vec<String> = KINDS[1..].iter().map(|name| (*name).to_owned()).collect();
        for seed in 0..50 {
            let mut plan = Plan::new(seed, &without, seed.is_multiple_of(2));
            assert!((0..50).filter_map(|_| plan.next()).all(|step| matches!(step.fault, Fault::Kill(..))));
        }
    }
}
