//! A check of a log that is in use finds what the disk changed, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};

use super::frame::HEADER_BYTES;
use super::prepare::segment_name;
use super::sim_file::SimDir;
use super::{Log, LogConfig, LogDir, OpenError, OsDir};
use crate::types::{Entry, MemberId, Payload, Proposal, Vote, log_id};

const SEGMENT_BYTES: u64 = 64 * 1024;

fn open(dir: Arc<dyn LogDir>) -> Log {
    let config = LogConfig {
        segment_bytes: SEGMENT_BYTES,
        cache_bytes: 4096,
        reserve_bytes: 0,
        on_fatal: Arc::new(|reason| panic!("the log failed: {reason}")),
        ..LogConfig::new(1, 2)
    };
    Log::open(dir, config).unwrap()
}

fn entry(index: u64, bytes: usize) -> Entry {
    let body = Bytes::from(vec![index as u8; bytes]);
    Entry { log_id: log_id(1, index), payload: Payload::Normal(Proposal::encoded(body)) }
}

async fn append(log: &mut Log, indices: std::ops::Range<u64>) {
    for index in indices {
        log.blocking_append(vec![entry(index, 700)]).await.unwrap();
    }
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn a_flipped_bit_is_found_in_every_segment_and_nowhere_else() {
    run(async {
        let dir = SimDir::default();
        let mut log = open(Arc::new(dir.clone()));
        append(&mut log, 0..400).await;
        log.save_vote(&Vote::new_committed(1, MemberId(2))).await.unwrap();
        append(&mut log, 400..410).await;
        let read = log.check(&mut |_| {}).unwrap();
        assert!(read > 410 * 700, "{read}");
        let names: Vec<_> = dir.names().into_iter().filter(|name| name.ends_with(".log")).collect();
        assert!(names.len() >= 5, "{names:?}");

        // The same again after a start: what was recovered is settled as well.
        drop(log);
        let log = open(Arc::new(dir.clone()));
        log.check(&mut |_| {}).unwrap();
        let last = {
            let state = log.shared.state.lock();
            state.segments.iter().filter(|(_, segment)| segment.settled.is_some()).map(|(s, _)| *s).max()
        };
        let last = last.unwrap();
        let mut found = 0;
        for sequence in 1..=last {
            let name = segment_name(sequence);
            let settled = log.shared.state.lock().segments[&sequence].settled.unwrap();
            for at in [0, 100, HEADER_BYTES, HEADER_BYTES + 30, settled.offset / 2, settled.offset - 8] {
                let file = dir.open(&name).unwrap();
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).unwrap();
                file.write_all_at(&[byte[0] ^ 4], at).unwrap();
                match log.check(&mut |_| {}) {
                    Err(OpenError::Damaged { segment, .. }) => assert_eq!(segment, sequence),
                    other => panic!("byte {at} of segment {sequence} went unnoticed: {other:?}"),
                }
                file.write_all_at(&byte, at).unwrap();
                found += 1;
            }
            // Behind the end lies nothing that counts: a frame that is being written.
            if settled.offset + 100 < SEGMENT_BYTES {
                let file = dir.open(&name).unwrap();
                file.write_all_at(&[7; 50], settled.offset).unwrap();
                log.check(&mut |_| {}).unwrap();
                file.write_all_at(&[0; 50], settled.offset).unwrap();
            }
        }
        assert!(found >= 30, "{found}");
        dir.remove(&segment_name(2)).unwrap();
        assert!(matches!(log.check(&mut |_| {}), Err(OpenError::Io(_))));
    });
}

#[test]
fn a_log_that_is_written_truncated_and_purged_meanwhile_is_sound() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(Arc::new(OsDir::open(dir.path()).unwrap()));
    let ended = Arc::new(AtomicBool::new(false));
    let checker = std::thread::spawn({
        let (log, ended) = (log.clone(), ended.clone());
        move || {
            let mut checks = 0;
            while !ended.load(Ordering::Relaxed) || checks == 0 {
                log.check(&mut |_| std::thread::yield_now()).unwrap();
                checks += 1;
            }
            checks
        }
    });
    run(async {
        let mut next = 0;
        for round in 0..12 {
            append(&mut log, next..next + 60).await;
            next += 60;
            if round % 3 == 1 {
                log.truncate_after(Some(log_id(1, next - 21))).await.unwrap();
                next -= 20;
            }
            if round % 4 == 3 {
                log.purge(log_id(1, next - 90)).await.unwrap();
            }
        }
    });
    ended.store(true, Ordering::Relaxed);
    assert!(checker.join().unwrap() > 0);
}
