//! The logical state hash: a sum of one 128-bit hash an item, so that it does not depend on order
//! and follows every change at the cost of that change.

use xxhash_rust::xxh3::xxh3_128;

use crate::codec::Writer;
use crate::kv::{KeyValue, LeaseId};
use crate::log::{LogPosition, ProposalId};
use crate::outcome::put_kv;

/// What an item is, so that equal bytes of two kinds differ.
const KEY: u8 = 1;
const LEASE: u8 = 2;
const FENCE: u8 = 3;
const OUTCOME: u8 = 4;
const CLIENT: u8 = 5;
const SCALARS: u8 = 6;

#[derive(Default)]
pub(crate) struct Sum {
    pub(crate) value: u128,
    scratch: Writer,
}

impl Sum {
    pub(crate) fn new(value: u128) -> Self {
        Self { value, scratch: Writer::default() }
    }

    fn item(&mut self, kind: u8, fill: impl FnOnce(&mut Writer)) -> u128 {
        self.scratch.clear();
        self.scratch.u8(kind);
        fill(&mut self.scratch);
        xxh3_128(self.scratch.as_slice())
    }

    fn change(&mut self, add: bool, kind: u8, fill: impl FnOnce(&mut Writer)) {
        let item = self.item(kind, fill);
        self.value = if add { self.value.wrapping_add(item) } else { self.value.wrapping_sub(item) };
    }

    pub(crate) fn key(&mut self, add: bool, kv: &KeyValue) {
        self.change(add, KEY, |w| put_kv(w, kv));
    }

    pub(crate) fn lease(&mut self, add: bool, id: LeaseId, ttl_s: i64, generation: u64) {
        self.change(add, LEASE, |w| {
            w.i64(id.0);
            w.i64(ttl_s);
            w.u64(generation);
        });
    }

    pub(crate) fn fence(&mut self, add: bool, scope: &str, epoch: u64) {
        self.change(add, FENCE, |w| {
            w.u64(epoch);
            w.tail(scope.as_bytes());
        });
    }

    pub(crate) fn outcome(&mut self, add: bool, id: ProposalId, time_ms: i64, outcome: &[u8]) {
        self.change(add, OUTCOME, |w| {
            w.u64(id.client);
            w.u64(id.seq);
            w.i64(time_ms);
            w.tail(outcome);
        });
    }

    pub(crate) fn client(&mut self, add: bool, client: u64, forgotten_seq: u64) {
        self.change(add, CLIENT, |w| {
            w.u64(client);
            w.u64(forgotten_seq);
        });
    }

    /// The hash of the whole: the sum, and everything of which there is one.
    pub(crate) fn total(
        &mut self,
        scalars: [i64; 4],
        membership_position: Option<LogPosition>,
        membership: &[u8],
    ) -> u128 {
        let item = self.item(SCALARS, |w| {
            scalars.iter().for_each(|n| w.i64(*n));
            w.u64(membership_position.map_or(0, |at| at.index));
            w.tail(membership);
        });
        self.value.wrapping_add(item)
    }
}
