//! Watches: limits, ends, and many threads at once. What every implementation must do is in the
//! suite.

use std::sync::Arc;

use futures::StreamExt;
use futures::executor::block_on;

use super::{apply, put};
use crate::engine::Model;
use crate::kv::{
    Error, KeyRange, Op, PutRequest, Revision, TxnRequest, WatchItem, WatchRequest, WatchStream,
};
use crate::log::CommandOp;
use crate::machine::Store;
use crate::watch::HubLimits;

fn small() -> Store {
    let limits = HubLimits {
        ring_events: 8,
        ring_bytes: 1 << 20,
        watcher_events: 4,
        watcher_bytes: 1000,
        ..HubLimits::default()
    };
    Store::open_with(Arc::new(Model::new()), limits).expect("open")
}

fn watch(store: &Store, key: &str, from: Revision) -> WatchStream {
    store.watch(WatchRequest::new(KeyRange::key(key.to_owned()), from)).expect("watch")
}

fn events(stream: &mut WatchStream) -> usize {
    match block_on(stream.next()) {
        Some(Ok(WatchItem::Events { events, .. })) => events.len(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_slow_watch_is_cancelled_and_others_are_not() {
    let store = small();
    let (mut slow, mut quick) = (watch(&store, "a", Revision(0)), watch(&store, "a", Revision(0)));
    for i in 0..5 {
        apply(&store, put("a", &i.to_string()));
        assert_eq!(events(&mut quick), 1);
    }
    assert_eq!(block_on(slow.next()), Some(Err(Error::SlowWatcher { buffered: 5 })));
    assert_eq!(block_on(slow.next()), None);
    assert_eq!(store.live_watches(), 1);
    apply(&store, put("a", "more"));
    assert_eq!(events(&mut quick), 1);
}

#[test]
fn waiting_bytes_are_bounded_too() {
    let store = small();
    let mut slow = watch(&store, "a", Revision(0));
    apply(&store, put("a", &"x".repeat(2000)));
    assert_eq!(events(&mut slow), 1, "one revision alone may be larger");
    apply(&store, put("a", &"x".repeat(400)));
    apply(&store, put("a", &"x".repeat(700)));
    assert_eq!(block_on(slow.next()), Some(Err(Error::SlowWatcher { buffered: 2 })));
}

#[test]
fn what_waits_for_all_watches_together_is_bounded() {
    let limits = HubLimits { ring_events: 1, held_bytes: 16_000, ..HubLimits::default() };
    let store = Store::open_with(Arc::new(Model::new()), limits).expect("open");
    let value = "x".repeat(500);
    let mut watches: Vec<_> = (0..4).map(|i| watch(&store, &i.to_string(), Revision(0))).collect();
    let mut same = watch(&store, "3", Revision(0));
    // Each its own 4,505 bytes, with what was there before; the last two hold the same.
    for i in 0..4 {
        for _ in 0..5 {
            apply(&store, put(&i.to_string(), &value));
        }
    }
    let counts = store.watch_counts();
    assert!(counts.held_bytes <= 16_000 && counts.queued_bytes > counts.held_bytes, "{counts:?}");
    assert_eq!((counts.slow_cancelled, counts.live), (1, 4), "the one that is furthest behind");
    let ended = block_on(watches.remove(0).next());
    assert_eq!(ended, Some(Err(Error::SlowWatcher { buffered: 5 })));
    for stream in watches.iter_mut().chain([&mut same]) {
        assert_eq!(events(stream), 5);
    }
    let held = store.watch_counts().held_bytes;
    assert!(held < 1200, "only what the ring keeps, not {held}");
}

#[test]
fn a_watch_older_than_the_ring_reads_the_engine() {
    let store = small();
    for i in 0..100 {
        apply(&store, put("a", &i.to_string()));
    }
    let mut past = watch(&store, "a", Revision(2));
    let mut seen = 0;
    while seen < 100 {
        seen += events(&mut past);
    }
    assert_eq!((seen, store.live_watches()), (100, 0), "live once it is asked again");
    apply(&store, put("a", "now"));
    assert_eq!(events(&mut past), 1);
    assert_eq!(store.live_watches(), 1);
    drop(past);
    assert_eq!(store.live_watches(), 0);
}

/// The bound of a chunk of history falls within a revision, and gives way.
#[test]
fn a_revision_read_from_the_engine_is_whole() {
    const PUTS: usize = 100;
    let store = small();
    for i in 0..20 {
        let ops = (0..PUTS).map(|k| Op::Put(PutRequest::new(format!("k{k}"), i.to_string()))).collect();
        apply(&store, CommandOp::Txn(TxnRequest { success: ops, ..Default::default() }));
    }
    let mut past = store.watch(WatchRequest::new(KeyRange::prefix("k"), Revision(2))).expect("watch");
    let mut seen = 0;
    while seen < 20 * PUTS {
        let events = events(&mut past);
        assert_eq!(events % PUTS, 0, "a revision was cut");
        seen += events;
    }
}

#[test]
fn ended_watches_give_what_they_owe_first() {
    let store = small();
    apply(&store, put("a", "1"));
    let (mut live, mut starting) = (watch(&store, "a", Revision(0)), watch(&store, "a", Revision(2)));
    for i in 0..20 {
        apply(&store, put("b", &i.to_string()));
    }
    let mut catching_up = watch(&store, "a", Revision(2));
    apply(&store, put("a", "2"));
    store.end_watches(Error::NoLeader);
    assert_eq!(events(&mut live), 1);
    assert_eq!(block_on(live.next()), Some(Err(Error::NoLeader)));
    assert_eq!(events(&mut starting), 2);
    assert_eq!(block_on(starting.next()), Some(Err(Error::NoLeader)));
    assert_eq!(block_on(catching_up.next()), Some(Err(Error::NoLeader)));
    let mut later = watch(&store, "a", Revision(0));
    apply(&store, put("a", "3"));
    assert_eq!(events(&mut later), 1);
    drop(store);
    assert_eq!(block_on(later.next()), None, "the store is closed");
}

/// Writers, watches from everywhere, and compaction at once: each event once and in order.
#[test]
fn exactly_once_while_everything_happens() {
    const WRITES: i64 = 3000;
    let limits = HubLimits { ring_events: 64, ..HubLimits::default() };
    let store = Store::open_with(Arc::new(Model::new()), limits).expect("open");
    std::thread::scope(|scope| {
        for reader in 0..4 {
            let store = &store;
            scope.spawn(move || {
                let mut next = Revision(2);
                while next.0 < 2 + WRITES {
                    let request = WatchRequest::new(KeyRange::prefix("k"), next);
                    let mut stream = store.watch(request).expect("watch");
                    for _ in 0..=reader * 20 {
                        let Some(Ok(WatchItem::Events { revision, events })) = block_on(stream.next()) else {
                            panic!("a watch ended")
                        };
                        for event in &events {
                            assert_eq!(event.kv.mod_revision, next, "every revision, once, in order");
                            assert_eq!(event.kv.value, next.0.to_string());
                            next.0 += 1;
                        }
                        assert_eq!(revision.0, next.0 - 1);
                        if next.0 >= 2 + WRITES {
                            break;
                        }
                    }
                }
            });
        }
        for i in 0..WRITES {
            apply(&store, put(&format!("k{}", i % 13), &(i + 2).to_string()));
        }
    });
}
