//! Linearizable reads: one confirmation by a quorum for all readers that wait for one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use openraft::ReadPolicy;
use openraft::errors::{LinearizableReadError, RaftError};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use trireme_store::planted::{self, Bug};
use trireme_store::{Error, Revision};

use super::Inner;
use crate::metrics::now_ns;
use crate::types::LogId;

/// Readers served by one confirmation.
const READERS_MAX: usize = 4096;
/// Readers that wait for the next confirmation; past it `TooManyRequests`.
const WAITING_MAX: usize = 16 * 1024;
/// Between two tries while there is no leader.
const RETRY: Duration = Duration::from_millis(10);
/// Without room on its disk a member that applies nothing for so long is not waited for.
const ROOM_PATIENCE: Duration = Duration::from_millis(200);

pub(super) struct Reader {
    reply: oneshot::Sender<Result<Revision, Error>>,
    deadline: Instant,
}

pub(super) type Readers = mpsc::Sender<Reader>;

pub(super) fn readers() -> (Readers, mpsc::Receiver<Reader>) {
    mpsc::channel(WAITING_MAX)
}

fn refuse(readers: Vec<Reader>) {
    let why = "the disk of this member is full, and it waits for room to apply what was agreed on";
    for reader in readers {
        let _ = reader.reply.send(Err(Error::Unavailable(why.into())));
    }
}

impl Inner {
    /// Waits until this replica has everything that was acknowledged anywhere before the call.
    pub(super) async fn barrier(&self) -> Result<Revision, Error> {
        let began_ns = now_ns();
        let result = self.wait_for_barrier().await;
        self.metrics.steps.barrier.observe_ns(now_ns() - began_ns);
        if result.is_err() {
            self.metrics.read_indexes_failed.inc();
        }
        result
    }

    async fn wait_for_barrier(&self) -> Result<Revision, Error> {
        let (reply, revision) = oneshot::channel();
        let deadline = Instant::now() + self.config.timing.request;
        match self.readers.try_send(Reader { reply, deadline }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(Error::TooManyRequests),
            Err(TrySendError::Closed(_)) => {
                return Err(Error::Unavailable("this member is stopping".into()));
            }
        }
        match tokio::time::timeout_at(deadline.into(), revision).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) if self.stop.is_cancelled() => {
                Err(Error::Unavailable("this member is stopping".into()))
            }
            // Its time was up, whether that is seen here first or at the queue.
            Ok(Err(_)) | Err(_) if self.leader().is_none() => Err(Error::NoLeader),
            Ok(Err(_)) | Err(_) => Err(Error::Unavailable("request timed out".into())),
        }
    }

    /// Serves readers until the member stops. One confirmation at a time: who comes while it is
    /// under way waits for the next, since it may rest on what was known before they came.
    pub(super) async fn run_readers(self: Arc<Self>, mut queue: mpsc::Receiver<Reader>) {
        let mut waiting = Vec::new();
        loop {
            let taken = tokio::select! {
                taken = queue.recv_many(&mut waiting, READERS_MAX) => taken,
                () = self.stop.cancelled() => return,
            };
            if taken == 0 {
                return;
            }
            let began_ns = now_ns();
            let index = loop {
                if planted::is(Bug::StaleRead) {
                    break Some(0);
                }
                match self.confirm().await {
                    Some(position) => break Some(position.index),
                    None => {
                        let now = Instant::now();
                        waiting.retain(|reader| reader.deadline > now && !reader.reply.is_closed());
                        if waiting.is_empty() {
                            break None;
                        }
                        tokio::select! {
                            () = tokio::time::sleep(RETRY) => {}
                            () = self.stop.cancelled() => return,
                        }
                    }
                }
            };
            if self.metrics.slow.is_slow(now_ns() - began_ns) {
                self.metrics.slow_read_indexes.inc();
            }
            let Some(index) = index else { continue };
            let readers = std::mem::take(&mut waiting);
            if self.progress.next_index() > index || planted::is(Bug::BarrierNotWaited) {
                self.answer(readers);
            } else {
                let this = self.clone();
                tokio::spawn(async move {
                    let reached = this.progress.reached(index);
                    tokio::select! {
                        reached = tokio::time::timeout(this.config.timing.request, reached) => {
                            if reached == Ok(true) {
                                this.answer(readers);
                            }
                        }
                        () = this.stands_for_want_of_room() => refuse(readers),
                    }
                });
            }
        }
    }

    /// Returns once this member, whose disk is full, has applied nothing for a while: others may have room,
    /// and nobody knows when this one does.
    async fn stands_for_want_of_room(&self) {
        let mut before = self.progress.next_index();
        loop {
            tokio::time::sleep(ROOM_PATIENCE).await;
            let now = self.progress.next_index();
            if now == before && !self.has_room() {
                return;
            }
            before = now;
        }
    }

    fn answer(&self, readers: Vec<Reader>) {
        let revision = self.store.applied().revision;
        self.mark_caught_up();
        self.announce(revision);
        for reader in readers {
            let _ = reader.reply.send(Ok(revision));
        }
    }

    /// A position that covers everything committed before the call, confirmed by a quorum.
    async fn confirm(&self) -> Option<LogId> {
        let (leader, address) = self.leader()?;
        if leader == self.member {
            return self.read_index().await;
        }
        let timeout = self.config.timing.election_max * 4;
        match self.peers.read_index(self.cluster_id, leader, &address, timeout).await {
            Ok(position) => position,
            Err(status) => {
                tracing::debug!(%status, "the leader did not confirm a read");
                None
            }
        }
    }

    /// The same, where this member leads; `None` where it does not.
    pub(super) async fn read_index(&self) -> Option<LogId> {
        if planted::is(Bug::StaleLeaderRead) && self.leader()?.0 == self.member {
            return self.log.last();
        }
        match self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(linearizer) => Some(*linearizer.read_log_id().log_id()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(_))) => None,
            Err(error) => {
                tracing::debug!(%error, "a read was not confirmed");
                None
            }
        }
    }
}
