//! What can be played, and what is said of it before.

use std::fmt::Write as _;
use std::time::Duration;

use clap::ValueEnum;

use super::board::Roll;
use super::order::{Answer, Deed};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Scenario {
    /// The leader ends without a word, and starts again after a while
    LeaderKill,
    /// Each master in turn stops in order and starts again
    RollingRestart,
    /// A master neither sends to the others nor hears them
    Partition,
    /// A master is told that its disk is full
    DiskFull,
    /// A master's wall clock jumps, and back
    ClockJump,
    /// A backup is restored as a new cluster on this machine, started and compared
    RestoreDrill,
}

/// Members that vote: with fewer the loss of one is the loss of the cluster.
const VOTERS_MIN: usize = 3;

/// Facts of one scenario.
struct Row {
    lasts: Duration,
    /// What clients notice, as the plan says it.
    noticed: &'static str,
    undone: &'static str,
}

impl Scenario {
    pub(super) const ALL: [Scenario; 6] = [
        Scenario::LeaderKill,
        Scenario::RollingRestart,
        Scenario::Partition,
        Scenario::DiskFull,
        Scenario::ClockJump,
        Scenario::RestoreDrill,
    ];

    pub(super) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    pub(super) fn summary(self) -> String {
        let help = self.to_possible_value().and_then(|value| value.get_help().map(ToString::to_string));
        help.unwrap_or_default()
    }

    fn row(self) -> Row {
        let row = |seconds, noticed, undone| Row { lasts: Duration::from_secs(seconds), noticed, undone };
        match self {
            Scenario::LeaderKill => row(
                5,
                "connections to that master break; writes wait for another leader, some are answered \
                 \"outcome unknown\"; controllers and scheduler are led from elsewhere",
                "the process starts itself again, in its own place, with what is on its disk. Ctrl-C cannot \
                 hasten that",
            ),
            Scenario::RollingRestart => row(
                0,
                "connections to each master end once, in order; nothing should fail",
                "each process starts itself again; the next one stops only when all are well. After Ctrl-C none \
                 does",
            ),
            Scenario::Partition => row(
                10,
                "the others elect a leader; whoever is connected to that master gets errors (503, 504) for \
                 new reads and for writes until its connection ends",
                "its own timer; it may not hear of Ctrl-C",
            ),
            Scenario::DiskFull => row(
                10,
                "where it leads, writes are refused (507, no space left) until it is over; reads, deletes and \
                 watches go on. The disk itself is not touched: the member is told so",
                "its own timer, or Ctrl-C before",
            ),
            Scenario::ClockJump => row(
                15,
                "times in objects and in the store's history are wrong meanwhile, and stay so. Deadlines that \
                 controllers take from this clock pass early (a rollout's progress, how long a pod tolerates \
                 a taint), tokens of that age are refused. Leases and elections do not go by this clock. The \
                 machine's clock is not touched: the member's store, API server, controllers and scheduler \
                 are told another time; certificates and logs are not",
                "its own timer, or Ctrl-C before",
            ),
            Scenario::RestoreDrill => row(
                0,
                "nothing: the masters are read, as by `trireme backup save`",
                "the new cluster listens on loopback alone, and is stopped and removed, after Ctrl-C at once",
            ),
        }
    }

    /// How long it lasts unless told otherwise.
    pub(super) fn lasts(self) -> Duration {
        self.row().lasts
    }

    /// Whether a length can be chosen.
    pub(super) fn has_length(self) -> bool {
        !self.lasts().is_zero()
    }

    /// What is done to a member, if something is.
    pub(super) fn deed(self, by: Duration, back: bool) -> Option<Deed> {
        let ms = by.as_millis() as i64;
        Some(match self {
            Scenario::LeaderKill => Deed::Kill,
            Scenario::RollingRestart => Deed::Restart,
            Scenario::Partition => Deed::CutOff,
            Scenario::DiskFull => Deed::NoRoom,
            Scenario::ClockJump => Deed::ClockOff { by_ms: if back { -ms } else { ms } },
            Scenario::RestoreDrill => return None,
        })
    }

    /// It is done to one master.
    pub(super) fn is_for_one(self) -> bool {
        !matches!(self, Scenario::RollingRestart | Scenario::RestoreDrill)
    }

