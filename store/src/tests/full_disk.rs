//! A disk that is really full. Needs a small file system of its own, so it runs where
//! `TRIREME_SMALL_DISK` names the root of one (16 to 64 MiB):
//! `mount -t tmpfs -o size=24m tmpfs <dir>`.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{entry, model};
use crate::Fault;
use crate::engine::{RocksEngine, RocksOptions};
use crate::kv::{Op, PutRequest, TxnRequest};
use crate::log::{CommandOp, Entry};
use crate::machine::Store;

const DEADLINE: Duration = Duration::from_secs(60);

fn open(dir: &std::path::Path) -> Store {
    let options = RocksOptions { write_buffer_bytes: 1 << 20, ..Default::default() };
    Store::open(Arc::new(RocksEngine::open(dir, options).expect("open"))).expect("open")
}

/// A value that does not compress.
fn noise(index: u64) -> Vec<u8> {
    (0..2048u64)
        .flat_map(|i| xxhash_rust::xxh3::xxh3_64(&(index << 20 | i).to_be_bytes()).to_be_bytes())
        .collect()
}

fn put_noise(index: u64) -> Entry {
    let put = PutRequest::new(format!("k{index}"), noise(index));
    entry(index, CommandOp::Txn(TxnRequest { success: vec![Op::Put(put)], ..Default::default() }))
}

#[test]
fn is_survived() {
    let Some(root) = std::env::var_os("TRIREME_SMALL_DISK").map(PathBuf::from) else {
        println!("skipped: TRIREME_SMALL_DISK names no small file system");
        return;
    };
    let dir = root.join("state");
    let _ = fs::remove_dir_all(&dir);
    let ballast = root.join("ballast");
    fs::write(&ballast, vec![1; 8 << 20]).expect("room at first");
    let (_, expected) = model();
    let store = open(&dir);
    let mut index = 1;
    let fault = loop {
        match store.apply(vec![put_noise(index)]) {
            Ok(_) => expected.apply(vec![put_noise(index)]).expect("apply"),
            Err(fault) => break fault,
        };
        index += 1;
        assert!(index < 100_000, "the disk was never full");
    };
    assert_eq!(fault, Fault::NoSpace);
    assert_eq!(store.applied(), expected.applied(), "nothing of the failed run");
    store.verify().expect("what was applied can be read");
    assert_eq!(store.flush(), Err(Fault::NoSpace), "no false promise");
    fs::remove_file(&ballast).expect("remove");
    let started = Instant::now();
    while let Err(fault) = store.apply(vec![put_noise(index)]) {
        assert_eq!(fault, Fault::NoSpace);
        assert!(started.elapsed() < DEADLINE, "writes do not resume");
        std::thread::sleep(Duration::from_millis(200));
    }
    expected.apply(vec![put_noise(index)]).expect("apply");
    while let Err(fault) = store.flush() {
        assert_eq!(fault, Fault::NoSpace);
        assert!(started.elapsed() < DEADLINE, "flushes do not resume");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(store.applied(), expected.applied());
    drop(store);
    let store = open(&dir);
    assert_eq!(store.applied(), expected.applied());
    store.verify().expect("verify");
    drop(store);
    fs::remove_dir_all(&dir).expect("remove");
}
