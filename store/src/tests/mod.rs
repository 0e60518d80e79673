mod conformance;
mod crash;
mod dedup;
#[cfg(feature = "rocksdb")]
pub(crate) mod disk;
#[cfg(feature = "rocksdb")]
mod full_disk;
mod reborn;
mod reference;
mod scans;
mod semantics;
mod snapshots;
mod watches;

use std::sync::Arc;

use crate::engine::{Engine, Model};
use crate::kv::{Op, PutRequest, TxnRequest};
use crate::log::{Command, CommandOp, Entry, EntryBody, LogPosition, Outcome, ProposalId};
use crate::machine::Store;

fn model() -> (Arc<Model>, Store) {
    let model = Arc::new(Model::new());
    let store = Store::open(model.clone()).expect("an empty model");
    (model, store)
}

fn entry(index: u64, op: CommandOp) -> Entry {
    let proposal = ProposalId { client: 7, seq: index };
    let command = Command { proposal, time_ms: 1_000_000 + 10 * index as i64, op };
    Entry { at: LogPosition { term: 1, node_id: 1, index }, body: EntryBody::Command(command) }
}

pub(crate) fn put(key: &str, value: &str) -> CommandOp {
    let put = PutRequest::new(key.to_owned(), value.to_owned());
    CommandOp::Txn(TxnRequest { success: vec![Op::Put(put)], ..Default::default() })
}

/// Applies one command behind what was applied.
pub(crate) fn apply(store: &Store, op: CommandOp) -> Outcome {
    let index = store.applied().position.map_or(1, |at| at.index + 1);
    store.apply(vec![entry(index, op)]).expect("apply").remove(0)
}

/// Every key and value an engine holds.
fn dump(engine: &dyn Engine) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut all = Vec::new();
    engine.read(&mut |view| {
        let mut cursor = view.cursor(&[0xff]);
        cursor.seek(&[]);
        while let Some((key, value)) = cursor.item().expect("read") {
            all.push((key.to_vec(), value.to_vec()));
            cursor.next();
        }
    });
    all
}
