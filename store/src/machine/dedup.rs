//! The window of remembered outcomes: a proposal that is sent again is not done again.
//!
//! Bounded by number, bytes and replicated age. Of what fell out, each client's highest sequence
//! number stays: a proposal at or below it may have been done, and is answered "unknown" instead of
//! being done twice. Replicas agree on the window's content; how it is cut into records of the
//! engine (one a run of entries) is each replica's own.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;

use super::hash::Sum;
use crate::codec::{Reader, Writer};
use crate::engine::{Batch, EngineError, View};
use crate::kv::Error;
use crate::layout;
use crate::limits::{
    DEDUP_AGE_MS_MAX, DEDUP_BYTES_MAX, DEDUP_CLIENTS_MAX, DEDUP_ENTRIES_MAX, DEDUP_OUTCOME_BYTES_MAX,
};
use crate::log::{Outcome, ProposalId};

/// What an entry weighs beside its outcome, for the limit on bytes.
const ENTRY_BYTES: usize = 64;

/// In place of why a request is not valid: what is remembered is in the state's hash, and the sentences of
/// two releases that run together may differ.
const REFUSED_BEFORE: &str = "it was refused as not valid when it was first sent";

#[derive(Default)]
pub(crate) struct Dedup {
    /// Oldest first; the first has ordinal `first`.
    entries: VecDeque<Remembered>,
    first: u64,
    bytes: usize,
    by_id: HashMap<ProposalId, u64>,
    /// First ordinals of the engine's records, oldest first.
    chunks: VecDeque<u64>,
    /// Client → highest sequence number forgotten, ordinal at which that happened.
    forgotten: HashMap<u64, (u64, u64)>,
    /// Ordinal → client: the clients by how long they were quiet.
    quiet: BTreeMap<u64, u64>,
    /// Number of entries that were already written when the run began, counted by ordinal.
    written: u64,
    touched: Vec<u64>,
}

struct Remembered {
    id: ProposalId,
    time_ms: i64,
    outcome: Bytes,
}

impl Dedup {
    /// Reads the window back; `first` and `next` are the ordinals that the state's record holds.
    pub(crate) fn load(view: &dyn View, first: u64, next: u64) -> Result<Self, EngineError> {
        let mut dedup = Self { first, written: next, ..Self::default() };
        let mut cursor = view.cursor(&[layout::OUTCOMES + 1]);
        cursor.seek(&[layout::OUTCOMES]);
        while let Some((key, value)) = cursor.item()? {
            let (mut ordinal, _) = layout::parse_numbered(key)?;
            dedup.chunks.push_back(ordinal);
            let mut r = Reader::new(Bytes::copy_from_slice(value), "remembered outcomes");
            for _ in 0..r.count()? {
                let id = ProposalId { client: r.u64()?, seq: r.u64()? };
                let (time_ms, outcome) = (r.i64()?, r.bytes()?);
                if ordinal >= first {
                    // Detached from the record, so that forgetting an entry frees its memory.
                    dedup.push(Remembered { id, time_ms, outcome: Bytes::copy_from_slice(&outcome) });
                }
                ordinal += 1;
            }
            r.end()?;
            cursor.next();
        }
        if dedup.next() != next {
            return Err(EngineError::Corrupt("remembered outcomes are missing".into()));
        }
        let mut cursor = view.cursor(&[layout::CLIENTS + 1]);
        cursor.seek(&[layout::CLIENTS]);
        while let Some((key, value)) = cursor.item()? {
            let (client, _) = layout::parse_numbered(key)?;
            let mut r = Reader::new(Bytes::copy_from_slice(value), "forgotten proposals");
            let (seq, ordinal) = (r.u64()?, r.u64()?);
            r.end()?;
            dedup.forgotten.insert(client, (seq, ordinal));
            dedup.quiet.insert(ordinal, client);
            cursor.next();
        }
        Ok(dedup)
    }

    pub(crate) fn ordinals(&self) -> (u64, u64) {
        (self.first, self.next())
    }

    fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Adds everything to a sum, to check one.
    pub(crate) fn add_to(&self, sum: &mut Sum) {
        for entry in &self.entries {
            sum.outcome(true, entry.id, entry.time_ms, &entry.outcome);
        }
        for (client, (seq, _)) in &self.forgotten {
            sum.client(true, *client, *seq);
        }
    }

