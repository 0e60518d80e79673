//! Damaged and hostile files end in errors: no panic, no endless loop, no memory beyond the file.

use std::io::Cursor;

use bytes::Bytes;
use trireme_bolt::etcd::{Change, KeyValue, Lease, Position, Revision, Snapshot, SnapshotWriter};
use trireme_bolt::{Db, Error, PAGE_SIZE, Writer};

fn put(main: i64, key: &str, value: &[u8]) -> (Revision, Change) {
    let kv = KeyValue {
        key: Bytes::copy_from_slice(key.as_bytes()),
        create_revision: main,
        mod_revision: main,
        version: 1,
        value: Bytes::copy_from_slice(value),
        lease: 7,
    };
    (Revision { main, sub: 0 }, Change::Put(kv))
}

/// A few pages: leaves, a branch, a value that runs over, small buckets within the root's leaf.
fn small_file() -> Vec<u8> {
    let mut writer = SnapshotWriter::new(Cursor::new(Vec::new())).unwrap();
    for i in 0..60 {
        let (revision, change) = put(i + 2, &format!("/key/{i}"), &[b'v'; 100]);
        writer.put(revision, &change).unwrap();
    }
    let (revision, change) = put(100, "/large", &[b'L'; 6_000]);
    writer.put(revision, &change).unwrap();
    writer.put(Revision { main: 101, sub: 3 }, &Change::Delete("/key/7".into())).unwrap();
    let position = Position { index: 5, term: 2, voters: vec![1] };
    let leases = [Lease { id: 7, ttl_s: 60, remaining_ttl_s: 0 }];
    writer.finish(leases, 1, &position).unwrap().into_inner()
}

/// Reads all that a file has, in every way there is.
fn read_all(file: &[u8]) -> Result<usize, Error> {
    let db = Db::open(file)?;
    let mut first = db.check().err();
    let snapshot = Snapshot::open(file)?;
    let mut changes = snapshot.changes()?;
    let mut count = 0;
    loop {
        match changes.next() {
            Ok(Some(_)) => count += 1,
            Ok(None) => break,
            Err(error) => {
                first.get_or_insert(error);
                break;
            }
        }
    }
    let mut live = snapshot.live(|_| true)?;
    while live.next()?.is_some() {}
    first.map_or(Ok(count), Err)
}

