//! What keeps a member sound while it runs: flushes and purges, marks, and the watch over what
//! must not stand still.

use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use openraft::Instant as _;
use openraft::async_runtime::watch::WatchReceiver;
use trireme_store::log::{CommandOp, Mark};
use trireme_store::{Error, work};

use super::elections::HANDOVER_TIMEOUT;
use super::{Inner, Replica};
use crate::types::MemberId;

/// Between two looks at the log's size.
const PURGE_EVERY: Duration = Duration::from_millis(500);
/// A flush that openraft has not noted by then is asked for again.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two looks of the watchdog.
const WATCH_EVERY: Duration = Duration::from_millis(100);
/// A sync that is stuck this many times longer than what made leadership go ends the process.
const SYNC_DEAD_FACTOR: u32 = 10;
/// Between two progress notices to watchers of a store in which nothing happens.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(1);

/// Makes a panic on one of raft's threads end the process: openraft goes on with a dead part, deaf
/// or without applying, and looks alive to the others.
pub(super) fn abort_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            before(panic);
            if std::thread::current().name().is_some_and(|name| name.starts_with("raft-")) {
                std::process::abort();
            }
        }));
    });
}

impl Inner {
    pub(super) fn start_upkeep(self: &Arc<Self>) -> std::io::Result<()> {
        tokio::spawn(self.clone().run_purge());
        tokio::spawn(self.clone().run_marks());
        tokio::spawn(self.clone().run_divergence());
        tokio::spawn(self.clone().run_disk_check());
        tokio::spawn(self.clone().run_contact());
        tokio::spawn(self.clone().run_core_watch());
        let this = self.clone();
        let runtime = tokio::runtime::Handle::current();
        let mut apply = Standing::new(self.progress.next_index());
        let mut sync = Standing::new(self.log.sync_began());
        let mut offered = None;
        work::every("raft-watchdog", WATCH_EVERY, move || {
            this.watch_disk(&runtime, &mut sync, &mut offered) && this.watch_apply(&mut apply)
        })
    }

    /// Flushes the state when the log has grown, then purges the log as far as the disk has it.
    async fn run_purge(self: Arc<Self>) {
        let mut flushed_at = self.log.written_bytes();
        loop {
            tokio::select! {
                () = tokio::time::sleep(PURGE_EVERY) => {}
                () = self.stop.cancelled() => return,
            }
            let written = self.log.written_bytes();
            if written - flushed_at < self.config.limits.flush_log_bytes {
                continue;
            }
            flushed_at = written;
            if let Err(reason) = self.flush_and_purge().await {
                tracing::warn!(reason, "the raft log was not purged");
            }
        }
    }

