//! Applying a run of entries: the pure function that replicas agree on.
//!
//! Everything is computed into the state in memory, a batch and a list of events; nothing is
//! written here. If the batch cannot be written the state is read back from the engine.

use std::sync::Arc;

use bytes::Bytes;

use super::state::{EVERY_SCOPE, Lease, State, lease_record};
use crate::codec::Writer;
use crate::engine::{Batch, EngineError, View};
use crate::fault::Fault;
use crate::history::{History, Overlay};
use crate::kv::{Error, Event, EventKind, KeyValue, LeaseGrant, LeaseId, PutRequest, Revision};
use crate::layout;
use crate::limits::{
    FENCE_SCOPES_FORGOTTEN, FENCE_SCOPES_MAX, LEASE_TTL_MAX_S, LEASE_TTL_MIN_S, TIME_INDEX_STEP_MS,
};
use crate::log::{
    Command, CommandOp, Entry, EntryBody, LeaseExpiry, LogPosition, Mark, MarkedHash, Outcome,
    REFUSALS_REMEMBERED,
};
use crate::planted::{self, Bug};
use crate::watch::Commit;

/// One run being applied.
pub(super) struct Run<'v, 's> {
    pub(super) state: &'s mut State,
    pub(super) history: History<'v>,
    pub(super) overlay: &'s mut Overlay,
    pub(super) batch: Batch,
    pub(super) commits: Vec<Arc<Commit>>,
    /// Events of the revision being made.
    events: Vec<Event>,
    scratch: Vec<u8>,
    header: Writer,
}

/// What a run leaves to be written and told.
pub(super) struct Applied {
    pub(super) batch: Batch,
    pub(super) commits: Vec<Arc<Commit>>,
    pub(super) outcomes: Vec<Outcome>,
}

/// Applies `entries` to `state`; on an error the state must be read back, with a new overlay.
pub(super) fn apply(
    state: &mut State,
    overlay: &mut Overlay,
    view: &dyn View,
    entries: Vec<Entry>,
) -> Result<Applied, Fault> {
    overlay.begin(state.revision);
    let mut run = Run {
        state,
        history: History::new(view),
        overlay,
        batch: Batch::default(),
        commits: Vec::new(),
        events: Vec::new(),
        scratch: Vec::new(),
        header: Writer::default(),
    };
    let mut outcomes = Vec::with_capacity(entries.len());
    for entry in entries {
        outcomes.push(run.entry(entry)?);
    }
    if !planted::is(Bug::AppliedApart) {
        run.state.save(&mut run.batch);
    }
    Ok(Applied { batch: run.batch, commits: run.commits, outcomes })
}

impl Run<'_, '_> {
    fn entry(&mut self, entry: Entry) -> Result<Outcome, Fault> {
        if let Some(applied) = self.state.position
            && entry.at.index != applied.index + 1
        {
            return Err(Fault::OutOfOrder { applied: applied.index, found: entry.at.index });
        }
        let outcome = match entry.body {
            EntryBody::Blank => Outcome::None,
            EntryBody::Membership(members) => {
                self.batch.put(&[layout::MEMBERSHIP], &[&members]);
                // Detached from the log's buffer, which may be a large one.
                self.state.membership = Bytes::copy_from_slice(&members);
                self.state.membership_position = Some(entry.at);
                Outcome::None
            }
            EntryBody::Command(command) => self.command(entry.at, command)?,
        };
        self.state.position = Some(entry.at);
        Ok(outcome)
    }

