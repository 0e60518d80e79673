//! Writes on their way into the log: batched, bounded, and sent again where that is safe.
//!
//! Every command carries a proposal id, and the store remembers the outcomes of recent ones: what
//! is sent again is done once. So a proposal whose fate is unknown (its leader is gone) is simply
//! sent again until it is answered. Its outcome is unknown only when its time is up, or when a later
//! leader refuses it for want of room.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::{mpsc, oneshot};
use trireme_store::Error;
use trireme_store::limits::REQUEST_BYTES_MAX;
use trireme_store::log::{Command, CommandOp, Outcome, ProposalId};

use super::Inner;
use super::metrics::role_of;
use super::rounds::Written;
use crate::metrics::{Moments, Subject, now_ns, split};
use crate::peer::{MESSAGE_BYTES_MAX, pb};
use crate::types::{MemberId, Payload, Proposal};

/// Proposals in one message to openraft or to the leader.
const BATCH_MAX: usize = 512;
/// Bytes in one message to the leader; a batch is closed when it passes them.
pub(super) const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of outcomes in one answer to a member that forwarded proposals.
const ANSWER_BYTES_MAX: usize = MESSAGE_BYTES_MAX / 2;
/// Between two tries of what could not be sent.
const RETRY: Duration = Duration::from_millis(10);
/// What a command's encoding may add to the keys and values of a request.
const ENCODING_BYTES_MAX: usize = 256 * 1024;

/// In place of a count: its caller was told that it was not sent.
const GIVEN_UP: u32 = u32::MAX;

/// A proposal that waits for its outcome.
struct Pending {
    proposal: Proposal,
    /// How often it was sent, each time perhaps into a log; [`GIVEN_UP`] where it must not be any more.
    sent: Arc<AtomicU32>,
    reply: oneshot::Sender<Answer>,
    deadline: Instant,
    queued_ns: u64,
    moments: Moments,
}

/// An outcome, and the way it took.
type Answer = (Result<Outcome, Error>, Moments);

impl Pending {
    /// It may enter a log from now on; `false`: its caller has given it up, and it must not.
    fn send(&mut self, forwarded: bool) -> bool {
        let count = |sent: u32| (sent != GIVEN_UP).then(|| sent + 1);
        if self.sent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).is_err() {
            return false;
        }
        self.moments.sent_ns = now_ns();
        self.moments.forwarded = forwarded;
        true
    }

    fn answer(self, answer: Result<Outcome, Error>) {
        // Who refuses it now knows nothing of what became of it where it was sent before. Some of these
        // said that they do not lead, and took nothing: unknown is true of those, too.
        let answer = match answer {
            Ok(Outcome::Failed(Error::NoSpace)) if self.sent.load(Ordering::Relaxed) > 1 => {
                Err(Error::OutcomeUnknown)
            }
            answer => answer,
        };
        let _ = self.reply.send((answer, self.moments));
    }
}

/// The queue in front of the log.
pub(super) struct Proposals {
    client: u64,
    next: AtomicU64,
    queue: mpsc::UnboundedSender<Pending>,
    waiting: AtomicUsize,
    waiting_bytes: AtomicUsize,
}

pub(super) struct Queue(mpsc::UnboundedReceiver<Pending>);

impl Proposals {
    pub(super) fn new() -> (Self, Queue) {
        let (queue, receiver) = mpsc::unbounded_channel();
        let client = (rand::random::<u64>() >> 1).max(1);
        let proposals = Self {
            client,
            next: AtomicU64::new(1),
            queue,
            waiting: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
        };
        (proposals, Queue(receiver))
    }

    /// What all proposals of this process name, and those of no other.
    pub(super) fn client(&self) -> u64 {
        self.client
    }

    /// Proposals that wait or are under way, and their bytes.
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.waiting.load(Ordering::Relaxed), self.waiting_bytes.load(Ordering::Relaxed))
    }
}

