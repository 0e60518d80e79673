//! A client's calls, each written down with what came of it.

use std::sync::Arc;

use tokio::time::timeout;
use trireme_store::{Error, Kv, LeaseId, Revision, Status};

use super::super::ANSWER_TIMEOUT;
use super::wire;
use crate::history::{Answer, Call, Operation, Outcome, Range, RangeAnswer, Recorder, Refusal};

pub(super) struct Session {
    pub(super) client: u32,
    /// The one member that `kv` goes to.
    pub(super) member: Option<String>,
    pub(super) kv: Arc<dyn Kv>,
    pub(super) recorder: Arc<Recorder>,
}

impl Session {
    /// Asks, and writes down what was answered.
    pub(super) async fn call(&self, call: Call) -> Outcome {
        let begin = self.recorder.moment();
        let outcome = match timeout(ANSWER_TIMEOUT, self.ask(&call)).await {
            Ok(Ok(answer)) => Outcome::Done(answer),
            Ok(Err(error)) => wire::failure(&error),
            Err(_) => Outcome::Unknown("no answer".into()),
        };
        let end = self.recorder.moment();
        let member = self.member.clone();
        let operation = Operation { client: self.client, member, begin, end, call, outcome: outcome.clone() };
        self.recorder.operation(operation).await;
        outcome
    }

    async fn ask(&self, call: &Call) -> Result<Answer, Error> {
        let kv = &self.kv;
        Ok(match call {
            Call::Range(range) => Answer::Range(wire::range_answer(&kv.range(wire::range(range)).await?)),
            Call::Txn(txn) => wire::txn_answer(&kv.txn(wire::txn(txn)).await?),
            Call::Compact { revision } => {
                Answer::Compacted { revision: kv.compact(Revision(*revision), false).await?.0 }
            }
            Call::Grant { lease, ttl_s } => {
                let grant = kv.lease_grant(LeaseId(*lease), *ttl_s).await?;
                Answer::Granted { revision: grant.revision.0, ttl_s: grant.ttl_s }
            }
            Call::Revoke { lease } => Answer::Revoked { revision: kv.lease_revoke(LeaseId(*lease)).await?.0 },
            Call::KeepAlive { lease } => {
                Answer::KeptAlive { ttl_s: kv.lease_keep_alive(LeaseId(*lease)).await? }
            }
            Call::TimeToLive { lease } => {
                let lease = kv.lease_time_to_live(LeaseId(*lease), false).await?;
                Answer::TimeToLive {
                    revision: lease.revision.0,
                    ttl_s: lease.ttl_s,
                    granted_ttl_s: lease.granted_ttl_s,
                }
            }
            Call::Barrier => Answer::Barrier { revision: kv.barrier().await?.0 },
        })
    }

    /// The answer, if there was one.
    pub(super) async fn range(&self, range: Range) -> Option<RangeAnswer> {
        match self.call(Call::Range(range)).await {
            Outcome::Done(Answer::Range(answer)) => Some(answer),
            _ => None,
        }
    }

    /// Not written down: it is no answer of the store.
    pub(super) async fn status(&self) -> Option<Status> {
        timeout(ANSWER_TIMEOUT, self.kv.status()).await.ok()?.ok()
    }
}

/// Whether the store has answered, if only with a refusal that belongs to its rules.
pub(super) fn answered(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Done(_) => true,
        Outcome::Refused(refusal) => !matches!(refusal, Refusal::Other(_)),
        Outcome::Unknown(_) => false,
    }
}