    /// No write may fail during it.
    pub(super) fn spares_writes(self) -> bool {
        matches!(self, Scenario::RollingRestart | Scenario::ClockJump | Scenario::RestoreDrill)
    }

    /// Writes may stay away until it is over.
    pub(super) fn stops_writes(self) -> bool {
        self == Scenario::DiskFull
    }

    /// Why this cluster cannot do it now.
    pub(super) fn obstacles(self, roll: &Roll) -> Vec<String> {
        let mut why = roll.troubles();
        let voters = roll.leader().map_or(0, |leader| leader.voters.len());
        if voters < VOTERS_MIN
            && matches!(self, Scenario::LeaderKill | Scenario::RollingRestart | Scenario::Partition)
        {
            why.push(format!("it takes {VOTERS_MIN} members that vote, and there are {voters}"));
        }
        if let Some(deed) = self.deed(Duration::ZERO, false) {
            let cannot = |master: &Answer| {
                master.cannot.get(deed.name()).map(|reason| format!("{}: {reason}", master.name))
            };
            why.extend(roll.masters.iter().filter_map(cannot));
        }
        why
    }
}

/// What will be done.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub scenario: Scenario,
    pub cluster: String,
    /// To whom, in this order.
    pub members: Vec<String>,
    /// Rather to who leads when it begins.
    pub to_leader: bool,
    pub leader: String,
    pub lasts: Duration,
    pub by: Duration,
    pub back: bool,
    /// Of the restore drill: where the backup comes from.
    pub source: String,
    pub within: Duration,
}

impl Plan {
    /// By heading.
    pub(super) fn rows(&self) -> Vec<(String, String)> {
        let row = self.scenario.row();
        let mut rows = vec![("what".to_owned(), self.what())];
        if self.to_leader {
            let words = format!("whoever leads the store when it begins, now {}", self.leader);
            rows.push(("to whom".to_owned(), words));
        } else if !self.members.is_empty() {
            let named = self.members.iter().map(|name| {
                if *name == self.leader { format!("{name} (leads the store)") } else { name.clone() }
            });
            rows.push(("to whom".to_owned(), named.collect::<Vec<_>>().join(", then ")));
        }
        if self.scenario.has_length() {
            rows.push(("for how long".to_owned(), format!("{} s", self.lasts.as_secs_f64())));
        }
        rows.push(("users notice".to_owned(), row.noticed.to_owned()));
        rows.push(("undone by".to_owned(), row.undone.to_owned()));
        rows.push((
            "meanwhile".to_owned(),
            "about 20 calls a second on ConfigMaps in a namespace of its own, which is removed at the end"
                .into(),
        ));
        let resume = format!("writes resume within {} s", self.within.as_secs());
        let mut promised = vec![
            "no acknowledged write is lost".to_owned(),
            "no read is stale".to_owned(),
            "the watch misses nothing".to_owned(),
        ];
        promised.push(if self.scenario.spares_writes() { "no write fails".to_owned() } else { resume });
        promised.push("at the end every member votes, follows one leader and has the same state".to_owned());
        if self.scenario == Scenario::RestoreDrill {
            promised.push("what is restored is what was backed up".to_owned());
        }
        rows.push(("judged".to_owned(), promised.join("; ")));
        rows
    }

    /// What is done, in a sentence.
    pub(super) fn what(&self) -> String {
        match self.scenario {
            Scenario::LeaderKill => format!(
                "the process ends where it stands, as by SIGKILL, and is away for {} s",
                self.lasts.as_secs_f64()
            ),
            Scenario::RollingRestart => {
                "leadership is handed over, the process stops in order and starts again".to_owned()
            }
            Scenario::Partition => {
                "its connections to the other masters stand still; clients still reach it".to_owned()
            }
            Scenario::DiskFull => {
                "the member takes its disk for full (simulated: nothing is written to it)".to_owned()
            }
            Scenario::ClockJump => format!(
                "its wall clock goes {} s {} (simulated, in its process alone)",
                self.by.as_secs_f64(),
                if self.back { "behind" } else { "before" }
            ),
            Scenario::RestoreDrill => format!(
                "{} is restored as a cluster of one master in a temporary folder here, started, compared object \
                 by object with what runs, and removed",
                self.source
            ),
        }
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!("{} on {}\n", self.scenario.name(), self.cluster);
        for (heading, words) in self.rows() {
            let _ = writeln!(text, "  {heading:<13} {words}");
        }
        text
    }
}
