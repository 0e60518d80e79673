//! What is written is read back, whatever its shape.

use std::io::Cursor;

use super::*;
use crate::{Db, Items, Usage};

/// The content of a bucket that has no others in it.
fn pairs(mut items: Items<'_, &[u8]>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut out = Vec::new();
    while let Some(item) = items.next().unwrap() {
        assert!(!item.is_bucket);
        out.push((item.key.to_vec(), item.value.to_vec()));
    }
    out
}

fn check(content: &[(Vec<u8>, Vec<u8>)]) -> Usage {
    let mut writer = Writer::new(Cursor::new(Vec::new())).unwrap();
    writer.bucket(b"z-empty").unwrap();
    writer.bucket(b"content").unwrap();
    for (key, value) in content {
        writer.put(key, value).unwrap();
    }
    writer.bucket(b"a-small").unwrap();
    writer.put(b"one", b"1").unwrap();
    let file = writer.finish().unwrap().into_inner();
    assert_eq!(file.len() % PAGE_SIZE, 0);
    let db = Db::open(&file[..]).unwrap();
    let got = pairs(db.bucket(b"content").unwrap());
    assert!(got == content, "{} of {} came back", got.len(), content.len());
    let last = db.bucket(b"content").unwrap().last().unwrap();
    assert_eq!(last.map(|item| item.key.to_vec()), content.last().map(|(key, _)| key.clone()));
    assert_eq!(pairs(db.bucket(b"a-small").unwrap()), [(b"one".to_vec(), b"1".to_vec())]);
    assert_eq!(pairs(db.bucket(b"z-empty").unwrap()), []);
    assert!(matches!(db.bucket(b"none"), Err(Error::NoBucket(_))));
    let usage = db.check().unwrap();
    assert_eq!((usage.buckets, usage.keys), (4, content.len() as u64 + 1 + 3));
    assert_eq!((usage.pages_used, usage.pages_free), (file.len() as u64 / PAGE_SIZE as u64, 0));
    usage
}

fn numbered(count: usize, key_bytes: usize, value_bytes: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let key = |i: usize| {
        let mut key = vec![b'k'; key_bytes - 8];
        key.extend_from_slice(&(i as u64).to_be_bytes());
        key
    };
    (0..count).map(|i| (key(i), vec![i as u8; value_bytes])).collect()
}

#[test]
fn buckets_of_every_size_are_read_back() {
    for count in [0, 1, 2, 7, 8, 9, 100, 5_000, 100_000] {
        check(&numbered(count, 17, 30));
    }
    // As many leaves as children fit into a branch, and one or two more or less.
    for leaves in 120..130 {
        check(&numbered(leaves, 17, 3_000));
    }
    for (key_bytes, value_bytes) in [(17, 5_000), (17, 70_000), (1_500, 0), (3_000, 3_000), (32_768, 1)] {
        for count in 1..24 {
            check(&numbered(count, key_bytes, value_bytes));
        }
    }
    let usage = check(&numbered(3, 17, 3 << 20));
    assert!(usage.pages_used > 3 * 768, "{usage:?}");
}

/// bbolt merges pages when keys are deleted, and gives up on a branch with one child.
#[test]
fn every_branch_has_company_for_its_children() {
    for leaves in [2, 3, 123, 124, 125, 126, 246, 247, 248, 249, 15_129, 15_130, 15_131] {
        let mut writer = Writer::new(Cursor::new(Vec::new())).unwrap();
        writer.bucket(b"b").unwrap();
        for (key, value) in numbered(leaves, 17, 3_000) {
            writer.put(&key, &value).unwrap();
        }
        let file = writer.finish().unwrap().into_inner();
        for page in file.chunks(PAGE_SIZE) {
            let header = Header::parse(page).unwrap();
            assert!(header.flags != BRANCH || header.count >= 2, "{leaves} leaves: {header:?}");
        }
    }
}

#[test]
fn what_the_format_cannot_hold_is_refused() {
    let mut writer = Writer::new(Cursor::new(Vec::new())).unwrap();
    assert!(matches!(writer.put(b"k", b""), Err(Error::Refused(_))), "no bucket");
    writer.bucket(b"b").unwrap();
    writer.put(b"k", b"").unwrap();
    for key in [&b""[..], b"a", b"k", &[b'z'; KEY_BYTES_MAX + 1]] {
        assert!(matches!(writer.put(key, b""), Err(Error::Refused(_))), "{key:?}");
    }
    writer.bucket(b"c").unwrap();
    assert!(matches!(writer.bucket(b"b"), Err(Error::Refused(_))), "twice");
}

#[test]
fn buckets_within_buckets_are_read() {
    let mut writer = Writer::new(Cursor::new(Vec::new())).unwrap();
    let (mut large, mut small) = (Tree::default(), Tree::default());
    for (key, value) in numbered(300, 17, 100) {
        large.put(&mut writer.pages, 0, &key, &value).unwrap();
    }
    small.put(&mut writer.pages, 0, b"x", b"y").unwrap();
    let small = small.inline().unwrap();
    let large = page::bucket(large.close(&mut writer.pages).unwrap());
    let mut middle = Tree::default();
    middle.put(&mut writer.pages, IS_BUCKET, b"large", &large).unwrap();
    middle.put(&mut writer.pages, 0, b"plain", b"value").unwrap();
    middle.put(&mut writer.pages, IS_BUCKET, b"small", &small).unwrap();
    let middle = page::bucket(middle.close(&mut writer.pages).unwrap()).to_vec();
    writer.buckets.insert(b"middle".to_vec(), middle);
    let file = writer.finish().unwrap().into_inner();
    let db = Db::open(&file[..]).unwrap();
    let inner = |name: &[u8]| db.bucket(b"middle").unwrap().bucket(name).unwrap();
    assert_eq!(pairs(inner(b"large").unwrap()), numbered(300, 17, 100));
    assert_eq!(pairs(inner(b"small").unwrap()), [(b"x".to_vec(), b"y".to_vec())]);
    assert!(inner(b"plain").is_none(), "a value is no bucket");
    assert_eq!(db.check().unwrap().buckets, 4);
}
