//! `Kv` over a store without replication: tests, imports, one process alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::fault::Fault;
use crate::kv::{
    Error, Kv, LeaseGrant, LeaseId, LeaseTimeToLive, RangeRequest, RangeResponse, Revision, Status,
    TxnRequest, TxnResponse, WatchRequest, WatchStream,
};
use crate::lessor::{Lessor, Renewal};
use crate::log::{Command, CommandOp, Entry, EntryBody, LogPosition, Outcome, ProposalId};
use crate::machine::{LeaseRecord, Store};

/// How often leases are looked at.
const TICK: Duration = Duration::from_millis(200);

/// The one term there is without elections.
const TERM: u64 = 1;

/// Milliseconds since the Unix epoch, from wherever the caller takes its time.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// A store that agrees with itself. Nothing is durable before [`Store::flush`].
pub struct Local {
    shared: Arc<Shared>,
    ticker: tokio::task::JoinHandle<()>,
}

struct Shared {
    store: Store,
    clock: Clock,
    started: Instant,
    /// Also orders the proposals.
    lessor: Mutex<Lessor>,
    next_lease: AtomicI64,
}

impl Local {
    /// Begins to serve `store`; every lease has its whole time. Must be called within a tokio
    /// runtime, whose timers drive the expiry of leases.
    pub fn new(store: Store, clock: Clock) -> Result<Self, Error> {
        let leases = store.leases()?;
        let highest = leases.iter().map(|lease| lease.id.0).max().unwrap_or(0);
        let shared = Arc::new(Shared {
            lessor: Mutex::new(Lessor::new(leases, 0)),
            store,
            clock,
            started: Instant::now(),
            next_lease: AtomicI64::new(highest.max(0) + 1),
        });
        let weak = Arc::downgrade(&shared);
        let ticker = tokio::spawn(async move {
            let mut interval = tokio::time::interval(TICK);
            loop {
                interval.tick().await;
                let Some(shared) = weak.upgrade() else { return };
                if let Err(error) = shared.expire() {
                    tracing::warn!(%error, "leases could not be ended");
                }
                shared.store.announce_progress();
            }
        });
        Ok(Self { shared, ticker })
    }

    pub fn store(&self) -> &Store {
        &self.shared.store
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.ticker.abort();
    }
}

impl Shared {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn propose(&self, op: CommandOp) -> Result<Outcome, Error> {
        self.propose_with(&mut self.lessor.lock(), op)
    }

    /// The lessor's lock orders proposals, so that it sees what it caused in that order.
    fn propose_with(&self, lessor: &mut Lessor, op: CommandOp) -> Result<Outcome, Error> {
        let index = self.store.applied().position.map_or(1, |at| at.index + 1);
        let command = Command { proposal: ProposalId::default(), time_ms: (self.clock)(), op };
        let entry =
            Entry { at: LogPosition { term: TERM, node_id: 0, index }, body: EntryBody::Command(command) };
        let outcome = self.store.apply(vec![entry])?.pop().ok_or_else(|| missing(&Outcome::None))?;
        if let Outcome::Expired { leases, .. } = &outcome {
            leases.iter().for_each(|id| lessor.ended(*id));
        }
        outcome.into_result()
    }

    fn expire(&self) -> Result<(), Error> {
        let mut lessor = self.lessor.lock();
        let now_ms = self.now_ms();
        while let Some(expiry) = lessor.tick(now_ms, TERM) {
            self.propose_with(&mut lessor, CommandOp::LeaseExpire(expiry))?;
        }
        Ok(())
    }
}

/// An outcome of another kind than the command's: a bug in apply.
fn missing(outcome: &Outcome) -> Error {
    Error::Broken(Fault::Stopped(format!("a command came to {outcome:?}")).to_string())
}