/// Counts a proposal as waiting while it lives.
struct Admitted<'p> {
    proposals: &'p Proposals,
    bytes: usize,
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.proposals.waiting.fetch_sub(1, Ordering::Relaxed);
        self.proposals.waiting_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Inner {
    /// Proposes `op` and waits for its outcome.
    pub(super) async fn propose(&self, op: CommandOp) -> Result<Outcome, Error> {
        let seq = self.proposals.next.fetch_add(1, Ordering::Relaxed);
        let proposal = ProposalId { client: self.proposals.client, seq };
        let command = Command { proposal, time_ms: self.wall_ms(), op };
        let bytes = command.encode();
        self.submit(Proposal { bytes, command: Some(Arc::new(command)) }).await
    }

    /// Sends a command that has its id already on its way and waits for its outcome.
    pub(super) async fn submit(&self, proposal: Proposal) -> Result<Outcome, Error> {
        let began_ns = now_ns();
        let mut moments = Moments::default();
        let result = self.submit_on_its_way(&proposal, &mut moments).await;
        let ended_ns = now_ns();
        self.metrics.writes.observe_ns(ended_ns - began_ns);
        if matches!(result, Err(Error::NoLeader | Error::OutcomeUnknown | Error::Unavailable(_))) {
            self.metrics.proposals_failed.inc();
        }
        if self.metrics.slow.is_slow(ended_ns - began_ns) {
            let outcome = result.as_ref().map_or_else(ToString::to_string, |_| "done".to_owned());
            self.tell_slow_write(&proposal, &outcome, Moments { began_ns, ended_ns, ..moments });
        }
        result
    }

    /// Says where the time of a write went.
    fn tell_slow_write(&self, proposal: &Proposal, outcome: &str, moments: Moments) {
        let subject = match &proposal.command {
            Some(command) => Subject::of_command(command),
            None => Command::decode(proposal.bytes.clone())
                .map(|command| Subject::of_command(&command))
                .unwrap_or_default(),
        };
        let steps = split(moments, &self.log.meter().frames, &self.metrics.applied);
        let role = role_of(&self.raft);
        self.metrics.slow.write(&subject, role, proposal.bytes.len(), outcome, moments, &steps);
    }

    async fn submit_on_its_way(&self, proposal: &Proposal, moments: &mut Moments) -> Result<Outcome, Error> {
        let queued_ns = now_ns();
        let bytes = proposal.bytes.len();
        if bytes > REQUEST_BYTES_MAX + ENCODING_BYTES_MAX {
            return Err(Error::TooLarge);
        }
        if !self.has_room_for(proposal) {
            return Err(Error::NoSpace);
        }
        let limits = &self.config.limits;
        self.proposals.waiting.fetch_add(1, Ordering::Relaxed);
        self.proposals.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let _admitted = Admitted { proposals: &self.proposals, bytes };
        if self.proposals.waiting.load(Ordering::Relaxed) > limits.proposals_max
            || self.proposals.waiting_bytes.load(Ordering::Relaxed) > limits.proposal_bytes_max
        {
            return Err(Error::TooManyRequests);
        }
        let deadline = Instant::now() + self.config.timing.request;
        let mut tried = false;
        if self.proposals.waiting.load(Ordering::Relaxed) == 1 {
            // Nothing to be batched with: the caller's own task takes it the whole way.
            let alone = self.send_alone(proposal, &mut tried, moments);
            match tokio::time::timeout_at(deadline.into(), alone).await {
                Ok(Some(answer)) => return answer.and_then(Outcome::into_result),
                Ok(None) => {}
                Err(_) => return Err(Error::OutcomeUnknown),
            }
        }
        let sent = Arc::new(AtomicU32::new(tried.into()));
        let (reply, outcome) = oneshot::channel();
        let (proposal, moments_so_far) = (proposal.clone(), *moments);
        let pending =
            Pending { proposal, sent: sent.clone(), reply, deadline, queued_ns, moments: moments_so_far };
        if self.proposals.queue.send(pending).is_err() {
            let stopping = Error::Unavailable("this member is stopping".into());
            return Err(if tried { Error::OutcomeUnknown } else { stopping });
        }
        let answer = tokio::time::timeout_at(deadline.into(), outcome).await;
        match answer {
            Ok(Ok((answer, way))) => {
                *moments = way;
                answer.and_then(Outcome::into_result)
            }
            Ok(Err(_)) | Err(_) if !give_up(&sent) => Err(Error::OutcomeUnknown),
            Ok(Err(_)) if self.stop.is_cancelled() => {
                Err(Error::Unavailable("this member is stopping".into()))
            }
            // Nobody was there to send it to, whether that is seen here first or at the queue.
            Ok(Err(_)) | Err(_) => Err(Error::NoLeader),
        }
    }

    /// Sends one proposal and waits for its outcome. `None`: it is to be sent again through the
    /// queue; `tried` tells whether it may have entered a log.
    async fn send_alone(
        &self,
        proposal: &Proposal,
        tried: &mut bool,
        moments: &mut Moments,
    ) -> Option<Result<Outcome, Error>> {
        let (leader, address) = self.leader()?;
        if *self.hold.borrow() {
            return None;
        }
        *tried = true;
        moments.sent_ns = now_ns();
        moments.forwarded = leader != self.member;
        if leader != self.member {
            return self.propose_to(leader, &address, vec![proposal.bytes.clone()]).await.pop().flatten();
        }
        match self.rounds.write(vec![proposal.clone()]).await.pop() {
            Some(Written::Applied { index, outcome }) => {
                moments.index = index;
                Some(outcome.ok_or(Error::OutcomeUnknown))
            }
            Some(Written::NotTaken | Written::Discarded) => None,
            Some(Written::Stopped) | None => Some(Err(Error::OutcomeUnknown)),
        }
    }

    /// While the disk of this member is full, or those of so many others that what it takes could not
    /// be committed, only what frees space is taken. Who leads judges: a member without room on its
    /// own disk passes on what it is asked, for the others may have it.
    fn has_room_for(&self, proposal: &Proposal) -> bool {
        if self.leading_term().is_none() {
            return true;
        }
        let a_quorum_has = || {
            !self.peers.any_full() || {
                let voters = self.voters();
                voters.len() - self.peers.count_full(&voters) > voters.len() / 2
            }
        };
        if self.has_room() && a_quorum_has() {
            return true;
        }
        let frees = match &proposal.command {
            Some(command) => command.op.frees_space(),
            None => Command::decode(proposal.bytes.clone()).is_ok_and(|command| command.op.frees_space()),
        };
        frees && self.log.has_room_to_free()
    }

    /// Takes proposals off the queue and sends them, until the member stops.
    pub(super) async fn run_proposals(self: Arc<Self>, mut queue: Queue) {
        let (again, mut returned) = mpsc::unbounded_channel::<Pending>();
        let mut waiting: VecDeque<Pending> = VecDeque::new();
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let mut retry_at = Instant::now();
        loop {
            tokio::select! {
                taken = queue.0.recv_many(&mut batch, BATCH_MAX) => {
                    if taken == 0 {
                        return;
                    }
                    // New ones do not wait for the pause that those sent back make.
                    retry_at = retry_at.min(Instant::now());
                }
                Some(pending) = returned.recv() => {
                    if waiting.is_empty() {
                        retry_at = Instant::now() + RETRY;
                    }
                    waiting.push_back(pending);
                    continue;
                }
                () = tokio::time::sleep_until(retry_at.into()), if !waiting.is_empty() => {}
                () = self.stop.cancelled() => return,
            }
            waiting.extend(batch.drain(..));
            let now = Instant::now();
            waiting.retain(|pending| pending.deadline > now && !pending.reply.is_closed());
            if *self.hold.borrow() {
                retry_at = now + RETRY;
                continue;
            }
            let Some((leader, address)) = self.leader() else {
                retry_at = now + RETRY;
                continue;
            };
            while !waiting.is_empty() {
                let mut bytes = 0;
                let mut some = Vec::with_capacity(waiting.len().min(BATCH_MAX));
                while some.len() < BATCH_MAX && bytes < BATCH_BYTES_MAX {
                    let Some(mut pending) = waiting.pop_front() else { break };
                    if !pending.send(leader != self.member) {
                        continue;
                    }
                    bytes += pending.proposal.bytes.len();
                    self.metrics.steps.queued.observe_ns(pending.moments.sent_ns - pending.queued_ns);
                    some.push(pending);
                }
                let this = self.clone();
                let again = again.clone();
                if leader == self.member {
                    // Given here, so that the order of the queue is kept.
                    let proposals = some.iter().map(|pending| pending.proposal.clone()).collect();
                    let written = this.rounds.write(proposals);
                    tokio::spawn(async move { finish_local(written.await, some, &again) });
                } else {
                    let address = address.clone();
                    tokio::spawn(async move { this.forward(leader, &address, some, &again).await });
                }
            }
        }
    }

    /// Sends proposals to `leader` at `address`.
    async fn forward(
        &self,
        leader: MemberId,
        address: &str,
        batch: Vec<Pending>,
        again: &mpsc::UnboundedSender<Pending>,
    ) {
        let commands = batch.iter().map(|pending| pending.proposal.bytes.clone()).collect();
        let mut answers = self.propose_to(leader, address, commands).await.into_iter();
        for pending in batch {
            match answers.next().flatten() {
                Some(answer) => pending.answer(answer),
                None => {
                    let _ = again.send(pending);
                }
            }
        }
    }

    /// Returns once another member leads. One whose network is gone closes no connection, and an answer of
    /// it would be waited for until the connection is found dead.
    async fn led_by_another_than(&self, leader: MemberId) {
        // No timer: one for each write would wake the thread that drives them for each.
        let mut state = self.raft.server_metrics();
        while state.borrow_watched().current_leader.is_none_or(|now| now == leader) {
            if state.changed().await.is_err() {
                // The core has stopped, and will not say who leads next.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The answers of `leader` at `address`, in order; what has none is to be sent again.
    async fn propose_to(
        &self,
        leader: MemberId,
        address: &str,
        commands: Vec<Bytes>,
    ) -> Vec<Option<Result<Outcome, Error>>> {
        use pb::propose_result::Result as R;
        let timeout = self.config.timing.request;
        let call = self.peers.propose(self.cluster_id, leader, address, commands, timeout);
        let began_ns = now_ns();
        // What was sent has an id and is done once, so that it may go to the next leader as well.
        let answered = tokio::select! {
            answered = call => answered,
            () = self.led_by_another_than(leader) => Err(tonic::Status::unavailable("another member leads by now")),
        };
        let results = match answered {
            Ok(results) => {
                self.metrics.steps.forwarded.observe_ns(now_ns() - began_ns);
                results
            }
            Err(status) => {
                tracing::debug!(%status, "proposals may not have reached the leader");
                Vec::new()
            }
        };
        let answer = |result: pb::ProposeResult| match result.result? {
            R::Outcome(bytes) => Some(
                Outcome::decode(bytes)
                    .map_err(|error| Error::Broken(format!("the leader's answer cannot be read: {error}"))),
            ),
            R::NotLeader(_) | R::Unknown(_) => None,
        };
        results.into_iter().map(answer).collect()
    }

    /// Proposes what another member forwards, where this one leads.
    pub(super) async fn propose_forwarded(&self, request: pb::ProposeRequest) -> pb::ProposeResponse {
        use pb::propose_result::Result as R;
        let count = request.commands.len();
        let refuse = |result: R| pb::ProposeResponse {
            results: vec![pb::ProposeResult { result: Some(result) }; count],
        };
        let leads = self.leader().is_some_and(|(leader, _)| leader == self.member);
        if !leads || *self.hold.borrow() {
            return refuse(R::NotLeader(true));
        }
        let mut proposals = Vec::with_capacity(count);
        let mut refused = Vec::new();
        for (place, bytes) in request.commands.into_iter().enumerate() {
            match stamp(bytes, self.wall_ms()) {
                Ok(proposal) if self.has_room_for(&proposal) => proposals.push(proposal),
                Ok(_) => refused.push((place, Error::NoSpace)),
                Err(error) => refused.push((place, Error::Invalid(error.to_string()))),
            }
        }
        let sent_ns = now_ns();
        let mut results = Vec::with_capacity(count);
        let mut answer_bytes = 0;
        for written in self.rounds.write(proposals).await {
            let result = match written {
                Written::Applied { index, outcome } => {
                    self.look_at_forwarded(sent_ns, index);
                    match outcome.map(|outcome| outcome.encode()) {
                        // A message that is too large would never arrive, however often it is asked
                        // for. What does not fit any more is asked for again; the first always fits.
                        Some(bytes)
                            if results.is_empty() || answer_bytes + bytes.len() <= ANSWER_BYTES_MAX =>
                        {
                            answer_bytes += bytes.len();
                            R::Outcome(bytes)
                        }
                        _ => R::Unknown(true),
                    }
                }
                Written::NotTaken => R::NotLeader(true),
                Written::Discarded | Written::Stopped => R::Unknown(true),
            };
            results.push(pb::ProposeResult { result: Some(result) });
        }
        for (place, error) in refused {
            let result = R::Outcome(Outcome::Failed(error).encode());
            results.insert(place, pb::ProposeResult { result: Some(result) });
        }
        pb::ProposeResponse { results }
    }

    /// Tells of a forwarded write that was slow here, where it leads. What it was about is read from
    /// the log: nothing is kept for those that are fast.
    fn look_at_forwarded(&self, sent_ns: u64, index: u64) {
        let ended_ns = now_ns();
        if !self.metrics.slow.is_slow(ended_ns - sent_ns) {
            return;
        }
        let entry = self.log.read(index, index + 1).ok().and_then(|mut found| found.pop());
        if let Some(Payload::Normal(proposal)) = entry.map(|entry| entry.payload) {
            let moments = Moments { began_ns: sent_ns, sent_ns, ended_ns, index, forwarded: false };
            self.tell_slow_write(&proposal, "forwarded", moments);
        }
    }
}

/// Whether it was not sent, and now never will be.
fn give_up(sent: &AtomicU32) -> bool {
    sent.compare_exchange(0, GIVEN_UP, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

/// Gives a forwarded command this leader's time.
pub(super) fn stamp(bytes: Bytes, now_ms: i64) -> Result<Proposal, trireme_store::log::DecodeError> {
    let mut command = Command::decode(bytes)?;
    command.time_ms = now_ms;
    Ok(Proposal { bytes: command.encode(), command: Some(Arc::new(command)) })
}

/// Answers those whose proposals this member has written itself.
fn finish_local(written: Vec<Written>, batch: Vec<Pending>, again: &mpsc::UnboundedSender<Pending>) {
    for (mut pending, written) in batch.into_iter().zip(written) {
        match written {
            Written::Applied { index, outcome } => {
                pending.moments.index = index;
                pending.answer(outcome.ok_or(Error::OutcomeUnknown));
            }
            // The id makes repeating safe.
            Written::NotTaken | Written::Discarded => {
                let _ = again.send(pending);
            }
            Written::Stopped => pending.answer(Err(Error::OutcomeUnknown)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(sent: u32) -> (Pending, oneshot::Receiver<Answer>) {
        let (reply, answer) = oneshot::channel();
        let proposal = Proposal { bytes: Bytes::new(), command: None };
        let sent = Arc::new(AtomicU32::new(sent));
        let (deadline, moments) = (Instant::now(), Moments::default());
        (Pending { proposal, sent, reply, deadline, queued_ns: 0, moments }, answer)
    }

    #[test]
    fn what_its_caller_was_told_is_not_sent_never_is() {
        let (mut given_up, _answer) = pending(0);
        assert!(give_up(&given_up.sent) && !given_up.send(false) && !given_up.send(true));
        let (mut on_its_way, _answer) = pending(0);
        assert!(on_its_way.send(false) && !give_up(&on_its_way.sent) && on_its_way.send(true));
    }

    #[tokio::test]
    async fn a_refusal_for_want_of_room_is_one_only_of_what_was_sent_once() {
        for (sent, told) in [(1, Ok(Outcome::Failed(Error::NoSpace))), (2, Err(Error::OutcomeUnknown))] {
            let (pending, answer) = pending(sent);
            pending.answer(Ok(Outcome::Failed(Error::NoSpace)));
            assert_eq!(answer.await.unwrap().0, told, "sent {sent} times");
        }
        // Any other refusal is of the store, which knows what was done.
        let (pending, answer) = pending(2);
        pending.answer(Ok(Outcome::Failed(Error::LeaseNotFound)));
        assert_eq!(answer.await.unwrap().0, Ok(Outcome::Failed(Error::LeaseNotFound)));
    }
}
