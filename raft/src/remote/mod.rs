//! `Remote`: the store as seen from a process that is not a member (a stateless API server).
//!
//! ```text
//!   Kv calls ──► the endpoint in use ──failed──► the next one, until the deadline
//!   watches  ──► one gRPC stream each, taken up elsewhere from the last revision seen
//! ```
//!
//! Writes travel as commands with proposal ids, so one whose answer was lost is sent again and
//! done once. The highest revision seen goes with every local read, and a member behind it waits.

mod checkpoint;
mod connect;
mod members;
mod watch;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use rustls::ClientConfig;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;
use tonic::{Request, Response, Status as GrpcStatus};
use trireme_store::log::{Command, CommandOp, Outcome, ProposalId};
use trireme_store::{
    Error, Kv, LeaseGrant, LeaseId, LeaseTimeToLive, RangeRequest, RangeResponse, Revision, Status,
    TxnRequest, TxnResponse, WatchRequest, WatchStream,
};

pub use members::ChangeError;

use crate::etcd::SEEN_REVISION;
use crate::etcd::convert;
use crate::etcd::error::from_status;
use crate::etcd::pb::etcdserverpb as pb;
use crate::etcd::pb::etcdserverpb::kv_client::KvClient;
use crate::etcd::pb::etcdserverpb::lease_client::LeaseClient;
use crate::etcd::pb::trireme::v1 as ext;
use crate::etcd::pb::trireme::v1::store_client::StoreClient;

/// How long a call goes on trying, over all endpoints.
const CALL_MAX: Duration = Duration::from_secs(10);
/// One attempt, after which another endpoint is asked.
const ATTEMPT_MAX: Duration = Duration::from_secs(3);
/// Pauses between attempts: the first, doubling to the last.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// Largest answer taken.
const ANSWER_BYTES_MAX: usize = 1 << 30;

/// Where the members are, and who we are.
pub struct RemoteConfig {
    /// `host:port` of members' client addresses; at least one.
    pub endpoints: Vec<String>,
    /// Must hold a client certificate that the members accept and offer `h2` by ALPN. Swapped when
    /// certificates are renewed; new connections use the new ones.
    pub tls: Arc<ArcSwap<ClientConfig>>,
}

/// A client of any members that implements [`Kv`]. Clones share connections.
#[derive(Clone)]
pub struct Remote(Arc<Shared>);

struct Shared {
    endpoints: Vec<(String, Channel)>,
    in_use: AtomicUsize,
    seen: AtomicI64,
    client: u64,
    sequence: AtomicU64,
}

impl Remote {
    /// Makes the client; connections are opened when they are first needed.
    ///
    /// # Errors
    /// [`Error::Invalid`] when an endpoint is not `host:port`, or there is none.
    pub fn connect(config: RemoteConfig) -> Result<Remote, Error> {
        if config.endpoints.is_empty() {
            return Err(Error::Invalid(
                "no endpoint of the store is given; expected host:port of a master".into(),
            ));
        }
        let mut endpoints = Vec::with_capacity(config.endpoints.len());
        for address in config.endpoints {
            let channel = connect::channel(&address, config.tls.clone())?;
            endpoints.push((address, channel));
        }
        Ok(Remote(Arc::new(Shared {
            in_use: AtomicUsize::new(rand::random::<u32>() as usize % endpoints.len()),
            endpoints,
            seen: AtomicI64::new(0),
            client: rand::random::<u64>().max(1),
            sequence: AtomicU64::new(0),
        })))
    }

    fn saw(&self, revision: Revision) -> Revision {
        self.0.seen.fetch_max(revision.0, Ordering::Relaxed);
        revision
    }

    fn endpoint(&self) -> (usize, &str, Channel) {
        let i = self.0.in_use.load(Ordering::Relaxed) % self.0.endpoints.len();
        let (address, channel) = &self.0.endpoints[i];
        (i, address, channel.clone())
    }

