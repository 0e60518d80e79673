//! What is done to the hosts, and when: drawn from the seed before anything is started.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};

/// A second fault joins one of so many.
const TOGETHER_OF_100: u32 = 20;
const PAUSE_MS: (u64, u64) = (500, 4_000);
const LASTS_MS: (u64, u64) = (500, 8_000);

/// Kinds of faults, by the names that `--faults` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Kill,
    KillAll,
    Stop,
    Freeze,
    Memory,
    Cpu,
    OutOfMemory,
    Isolate,
    Split,
    OneWay,
    Bridge,
    Loss,
    Twice,
    Narrow,
    Delay,
    Reorder,
    Reset,
    HostLink,
    SwitchLink,
    DiskFull,
    DiskFails,
    SyncFails,
    SyncSlow,
    SyncHangs,
    Clock,
    Wipe,
    OldCopy,
    Upgrade,
    Balancer,
    Address,
}

/// Name, what it is in words, and the capabilities that it needs.
const TABLE: &[(Kind, &str, &str, &[&str])] = &[
    (Kind::Kill, "kill", "a master is killed (SIGKILL)", &[]),
    (Kind::KillAll, "kill-all", "all masters are killed at once (SIGKILL)", &[]),
    (Kind::Stop, "stop", "a master stands still (SIGSTOP)", &[]),
    (Kind::Freeze, "freeze", "a master is frozen (cgroup)", &["freezer"]),
    (Kind::Memory, "memory", "a master gets no memory beyond what it has (cgroup)", &["memory"]),
    (Kind::Cpu, "cpu", "a master gets a fraction of a core (cgroup)", &["cpu"]),
    (Kind::OutOfMemory, "oom", "a master is killed by the kernel for want of memory", &["memory"]),
    (Kind::Isolate, "isolate", "nothing comes to a host or from it (nftables)", &["nftables"]),
    (Kind::Split, "split", "the masters are split into groups (nftables)", &["nftables"]),
    (Kind::OneWay, "one-way", "a host is not heard, or hears nothing (nftables)", &["nftables"]),
    (
        Kind::Bridge,
        "bridge",
        "two masters do not reach each other, others reach both (nftables)",
        &["nftables"],
    ),
    (Kind::Loss, "loss", "frames are lost (nftables)", &["nftables"]),
    (Kind::Twice, "twice", "frames come twice (nftables)", &["twice"]),
    (Kind::Narrow, "narrow", "a host's line is narrow, and frames wait (tbf)", &["tbf"]),
    (Kind::Delay, "delay", "a host's frames take their time, in order (a line through a tap)", &["tap"]),
    (
        Kind::Reorder,
        "reorder",
        "a host's frames take their time and overtake each other (a line through a tap)",
        &["tap"],
    ),
    (Kind::Reset, "reset", "a host's connections are ended (ss -K)", &["sockets"]),
    (Kind::HostLink, "host-link", "a host's interface goes down", &[]),
    (Kind::SwitchLink, "switch-link", "a host's cable is pulled at the switch", &[]),
    (Kind::DiskFull, "disk-full", "a master's disk is full", &["mount"]),
    (Kind::DiskFails, "disk-fails", "a master's file system fails, and is read-only (ext4)", &["loop"]),
    (Kind::SyncFails, "sync-fails", "syncs of a master's log fail (strace)", &["strace"]),
    (Kind::SyncSlow, "sync-slow", "syncs of a master's log are slow (strace)", &["strace"]),
    (Kind::SyncHangs, "sync-hangs", "syncs of a master's log do not return (strace)", &["strace"]),
    (Kind::Clock, "clock", "a master's clock jumps (a preloaded library)", &["clock"]),
    (Kind::Wipe, "wipe", "a master loses its disk", &["mount"]),
    (Kind::OldCopy, "old-copy", "a master's disk is put back from a copy", &["mount"]),
    (Kind::Upgrade, "upgrade", "a master goes over to the other of two releases", &["older"]),
    (Kind::Balancer, "balancer", "HAProxy is gone where the address is", &["keepalived"]),
    (Kind::Address, "address", "the host with the balancer's address is cut off", &["keepalived"]),
];

impl Kind {
    pub(super) fn all() -> Vec<Kind> {
        TABLE.iter().map(|(kind, ..)| *kind).collect()
    }

    fn row(self) -> &'static (Kind, &'static str, &'static str, &'static [&'static str]) {
        TABLE.iter().find(|(kind, ..)| *kind == self).unwrap_or(&TABLE[0])
    }

