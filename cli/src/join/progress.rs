//! How far a master is that comes into a cluster: lines on standard error until it has a vote. The
//! server's log goes there as well, so that a bar would be written over.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use trireme_raft::Replica;
use trireme_raft::etcd::Backend;

use crate::progress::{Bar, Unit};

const LOOK_EVERY: Duration = Duration::from_secs(1);
const RECEIVED: &str = "etcd_network_peer_received_bytes_total{";

/// Shows how it goes until `replica` votes; nothing, if it does.
pub(crate) async fn show(replica: Replica, stop: CancellationToken) {
    let mut course = Course::default();
    let mut shown: Option<(Stage, Bar)> = None;
    while !replica.votes() {
        let entries = replica.status().problems.iter().find_map(|problem| entries(problem));
        if let Some(now) = entries.map(|entries| course.look(entries, received(&replica.metrics()))) {
            if shown.as_ref().is_none_or(|(stage, _)| *stage != now.stage) {
                end(&mut shown);
                shown = Some((now.stage, now.stage.bar(now.of)));
            }
            if let Some((_, bar)) = &shown {
                bar.set(now.done, now.of);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
    end(&mut shown);
}

fn end(shown: &mut Option<(Stage, Bar)>) {
    if let Some((_, bar)) = shown.take() {
        bar.end();
    }
}

/// The entries that this member has, and of how many, as its own status puts it.
fn entries(problem: &str) -> Option<(u64, u64)> {
    let numbers = problem.strip_prefix("joining the cluster: it has ")?.strip_suffix(" entries")?;
    let (has, of) = numbers.split_once(" of ")?;
    Some((has.parse().ok()?, of.parse().ok()?))
}

/// Bytes that the members have sent.
fn received(metrics: &str) -> u64 {
    let of = |line: &str| line.strip_prefix(RECEIVED)?.split_once("} ")?.1.parse::<u64>().ok();
    metrics.lines().filter_map(of).sum()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It has none of the log: a snapshot comes. Its size is the sender's alone to know.
    State,
    /// What was written since, or all of the log where there is no snapshot.
    Log,
}

impl Stage {
    fn bar(self, of: u64) -> Bar {
        match self {
            Stage::State => Bar::in_lines("joining, receiving the state", of, Unit::Bytes),
            Stage::Log => Bar::in_lines("joining, catching up", of, Unit::Things("entries")),
        }
    }
}

/// What was there at first is no merit of this run, and would make it look faster than it is.
#[derive(Debug, Default)]
struct Course {
    received_at_first: Option<u64>,
    has_at_first: Option<u64>,
}

#[derive(Debug, PartialEq, Eq)]
struct Now {
    stage: Stage,
    done: u64,
    /// Zero where it is not known.
    of: u64,
}

impl Course {
    fn look(&mut self, (has, of): (u64, u64), received: u64) -> Now {
        let first = *self.received_at_first.get_or_insert(received);
        if has == 0 {
            return Now { stage: Stage::State, done: received.saturating_sub(first), of: 0 };
        }
        let first = *self.has_at_first.get_or_insert(has);
        Now { stage: Stage::Log, done: has.saturating_sub(first), of: of.saturating_sub(first) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_tells_how_far_it_is() {
        assert_eq!(entries("joining the cluster: it has 17 of 4000 entries"), Some((17, 4000)));
        for other in ["joining the cluster: no other member is known", "the disk is full: writes are refused"]
        {
            assert_eq!(entries(other), None);
        }
        let told = include_str!("../../../raft/src/replica/joining.rs");
        assert!(
            told.contains("{JOINING}: it has {matched_index} of {last_index} entries"),
            "it says it in other words"
        );
        let metrics = "# TYPE etcd_network_peer_received_bytes_total counter\n\
            etcd_network_peer_received_bytes_total{From=\"a1\"} 40\n\
            etcd_network_peer_received_bytes_total{From=\"accepted\"} 2000000\n\
            etcd_network_peer_sent_bytes_total{To=\"accepted\"} 7\n";
        assert_eq!(received(metrics), 2_000_040);
    }

    #[test]
    fn first_the_state_comes_and_then_the_log() {
        let mut course = Course::default();
        let mut look = |has, of, received| {
            let Now { stage, done, of } = course.look((has, of), received);
            (stage, done, of)
        };
        assert_eq!(look(0, 5_000, 700), (Stage::State, 0, 0));
        assert_eq!(look(0, 5_600, 9_700), (Stage::State, 9_000, 0));
        assert_eq!(look(4_000, 6_000, 9_900), (Stage::Log, 0, 2_000));
        assert_eq!(look(5_500, 6_100, 12_000), (Stage::Log, 1_500, 2_100));
    }
}