#[async_trait]
impl Kv for Local {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        self.shared.store.range(&request)
    }

    async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Error> {
        request.check()?;
        match self.shared.propose(CommandOp::Txn(request))? {
            Outcome::Txn(response) => Ok(response),
            other => Err(missing(&other)),
        }
    }

    async fn watch(&self, request: WatchRequest) -> Result<WatchStream, Error> {
        self.shared.store.watch(request)
    }

    async fn compact(&self, revision: Revision, physical: bool) -> Result<Revision, Error> {
        let current = match self.shared.propose(CommandOp::Compact(revision))? {
            Outcome::Compacted(current) => current,
            other => return Err(missing(&other)),
        };
        if physical {
            self.shared.store.scrubbed(revision).await?;
        }
        Ok(current)
    }

    async fn lease_grant(&self, id: LeaseId, ttl_s: i64) -> Result<LeaseGrant, Error> {
        let mut lessor = self.shared.lessor.lock();
        let choose = || LeaseId(self.shared.next_lease.fetch_add(1, Ordering::Relaxed));
        let chosen_here = id.0 == 0;
        let mut id = if chosen_here { choose() } else { id };
        while chosen_here && self.shared.store.lease(id)?.is_some() {
            id = choose();
        }
        match self.shared.propose_with(&mut lessor, CommandOp::LeaseGrant { id, ttl_s })? {
            Outcome::Granted(grant) => {
                let record = LeaseRecord { id, ttl_s: grant.ttl_s, generation: 0 };
                lessor.granted(record, self.shared.now_ms());
                Ok(grant)
            }
            other => Err(missing(&other)),
        }
    }

    async fn lease_revoke(&self, id: LeaseId) -> Result<Revision, Error> {
        let mut lessor = self.shared.lessor.lock();
        match self.shared.propose_with(&mut lessor, CommandOp::LeaseRevoke(id))? {
            Outcome::Revoked(revision) => {
                lessor.ended(id);
                Ok(revision)
            }
            other => Err(missing(&other)),
        }
    }

    async fn lease_keep_alive(&self, id: LeaseId) -> Result<i64, Error> {
        let mut lessor = self.shared.lessor.lock();
        let now_ms = self.shared.now_ms();
        match lessor.renew(id, now_ms) {
            Renewal::Done(ttl_s) => Ok(ttl_s),
            Renewal::NotFound => Err(Error::LeaseNotFound),
            Renewal::Propose => match self.shared.propose_with(&mut lessor, CommandOp::LeaseRenew(id))? {
                Outcome::Renewed { ttl_s, generation } => {
                    lessor.granted(LeaseRecord { id, ttl_s, generation }, now_ms);
                    Ok(ttl_s)
                }
                other => Err(missing(&other)),
            },
        }
    }

    async fn lease_time_to_live(&self, id: LeaseId, keys: bool) -> Result<LeaseTimeToLive, Error> {
        let store = &self.shared.store;
        let revision = store.revision();
        let Some(lease) = store.lease(id)? else {
            return Ok(LeaseTimeToLive { revision, id, ttl_s: -1, ..Default::default() });
        };
        let remaining = self.shared.lessor.lock().remaining_s(id, self.shared.now_ms());
        Ok(LeaseTimeToLive {
            revision,
            id,
            ttl_s: remaining.unwrap_or(0),
            granted_ttl_s: lease.ttl_s,
            keys: if keys { store.lease_keys(id)? } else { Vec::new() },
        })
    }

    async fn leases(&self) -> Result<Vec<LeaseId>, Error> {
        Ok(self.shared.store.leases()?.into_iter().map(|lease| lease.id).collect())
    }

    async fn barrier(&self) -> Result<Revision, Error> {
        let revision = self.shared.store.revision();
        self.shared.store.announce_progress();
        Ok(revision)
    }

    async fn status(&self) -> Result<Status, Error> {
        let applied = self.shared.store.applied();
        let size = self.shared.store.size();
        let index = applied.position.map_or(0, |at| at.index);
        Ok(Status {
            cluster_id: 1,
            member_id: 1,
            leader_id: 1,
            term: TERM,
            last_log_index: index,
            applied_index: index,
            revision: applied.revision,
            compact_revision: applied.compact_revision,
            db_size_bytes: size.disk_bytes,
            db_size_in_use_bytes: size.live_bytes,
            is_learner: false,
            errors: Vec::new(),
        })
    }
}
