//! How fast the machine applies: `cargo run --release -p trireme-store --features rocksdb
//! --example apply_speed [keys] [value bytes] [commands]`.
//!
//! One thread, runs of 64 commands, each a compare-and-put as the API server sends it.

use std::sync::Arc;

use trireme_store::engine::{Engine, Model};
use trireme_store::log::{Command, CommandOp, Entry, EntryBody, LogPosition, ProposalId};
use trireme_store::{Compare, KeyRange, Op, PutRequest, RangeRequest, Revision, Store, TxnRequest};

const RUN: usize = 64;

fn main() {
    let mut numbers = std::env::args().skip(1).map(|arg| arg.parse::<usize>().expect("a number"));
    let keys = numbers.next().unwrap_or(10_000);
    let value_bytes = numbers.next().unwrap_or(256);
    let commands = numbers.next().unwrap_or(300_000);
    measure("model", Arc::new(Model::new()), keys, value_bytes, commands);
    #[cfg(feature = "rocksdb")]
    {
        use trireme_store::engine::{RocksEngine, RocksOptions};
        let dir = std::env::temp_dir().join(format!("apply-speed-{}", std::process::id()));
        let engine = RocksEngine::open(&dir, RocksOptions::default()).expect("open");
        measure("rocksdb", Arc::new(engine), keys, value_bytes, commands);
        std::fs::remove_dir_all(&dir).expect("remove");
    }
}

/// CPU time of this thread: other work on the machine does not count.
fn cpu_ns() -> u64 {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    schedstat.split(' ').next().and_then(|ns| ns.parse().ok()).expect("a number")
}

fn measure(name: &str, engine: Arc<dyn Engine>, keys: usize, value_bytes: usize, commands: usize) {
    let store = Store::open(engine).expect("open");
    let value = vec![b'v'; value_bytes];
    let mut revisions = vec![Revision(0); keys];
    let mut index = 0;
    let mut entries = |store: &Store, n: usize| -> Vec<Entry> {
        let newest = store.revision();
        (0..n)
            .map(|i| {
                let which = index as usize % keys;
                index += 1;
                let key = format!("/registry/pods/default/pod-{which:08}");
                let compare = Compare::mod_revision(key.clone(), revisions[which]);
                revisions[which] = Revision(newest.0 + 1 + i as i64);
                let op = CommandOp::Txn(TxnRequest {
                    compare: vec![compare],
                    success: vec![Op::Put(PutRequest::new(key, value.clone()))],
                    failure: Vec::new(),
                    ..Default::default()
                });
                let proposal = ProposalId { client: 1, seq: index };
                let command = Command { proposal, time_ms: index as i64, op };
                // As it comes from the log.
                let command = Command::decode(command.encode()).expect("decode");
                Entry { at: LogPosition { term: 1, node_id: 1, index }, body: EntryBody::Command(command) }
            })
            .collect()
    };
    let mut spent_ns = 0;
    for _ in 0..commands.div_ceil(RUN) {
        let run = entries(&store, RUN.min(keys));
        let started_ns = cpu_ns();
        store.apply(run).expect("apply");
        spent_ns += cpu_ns() - started_ns;
    }
    let each_us = spent_ns as f64 / 1e3 / commands as f64;
    println!("{name}: {:.0} applied per second of CPU, {each_us:.2} µs each", 1e6 / each_us);
    let started_ns = cpu_ns();
    let listed = store.range(&RangeRequest::new(KeyRange::prefix("/registry/"))).expect("range").kvs.len();
    println!("{name}: {listed} keys listed in {:.1} ms of CPU", (cpu_ns() - started_ns) as f64 / 1e6);
    let started_ns = cpu_ns();
    let reads = 20_000;
    for i in 0..reads {
        let key = format!("/registry/pods/default/pod-{:08}", i * 7919 % keys);
        store.range(&RangeRequest::new(KeyRange::key(key))).expect("range");
    }
    println!(
        "{name}: a point read takes {:.2} µs of CPU",
        (cpu_ns() - started_ns) as f64 / 1e3 / reads as f64
    );
    let started_ns = cpu_ns();
    store.verify().expect("verify");
    println!("{name}: verified in {:.1} ms of CPU", (cpu_ns() - started_ns) as f64 / 1e6);
}
