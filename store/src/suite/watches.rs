//! Watches: ordered, each event once, a revision whole, from the past and from now on.

use futures::StreamExt;

use super::{DEADLINE, Suite};
use crate::kv::{
    DeleteRequest, Error, Event, EventKind, KeyRange, Op, PutRequest, Revision, WatchItem, WatchRequest,
    WatchStream,
};

/// A watch, checking on the way what must hold of every watch.
struct Followed {
    stream: WatchStream,
    seen: Revision,
}

impl Followed {
    async fn next(&mut self) -> Option<Result<WatchItem, Error>> {
        let item =
            tokio::time::timeout(DEADLINE, self.stream.next()).await.expect("nothing came from a watch");
        if let Some(Ok(item)) = &item {
            self.check(item);
        }
        item
    }

    fn check(&mut self, item: &WatchItem) {
        match item {
            WatchItem::Events { revision, events } => {
                assert!(!events.is_empty());
                for event in events {
                    assert!(event.kv.mod_revision > self.seen, "repeated or out of order: {events:?}");
                }
                let revisions: Vec<_> = events.iter().map(|event| event.kv.mod_revision).collect();
                assert!(revisions.is_sorted() && revisions.last() == Some(revision), "{revisions:?}");
                self.seen = *revision;
            }
            WatchItem::Progress { revision } => {
                assert!(*revision >= self.seen, "progress went back");
                self.seen = *revision;
            }
        }
    }

    /// The next `n` events.
    async fn events(&mut self, n: usize) -> Vec<Event> {
        let mut all = Vec::new();
        while all.len() < n {
            match self.next().await {
                Some(Ok(WatchItem::Events { events, .. })) => all.extend(events),
                Some(Ok(WatchItem::Progress { .. })) => {}
                other => panic!("a watch ended with {other:?} after {all:?}"),
            }
        }
        assert_eq!(all.len(), n, "{all:?}");
        all
    }
}

fn names(events: &[Event]) -> Vec<String> {
    let name = |event: &Event| {
        let sign = if event.kind == EventKind::Put { '+' } else { '-' };
        format!("{sign}{}", String::from_utf8_lossy(&event.kv.key))
    };
    events.iter().map(name).collect()
}

impl Suite {
    pub(super) async fn watches(&self) {
        self.live().await;
        self.past_changes().await;
        self.whole_revisions().await;
        self.filters().await;
        self.many().await;
        self.progress().await;
        self.resume().await;
    }

    async fn follow(&self, request: WatchRequest) -> Followed {
        let seen = Revision(request.start_revision.0 - 1);
        Followed { stream: self.kv.watch(request).await.expect("watch"), seen }
    }

    async fn live(&self) {
        let mut key = self.follow(WatchRequest::new(KeyRange::key("live/a"), Revision(0))).await;
        let mut prefix = self.follow(WatchRequest::new(KeyRange::prefix("live/"), Revision(0))).await;
        let range = KeyRange { start: "live/b".into(), end: "live/d".into() };
        let mut range = self.follow(WatchRequest::new(range, Revision(0))).await;
        for name in ["live/a", "live/b", "live/c", "live/d", "livf"] {
            self.set(name, name).await;
        }
        self.delete(KeyRange::key("live/a"), false).await;
        assert_eq!(names(&key.events(2).await), ["+live/a", "-live/a"]);
        assert_eq!(names(&range.events(2).await), ["+live/b", "+live/c"]);
        let all = prefix.events(5).await;
        assert_eq!(names(&all), ["+live/a", "+live/b", "+live/c", "+live/d", "-live/a"]);
        assert_eq!(all[1].kv, self.get("live/b").await.expect("put"));
        assert!(all.iter().all(|event| event.prev_kv.is_none()));
        let gone = &all[4].kv;
        assert!(
            gone.value.is_empty() && gone.version == 0 && gone.create_revision == Revision(0),
            "{gone:?}"
        );
    }

    async fn past_changes(&self) {
        let first = self.set("past/a", "1").await;
        self.set("past/a", "2").await;
        self.delete(KeyRange::key("past/a"), false).await;
        let last = self.set("past/b", "1").await;
        let mut all = self.follow(WatchRequest::new(KeyRange::prefix("past/"), first)).await;
        assert_eq!(names(&all.events(4).await), ["+past/a", "+past/a", "-past/a", "+past/b"]);
        let mut some = self.follow(WatchRequest::new(KeyRange::prefix("past/"), last)).await;
        assert_eq!(names(&some.events(1).await), ["+past/b"]);
        let now = self.now().await;
        let mut future = self.follow(WatchRequest::new(KeyRange::prefix("past/"), Revision(now.0 + 2))).await;
        self.set("past/skipped", "1").await;
        self.set("past/seen", "1").await;
        assert_eq!(names(&future.events(1).await), ["+past/seen"]);
        assert_eq!(names(&all.events(2).await), ["+past/skipped", "+past/seen"]);
    }

    async fn whole_revisions(&self) {
        let before = self.now().await;
        let mut live = self.follow(WatchRequest::new(KeyRange::prefix("whole/"), Revision(0))).await;
        let ops = (0..100).map(|i| Op::Put(PutRequest::new(format!("whole/{i:03}"), "v"))).collect();
        let revision = self.txn(ops).await.expect("txn").revision;
        let delete = Op::Delete(DeleteRequest { range: KeyRange::prefix("whole/"), prev_kv: false });
        self.txn(vec![delete]).await.expect("txn");
        let mut past =
            self.follow(WatchRequest::new(KeyRange::prefix("whole/"), Revision(before.0 + 1))).await;
        for watch in [&mut live, &mut past] {
            let mut events = 0;
            while events < 200 {
                let Some(Ok(WatchItem::Events { events: some, .. })) = watch.next().await else {
                    panic!("a watch ended")
                };
                events += some.len();
                assert_eq!(some.len() % 100, 0, "a revision was cut");
                if some[0].kv.mod_revision == revision {
                    assert_eq!(some[99].kv.mod_revision, revision);
                }
            }
        }
    }