    fn command(&mut self, at: LogPosition, command: Command) -> Result<Outcome, EngineError> {
        if let CommandOp::Mark(mark) = command.op {
            let outcome = self.mark(at, mark);
            self.advance_time(command.time_ms);
            return Ok(outcome);
        }
        self.advance_time(command.time_ms);
        let proposal = command.proposal;
        if let Some(outcome) = self.state.dedup.find(proposal)?.filter(|_| !planted::is(Bug::DoneTwice)) {
            return Ok(outcome);
        }
        let remembers = command.op.may_change()
            && self.state.feature_level >= REFUSALS_REMEMBERED
            && !planted::is(Bug::RefusalsForgotten);
        let (outcome, changed) = match command.op {
            CommandOp::Txn(txn) => self.txn(txn)?,
            CommandOp::Compact(revision) => self.compact(revision),
            CommandOp::LeaseGrant { id, ttl_s } => self.grant(id, ttl_s),
            CommandOp::LeaseRevoke(id) => self.revoke(id)?,
            CommandOp::LeaseRenew(id) => self.renew(id),
            CommandOp::LeaseExpire(expiry) => self.expire(at, expiry)?,
            CommandOp::FeatureLevel(level) => {
                self.state.feature_level = self.state.feature_level.max(level);
                (Outcome::FeatureLevel(self.state.feature_level), false)
            }
            CommandOp::Mark(_) => unreachable!("handled above"),
        };
        // Who was told that nothing changed must not see it change, by a message that was long on its way.
        if changed || remembers {
            let State { dedup, sum, time_ms, .. } = &mut *self.state;
            dedup.remember(proposal, *time_ms, &outcome, sum);
        }
        Ok(outcome)
    }

    fn advance_time(&mut self, time_ms: i64) {
        let state = &mut *self.state;
        state.time_ms = state.time_ms.max(time_ms);
        if state.time_ms >= state.time_indexed_ms.saturating_add(TIME_INDEX_STEP_MS) {
            state.time_indexed_ms = state.time_ms;
            let key = layout::numbered(layout::TIMES, state.time_ms as u64);
            self.batch.put(&[&key], &[&layout::number_record(state.revision.0)]);
        }
        state.dedup.forget(state.time_ms, &mut state.sum);
    }

    fn mark(&mut self, at: LogPosition, mark: Mark) -> Outcome {
        let own = MarkedHash { index: at.index, hash: self.state.hash() };
        let noted = self.state.last_mark.replace(own);
        let agrees = match (mark.previous, noted) {
            (Some(leader), Some(noted)) if leader.index == noted.index => Some(leader.hash == noted.hash),
            _ => None,
        };
        Outcome::Marked { own, agrees }
    }

    fn compact(&mut self, revision: Revision) -> (Outcome, bool) {
        let state = &mut *self.state;
        if revision <= state.compact_revision {
            let error = Error::Compacted { compact_revision: state.compact_revision };
            return (Outcome::Failed(error), false);
        }
        if revision > state.revision {
            return (Outcome::Failed(Error::FutureRevision { current: state.revision }), false);
        }
        state.compact_revision = revision;
        (Outcome::Compacted(state.revision), true)
    }

    fn grant(&mut self, id: LeaseId, ttl_s: i64) -> (Outcome, bool) {
        let failed = |error| (Outcome::Failed(error), false);
        if id.0 == 0 {
            return failed(Error::Invalid("a lease must have an id".into()));
        }
        if ttl_s > LEASE_TTL_MAX_S {
            return failed(Error::LeaseTtlTooLarge);
        }
        if self.state.leases.contains_key(&id) {
            return failed(Error::LeaseExists);
        }
        let lease = Lease { ttl_s: ttl_s.max(LEASE_TTL_MIN_S), generation: 0, keys: Default::default() };
        let granted = LeaseGrant { revision: self.state.revision, id, ttl_s: lease.ttl_s };
        self.write_lease(id, &lease);
        self.state.sum.lease(true, id, lease.ttl_s, lease.generation);
        self.state.leases.insert(id, lease);
        (Outcome::Granted(granted), true)
    }

    fn renew(&mut self, id: LeaseId) -> (Outcome, bool) {
        let Some(mut lease) = self.state.leases.remove(&id) else {
            return (Outcome::Failed(Error::LeaseNotFound), false);
        };
        self.state.sum.lease(false, id, lease.ttl_s, lease.generation);
        lease.generation += 1;
        self.state.sum.lease(true, id, lease.ttl_s, lease.generation);
        self.write_lease(id, &lease);
        let outcome = Outcome::Renewed { ttl_s: lease.ttl_s, generation: lease.generation };
        self.state.leases.insert(id, lease);
        (outcome, false)
    }

