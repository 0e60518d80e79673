//! What archiving itself costs: CPU for each write of 1 KiB and for each MiB, of collecting, packing,
//! sealing and writing, apart from everything that a cluster does beside it.
//!
//! `archiving [WRITES] [VALUE-BYTES]`

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use trireme_backup::{Archive, Archiver, ArchiverConfig, Error, Key, Location, RawBody, RawEntry, Source};
use trireme_store::engine::{RocksEngine, RocksOptions};
use trireme_store::log::{Command, CommandOp, Entry, EntryBody, LogPosition, ProposalId};
use trireme_store::{Op, PutRequest, Store, TxnRequest};

/// Entries that are collected at a time, as a busy cluster's would be between two looks.
const ROUND: u64 = 750;

struct Member {
    store: Store,
    log: parking_lot::RwLock<Vec<RawEntry>>,
}

impl Source for Member {
    fn store(&self) -> &Store {
        &self.store
    }

    fn read(&self, from: u64, to: u64, budget: usize) -> Result<Vec<RawEntry>, Error> {
        let log = self.log.read();
        let end = (to + 1).min(log.len() as u64).min(from + (budget as u64 / 1024).max(1));
        Ok(log.get(from as usize..end as usize).unwrap_or_default().to_vec())
    }
}

impl Member {
    fn write(&self, count: u64, bytes: u64) {
        let mut log = self.log.write();
        for _ in 0..count {
            let n = log.len() as u64;
            // Neither all alike nor all random, as objects are.
            let value: String =
                (0..bytes / 16).map(|k| format!("{:08x}:\"field", n * 7919 + k * (n % 64))).collect();
            let put = Op::Put(PutRequest::new(format!("/load/{}/{}", n % 64, n % 1000), value));
            let op = CommandOp::Txn(TxnRequest { success: vec![put], ..TxnRequest::default() });
            let proposal = ProposalId { client: 9, seq: n + 1 };
            let command = Command { proposal, time_ms: 1_700_000_000_000 + n as i64, op };
            let at = LogPosition { term: 1, node_id: 0, index: n };
            log.push(RawEntry { at, body: RawBody::Command(command.encode()) });
            self.store.apply(vec![Entry { at, body: EntryBody::Command(command) }]).expect("apply");
        }
    }
}

/// Seconds of CPU of this process's threads, without those of RocksDB's background.
fn cpu_s() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let of = |task: std::fs::DirEntry| {
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        let spent = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        let ns: f64 = spent.split_whitespace().next()?.parse().ok()?;
        (!name.starts_with("rocksdb")).then_some(ns / 1e9)
    };
    tasks.filter_map(of).sum()
}

fn size(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| {
            if entry.path().is_dir() { size(&entry.path()) } else { entry.metadata().map_or(0, |m| m.len()) }
        })
        .sum()
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("a number"));
    let (writes, bytes) = (arguments.next().unwrap_or(60_000), arguments.next().unwrap_or(1024));
    let dir = tempfile::tempdir().expect("a folder");
    let engine = RocksEngine::open(&dir.path().join("state"), RocksOptions::default()).expect("engine");
    let store = Store::open(Arc::new(engine)).expect("store");
    let member = Arc::new(Member { store, log: parking_lot::RwLock::default() });
    member.write(10, bytes);
    let to = dir.path().join("archive");
    let location: Location = to.to_str().expect("UTF-8").parse().expect("a location");
    let archive = Archive::of_cluster(&location, Key::from_bytes([7; 32]), 1).expect("an archive");
    let config = ArchiverConfig::new("a", dir.path().join("scratch"));
    let archiver = Archiver::new(archive, member.clone(), config);
    let (stop, mut told) = (CancellationToken::new(), archiver.progress());
    let running = tokio::spawn(archiver.run(stop.clone()));
    told.wait_for(|told| told.index >= 9).await.expect("a base");
    // The test restore of the base is not what is measured.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let (before, mut applying, mut left, began) = (cpu_s(), 0.0, writes, Instant::now());
    while left > 0 {
        let start = cpu_s();
        member.write(left.min(ROUND), bytes);
        applying += cpu_s() - start;
        left -= left.min(ROUND);
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
    told.wait_for(|told| told.index >= writes + 9).await.expect("the end");
    let used = (cpu_s() - before - applying) * 1e6;
    stop.cancel();
    let _ = running.await;
    let raw: u64 = writes * (bytes + 100);
    println!(
        "{writes} writes of {bytes} bytes in {:.1} s: {:.2} CPU us a write, {:.2} CPU ms a MiB; {:.2} of the log's bytes are written",
        began.elapsed().as_secs_f64(),
        used / writes as f64,
        used / 1000.0 / (raw as f64 / f64::from(1 << 20)),
        size(&to) as f64 / raw as f64
    );
}
