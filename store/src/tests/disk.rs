//! What a check of the disk finds of bits that are not what was written.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{apply, put};
use crate::engine::{Engine, RocksEngine, RocksOptions};
use crate::fault::Fault;
use crate::machine::Store;

/// The files of the first state in `dir`.
pub(crate) fn tables(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(dir.join("state-1"))
        .expect("the state")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sst"))
        .collect();
    found.sort();
    found
}

/// Flips a bit, on the disk itself.
pub(crate) fn flip(path: &Path, offset: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).expect("open");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("read");
    file.write_all_at(&[byte[0] ^ 0x10], offset).expect("write");
    file.sync_all().expect("sync");
}

#[test]
fn a_bit_that_flips_anywhere_in_a_table_is_found() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let dir = folder.path().join("state");
    let engine = Arc::new(RocksEngine::open(&dir, RocksOptions::default()).expect("an engine"));
    let store = Store::open(engine.clone()).expect("a store");
    for i in 0..200 {
        apply(&store, put(&format!("key{i:03}"), &format!("value{i}").repeat(20)));
    }
    engine.flush().expect("a flush");
    let check = |name: &str| store.check_disk(&folder.path().join(name), &mut |_| {});
    let sound = check("sound").expect("nothing is wrong");
    assert!(sound.keys >= 200 && sound.bytes > 20_000, "{sound:?}");
    // What is read again and again is in memory by now: only the disk can tell.
    let table = tables(&dir).pop().expect("a table");
    let len = table.metadata().expect("its length").len();
    let flip = |offset| flip(&table, offset);
    for offset in (0..len * 9 / 10).step_by(997) {
        flip(offset);
        match check(&format!("at-{offset}")) {
            Err(Fault::Corrupt(_)) => {}
            // A filter's bit, or a byte that nothing reads: what is read is right all the same.
            Ok(found) => assert_eq!((found.keys, found.bytes), (sound.keys, sound.bytes), "at {offset}"),
            Err(other) => panic!("at {offset} of {len}: {other}"),
        }
        flip(offset);
    }
    flip(len / 3);
    assert!(matches!(check("last"), Err(Fault::Corrupt(_))), "a value in the middle");
}