    pub(super) fn words(self) -> &'static str {
        self.row().2
    }

    pub(super) fn needs(self) -> &'static [&'static str] {
        self.row().3
    }

    /// Whether there is always something for it to do, however short it is. Two followers may have nothing
    /// to say to each other, and a master may ask for no memory and be content with its share of a core.
    pub(super) fn is_always_met(self) -> bool {
        !matches!(self, Kind::Bridge | Kind::Memory | Kind::OutOfMemory | Kind::Cpu)
    }

    /// Whether a second fault may come beside it: not where both would have to do with one disk, or
    /// where it is over at once.
    fn joins(self) -> bool {
        !matches!(
            self,
            Kind::KillAll
                | Kind::DiskFull
                | Kind::DiskFails
                | Kind::Wipe
                | Kind::OldCopy
                | Kind::OutOfMemory
                | Kind::Balancer
                | Kind::Address
                | Kind::Upgrade
                // The port is the switch's and the line's in turn: others act on the port.
                | Kind::Delay
                | Kind::Reorder
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().1)
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Kind, String> {
        let found = TABLE.iter().find(|(_, known, ..)| *known == name).map(|(kind, ..)| *kind);
        found.ok_or_else(|| {
            let known: Vec<&str> = TABLE.iter().map(|(_, known, ..)| *known).collect();
            format!("there is no fault {name:?}; there are {}", known.join(", "))
        })
    }
}

/// Whom a fault is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    Leader,
    /// By number, of those that do not lead.
    Follower(usize),
}

/// One fault, with all that is chosen about it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault {
    pub kind: Kind,
    pub whom: Whom,
    /// What the kind makes of it: percent, kilobits per second, milliseconds, seconds, a side.
    pub amount: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    /// After the step before had healed.
    pub pause: Duration,
    /// One, or two at a time.
    pub faults: Vec<Fault>,
    /// Until they are taken back.
    pub lasts: Duration,
}

/// Faults without end, a function of the seed and of the kinds. Every kind comes once before any
/// comes again.
pub(super) struct Plan {
    random: StdRng,
    kinds: Vec<Kind>,
    left: Vec<Kind>,
}

impl Plan {
    pub(super) fn new(seed: u64, kinds: &[Kind]) -> Plan {
        Plan { random: StdRng::seed_from_u64(seed ^ 4), kinds: kinds.to_vec(), left: Vec::new() }
    }

    fn fault(&mut self, kind: Kind) -> Fault {
        let random = &mut self.random;
        let whom =
            if random.random_bool(0.6) { Whom::Leader } else { Whom::Follower(random.random_range(0..4)) };
        let sign = if random.random_bool(0.5) { 1 } else { -1 };
        let amount = match kind {
            Kind::Cpu => random.random_range(5..40),
            Kind::Loss => random.random_range(1..40),
            Kind::Twice => random.random_range(10..100),
            Kind::Narrow => [128, 512, 2_048].choose(random).copied().unwrap_or(512),
            Kind::Delay | Kind::Reorder => random.random_range(1..150),
            Kind::SyncSlow => random.random_range(20..400),
            Kind::Clock => sign * random.random_range(1..3_600),
            _ => random.random_range(0..60),
        };
        Fault { kind, whom, amount }
    }

    pub(super) fn next(&mut self) -> Step {
        if self.left.is_empty() {
            self.left = self.kinds.clone();
            self.left.shuffle(&mut self.random);
        }
        let first = self.left.pop().unwrap_or(Kind::Kill);
        let mut faults = vec![self.fault(first)];
        let together = self.random.random_range(0..100) < TOGETHER_OF_100;
        let others: Vec<Kind> =
            self.kinds.iter().copied().filter(|kind| kind.joins() && *kind != first).collect();
        if together
            && first.joins()
            && let Some(kind) = others.choose(&mut self.random).copied()
        {
            faults.push(self.fault(kind));
        }
        let between = |random: &mut StdRng, (least, most): (u64, u64)| {
            Duration::from_millis(random.random_range(least..=most))
        };
        let pause = between(&mut self.random, PAUSE_MS);
        Step { pause, faults, lasts: between(&mut self.random, LASTS_MS) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(seed: u64, kinds: &[Kind], count: usize) -> Vec<Step> {
        let mut plan = Plan::new(seed, kinds);
        (0..count).map(|_| plan.next()).collect()
    }

    #[test]
    fn a_seed_gives_one_plan_with_every_kind() {
        let kinds = Kind::all();
        let first = steps(7, &kinds, kinds.len() + 3);
        assert_eq!(first, steps(7, &kinds, kinds.len() + 3));
        assert_ne!(first, steps(8, &kinds, kinds.len() + 3));
        for kind in &kinds {
            assert!(
                first[..kinds.len()].iter().any(|step| step.faults[0].kind == *kind),
                "{kind} is missing"
            );
        }
        assert!(steps(7, &kinds, 200).iter().any(|step| step.faults.len() == 2));
    }

    #[test]
    fn kinds_are_known_by_their_names() {
        for kind in Kind::all() {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        let error = "kil".parse::<Kind>().unwrap_err();
        assert!(error.contains("no fault \"kil\"") && error.contains("kill, kill-all"), "{error}");
    }
}