    /// Uses another endpoint than `failed` from now on, unless someone else has moved on already.
    fn leave(&self, failed: usize) {
        let next = (failed + 1) % self.0.endpoints.len();
        let _ = self.0.in_use.compare_exchange(failed, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Calls until one endpoint answers for good. `repeatable`: the call may be sent again when it
    /// is not known what became of it.
    async fn call<T, F>(
        &self,
        repeatable: bool,
        call: impl Fn(Channel) -> F + Send + Sync,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, GrpcStatus>> + Send,
    {
        self.call_and_recall(repeatable, call).await.map(|(answer, _)| answer)
    }

    /// The same; with the answer, whether it is not known what became of an earlier attempt.
    async fn call_and_recall<T, F>(
        &self,
        repeatable: bool,
        call: impl Fn(Channel) -> F + Send + Sync,
    ) -> Result<(T, bool), Error>
    where
        F: Future<Output = Result<Response<T>, GrpcStatus>> + Send,
    {
        let deadline = Instant::now() + CALL_MAX;
        let mut pause = PAUSE_MIN;
        let mut unknown = false;
        loop {
            let (i, address, channel) = self.endpoint();
            let error = match tokio::time::timeout(ATTEMPT_MAX, call(channel)).await {
                Ok(Ok(answer)) => return Ok((answer.into_inner(), unknown)),
                Ok(Err(status)) => from_status(&status),
                Err(_) => Error::OutcomeUnknown,
            };
            match &error {
                Error::OutcomeUnknown if repeatable => unknown = true,
                Error::NoLeader | Error::Unavailable(_) => {}
                _ => return Err(refused(error, unknown)),
            }
            tracing::debug!(endpoint = address, %error, "asking another member");
            self.leave(i);
            if Instant::now() + pause >= deadline {
                return Err(if unknown { Error::OutcomeUnknown } else { error });
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Proposes one command; done once however often it is sent.
    async fn propose(&self, op: CommandOp) -> Result<Outcome, Error> {
        let seq = self.0.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let command = Command {
            proposal: ProposalId { client: self.0.client, seq },
            time_ms: i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
            op,
        };
        let encoded = command.encode();
        let (answer, unknown) = self
            .call_and_recall(true, |channel| {
                let request = ext::ProposeRequest { commands: vec![encoded.clone()] };
                async move {
                    let mut client = StoreClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
                    client.propose(request).await
                }
            })
            .await?;
        let outcome =
            answer.outcomes.into_iter().next().ok_or_else(|| Error::Broken("no outcome came back".into()))?;
        let outcome = Outcome::decode(outcome).map_err(|e| Error::Broken(e.to_string()))?;
        outcome.into_result().map_err(|error| refused(error, unknown))
    }
}

impl Remote {
    /// When revisions came about, from the last entry of the store's index of times before `from`
    /// on: at the time in milliseconds since the Unix epoch, the revision was the newest. Covers
    /// everything acknowledged before the call.
    pub async fn times(&self, from: Revision) -> Result<Vec<(i64, Revision)>, Error> {
        let found = self
            .call(true, |channel| async move {
                let mut client = StoreClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
                client.times(ext::TimesRequest { from_revision: from.0 }).await
            })
            .await?;
        Ok(found.entries.into_iter().map(|entry| (entry.time_ms, Revision(entry.revision))).collect())
    }
}

/// What a refusal comes to: a member that had no room for a call knows nothing of an earlier attempt,
/// which another may have taken.
fn refused(error: Error, unknown: bool) -> Error {
    match error {
        Error::TooManyRequests | Error::NoSpace if unknown => Error::OutcomeUnknown,
        error => error,
    }
}

/// An outcome of another kind than the command's.
fn odd(outcome: &Outcome) -> Error {
    Error::Broken(format!("the outcome is of another kind than the command: {outcome:?}"))
}

#[async_trait]
impl Kv for Remote {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        let seen = self.0.seen.load(Ordering::Relaxed);
        let wanted = convert::range_request(request);
        let found = self
            .call(true, |channel| {
                let mut request = Request::new(wanted.clone());
                if wanted.serializable
                    && let Ok(value) = seen.to_string().parse()
                {
                    request.metadata_mut().insert(SEEN_REVISION, value);
                }
                async move {
                    KvClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX).range(request).await
                }
            })
            .await?;
        let found = convert::range_response_from(found);
        self.saw(found.revision);
        Ok(found)
    }

    async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Error> {
        match self.propose(CommandOp::Txn(request)).await? {
            Outcome::Txn(done) => {
                self.saw(done.revision);
                Ok(done)
            }
            other => Err(odd(&other)),
        }
    }

    async fn watch(&self, request: WatchRequest) -> Result<WatchStream, Error> {
        watch::start(self.clone(), request).await
    }

    async fn compact(&self, revision: Revision, physical: bool) -> Result<Revision, Error> {
        let done = self
            .call(false, |channel| async move {
                let request = pb::CompactionRequest { revision: revision.0, physical };
                KvClient::new(channel).compact(request).await
            })
            .await?;
        Ok(self.saw(convert::revision_of(&done.header)))
    }

    async fn lease_grant(&self, id: LeaseId, ttl_s: i64) -> Result<LeaseGrant, Error> {
        // Chosen here, so that sending it again means the same lease.
        let id = if id.0 == 0 { LeaseId((rand::random::<u64>() >> 1).max(1) as i64) } else { id };
        match self.propose(CommandOp::LeaseGrant { id, ttl_s }).await? {
            Outcome::Granted(grant) => Ok(grant),
            other => Err(odd(&other)),
        }
    }

    async fn lease_revoke(&self, id: LeaseId) -> Result<Revision, Error> {
        match self.propose(CommandOp::LeaseRevoke(id)).await? {
            Outcome::Revoked(revision) => Ok(self.saw(revision)),
            other => Err(odd(&other)),
        }
    }

    async fn lease_keep_alive(&self, id: LeaseId) -> Result<i64, Error> {
        let answer = self
            .call(true, |channel| async move {
                let once = futures::stream::iter([pb::LeaseKeepAliveRequest { id: id.0 }]);
                let mut answers = LeaseClient::new(channel).lease_keep_alive(once).await?.into_inner();
                let answer = answers.message().await?;
                answer
                    .map(Response::new)
                    .ok_or_else(|| GrpcStatus::unavailable("the stream ended without an answer"))
            })
            .await?;
        if answer.ttl == 0 { Err(Error::LeaseNotFound) } else { Ok(answer.ttl) }
    }

    async fn lease_time_to_live(&self, id: LeaseId, keys: bool) -> Result<LeaseTimeToLive, Error> {
        let lease = self
            .call(true, |channel| async move {
                let request = pb::LeaseTimeToLiveRequest { id: id.0, keys };
                LeaseClient::new(channel).lease_time_to_live(request).await
            })
            .await?;
        Ok(LeaseTimeToLive {
            revision: self.saw(convert::revision_of(&lease.header)),
            id: LeaseId(lease.id),
            ttl_s: lease.ttl,
            granted_ttl_s: lease.granted_ttl,
            keys: lease.keys,
        })
    }

    async fn leases(&self) -> Result<Vec<LeaseId>, Error> {
        let found = self
            .call(true, |channel| async move {
                LeaseClient::new(channel).lease_leases(pb::LeaseLeasesRequest {}).await
            })
            .await?;
        Ok(found.leases.into_iter().map(|l| LeaseId(l.id)).collect())
    }

    async fn barrier(&self) -> Result<Revision, Error> {
        let found =
            self.call(true, |channel| async move {
                StoreClient::new(channel).barrier(ext::BarrierRequest {}).await
            })
            .await?;
        Ok(self.saw(Revision(found.revision)))
    }

    async fn status(&self) -> Result<Status, Error> {
        let s =
            self.call(true, |channel| async move {
                StoreClient::new(channel).status(ext::StatusRequest {}).await
            })
            .await?;
        Ok(Status {
            cluster_id: s.cluster_id,
            member_id: s.member_id,
            leader_id: s.leader_id,
            term: s.term,
            last_log_index: s.last_log_index,
            applied_index: s.applied_index,
            revision: self.saw(Revision(s.revision)),
            compact_revision: Revision(s.compact_revision),
            db_size_bytes: s.db_size_bytes,
            db_size_in_use_bytes: s.db_size_in_use_bytes,
            is_learner: s.is_learner,
            errors: s.errors,
        })
    }
}