#[test]
fn every_flipped_bit_is_survived_and_with_a_digest_found() {
    let file = small_file();
    assert_eq!(read_all(&file).unwrap(), 62);
    let mut named = 0;
    let mut damaged = file.clone();
    // Every byte of headers and elements, and of the content now and then.
    for at in (0..file.len()).filter(|at| at % PAGE_SIZE < 400 || at % 61 == 0) {
        for bit in [0, 1, 4, 7] {
            damaged[at] ^= 1 << bit;
            match read_all(&damaged) {
                Ok(_) => {}
                Err(Error::Damaged { page, .. }) => {
                    named += 1;
                    assert!(page < 1 << 63 || at < file.len());
                }
                Err(Error::Digest | Error::Refused(_) | Error::Io(_)) => panic!("bit {bit} of byte {at}"),
                Err(_) => {}
            }
            damaged[at] ^= 1 << bit;
        }
    }
    assert!(named > 500, "{named} flips were found at a page");

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snapshot.db");
    std::fs::write(&path, &file).unwrap();
    let mut open = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    trireme_bolt::append_digest(&mut open).unwrap();
    let mut sealed = std::fs::read(&path).unwrap();
    assert_eq!(sealed.len(), file.len() + 32);
    assert_eq!(read_all(&sealed).unwrap(), 62);
    assert!(Db::open(&sealed[..]).unwrap().is_verified() && !Db::open(&file[..]).unwrap().is_verified());
    for at in (0..sealed.len()).step_by(37).chain(file.len()..sealed.len()) {
        sealed[at] ^= 0x10;
        assert!(matches!(read_all(&sealed), Err(Error::Digest)), "byte {at}");
        sealed[at] ^= 0x10;
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let file = small_file();
    for len in 0..file.len() {
        match read_all(&file[..len]) {
            Err(Error::Truncated { .. } | Error::NotADatabase(_) | Error::Digest) => {}
            other => panic!("cut at {len}: {other:?}"),
        }
    }
}

fn header(file: &[u8], page: usize) -> (u64, u16, u16) {
    let at = page * PAGE_SIZE;
    let number = |at: usize| u16::from_le_bytes(file[at..at + 2].try_into().unwrap());
    (u64::from_le_bytes(file[at..at + 8].try_into().unwrap()), number(at + 8), number(at + 10))
}

/// Pages of a kind: 1 branch, 2 leaf.
fn pages_of(file: &[u8], kind: u16) -> Vec<usize> {
    let all = 2..file.len() / PAGE_SIZE;
    all.filter(|&page| header(file, page).1 == kind && header(file, page).0 == page as u64).collect()
}

#[test]
fn pages_in_a_circle_and_pages_used_twice_end_the_reading() {
    let mut writer = Writer::new(Cursor::new(Vec::new())).unwrap();
    writer.bucket(b"key").unwrap();
    for i in 0..3_000u32 {
        writer.put(&i.to_be_bytes(), &[0; 500]).unwrap();
    }
    let file = writer.finish().unwrap().into_inner();
    let branches = pages_of(&file, 1);
    let first_leaf = pages_of(&file, 2)[0];
    assert!(branches.len() > 3);
    let walk = |file: &[u8]| -> Result<u64, Error> {
        let mut items = 0;
        let db = Db::open(file)?;
        let mut bucket = db.bucket(b"key")?;
        while bucket.next()?.is_some() {
            items += 1;
        }
        Ok(items)
    };
    assert_eq!(walk(&file).unwrap(), 3_000);
    for &branch in &branches {
        for child in 0..usize::from(header(&file, branch).2) {
            for target in [branch, branches[branches.len() - 1], first_leaf, 0, 2, 1 << 40] {
                let mut hostile = file.clone();
                let at = branch * PAGE_SIZE + 16 + 16 * child + 8;
                let was = u64::from_le_bytes(hostile[at..at + 8].try_into().unwrap());
                if was == target as u64 {
                    continue;
                }
                hostile[at..at + 8].copy_from_slice(&(target as u64).to_le_bytes());
                let (walked, checked) = (walk(&hostile), Db::open(&hostile[..]).unwrap().check());
                assert!(checked.is_err(), "{branch} {child} {target}");
                // A way that leaves keys out in the middle is in order: only the check sees it.
                let shorter = target == first_leaf && child == 0 && matches!(walked, Ok(n) if n < 3_000);
                assert!(matches!(walked, Err(Error::Damaged { .. })) || shorter, "{branch} {child} {target}");
            }
        }
    }
}

/// Each branch leads to the next one a hundred times, and the last to a leaf without keys: followed
/// to its end, this has no end.
#[test]
fn pages_that_multiply_end_the_reading() {
    let mut writer = Writer::new(Cursor::new(Vec::new())).unwrap();
    writer.bucket(b"key").unwrap();
    for i in 0..10_000u32 {
        writer.put(&i.to_be_bytes(), &[0; 500]).unwrap();
    }
    let mut file = writer.finish().unwrap().into_inner();
    let branches = pages_of(&file, 1);
    assert!(branches.len() > 8);
    let leaf = pages_of(&file, 2)[0];
    file[leaf * PAGE_SIZE + 10..leaf * PAGE_SIZE + 12].fill(0);
    // The root of the bucket is the last one written.
    for (i, &branch) in branches.iter().enumerate() {
        let next = if i == 0 { leaf } else { branches[i - 1] } as u64;
        for child in 0..usize::from(header(&file, branch).2) {
            let at = branch * PAGE_SIZE + 16 + 16 * child + 8;
            file[at..at + 8].copy_from_slice(&next.to_le_bytes());
        }
    }
    let db = Db::open(&file[..]).unwrap();
    let walked = db.bucket(b"key").unwrap().next();
    assert!(matches!(walked, Err(Error::Damaged { .. })), "{walked:?}");
    assert!(db.check().is_err());
}

#[test]
fn a_page_that_claims_to_be_huge_takes_no_memory() {
    let file = small_file();
    for page in pages_of(&file, 2) {
        let mut hostile = file.clone();
        hostile[page * PAGE_SIZE + 12..page * PAGE_SIZE + 16].copy_from_slice(&u32::MAX.to_le_bytes());
        match read_all(&hostile) {
            Err(Error::Damaged { page: named, .. }) => assert_eq!(named, page as u64),
            other => panic!("{other:?}"),
        }
    }
}
