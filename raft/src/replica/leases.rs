//! The leader's clock for leases.
//!
//! What a lease is lies in the store; when it ends is known to the leader alone, by its monotonic
//! clock. A new leader grants every lease its whole time again, so a lease may live longer than it
//! was granted, never shorter.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use trireme_store::limits::LEASE_EXPIRE_BATCH_MAX;
use trireme_store::log::{CommandOp, LeaseExpiry, Outcome};
use trireme_store::planted::{self, Bug};
use trireme_store::{Error, LeaseId, Store};

use super::Inner;
use crate::peer::{Lane, addressed, pb};
use crate::types::MemberId;

/// Between two looks for leases that ran out.
const TICK: Duration = Duration::from_millis(200);
/// A look that comes this much too late means that this process stood still, and that keepalives
/// may be waiting: every lease gets the time back.
const TICK_LATE: Duration = Duration::from_millis(300);

struct Clock {
    ends: Instant,
    ttl: Duration,
    /// Its end has been proposed: a keepalive must go through the log to win over it.
    ending: bool,
}

#[derive(Default)]
struct State {
    /// The term in which this member leads and has taken the leases over.
    term: Option<u64>,
    clocks: HashMap<LeaseId, Clock>,
}

#[derive(Default)]
pub(super) struct Leases {
    state: Mutex<State>,
}

pub(super) enum Renewal {
    Done(i64),
    /// Its end is under way; only a renewal in the log can still save it.
    ThroughLog,
    NotLeading,
    NotFound,
}

impl Leases {
    pub(super) fn granted(&self, id: LeaseId, ttl_s: i64) {
        let mut state = self.state.lock();
        if state.term.is_some() {
            state.clocks.insert(id, Clock::full(ttl_s));
        }
    }

    /// Starts every lease's clock anew: this member leads in `term`.
    fn take_over(&self, store: &Store, term: u64) -> Result<(), Error> {
        let mut state = self.state.lock();
        state.clocks =
            store.leases()?.into_iter().map(|lease| (lease.id, Clock::of_next(lease.ttl_s))).collect();
        state.term = Some(term);
        Ok(())
    }

    fn step_down(&self) {
        *self.state.lock() = State::default();
    }

    pub(super) fn term(&self) -> Option<u64> {
        self.state.lock().term
    }

    fn renew(&self, id: LeaseId) -> Renewal {
        let mut state = self.state.lock();
        if state.term.is_none() {
            return Renewal::NotLeading;
        }
        match state.clocks.get_mut(&id) {
            None => Renewal::NotFound,
            Some(clock) if clock.ending => Renewal::ThroughLog,
            Some(clock) => {
                clock.ends = Instant::now() + clock.ttl;
                Renewal::Done(clock.ttl.as_secs() as i64)
            }
        }
    }

    fn forget(&self, id: LeaseId) {
        self.state.lock().clocks.remove(&id);
    }

    fn remaining(&self, id: LeaseId) -> Option<(i64, i64)> {
        let state = self.state.lock();
        let clock = state.clocks.get(&id)?;
        let left = clock.ends.saturating_duration_since(Instant::now());
        Some((left.as_secs() as i64, clock.ttl.as_secs() as i64))
    }

    fn extend_all(&self, by: Duration) {
        let now = Instant::now();
        for clock in self.state.lock().clocks.values_mut() {
            // A renewal that was not heard would have given it no more than its whole time.
            clock.ends = (clock.ends + by).min(now + clock.ttl);
        }
    }

    /// Leases whose time is up, marked as ending.
    fn take_due(&self) -> Vec<LeaseId> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let due = state.clocks.iter_mut().filter(|(_, clock)| clock.ends <= now && !clock.ending);
        due.take(LEASE_EXPIRE_BATCH_MAX)
            .map(|(id, clock)| {
                clock.ending = true;
                *id
            })
            .collect()
    }

    /// The end of `ids` was decided in `term`, one way or the other: those that still exist go on.
    fn settle(&self, store: &Store, term: u64, ids: &[LeaseId]) {
        let mut state = self.state.lock();
        if state.term != Some(term) {
            return;
        }
        for id in ids {
            match store.lease(*id) {
                Ok(None) => {
                    state.clocks.remove(id);
                }
                // Renewed meanwhile: its time starts again, which is never too short.
                _ => {
                    if let Some(clock) = state.clocks.get_mut(id) {
                        clock.ending = false;
                        clock.ends = Instant::now() + clock.ttl;
                    }
                }
            }
        }
    }
}

impl Clock {
    fn full(ttl_s: i64) -> Self {
        let ttl = Duration::from_secs(ttl_s.clamp(1, i64::from(u32::MAX)) as u64);
        let granted = if planted::is(Bug::LeaseEarly) { ttl / 3 } else { ttl };
        Self { ends: Instant::now() + granted, ttl, ending: false }
    }

    /// Of a lease that another leader granted.
    fn of_next(ttl_s: i64) -> Self {
        let mut clock = Self::full(ttl_s);
        if planted::is(Bug::LeaseForgottenByNext) {
            clock.ends -= clock.ttl * 2 / 3;
        }
        clock
    }
}