    /// What a proposal came to if it was done before.
    pub(crate) fn find(&self, id: ProposalId) -> Result<Option<Outcome>, EngineError> {
        if id.client == 0 {
            return Ok(None);
        }
        if let Some(ordinal) = self.by_id.get(&id) {
            let entry = &self.entries[(ordinal - self.first) as usize];
            return Ok(Some(Outcome::decode(entry.outcome.clone())?));
        }
        let forgotten = self.forgotten.get(&id.client).is_some_and(|(seq, _)| id.seq <= *seq);
        Ok(forgotten.then_some(Outcome::Failed(Error::OutcomeUnknown)))
    }

    pub(crate) fn remember(&mut self, id: ProposalId, time_ms: i64, outcome: &Outcome, sum: &mut Sum) {
        if id.client == 0 {
            return;
        }
        let mut encoded = match outcome {
            Outcome::Failed(Error::Invalid(_)) => {
                Outcome::Failed(Error::Invalid(REFUSED_BEFORE.into())).encode()
            }
            outcome => outcome.encode(),
        };
        if encoded.len() > DEDUP_OUTCOME_BYTES_MAX {
            encoded = Outcome::Failed(Error::OutcomeUnknown).encode();
        }
        sum.outcome(true, id, time_ms, &encoded);
        self.push(Remembered { id, time_ms, outcome: encoded });
    }

    fn push(&mut self, entry: Remembered) {
        self.bytes += entry.outcome.len() + ENTRY_BYTES;
        self.by_id.insert(entry.id, self.next());
        self.entries.push_back(entry);
    }

    /// Forgets what is past a limit at the replicated time `time_ms`.
    pub(crate) fn forget(&mut self, time_ms: i64, sum: &mut Sum) {
        while let Some(oldest) = self.entries.front() {
            let old = oldest.time_ms < time_ms.saturating_sub(DEDUP_AGE_MS_MAX);
            if !old && self.entries.len() <= DEDUP_ENTRIES_MAX && self.bytes <= DEDUP_BYTES_MAX {
                break;
            }
            let Some(entry) = self.entries.pop_front() else { break };
            let ordinal = self.first;
            self.first += 1;
            self.bytes -= entry.outcome.len() + ENTRY_BYTES;
            self.by_id.remove(&entry.id);
            sum.outcome(false, entry.id, entry.time_ms, &entry.outcome);
            self.note_forgotten(entry.id, ordinal, sum);
        }
    }

    fn note_forgotten(&mut self, id: ProposalId, ordinal: u64, sum: &mut Sum) {
        let mut seq = id.seq;
        if let Some((before, at)) = self.forgotten.get(&id.client).copied() {
            sum.client(false, id.client, before);
            self.quiet.remove(&at);
            seq = seq.max(before);
        } else if self.forgotten.len() >= DEDUP_CLIENTS_MAX
            && let Some((_, quietest)) = self.quiet.pop_first()
            && let Some((before, _)) = self.forgotten.remove(&quietest)
        {
            sum.client(false, quietest, before);
            self.touched.push(quietest);
        }
        sum.client(true, id.client, seq);
        self.forgotten.insert(id.client, (seq, ordinal));
        self.quiet.insert(ordinal, id.client);
        self.touched.push(id.client);
    }

    /// Adds what the run changed to its batch.
    pub(crate) fn save(&mut self, batch: &mut Batch) {
        let next = self.next();
        let from = self.written.max(self.first);
        if from < next {
            let mut w = Writer::with_capacity(64 * (next - from) as usize);
            w.u64(next - from);
            for entry in self.entries.range((from - self.first) as usize..) {
                w.u64(entry.id.client);
                w.u64(entry.id.seq);
                w.i64(entry.time_ms);
                w.bytes(&entry.outcome);
            }
            batch.put(&[&layout::numbered(layout::OUTCOMES, from)], &[w.as_slice()]);
            self.chunks.push_back(from);
        }
        self.written = next;
        // A record goes when the one after it, or nothing, begins at or below the oldest entry.
        while let Some(&chunk) = self.chunks.front() {
            let end = self.chunks.get(1).copied().unwrap_or(next);
            if end > self.first {
                break;
            }
            batch.delete(&[&layout::numbered(layout::OUTCOMES, chunk)]);
            self.chunks.pop_front();
        }
        self.touched.sort_unstable();
        self.touched.dedup();
        for client in self.touched.drain(..) {
            let key = layout::numbered(layout::CLIENTS, client);
            match self.forgotten.get(&client) {
                Some((seq, ordinal)) => {
                    let mut w = Writer::with_capacity(16);
                    w.u64(*seq);
                    w.u64(*ordinal);
                    batch.put(&[&key], &[w.as_slice()]);
                }
                None => batch.delete(&[&key]),
            }
        }
    }
}
