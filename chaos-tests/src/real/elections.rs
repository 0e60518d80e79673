//! Who leads, as the masters themselves say, looked at all the time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use trireme_chaos_report::Election;

use super::inflict::World;
use super::meter::Meter;

const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Default)]
pub(super) struct Elections {
    seen: Mutex<Vec<Election>>,
    /// Everyone who said that it leads, and everyone who was said to, by term.
    by_term: Mutex<BTreeMap<u64, BTreeSet<u64>>>,
}

impl Elections {
    /// Looks until `stop`.
    pub(super) async fn watch(
        self: Arc<Self>,
        world: Arc<World>,
        meter: Arc<Meter>,
        stop: CancellationToken,
    ) {
        while !stop.is_cancelled() {
            for (name, status) in world.masters.status().await {
                let Some(status) = status.filter(|status| status.leader_id != 0) else { continue };
                self.by_term.lock().entry(status.term).or_default().insert(status.leader_id);
                if status.leader_id == status.member_id {
                    self.leads(meter.now(), status.term, name);
                }
            }
            tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(LOOK_EVERY) => {} }
        }
    }

    fn leads(&self, at: Duration, term: u64, name: &str) {
        let mut seen = self.seen.lock();
        if !seen.iter().any(|election| election.term == term && election.leader == name) {
            seen.push(Election { at, term, leader: name.to_owned() });
        }
    }

    pub(super) fn all(&self) -> Vec<Election> {
        self.seen.lock().clone()
    }

    /// Terms of which two leaders were told.
    pub(super) fn violations(&self) -> Vec<String> {
        let by_term = self.by_term.lock();
        let wrong = by_term.iter().filter(|(_, leaders)| leaders.len() > 1);
        wrong.map(|(term, leaders)| format!("term {term} had the leaders {leaders:x?}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_leaders_of_one_term_are_found() {
        let elections = Elections::default();
        for (term, leader) in [(1, 7), (1, 7), (2, 8)] {
            elections.by_term.lock().entry(term).or_default().insert(leader);
        }
        assert_eq!(elections.violations(), Vec::<String>::new());
        elections.by_term.lock().entry(2).or_default().insert(7);
        assert_eq!(elections.violations(), vec!["term 2 had the leaders {7, 8}".to_owned()]);
    }
}
