//! openraft's view of the log.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

use futures::Stream;
use futures::stream;
use openraft::OptionalSend;
use openraft::errors::LeaderChanged;
use openraft::storage::{IOFlushed, LeaderBoundedStreamError, LogState, RaftLogReader, RaftLogStorage};
use tokio::sync::oneshot;

use super::Log;
use super::writer::Op;
use crate::types::{Entry, LeaderId, LogId, TypeConfig, Vote};

/// Bytes of entries read at a time for a stream or for one message to a follower.
const READ_BYTES: usize = 1024 * 1024;

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(n) => *n,
        Bound::Excluded(n) => n + 1,
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(n) => n + 1,
        Bound::Excluded(n) => *n,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

/// The entries of a range, read piece by piece, so that a long range is never in memory at once.
struct Pieces {
    log: Log,
    next: u64,
    to: u64,
    piece: std::vec::IntoIter<Entry>,
    leader: Option<LeaderId>,
    done: bool,
}

impl Pieces {
    fn new(log: Log, range: &impl RangeBounds<u64>, leader: Option<LeaderId>) -> Self {
        let (next, to) = bounds(range);
        Self { log, next, to, piece: Vec::new().into_iter(), leader, done: false }
    }

    fn next(&mut self) -> Option<Result<Entry, LeaderBoundedStreamError<TypeConfig>>> {
        if let Some(entry) = self.piece.next() {
            return Some(Ok(entry));
        }
        if self.done || self.next >= self.to {
            return None;
        }
        let piece = self.log.shared.read(self.next, self.to, READ_BYTES);
        // Checked after the read: only then does it cover what was read.
        if let Some(changed) = self.leader_changed() {
            self.done = true;
            return Some(Err(changed.into()));
        }
        match piece {
            Ok(piece) => {
                let Some(last) = piece.last() else {
                    self.done = true;
                    return None;
                };
                self.next = last.log_id.index + 1;
                self.piece = piece.into_iter();
                self.piece.next().map(Ok)
            }
            Err(error) => {
                self.done = true;
                Some(Err(error.into()))
            }
        }
    }

    fn leader_changed(&self) -> Option<LeaderChanged<TypeConfig>> {
        let leader = self.leader?;
        let vote = self.log.shared.state.lock().vote;
        let same = vote.is_some_and(|vote| vote.leader_id == leader && vote.committed);
        (!same).then(|| LeaderChanged::new(leader, vote))
    }
}

impl RaftLogReader<TypeConfig> for Log {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = bounds(&range);
        self.shared.read(from, to, usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.shared.read(start, end, READ_BYTES)
    }

    async fn leader_bounded_stream<RB>(
        &mut self,
        leader: LeaderId,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, LeaderBoundedStreamError<TypeConfig>>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let mut pieces = Pieces::new(self.clone(), &range, Some(leader));
        // An empty range says nothing about the leader, and openraft asks for none.
        stream::iter(std::iter::from_fn(move || pieces.next()))
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let mut pieces = Pieces::new(self.clone(), &range, None);
        stream::iter(std::iter::from_fn(move || {
            pieces.next().map(|item| {
                item.map_err(|error| match error {
                    LeaderBoundedStreamError::IoError(error) => error,
                    LeaderBoundedStreamError::LeaderChanged(changed) => io::Error::other(changed.to_string()),
                })
            })
        }))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.shared.state.lock().vote)
    }
}

impl RaftLogStorage<TypeConfig> for Log {
    type LogReader = Log;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let state = self.shared.state.lock();
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (done, wait) = oneshot::channel();
        self.send(Op::Vote { vote: *vote, done })?;
        wait.await.map_err(|_| io::Error::other("the vote was not written"))?;
        self.shared.state.lock().vote = Some(*vote);
        Ok(())
    }

    /// Kept in memory; the next frame carries it, and where none comes it is written by itself a while
    /// later, without a sync. After a crash an older one costs replaying, and reads wait until the cluster
    /// has confirmed a newer one.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        if committed.is_some() {
            self.shared.state.lock().committed = committed;
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.shared.state.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        {
            let mut state = self.shared.state.lock();
            for entry in &entries {
                let expected = state.next_index();
                if entry.log_id.index != expected && state.last.is_some() {
                    return Err(io::Error::other(format!(
                        "append of entry {} would leave a hole after entry {}",
                        entry.log_id.index,
                        expected - 1
                    )));
                }
                state.last = Some(entry.log_id);
                state.cache.push(entry.clone());
            }
        }
        self.send(Op::Append { entries, flushed: Some(callback) })
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        {
            let mut state = self.shared.state.lock();
            let index = last_log_id.map_or(0, |id| id.index + 1);
            if index >= state.next_index() {
                return Ok(());
            }
            state.cache.truncate(index);
            state.last = last_log_id.max(state.purged);
        }
        let (done, wait) = oneshot::channel();
        self.send(Op::Truncate { after: last_log_id, done })?;
        wait.await.map_err(|_| io::Error::other("the truncation was not written"))
    }

    /// Takes effect at once for readers; the files go when the writer gets to it. A position past
    /// the last entry (a snapshot was installed) empties the log, and appending goes on behind it.
    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        {
            let mut state = self.shared.state.lock();
            if state.purged.is_some_and(|purged| purged.index >= log_id.index) {
                return Ok(());
            }
            state.cache.purge(log_id.index);
            state.purged = Some(log_id);
            if state.last.is_none_or(|last| last.index <= log_id.index) {
                state.last = Some(log_id);
            }
        }
        self.send(Op::Purge(log_id))
    }
}