    async fn filters(&self) {
        let before = self.now().await;
        let request = |start| WatchRequest::new(KeyRange::prefix("filter/"), start);
        let variants = |start| {
            [
                WatchRequest { prev_kv: true, ..request(start) },
                WatchRequest { no_put: true, ..request(start) },
                WatchRequest { no_delete: true, ..request(start) },
            ]
        };
        let mut watches = Vec::new();
        for variant in variants(Revision(0)) {
            watches.push(self.follow(variant).await);
        }
        self.set("filter/a", "1").await;
        self.set("filter/a", "2").await;
        self.delete(KeyRange::key("filter/a"), false).await;
        self.set("filter/z", "end").await;
        self.delete(KeyRange::key("filter/z"), false).await;
        for variant in variants(Revision(before.0 + 1)) {
            watches.push(self.follow(variant).await);
        }
        for three in watches.chunks_mut(3) {
            let events = three[0].events(5).await;
            let previous: Vec<_> =
                events.iter().map(|e| e.prev_kv.as_ref().map(|kv| kv.value.clone())).collect();
            assert_eq!(previous, [None, Some("1".into()), Some("2".into()), None, Some("end".into())]);
            assert_eq!(names(&three[1].events(2).await), ["-filter/a", "-filter/z"]);
            assert_eq!(names(&three[2].events(3).await), ["+filter/a", "+filter/a", "+filter/z"]);
        }
    }

    /// Many watches at once, each on its own key and all on one.
    async fn many(&self) {
        let mut watches = Vec::new();
        for i in 0..200 {
            let range = KeyRange::key(format!("many/{i}"));
            watches.push((i, self.follow(WatchRequest::new(range, Revision(0))).await));
            watches.push((200, self.follow(WatchRequest::new(KeyRange::key("many/200"), Revision(0))).await));
        }
        for i in 0..=200 {
            self.set(&format!("many/{i}"), "v").await;
        }
        for (i, watch) in &mut watches {
            assert_eq!(names(&watch.events(1).await), [format!("+many/{i}")]);
        }
    }

    /// A barrier's revision is reached by a watch in whose range nothing happens.
    async fn progress(&self) {
        let mut request = WatchRequest::new(KeyRange::prefix("quiet/"), Revision(0));
        request.progress_notify = true;
        let mut quiet = self.follow(request).await;
        for round in 0..3 {
            // At first nothing happens anywhere: the watch does not know from which revision it is.
            let written = if round == 0 { Revision(0) } else { self.set("noise", "v").await };
            let barrier = self.now().await;
            assert!(barrier >= written);
            while quiet.seen < barrier {
                match quiet.next().await {
                    Some(Ok(WatchItem::Progress { .. })) => {}
                    other => panic!("a quiet watch gave {other:?}"),
                }
            }
        }
        let revision = self.set("quiet/a", "v").await;
        self.now().await;
        // Never progress past an event that was not given yet.
        while quiet.seen < revision {
            match quiet.next().await {
                Some(Ok(WatchItem::Events { events, .. })) => assert_eq!(names(&events), ["+quiet/a"]),
                Some(Ok(WatchItem::Progress { revision: to })) => assert!(to < revision),
                other => panic!("a watch ended with {other:?}"),
            }
        }
    }

    /// Watches dropped and begun again at the next revision see everything once, while written to.
    async fn resume(&self) {
        const WRITES: usize = 300;
        let start = Revision(self.now().await.0 + 1);
        let write = async {
            for i in 0..WRITES {
                self.set(&format!("resume/{:03}", i % 7), &i.to_string()).await;
            }
        };
        let read = async {
            let mut values = Vec::new();
            let mut next = start;
            while values.len() < WRITES {
                let mut watch = self.follow(WatchRequest::new(KeyRange::prefix("resume/"), next)).await;
                for _ in 0..3 {
                    if let Some(Ok(WatchItem::Events { revision, events })) = watch.next().await {
                        values.extend(events.into_iter().map(|event| event.kv.value));
                        next = Revision(revision.0 + 1);
                    }
                    if values.len() >= WRITES {
                        break;
                    }
                }
            }
            values
        };
        let (values, ()) = futures::future::join(read, write).await;
        let expected: Vec<_> = (0..WRITES).map(|i| i.to_string()).collect();
        assert_eq!(values, expected);
    }

    /// A watch from before the compaction is told the compact revision; one from it works.
    pub(super) async fn compacted_watch(&self, before: Revision, compact: Revision) {
        let cancelled = match self.kv.watch(WatchRequest::new(KeyRange::prefix("compact/"), before)).await {
            Ok(mut stream) => tokio::time::timeout(DEADLINE, stream.next()).await.expect("an end"),
            Err(error) => Some(Err(error)),
        };
        assert_eq!(cancelled, Some(Err(Error::Compacted { compact_revision: compact })));
        let mut watch = self.follow(WatchRequest::new(KeyRange::prefix("compact/"), compact)).await;
        assert_eq!(names(&watch.events(1).await), ["-compact/gone"], "the compact revision itself is kept");
    }
}
