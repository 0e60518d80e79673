//! Proposals of all who ask at the same time, on their way into the log together.
//!
//! A round costs much the same whether it carries one proposal or a hundred: a write and a sync of the
//! log, a message to each follower and its answer, a run of applies. So there are two at most, one that
//! is being written and one that is being applied, and who comes meanwhile goes with the next.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use openraft::errors::ClientWriteError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use trireme_store::log::Outcome;

use super::Inner;
use super::proposals::BATCH_BYTES_MAX;
use crate::types::Proposal;

const ROUNDS_MAX: usize = 2;
/// Between two looks whether this member still leads, while it waits for a round to end.
const LED_POLL: Duration = Duration::from_millis(20);
/// A round is closed when it has as many proposals.
const ROUND_PROPOSALS_MAX: usize = 4096;

/// What came of a proposal.
pub(super) enum Written {
    /// It was applied at this index.
    Applied { index: u64, outcome: Option<Outcome> },
    /// This member does not lead: it is in no log.
    NotTaken,
    /// Its entry gave way to another leader's; it may be in that one's log as well.
    Discarded,
    /// The core has stopped: the process is about to end.
    Stopped,
}

/// What one of those who ask brings.
struct Part {
    proposals: Vec<Proposal>,
    written: oneshot::Sender<Vec<Written>>,
}

/// The way into the log.
pub(super) struct Rounds(mpsc::UnboundedSender<Part>);

pub(super) struct Parts(mpsc::UnboundedReceiver<Part>);

impl Rounds {
    pub(super) fn new() -> (Self, Parts) {
        let (parts, queue) = mpsc::unbounded_channel();
        (Self(parts), Parts(queue))
    }

    /// Has proposals written, in their order and behind what was given before. What came of each, when
    /// all are done.
    pub(super) fn write(&self, proposals: Vec<Proposal>) -> impl Future<Output = Vec<Written>> + use<> {
        let (written, done) = oneshot::channel();
        let count = proposals.len();
        let _ = self.0.send(Part { proposals, written });
        async move { done.await.unwrap_or_else(|_| all(count, || Written::Stopped)) }
    }
}

fn all(count: usize, what: impl Fn() -> Written) -> Vec<Written> {
    std::iter::repeat_with(what).take(count).collect()
}

impl Inner {
    /// Writes what is given, until the member stops.
    pub(super) async fn run_rounds(self: Arc<Self>, mut queue: Parts) {
        let under_way = Arc::new(Semaphore::new(ROUNDS_MAX));
        loop {
            let taken = tokio::select! {
                taken = self.next_round(&mut queue, &under_way) => taken,
                () = self.stop.cancelled() => return,
            };
            let Some((mut parts, permit)) = taken else { return };
            let counts: Vec<usize> = parts.iter().map(|part| part.proposals.len()).collect();
            let proposals: Vec<Proposal> =
                parts.iter_mut().flat_map(|part| std::mem::take(&mut part.proposals)).collect();
            // Handed to openraft here, so that the order of the queue is kept.
            let written = self.raft.client_write_many(proposals).await;
            tokio::spawn(async move {
                // A core that stops ends the stream early, and one that has ended must not be polled.
                let mut written = written.ok().map(StreamExt::fuse);
                for (part, count) in parts.into_iter().zip(counts) {
                    let mut results = Vec::with_capacity(count);
                    for _ in 0..count {
                        let result = match &mut written {
                            Some(written) => written.next().await,
                            None => None,
                        };
                        results.push(match result {
                            Some(Ok(Ok(response))) => {
                                Written::Applied { index: response.log_id.index, outcome: response.response }
                            }
                            Some(Ok(Err(ClientWriteError::ForwardToLeader(_)))) => Written::NotTaken,
                            Some(Ok(Err(_))) => Written::Discarded,
                            Some(Err(_)) | None => Written::Stopped,
                        });
                    }
                    let _ = part.written.send(results);
                }
                drop(permit);
            });
        }
    }

    /// The next round, once it may begin; `None` when nobody is left who could ask.
    async fn next_round(
        &self,
        queue: &mut Parts,
        under_way: &Arc<Semaphore>,
    ) -> Option<(Vec<Part>, OwnedSemaphorePermit)> {
        let permit = loop {
            let free = under_way.clone().acquire_owned();
            match tokio::time::timeout(LED_POLL, free).await {
                Ok(permit) => break permit.ok()?,
                // A round that another leader has overtaken may stand for as long as this one's disk does.
                Err(_) if self.leading_term().is_none() => {
                    while let Ok(part) = queue.0.try_recv() {
                        let _ = part.written.send(all(part.proposals.len(), || Written::NotTaken));
                    }
                }
                Err(_) => {}
            }
        };
        let first = queue.0.recv().await?;
        let bytes = |part: &Part| part.proposals.iter().map(|proposal| proposal.bytes.len()).sum::<usize>();
        let (mut total, mut count) = (bytes(&first), first.proposals.len());
        let mut parts = vec![first];
        while total < BATCH_BYTES_MAX && count < ROUND_PROPOSALS_MAX {
            let Ok(part) = queue.0.try_recv() else { break };
            total += bytes(&part);
            count += part.proposals.len();
            parts.push(part);
        }
        Some((parts, permit))
    }
}
