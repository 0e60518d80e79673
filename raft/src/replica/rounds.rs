//! Proposals of all who ask at the same time, on their way into the log together.
//!
//! A round costs much the same whether it carries one proposal or a hundred: a write and a sync of the
//! log, a message to each follower and its answer, a run of applies. So there are two at most, one that
//! is being written and one that is being applied, and who comes meanwhile goes with the next.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    /// It is in no log: this member does not lead, or could not begin a round with it in time.
    NotTaken,
    /// Its entry gave way to another leader's; it may be in that one's log as well.
    Discarded,
    /// The core has stopped: the process is about to end.
    Stopped,
}

/// What one of those who ask brings.
struct Part {
    proposals: Vec<Proposal>,
    given: Instant,
    written: oneshot::Sender<Vec<Written>>,
}

/// The way into the log.
pub(super) struct Rounds(mpsc::UnboundedSender<Part>);

pub(super) struct Parts {
    queue: mpsc::UnboundedReceiver<Part>,
    /// Taken from the queue while no round could begin, first come first.
    waiting: VecDeque<Part>,
}

impl Parts {
    async fn next(&mut self) -> Option<Part> {
        match self.waiting.pop_front() {
            Some(part) => Some(part),
            None => self.queue.recv().await,
        }
    }

    fn try_next(&mut self) -> Option<Part> {
        self.waiting.pop_front().or_else(|| self.queue.try_recv().ok())
    }

    /// Gives back what was given longer ago than `patience`: nobody waits for it any more, and without a
    /// quorum it would gather here for as long as there is none.
    fn give_back(&mut self, patience: Duration) {
        while let Ok(part) = self.queue.try_recv() {
            self.waiting.push_back(part);
        }
        while self.waiting.front().is_some_and(|part| part.given.elapsed() >= patience) {
            let Some(part) = self.waiting.pop_front() else { break };
            let _ = part.written.send(all(part.proposals.len(), || Written::NotTaken));
        }
    }
}

impl Rounds {
    pub(super) fn new() -> (Self, Parts) {
        let (parts, queue) = mpsc::unbounded_channel();
        (Self(parts), Parts { queue, waiting: VecDeque::new() })
    }

    /// Has proposals written, in their order and behind what was given before. What came of each, when
    /// all are done.
    pub(super) fn write(&self, proposals: Vec<Proposal>) -> impl Future<Output = Vec<Written>> + use<> {
        let (written, done) = oneshot::channel();
        let count = proposals.len();
        // Nothing waits for no round.
        let _ = match proposals.is_empty() {
            true => written.send(Vec::new()).is_ok(),
            false => self.0.send(Part { proposals, given: Instant::now(), written }).is_ok(),
        };
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
                Err(_) if self.leading_term().is_none() => queue.give_back(Duration::ZERO),
                Err(_) => queue.give_back(self.config.timing.request),
            }
        };
        let first = queue.next().await?;
        let bytes = |part: &Part| part.proposals.iter().map(|proposal| proposal.bytes.len()).sum::<usize>();
        let (mut total, mut count) = (bytes(&first), first.proposals.len());
        let mut parts = vec![first];
        while total < BATCH_BYTES_MAX && count < ROUND_PROPOSALS_MAX {
            let Some(part) = queue.try_next() else { break };
            total += bytes(&part);
            count += part.proposals.len();
            parts.push(part);
        }
        Some((parts, permit))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::FutureExt;

    use super::*;

    fn proposal() -> Proposal {
        Proposal { bytes: Bytes::new(), command: None }
    }

    #[test]
    fn what_waits_for_a_round_too_long_is_given_back() {
        let (rounds, mut parts) = Rounds::new();
        let mut first = Box::pin(rounds.write(vec![proposal(), proposal()]));
        std::thread::sleep(Duration::from_millis(50));
        let mut second = Box::pin(rounds.write(vec![proposal()]));
        parts.give_back(Duration::from_secs(60));
        assert!((&mut first).now_or_never().is_none());
        parts.give_back(parts.waiting[0].given.elapsed());
        let written = first.now_or_never().expect("it was given back");
        assert!(matches!(written[..], [Written::NotTaken, Written::NotTaken]));
        assert!((&mut second).now_or_never().is_none(), "it came later");
        let third = rounds.write(vec![proposal(); 3]);
        assert_eq!(parts.try_next().map(|part| part.proposals.len()), Some(1), "those keep their order");
        assert_eq!(parts.try_next().map(|part| part.proposals.len()), Some(3));
        drop((second, third));
    }

    #[test]
    fn nothing_waits_for_no_round() {
        let (rounds, _parts) = Rounds::new();
        assert!(rounds.write(Vec::new()).now_or_never().is_some_and(|written| written.is_empty()));
    }
}
