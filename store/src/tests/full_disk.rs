//! A disk that is really full: a small file system of its own, which root can mount.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{apply, entry, model, put};
use crate::Fault;
use crate::engine::{RocksEngine, RocksOptions};
use crate::kv::{DeleteRequest, KeyRange, Op, PutRequest, TxnRequest};
use crate::log::{CommandOp, Entry};
use crate::machine::Store;

const DEADLINE: Duration = Duration::from_secs(60);

/// A file system in memory; unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None`, and a word about `test`, where this process may not mount.
    fn mount(test: &str) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"])
            .arg(dir.path())
            .output()
            .is_ok_and(|output| output.status.success());
        if !mounted {
            // Past the capture of the test's output: that nothing was tested must be seen.
            let _ = writeln!(std::io::stderr(), "skipped: {test}: it needs root, to mount a small disk");
            return None;
        }
        Some(Self(dir))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Takes what room there is, but for `left` bytes.
    fn fill(&self, left: usize) -> PathBuf {
        let (ballast, rest) = (self.path("ballast"), self.path("rest"));
        fs::write(&rest, vec![1; left]).expect("room for the rest");
        let mut file = fs::File::create(&ballast).expect("create");
        while file.write_all(&[1; 4096]).is_ok() {}
        fs::remove_file(rest).expect("remove");
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

fn open(dir: &Path) -> Store {
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

/// Does `work` again until the disk has room for it.
fn until_there_is_room<T>(what: &str, mut work: impl FnMut() -> Result<T, Fault>) -> T {
    let started = Instant::now();
    loop {
        match work() {
            Ok(done) => return done,
            Err(fault) => assert_eq!(fault, Fault::NoSpace),
        }
        assert!(started.elapsed() < DEADLINE, "{what} does not resume");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn is_survived() {
    let Some(disk) = SmallDisk::mount("full_disk::is_survived") else { return };
    let dir = disk.path("state");
    let ballast = disk.path("ballast");
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
    until_there_is_room("writing", || store.apply(vec![put_noise(index)]));
    expected.apply(vec![put_noise(index)]).expect("apply");
    until_there_is_room("flushing", || store.flush());
    assert_eq!(store.applied(), expected.applied());
    drop(store);
    let store = open(&dir);
    assert_eq!(store.applied(), expected.applied());
    store.verify().expect("verify");
}

/// What the files in `dir` take, those in folders below included.
fn bytes_of(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => bytes_of(&entry.path()),
            found => found.map_or(0, |found| found.len()),
        })
        .sum()
}

#[tokio::test]
async fn space_is_given_back_by_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    for index in 1..=1500 {
        store.apply(vec![put_noise(index)]).expect("apply");
    }
    store.flush().expect("flush");
    let before = bytes_of(dir.path());
    assert!(before > 20 << 20, "{before} bytes");
    let range = KeyRange { start: "k1".into(), end: "k7".into() };
    let delete = Op::Delete(DeleteRequest { range, prev_kv: false });
    apply(&store, CommandOp::Txn(TxnRequest { success: vec![delete], ..Default::default() }));
    let now = store.revision();
    apply(&store, CommandOp::Compact(now));
    store.scrubbed(now).await.expect("scrubbed");
    let started = Instant::now();
    let after = loop {
        let after = bytes_of(dir.path());
        if after < before * 2 / 5 || started.elapsed() > Duration::from_secs(20) {
            break after;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(after < before * 2 / 5, "{before} bytes became {after}, and three quarters were deleted");
    store.verify().expect("what is left can be read");
}

#[test]
fn lets_a_snapshot_be_installed_later() {
    let Some(disk) = SmallDisk::mount("full_disk::lets_a_snapshot_be_installed_later") else { return };
    let source = open(&disk.path("source"));
    apply(&source, put("a", "1"));
    apply(&source, put("b", "2"));
    let snapshot = disk.path("snapshot");
    source.checkpoint(&snapshot).expect("checkpoint");
    let target = open(&disk.path("target"));
    apply(&target, put("old", "1"));
    let before = target.applied();
    let meta = target.check_snapshot(&snapshot).expect("a whole snapshot");
    let ballast = disk.fill(0);
    assert_eq!(target.install_checked(&snapshot, &meta).map(|_| ()), Err(Fault::NoSpace));
    assert_eq!(target.applied(), before, "the state is as before");
    apply(&target, put("old", "2"));
    fs::remove_file(&ballast).expect("remove");
    let installed = until_there_is_room("the install", || target.install_checked(&snapshot, &meta));
    assert_eq!(installed, source.applied());
    drop(target);
    let target = open(&disk.path("target"));
    assert_eq!(target.applied(), source.applied());
    target.verify().expect("verify");
}