    fn revoke(&mut self, id: LeaseId) -> Result<(Outcome, bool), EngineError> {
        if !self.end_lease(id)? {
            return Ok((Outcome::Failed(Error::LeaseNotFound), false));
        }
        Ok((Outcome::Revoked(self.state.revision), true))
    }

    fn expire(&mut self, at: LogPosition, expiry: LeaseExpiry) -> Result<(Outcome, bool), EngineError> {
        let mut ended = Vec::new();
        if at.term == expiry.term {
            for (id, generation) in expiry.leases {
                let current = self.state.leases.get(&id).is_some_and(|lease| lease.generation == generation);
                if current && self.end_lease(id)? {
                    ended.push(id);
                }
            }
        }
        Ok((Outcome::Expired { revision: self.state.revision, leases: ended }, false))
    }

    fn write_lease(&mut self, id: LeaseId, lease: &Lease) {
        self.batch.put(&[&layout::numbered(layout::LEASES, id.0 as u64)], &[&lease_record(lease)]);
    }

    /// Removes a lease and, at one revision, its keys.
    fn end_lease(&mut self, id: LeaseId) -> Result<bool, EngineError> {
        let Some(lease) = self.state.leases.remove(&id) else { return Ok(false) };
        self.state.sum.lease(false, id, lease.ttl_s, lease.generation);
        let stored = layout::numbered(layout::LEASES, id.0 as u64);
        self.batch.delete(&[&stored]);
        let revision = Revision(self.state.revision.0 + 1);
        for key in lease.keys {
            if let Some(kv) = self.live(&key)?.filter(|_| !planted::is(Bug::LeaseKeysStay)) {
                self.batch.delete(&[&layout::numbered(layout::ATTACHED, id.0 as u64), &key]);
                self.delete_key(kv, revision);
            }
        }
        self.finish_revision(revision);
        Ok(true)
    }

    /// The newest version of a key, what the running transaction changed included.
    pub(super) fn live(&mut self, key: &Bytes) -> Result<Option<KeyValue>, EngineError> {
        let newest = Revision(i64::MAX);
        if let Some(known) = self.overlay.get(key, newest) {
            return Ok(known.cloned());
        }
        let kv = self.history.get(self.overlay, key, newest)?;
        self.overlay.learn(key.clone(), kv.clone());
        Ok(kv)
    }

    /// Whether the running transaction has changed a key.
    pub(super) fn has_changes(&self) -> bool {
        !self.events.is_empty()
    }

    /// Puts a key at `revision`, the one being made; what it was before.
    pub(super) fn put_key(
        &mut self,
        put: PutRequest,
        revision: Revision,
    ) -> Result<Option<KeyValue>, EngineError> {
        let previous = self.live(&put.key)?;
        let (create_revision, version, old_lease) =
            previous.as_ref().map_or((revision, first_version(revision), LeaseId(0)), |p| {
                (p.create_revision, p.version + 1, p.lease)
            });
        let value = match &previous {
            Some(previous) if put.ignore_value => previous.value.clone(),
            _ => put.value,
        };
        let lease = if put.ignore_lease { old_lease } else { put.lease };
        let kv = KeyValue { key: put.key, create_revision, mod_revision: revision, version, value, lease };
        if lease != old_lease {
            self.detach(old_lease, &kv.key);
            self.attach(lease, &kv);
        }
        if let Some(previous) = &previous {
            self.state.sum.key(false, previous);
        }
        self.state.sum.key(true, &kv);
        layout::put_header(&mut self.header, &kv);
        layout::version_key(&mut self.scratch, &kv.key, revision);
        self.batch.put(&[&self.scratch], &[self.header.as_slice(), &kv.value]);
        self.overlay.insert(kv.key.clone(), revision, Some(kv.clone()));
        self.record(Event { kind: EventKind::Put, kv, prev_kv: previous.clone() }, revision);
        Ok(previous)
    }

    /// Deletes a live key at `revision`, the one being made.
    pub(super) fn delete_live_key(&mut self, kv: KeyValue, revision: Revision) {
        self.detach(kv.lease, &kv.key);
        self.delete_key(kv, revision);
    }

