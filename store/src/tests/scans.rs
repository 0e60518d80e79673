use bytes::Bytes;

use super::{apply, model, put};
use crate::kv::{DeleteRequest, Error, KeyRange, Op, RangeRequest, Revision, TxnRequest};
use crate::log::CommandOp;
use crate::machine::Store;

fn delete(key: &'static str) -> CommandOp {
    let delete = DeleteRequest { range: KeyRange::key(key), prev_kv: false };
    CommandOp::Txn(TxnRequest { success: vec![Op::Delete(delete)], ..Default::default() })
}

/// Revisions 2 to 9: keys overwritten, deleted, and made again.
fn filled() -> Store {
    let (_, store) = model();
    let commands = [
        put("a", "1"),
        put("b", "1"),
        put("a", "2"),
        delete("b"),
        put("c", "1"),
        delete("c"),
        put("b", "2"),
        put("a", "3"),
    ];
    for command in commands {
        apply(&store, command);
    }
    store
}

fn hash(store: &Store, revision: i64) -> u32 {
    store.hash_kv(Revision(revision)).expect("a hash").hash
}

#[test]
fn a_hash_of_history_is_of_one_revision_and_one_compaction() {
    let (one, other) = (filled(), filled());
    for revision in 1..=9 {
        assert_eq!(hash(&one, revision), hash(&other, revision), "at {revision}");
    }
    let all: std::collections::BTreeSet<u32> = (1..=9).map(|revision| hash(&one, revision)).collect();
    assert_eq!(all.len(), 9, "every change changes it");
    let before = hash(&one, 6);
    apply(&one, put("later", "v"));
    assert_eq!(hash(&one, 6), before, "what comes later does not");
    assert_eq!(one.hash_kv(Revision(0)).expect("a hash").revision, Revision(10));
    assert_eq!(one.hash_kv(Revision(11)), Err(Error::FutureRevision { current: Revision(10) }));
}

#[tokio::test]
async fn it_does_not_depend_on_how_far_the_disk_was_cleaned() {
    // One is compacted in steps, with the disk cleaned after each; the other at once.
    let (stepwise, at_once) = (filled(), filled());
    for revision in [3, 5, 7] {
        apply(&stepwise, CommandOp::Compact(Revision(revision)));
        stepwise.scrubbed(Revision(revision)).await.expect("cleaned");
    }
    apply(&at_once, CommandOp::Compact(Revision(7)));
    // Cleaned or not yet: it must not show.
    for _ in 0..2 {
        for revision in 7..=9 {
            assert_eq!(hash(&stepwise, revision), hash(&at_once, revision), "at {revision}");
        }
        at_once.scrubbed(Revision(7)).await.expect("cleaned");
    }
    let compacted = Err(Error::Compacted { compact_revision: Revision(7) });
    assert_eq!(at_once.hash_kv(Revision(6)), compacted);
    assert_ne!(hash(&at_once, 9), hash(&filled(), 9), "a compaction is part of it");
}

#[test]
fn pages_make_up_the_range() {
    let (_, store) = model();
    for i in 0..50 {
        apply(&store, put(&format!("k{i:02}"), &"v".repeat(i)));
    }
    let at = store.revision();
    apply(&store, put("k10", "changed meanwhile"));
    let whole = RangeRequest {
        revision: at,
        min_mod_revision: Revision(5),
        ..RangeRequest::new(KeyRange::prefix("k"))
    };
    let expected = store.range(&whole).expect("a range");
    for bytes_max in [1, 200, 1 << 20] {
        let (mut kvs, mut walked, mut pages) = (Vec::new(), 0, 0);
        let mut rest = Some(whole.range.clone());
        while let Some(range) = rest {
            let page = RangeRequest { range, ..whole.clone() };
            let page = store.range_page(&page, bytes_max).expect("a page");
            kvs.extend(page.kvs);
            walked += page.walked;
            pages += 1;
            rest = page.rest;
        }
        assert_eq!((kvs, walked), (expected.kvs.clone(), expected.count));
        assert_eq!(pages == 1, bytes_max == 1 << 20, "{pages} pages of {bytes_max} bytes");
    }
    let limited = RangeRequest { limit: 3, ..whole.clone() };
    let page = store.range_page(&limited, 1 << 20).expect("a page");
    assert_eq!((page.kvs.len(), page.rest.map(|rest| rest.start)), (3, Some(Bytes::from("k06"))));
    apply(&store, CommandOp::Compact(Revision(at.0 + 1)));
    let compact_revision = Revision(at.0 + 1);
    assert_eq!(store.range_page(&whole, 1), Err(Error::Compacted { compact_revision }));
}

#[test]
fn counts_are_right_from_page_to_page() {
    let (_, store) = model();
    for i in 0..60 {
        apply(&store, put(&format!("k{i:02}"), "1"));
    }
    let first = store.revision();
    // Readers at two revisions, one of which skips pages, among writes that come and go.
    let mut readers = [(first, 3_usize, 0_usize), (Revision(0), 7, 0), (first, 1, 20)];
    for round in 0..40 {
        apply(&store, put(&format!("k{:02}a", round % 50), "2"));
        if round % 3 == 0 {
            apply(&store, put("j", "before all"));
            apply(&store, delete("k30"));
        }
        for (revision, limit, at) in &mut readers {
            let start = format!("k{at:02}");
            let range = KeyRange { start: start.into(), end: Bytes::from_static(b"l") };
            let request =
                RangeRequest { limit: *limit as i64, revision: *revision, ..RangeRequest::new(range) };
            let counted = RangeRequest { limit: 0, count_only: true, ..request.clone() };
            let page = store.range(&request).expect("a page");
            assert_eq!(page.count, store.range(&counted).expect("a count").count, "{request:?}");
            assert_eq!(page.more, page.count > *limit as i64);
            assert_eq!(page.kvs.len() as i64, page.count.min(*limit as i64));
            *at = (*at + *limit * (1 + round % 2)) % 60;
        }
    }
}
