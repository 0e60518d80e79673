//! When leases run out, by the clock of whoever leads. Not replicated.
//!
//! Only its proposals are: an expiry names the renewal generation it saw, and apply ignores it if
//! the lease was renewed since. A new leader grants every lease its whole time again.

use std::collections::{BTreeSet, HashMap};

use crate::kv::LeaseId;
use crate::limits::LEASE_EXPIRE_BATCH_MAX;
use crate::log::LeaseExpiry;
use crate::machine::LeaseRecord;

/// A tick that comes this much later than the one before extends every lease by the lateness: a
/// leader that slept could not hear renewals.
const TICK_LATE_MS: u64 = 1000;

/// How long a proposed expiry is waited for before it is proposed again.
const PROPOSED_AGAIN_MS: u64 = 5000;

/// Deadlines of leases, in milliseconds of any clock that does not run backwards.
#[derive(Default)]
pub struct Lessor {
    leases: HashMap<LeaseId, Held>,
    by_deadline: BTreeSet<(u64, LeaseId)>,
    last_tick_ms: Option<u64>,
}

struct Held {
    ttl_ms: u64,
    generation: u64,
    deadline_ms: u64,
    /// An expiry was proposed: a renewal must now go through the log.
    expiring: bool,
}

/// What a keepalive is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Renewed here; the lease's time to live in seconds. To be answered once the leader is
    /// confirmed.
    Done(i64),
    /// An expiry is under way: propose `LeaseRenew` and answer what comes of it.
    Propose,
    NotFound,
}

impl Lessor {
    /// Begins to lead: every lease has its whole time.
    pub fn new(leases: impl IntoIterator<Item = LeaseRecord>, now_ms: u64) -> Self {
        let mut lessor = Self { last_tick_ms: Some(now_ms), ..Self::default() };
        leases.into_iter().for_each(|lease| lessor.granted(lease, now_ms));
        lessor
    }

    /// A lease was granted, or renewed through the log.
    pub fn granted(&mut self, lease: LeaseRecord, now_ms: u64) {
        self.ended(lease.id);
        let ttl_ms = u64::try_from(lease.ttl_s).unwrap_or(0).saturating_mul(1000);
        let deadline_ms = now_ms.saturating_add(ttl_ms);
        self.by_deadline.insert((deadline_ms, lease.id));
        let held = Held { ttl_ms, generation: lease.generation, deadline_ms, expiring: false };
        self.leases.insert(lease.id, held);
    }

    /// A lease was revoked or has expired.
    pub fn ended(&mut self, id: LeaseId) {
        if let Some(held) = self.leases.remove(&id) {
            self.by_deadline.remove(&(held.deadline_ms, id));
        }
    }

    pub fn renew(&mut self, id: LeaseId, now_ms: u64) -> Renewal {
        let Some(held) = self.leases.get_mut(&id) else { return Renewal::NotFound };
        if held.expiring {
            return Renewal::Propose;
        }
        let deadline_ms = now_ms.saturating_add(held.ttl_ms);
        move_deadline(&mut self.by_deadline, id, held, deadline_ms);
        Renewal::Done((held.ttl_ms / 1000) as i64)
    }

    /// Seconds left, rounded up; `None` if the lease does not exist.
    pub fn remaining_s(&self, id: LeaseId, now_ms: u64) -> Option<i64> {
        let held = self.leases.get(&id).filter(|held| !held.expiring)?;
        Some(held.deadline_ms.saturating_sub(now_ms).div_ceil(1000) as i64)
    }

    /// What to propose now. To be called several times a second.
    pub fn tick(&mut self, now_ms: u64, term: u64) -> Option<LeaseExpiry> {
        let last = self.last_tick_ms.replace(now_ms).unwrap_or(now_ms);
        let late_ms = now_ms.saturating_sub(last);
        if late_ms > TICK_LATE_MS {
            self.extend_all(late_ms);
        }
        let due = self.by_deadline.iter().take_while(|(deadline_ms, _)| *deadline_ms <= now_ms);
        let due: Vec<_> = due.take(LEASE_EXPIRE_BATCH_MAX).map(|(_, id)| *id).collect();
        let mut expiry = LeaseExpiry { term, leases: Vec::new() };
        for id in due {
            if let Some(held) = self.leases.get_mut(&id) {
                held.expiring = true;
                expiry.leases.push((id, held.generation));
                // If the proposal is lost, it comes up again.
                move_deadline(&mut self.by_deadline, id, held, now_ms + PROPOSED_AGAIN_MS);
            }
        }
        (!expiry.leases.is_empty()).then_some(expiry)
    }

    fn extend_all(&mut self, by_ms: u64) {
        self.by_deadline.clear();
        for (id, held) in &mut self.leases {
            held.deadline_ms = held.deadline_ms.saturating_add(by_ms);
            self.by_deadline.insert((held.deadline_ms, *id));
        }
    }
}

fn move_deadline(by_deadline: &mut BTreeSet<(u64, LeaseId)>, id: LeaseId, held: &mut Held, to_ms: u64) {
    by_deadline.remove(&(held.deadline_ms, id));
    held.deadline_ms = to_ms;
    by_deadline.insert((to_ms, id));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(id: i64, ttl_s: i64) -> LeaseRecord {
        LeaseRecord { id: LeaseId(id), ttl_s, generation: 3 }
    }

    fn due(lessor: &mut Lessor, now_ms: u64) -> Vec<i64> {
        lessor.tick(now_ms, 1).map_or_else(Vec::new, |e| e.leases.iter().map(|(id, _)| id.0).collect())
    }

    #[test]
    fn a_lease_ends_unless_it_is_renewed() {
        let mut lessor = Lessor::new([lease(1, 1), lease(2, 1)], 0);
        assert_eq!(due(&mut lessor, 900), Vec::<i64>::new());
        assert_eq!(lessor.renew(LeaseId(1), 900), Renewal::Done(1));
        assert_eq!(lessor.remaining_s(LeaseId(1), 900), Some(1));
        assert_eq!(lessor.tick(1000, 7), Some(LeaseExpiry { term: 7, leases: vec![(LeaseId(2), 3)] }));
        assert_eq!(lessor.renew(LeaseId(2), 1000), Renewal::Propose);
        assert_eq!(due(&mut lessor, 1100), Vec::<i64>::new(), "proposed once");
        assert_eq!(due(&mut lessor, 1900), [1]);
        lessor.ended(LeaseId(2));
        assert_eq!(lessor.renew(LeaseId(2), 1900), Renewal::NotFound);
    }

    #[test]
    fn a_lost_proposal_is_made_again() {
        let mut lessor = Lessor::new([lease(1, 1)], 0);
        let mut proposed = 0;
        for now_ms in (0..=7000).step_by(500) {
            proposed += due(&mut lessor, now_ms).len();
        }
        assert_eq!(proposed, 2);
    }

    #[test]
    fn a_late_tick_extends_all() {
        let mut lessor = Lessor::new([lease(1, 2)], 0);
        assert_eq!(due(&mut lessor, 1500), Vec::<i64>::new());
        assert_eq!(due(&mut lessor, 9000), Vec::<i64>::new(), "nobody could renew for 7.5 s");
        assert_eq!(due(&mut lessor, 9400), Vec::<i64>::new());
        assert_eq!(due(&mut lessor, 9500 + 1000 - 900), Vec::<i64>::new());
    }
}