impl Inner {
    /// Takes the leases over when this member comes to lead, and ends those whose time is up.
    pub(super) async fn run_leases(self: Arc<Self>) {
        let mut last = Instant::now();
        loop {
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = self.stop.cancelled() => return,
            }
            let late = last.elapsed().saturating_sub(TICK);
            last = Instant::now();
            if late > TICK_LATE {
                tracing::warn!(
                    late_ms = late.as_millis() as u64,
                    "this member stood still; leases are extended"
                );
                self.leases.extend_all(late);
            }
            let term = self.leading_term();
            if term != self.leases.term() {
                self.leases.step_down();
                if let Some(term) = term {
                    self.take_over(term).await;
                }
                continue;
            }
            let Some(term) = term else { continue };
            let due = self.leases.take_due();
            if !due.is_empty() {
                // Beside the tick, so that a slow quorum does not look like a stop of the clock.
                let this = self.clone();
                tokio::spawn(async move { this.end_leases(term, due).await });
            }
        }
    }

    async fn take_over(&self, term: u64) {
        // Confirmed and applied first: what the last leader granted must be seen.
        if self.barrier().await.is_err() || self.leading_term() != Some(term) {
            return;
        }
        if let Err(error) = self.leases.take_over(&self.store, term) {
            tracing::error!(%error, "leases cannot be read");
        }
    }

    async fn end_leases(&self, term: u64, due: Vec<LeaseId>) {
        let named = due.iter().filter_map(|id| match self.store.lease(*id) {
            Ok(Some(lease)) => Some((lease.id, lease.generation)),
            _ => None,
        });
        let leases: Vec<_> = named.collect();
        // An end that was proposed and not answered may still come, as long as this term lasts: until
        // the same one, behind it in the log, is decided, no keepalive is granted but through the log.
        while !leases.is_empty() && self.leading_term() == Some(term) && !self.stop.is_cancelled() {
            let expiry = LeaseExpiry { term, leases: leases.clone() };
            match self.propose(CommandOp::LeaseExpire(expiry)).await {
                Ok(Outcome::Expired { leases, .. }) => {
                    tracing::debug!(count = leases.len(), "leases ended");
                    break;
                }
                Ok(_) => break,
                Err(error) => {
                    tracing::debug!(%error, "leases could not be ended");
                    tokio::time::sleep(TICK).await;
                }
            }
        }
        self.leases.settle(&self.store, term, &due);
    }

    /// Renews a lease here, where this member leads.
    pub(super) async fn renew_here(&self, id: LeaseId) -> pb::LeaseResponse {
        // A leader that was deposed must not promise time.
        let confirmed = match self.read_index().await {
            Some(position) => self.progress.reached(position.index).await,
            None => false,
        };
        if !confirmed {
            return pb::LeaseResponse { not_leader: true, ..Default::default() };
        }
        let Ok(Some(lease)) = self.store.lease(id) else {
            self.leases.forget(id);
            return pb::LeaseResponse { not_found: true, ..Default::default() };
        };
        self.metrics.operations.leases_renewed.inc();
        match self.leases.renew(id) {
            Renewal::Done(ttl_s) => pb::LeaseResponse { ttl_s, ..Default::default() },
            Renewal::NotLeading => pb::LeaseResponse { not_leader: true, ..Default::default() },
            // Granted, and its clock not yet started.
            Renewal::NotFound => {
                self.leases.granted(id, lease.ttl_s);
                pb::LeaseResponse { ttl_s: lease.ttl_s, ..Default::default() }
            }
            Renewal::ThroughLog => match self.propose(CommandOp::LeaseRenew(id)).await {
                Ok(Outcome::Renewed { ttl_s, .. }) => pb::LeaseResponse { ttl_s, ..Default::default() },
                Ok(_) | Err(Error::LeaseNotFound) => {
                    pb::LeaseResponse { not_found: true, ..Default::default() }
                }
                Err(_) => pb::LeaseResponse { unknown: true, ..Default::default() },
            },
        }
    }

    /// What is left of a lease, where this member leads.
    pub(super) async fn remaining_here(&self, id: LeaseId) -> pb::LeaseResponse {
        if self.read_index().await.is_none() || self.leases.term().is_none() {
            return pb::LeaseResponse { not_leader: true, ..Default::default() };
        }
        match (self.store.lease(id), self.leases.remaining(id)) {
            (Ok(Some(lease)), left) => {
                let (ttl_s, granted_ttl_s) = left.unwrap_or((lease.ttl_s, lease.ttl_s));
                pb::LeaseResponse { ttl_s, granted_ttl_s, ..Default::default() }
            }
            _ => pb::LeaseResponse { not_found: true, ..Default::default() },
        }
    }

    /// Asks whoever leads about a lease, until the request's time is up.
    pub(super) async fn ask_about_lease(&self, id: LeaseId, renew: bool) -> Result<pb::LeaseResponse, Error> {
        let deadline = Instant::now() + self.config.timing.request;
        loop {
            let answer = match self.leader() {
                Some((leader, _)) if leader == self.member => {
                    if renew {
                        self.renew_here(id).await
                    } else {
                        self.remaining_here(id).await
                    }
                }
                Some((leader, address)) => self.ask_leader(leader, &address, id, renew).await,
                None => pb::LeaseResponse { not_leader: true, ..Default::default() },
            };
            if answer.not_found {
                return Err(Error::LeaseNotFound);
            }
            if !answer.not_leader && !answer.unknown {
                return Ok(answer);
            }
            if Instant::now() >= deadline {
                return Err(if answer.unknown { Error::OutcomeUnknown } else { Error::NoLeader });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn ask_leader(
        &self,
        leader: MemberId,
        address: &str,
        id: LeaseId,
        renew: bool,
    ) -> pb::LeaseResponse {
        let call = async {
            let mut client = self.peers.client(address, Lane::Forward)?;
            let message = pb::LeaseRequest { lease: id.0 };
            let request = addressed(self.cluster_id, leader, message, Some(self.config.timing.request));
            if renew {
                client.lease_keep_alive(request).await
            } else {
                client.lease_time_to_live(request).await
            }
        };
        match call.await {
            Ok(response) => response.into_inner(),
            Err(_) => pb::LeaseResponse { not_leader: true, ..Default::default() },
        }
    }
}