    async fn flush_and_purge(&self) -> Result<(), String> {
        let applied = self.progress.next_index();
        if applied == 0 {
            return Ok(());
        }
        self.raft.trigger().snapshot().await.map_err(|error| error.to_string())?;
        let flushed = self
            .raft
            .wait(Some(FLUSH_TIMEOUT))
            .metrics(|metrics| metrics.snapshot.is_some_and(|id| id.index + 1 >= applied), "flushed")
            .await
            .map_err(|error| error.to_string())?;
        let Some(flushed) = flushed.snapshot else { return Ok(()) };
        let limit = self.snapshots.purge_limit(flushed.index);
        if let Some(target) = self.log.purge_target(limit, self.config.limits.log_keep_bytes) {
            self.raft.trigger().purge_log(target).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// While leading: has all members note their state's hash, and compares the last with theirs.
    async fn run_marks(self: Arc<Self>) {
        let mut compared = false;
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.config.timing.mark) => {}
                () = self.stop.cancelled() => return,
            }
            if self.leases.term().is_none() {
                continue;
            }
            let previous = self.marks.last();
            let applied = self.store.applied().position.map(|position| position.index);
            // What a mark notes is compared at the next one: after the last change two are needed.
            let quiet = previous.is_some_and(|mark| Some(mark.index) == applied);
            if quiet && compared {
                continue;
            }
            match self.propose(CommandOp::Mark(Mark { previous })).await {
                Ok(_) => compared = quiet,
                Err(error) => tracing::debug!(%error, "no mark was set"),
            }
            // Those who differ find out by the mark; that all others differ, only by asking.
            if let Some(own) = previous {
                self.judge(own).await;
            }
        }
    }

    /// Follows whether a leader is there: catches up after a start, ends watches in a minority.
    async fn run_contact(self: Arc<Self>) {
        let mut announced_at = Instant::now();
        let mut known = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.config.timing.heartbeat) => {}
                () = self.stop.cancelled() => return,
            }
            let led = self.leadership();
            if let Some((term, leader)) = led
                && led != known
            {
                known = led;
                self.metrics.leader_changes.inc();
                tracing::info!(term, %leader, here = leader == self.member, "the store is led");
            }
            let there = self.leader_age() <= self.config.timing.no_leader;
            let changed =
                self.has_leader.send_if_modified(|before| std::mem::replace(before, there) != there);
            if changed && !there {
                tracing::warn!("no leader is heard of");
                self.store.end_watches(Error::NoLeader);
            }
            if !*self.caught_up.borrow() && self.leader().is_some() {
                let _ = self.barrier().await;
            }
            // Caches wait for a revision that other prefixes have reached: they hear of it soon.
            self.announce(self.store.applied().revision);
            if announced_at.elapsed() > ANNOUNCE_EVERY {
                announced_at = Instant::now();
                self.store.announce_progress();
            }
        }
    }

    /// Who leads, and in which term.
    fn leadership(&self) -> Option<(u64, MemberId)> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        Some((metrics.current_term, metrics.current_leader?))
    }

    /// Time since a leader's word, or, where this member leads, since a quorum's.
    fn leader_age(&self) -> Duration {
        if self.leading_term().is_none() {
            return self.contact.age();
        }
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        if metrics.membership_config.voter_ids().count() == 1 {
            return Duration::ZERO;
        }
        // Nothing yet: it was elected a moment ago.
        metrics.last_quorum_acked.map_or_else(|| self.contact.age(), |acked| acked.elapsed())
    }

    /// The end of the raft core is the end of the member, unless it was asked for.
    async fn run_core_watch(self: Arc<Self>) {
        let metrics = self.raft.metrics();
        while !self.stop.is_cancelled() {
            let state = metrics.borrow_watched().running_state.clone();
            if let Err(error) = state
                && !self.stop.is_cancelled()
            {
                (self.config.on_fatal)(&format!("the raft core ended: {error}"));
                return;
            }
            // Looked at now and then: the metrics change with every entry.
            tokio::time::sleep(WATCH_EVERY).await;
        }
    }

    /// Whether to go on watching.
    fn watch_disk(
        self: &Arc<Self>,
        runtime: &tokio::runtime::Handle,
        sync: &mut Standing<Option<u64>>,
        offered: &mut Option<Duration>,
    ) -> bool {
        if self.stop.is_cancelled() {
            return false;
        }
        let stuck = self.config.timing.sync_stuck;
        let stands = sync.look(self.log.sync_began(), stuck);
        match self.log.sync_age().map(|age| age.min(stands + WATCH_EVERY)) {
            // A slow disk is no reason to die, but it is one not to lead.
            Some(age) if age > stuck * SYNC_DEAD_FACTOR => {
                (self.config.on_fatal)("a sync of the raft log is stuck");
                return false;
            }
            Some(age) if age > stuck => {
                // Again, where nobody has taken it.
                if offered.is_none_or(|at| age > at + HANDOVER_TIMEOUT + stuck) {
                    *offered = Some(age);
                    tracing::warn!(age_ms = age.as_millis() as u64, "the disk does not answer");
                    let replica = Replica { inner: self.clone() };
                    runtime.spawn(async move { replica.hand_over(None).await });
                }
            }
            _ => *offered = None,
        }
        true
    }

    fn watch_apply(&self, apply: &mut Standing<u64>) -> bool {
        let stands = apply.look(self.progress.next_index(), self.config.timing.sync_stuck);
        if !self.progress.busy() {
            *apply = Standing::new(self.progress.next_index());
        } else if stands > self.config.timing.apply_stuck {
            (self.config.on_fatal)("what was agreed is not being applied");
            return false;
        }
        true
    }
}

/// For how long something has been seen to stand where it is, by looks at it: what passes while the whole
/// process is paused is not held against a disk.
struct Standing<T> {
    at: T,
    looked: Instant,
    seen: Duration,
}

impl<T: PartialEq> Standing<T> {
    fn new(at: T) -> Self {
        Standing { at, looked: Instant::now(), seen: Duration::ZERO }
    }

    /// It is at `at` now; between two looks no more than `most` counts.
    fn look(&mut self, at: T, most: Duration) -> Duration {
        if at == self.at {
            self.seen += self.looked.elapsed().min(most);
            self.looked = Instant::now();
        } else {
            *self = Standing::new(at);
        }
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_of_the_process_counts_little() {
        let (short, long) = (Duration::from_millis(300), Duration::from_secs(600));
        let mut standing = Standing::new(1);
        standing.looked -= long;
        let seen = standing.look(1, short);
        assert_eq!(seen, short);
        standing.looked -= short / 2;
        assert!(standing.look(1, short) >= seen + short / 2);
        // It got on.
        standing.looked -= long;
        assert_eq!(standing.look(2, short), Duration::ZERO);
    }
}
