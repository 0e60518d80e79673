//! How fast a new cluster's state is made out of an old one's, beside a plain write of as many bytes:
//! `reborn_speed <empty directory> [keys] [bytes per value]`.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use trireme_store::engine::{RocksEngine, RocksOptions};
use trireme_store::log::{Command, CommandOp, Entry, EntryBody, LogPosition, ProposalId};
use trireme_store::{Op, PutRequest, Rebirth, Revision, Store, TxnRequest};

const RUN_ENTRIES: u64 = 1000;

/// Values like those of objects: half of them compressible text.
fn value(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(bytes);
    while out.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
        out.extend_from_slice(b"\"name\": ");
    }
    out.truncate(bytes);
    out
}

fn entry(index: u64, bytes: usize) -> Entry {
    let put = PutRequest::new(format!("/registry/configmaps/default/object-{index:08}"), value(index, bytes));
    let op = CommandOp::Txn(TxnRequest { success: vec![Op::Put(put)], ..TxnRequest::default() });
    let proposal = ProposalId { client: 0, seq: 0 };
    let body = EntryBody::Command(Command { proposal, time_ms: index as i64, op });
    Entry { at: LogPosition { term: 1, node_id: 0, index }, body }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().expect("an empty directory"));
    let mut number = |default: u64| arguments.next().map_or(default, |text| text.parse().expect("a number"));
    let (keys, bytes) = (number(1_000_000), number(1024) as usize);
    let open = |name: &str| RocksEngine::open(&dir.join(name), RocksOptions::default()).expect("open");
    let old = Store::open(Arc::new(open("old"))).expect("open");
    for first in (1..=keys).step_by(RUN_ENTRIES as usize) {
        let run = first..(first + RUN_ENTRIES).min(keys + 1);
        old.apply(run.map(|index| entry(index, bytes)).collect()).expect("apply");
    }
    old.flush().expect("flush");
    let rebirth = Rebirth {
        at: None,
        seen: Revision(0),
        membership: Default::default(),
        position: LogPosition::default(),
        now_ms: 0,
        without: Vec::new(),
    };
    let new = open("new");
    let began = Instant::now();
    let made = old.reborn(&new, &rebirth, &mut |_, _| {}).expect("reborn");
    let seconds = began.elapsed().as_secs_f64();
    let mb = made.bytes as f64 / 1e6;
    println!(
        "{} keys, {mb:.0} MB in {seconds:.2} s: {:.0} MB/s, {:.0} keys/s",
        made.keys,
        mb / seconds,
        made.keys as f64 / seconds
    );
    let block = value(7, 1 << 20);
    let began = Instant::now();
    let mut plain = File::create(dir.join("plain")).expect("create");
    for _ in 0..made.bytes >> 20 {
        plain.write_all(&block).expect("write");
    }
    plain.sync_all().expect("sync");
    println!("plain write and sync: {:.0} MB/s", mb / began.elapsed().as_secs_f64());
}