    fn delete_key(&mut self, previous: KeyValue, revision: Revision) {
        self.state.sum.key(false, &previous);
        layout::version_key(&mut self.scratch, &previous.key, revision);
        self.batch.put(&[&self.scratch], &[layout::TOMBSTONE_VALUE]);
        self.overlay.insert(previous.key.clone(), revision, None);
        let kv = KeyValue { key: previous.key.clone(), mod_revision: revision, ..Default::default() };
        self.record(Event { kind: EventKind::Delete, kv, prev_kv: Some(previous) }, revision);
    }

    fn record(&mut self, event: Event, revision: Revision) {
        let sub = u32::try_from(self.events.len()).expect("a revision changes fewer than 2^32 keys");
        self.batch.put(&[&layout::revision_key(revision, sub)], &[&event.kv.key]);
        self.events.push(event);
    }

    fn attach(&mut self, id: LeaseId, kv: &KeyValue) {
        if let Some(lease) = self.state.leases.get_mut(&id) {
            // Detached from the log's buffer: the lease may outlive it by days.
            lease.keys.insert(Bytes::copy_from_slice(&kv.key));
            self.batch.put(&[&layout::numbered(layout::ATTACHED, id.0 as u64), &kv.key], &[]);
        }
    }

    fn detach(&mut self, id: LeaseId, key: &[u8]) {
        if let Some(lease) = self.state.leases.get_mut(&id) {
            lease.keys.remove(key);
            self.batch.delete(&[&layout::numbered(layout::ATTACHED, id.0 as u64), key]);
        }
    }

    /// Makes `revision` the newest if anything changed at it.
    pub(super) fn finish_revision(&mut self, revision: Revision) {
        if !self.events.is_empty() {
            self.state.revision = revision;
            self.commits.push(Arc::new(Commit::new(revision, std::mem::take(&mut self.events))));
        }
    }

    /// Raises each scope's epoch by one. Where there are too many scopes then, those with the lowest
    /// epochs are forgotten, none of `scopes`: what was read of their epochs must hold.
    pub(super) fn raise_fences(&mut self, scopes: &[String]) {
        for scope in scopes {
            self.set_fence(scope, self.state.epoch(scope) + 1);
        }
        if self.state.fences.len() <= FENCE_SCOPES_MAX || scopes.is_empty() {
            return;
        }
        let kept = |scope: &String| scope == EVERY_SCOPE || scopes.contains(scope);
        let all = self.state.fences.iter().filter(|(scope, _)| !kept(scope));
        let mut oldest: Vec<(u64, String)> = all.map(|(scope, epoch)| (*epoch, scope.clone())).collect();
        oldest.sort_unstable();
        oldest.truncate(FENCE_SCOPES_FORGOTTEN);
        let Some((highest, _)) = oldest.last() else { return };
        // Whoever still writes under the epoch of a scope that is forgotten is refused, as by one
        // that is remembered; and the scope's next epoch is one that nobody ever had.
        let floor = self.state.epoch(EVERY_SCOPE).max(highest + 1);
        self.set_fence(EVERY_SCOPE, floor);
        for (epoch, scope) in oldest {
            self.state.fences.remove(&scope);
            self.state.sum.fence(false, &scope, epoch);
            self.batch.delete(&[&[layout::FENCES], scope.as_bytes()]);
        }
    }

    fn set_fence(&mut self, scope: &str, epoch: u64) {
        let State { fences, sum, .. } = &mut *self.state;
        if let Some(old) = fences.insert(scope.to_owned(), epoch) {
            sum.fence(false, scope, old);
        }
        sum.fence(true, scope, epoch);
        self.batch.put(&[&[layout::FENCES], scope.as_bytes()], &[&layout::number_record(epoch as i64)]);
    }
}

/// The version of a key that was not there.
fn first_version(revision: Revision) -> i64 {
    if planted::is(Bug::VersionNotReset) && revision.0 % 3 == 0 { 2 } else { 1 }
}
