//! A state that finds no room on its disk: its member waits, and goes on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, WAIT, put, put_surely, small_limits, wait_for};
use trireme_raft::{Limits, ReplicaConfig, etcd};
use trireme_store::engine::{Batch, Engine, EngineError, Model, Size, View};
use trireme_store::{DeleteRequest, Error, KeyRange, Kv, Op, RangeRequest, TxnRequest};

/// An engine whose flushes find no room while `full` is set.
struct Small {
    model: Model,
    full: Arc<AtomicBool>,
}

impl Engine for Small {
    fn read(&self, reader: &mut dyn FnMut(&dyn View)) {
        self.model.read(reader);
    }

    fn write(&self, batch: Batch) -> Result<(), EngineError> {
        self.model.write(batch)
    }

    fn flush(&self) -> Result<(), EngineError> {
        if self.full.load(Ordering::SeqCst) { Err(EngineError::NoSpace) } else { self.model.flush() }
    }

    fn checkpoint(&self, dir: &Path) -> Result<(), EngineError> {
        self.model.checkpoint(dir)
    }

    fn inspect(&self, dir: &Path, reader: &mut dyn FnMut(&dyn View)) -> Result<(), EngineError> {
        self.model.inspect(dir, reader)
    }

    fn install(&self, dir: &Path) -> Result<(), EngineError> {
        self.model.install(dir)
    }

    fn size(&self) -> Size {
        self.model.size()
    }
}

/// Has the member's state find no room while `full` is set.
pub(crate) fn make_small(config: &mut ReplicaConfig, full: &Arc<AtomicBool>) {
    let full = full.clone();
    config.open_engine = Arc::new(move |_: &Path| {
        Ok(Arc::new(Small { model: Model::new(), full: full.clone() }) as Arc<dyn Engine>)
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_without_room_waits_and_ends_nothing() {
    let full = Arc::new(AtomicBool::new(false));
    // A segment that the writes do not fill before they are refused: deletes go into its rest.
    let mut cluster = Cluster::prepare(1, Limits { log_segment_bytes: 16 << 20, ..small_limits() });
    let config = &mut cluster.members[0].config;
    make_small(config, &full);
    config.on_fatal = Arc::new(|reason| panic!("the member ended: {reason}"));
    cluster.start_member(0).await;
    let replica = cluster.replica(0).clone();
    put_surely(&replica, "first", "v").await;
    full.store(true, Ordering::SeqCst);
    let flushed = replica.status().flushed_index;
    let value = "x".repeat(4000);
    let deadline = Instant::now() + WAIT;
    for i in 0.. {
        match replica.txn(put(format!("k{i}"), value.clone())).await {
            Ok(_) => assert!(Instant::now() < deadline, "writes are not refused"),
            Err(error) => {
                assert_eq!(error, Error::NoSpace);
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // The disk below the engine has room, so that the flag goes and comes with each try.
    let named = || replica.status().problems.iter().any(|problem| problem.contains("disk is full"));
    wait_for("the problem to be named", || named().then_some(())).await;
    let read = replica.range(RangeRequest::new(KeyRange::key("first"))).await.unwrap();
    assert_eq!(read.count, 1);
    let delete = Op::Delete(DeleteRequest { range: KeyRange::key("first"), prev_kv: false });
    replica.txn(TxnRequest { success: vec![delete], ..TxnRequest::default() }).await.unwrap();
    loop {
        match replica.txn(put("k", "v")).await {
            Ok(_) => assert!(Instant::now() < deadline, "writes are not refused any more"),
            Err(error) => {
                assert_eq!(error, Error::NoSpace);
                break;
            }
        }
    }

    full.store(false, Ordering::SeqCst);
    wait_for("the flush", || (replica.status().flushed_index > flushed).then_some(())).await;
    loop {
        match replica.txn(put("k", "v")).await {
            Ok(_) => break,
            Err(error) => assert_eq!(error, Error::NoSpace),
        }
        assert!(Instant::now() < deadline, "writes do not resume");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(replica);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_without_room_takes_writes_for_those_who_have_it() {
    let mut cluster = Cluster::prepare(3, Limits { log_segment_bytes: 16 << 20, ..small_limits() });
    let disks: [Arc<AtomicBool>; 3] = Default::default();
    for (i, full) in disks.iter().enumerate() {
        make_small(&mut cluster.members[i].config, full);
        cluster.start_member(i).await;
    }
    let follower = (cluster.leader().await + 1) % 3;
    let (full, follower) = (&disks[follower], cluster.replica(follower).clone());
    put_surely(&follower, "first", "v").await;
    full.store(true, Ordering::SeqCst);
    let value = "x".repeat(4000);
    let deadline = Instant::now() + WAIT;
    // The flag goes and comes with each try to flush.
    let mut times_full = 0;
    for i in 0.. {
        let was_full = !etcd::Backend::has_room(&follower);
        let outcome = follower.txn(put(format!("k{}", i % 20), value.clone())).await;
        assert_ne!(outcome.err(), Some(Error::NoSpace), "with the disk full: {was_full}");
        times_full += usize::from(was_full);
        if times_full == 20 {
            break;
        }
        assert!(Instant::now() < deadline, "the disk was never full");
    }
    full.store(false, Ordering::SeqCst);
    drop(follower);
    cluster.stop().await;
}
