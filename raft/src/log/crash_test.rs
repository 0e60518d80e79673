//! What the log has said is durable survives each crash; what the disk changed is never taken for
//! the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use openraft::storage::{RaftLogReader, RaftLogStorage, RaftLogStorageExt};

use super::frame::{self, FRAME_HEADER_BYTES, HEADER_BYTES};
use super::prepare::segment_name;
use super::sim_file::{Change, SimDir};
use super::{Log, LogConfig, LogDir, OpenError};
use crate::types::{Entry, MemberId, Payload, Proposal, Vote, log_id};

const SEGMENT_BYTES: u64 = 32 * 1024;

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: SEGMENT_BYTES,
        cache_bytes: 4096,
        reserve_bytes: 0,
        on_fatal: Arc::new(|reason| panic!("the log failed: {reason}")),
        ..LogConfig::new(1, 2)
    }
}

fn open(dir: &SimDir) -> Result<Log, OpenError> {
    Log::open(Arc::new(dir.clone()), config())
}

fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    let body = Bytes::from(vec![index as u8; bytes]);
    Entry { log_id: log_id(term, index), payload: Payload::Normal(Proposal::encoded(body)) }
}

fn run<F: std::future::Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

async fn append(log: &mut Log, entries: impl IntoIterator<Item = Entry>) {
    log.blocking_append(entries.into_iter().collect::<Vec<_>>()).await.unwrap();
}

async fn all(log: &mut Log) -> Vec<Entry> {
    log.try_get_log_entries(..).await.unwrap()
}

#[test]
fn a_power_loss_leaves_what_was_acknowledged() {
    run(async {
        let dir = SimDir::default();
        let mut log = open(&dir).unwrap();
        append(&mut log, (0..20).map(|i| entry(1, i, 300))).await;
        log.save_vote(&Vote::new_committed(2, MemberId(7))).await.unwrap();
        log.truncate_after(Some(log_id(1, 14))).await.unwrap();
        append(&mut log, (15..18).map(|i| entry(2, i, 300))).await;
        log.save_committed(Some(log_id(1, 12))).await.unwrap();
        append(&mut log, (18..200).map(|i| entry(2, i, 300))).await;

        let mut again = open(&dir.after_power_loss()).unwrap();
        assert_eq!(all(&mut again).await, all(&mut log).await);
        assert_eq!(again.last(), Some(log_id(2, 199)));
        assert_eq!(again.vote(), Some(Vote::new_committed(2, MemberId(7))));
        assert_eq!(again.committed(), Some(log_id(1, 12)));
        // And it goes on from there.
        append(&mut again, [entry(3, 200, 10)]).await;
        assert_eq!(all(&mut again).await.len(), 201);
    });
}

/// Every moment at which something is about to be synced is one at which the power fails, and each
/// page of what was not synced is on the disk or not.
#[test]
fn a_power_loss_between_pages_leaves_what_was_acknowledged() {
    run(async {
        // Small segments, for many crashes at the beginning of one.
        let config = LogConfig { segment_bytes: 2 * HEADER_BYTES, ..config() };
        let dir = SimDir::default();
        let mut log = Log::open(Arc::new(dir.clone()), config.clone()).unwrap();
        let acknowledged = Arc::new(AtomicU64::new(0));
        let crashes = Arc::new(parking_lot::Mutex::new(Vec::new()));
        dir.before({
            let (dir, acknowledged, crashes) = (dir.clone(), acknowledged.clone(), crashes.clone());
            move |change| {
                if change != Change::Sync {
                    return;
                }
                // Counted first: what is acknowledged while the copy is made is not asked for.
                let index = acknowledged.load(Ordering::SeqCst);
                crashes.lock().push((index, dir.after_kill()));
            }
        });
        for i in 0..240 {
            append(&mut log, [entry(1, i, 200 + 13 * i as usize % 500)]).await;
            acknowledged.store(i + 1, Ordering::SeqCst);
            log.save_committed(Some(log_id(1, i))).await.unwrap();
            if i % 30 == 0 {
                written_by_itself(&dir, &config, i).await;
            }
            if i % 20 == 0 {
                log.save_vote(&Vote::new(i, MemberId(1))).await.unwrap();
            }
        }
        assert!(dir.names().len() > 20, "the log went over few segments");
        let crashes = std::mem::take(&mut *crashes.lock());
        assert!(crashes.len() > 240);
        for (nth, (acknowledged, crashed)) in crashes.iter().enumerate() {
            for round in 0..8 {
                let seed = 8 * nth as u64 + round;
                let left = Arc::new(crashed.after_power_loss_between_pages(seed));
                let again =
                    Log::open(left, config.clone()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                let next = again.last().map_or(0, |id| id.index + 1);
                assert!(next >= *acknowledged, "seed {seed}: {next} of {acknowledged} entries");
            }
        }
    });
}

/// Waits until the committed position lies where the next frame goes.
async fn written_by_itself(dir: &SimDir, config: &LogConfig, index: u64) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let again = Log::open(Arc::new(dir.after_kill()), config.clone()).unwrap();
        if again.committed() == Some(log_id(1, index)) {
            return;
        }
        assert!(Instant::now() < deadline, "the committed position was not written");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn what_a_killed_process_left_unsynced_counts_only_once_it_is_synced() {
    run(async {
        let dir = SimDir::default();
        let mut log = open(&dir).unwrap();
        append(&mut log, [entry(1, 0, 40)]).await;
        let killed = Arc::new(parking_lot::Mutex::new(None));
        dir.before({
            let (dir, killed) = (dir.clone(), killed.clone());
            move |change| {
                if change == Change::Sync {
                    *killed.lock() = Some(dir.after_kill());
                }
            }
        });
        let vote = Vote::new(5, MemberId(1));
        log.save_vote(&vote).await.unwrap();
        let killed = killed.lock().take().expect("the vote was synced");
        // The kernel still has the vote, so the member that comes back acts by it.
        assert_eq!(open(&killed).unwrap().vote(), Some(vote));
        assert_eq!(open(&killed.after_power_loss()).unwrap().vote(), Some(vote));
    });
}

#[test]
fn the_committed_position_survives_a_kill_without_a_sync() {
    run(async {
        let dir = SimDir::default();
        let mut log = open(&dir).unwrap();
        append(&mut log, (0..5).map(|i| entry(1, i, 100))).await;
        log.save_committed(Some(log_id(1, 3))).await.unwrap();
        written_by_itself(&dir, &config(), 3).await;
    });
}

/// Ends of the frames in segment 1.
fn frame_ends(bytes: &[u8]) -> Vec<u64> {
    let mut ends = vec![HEADER_BYTES];
    while let Some(header) = frame::parse(&bytes[*ends.last().unwrap() as usize..]) {
        ends.push(ends.last().unwrap() + header.frame_len());
    }
    ends
}

#[test]
fn a_tail_torn_at_any_byte_is_cut() {
    run(async {
        let dir = SimDir::default();
        let mut log = open(&dir).unwrap();
        for i in 0..4 {
            append(&mut log, [entry(1, i, 150)]).await;
        }
        drop(log);
        let name = segment_name(1);
        let whole = dir.bytes(&name);
        let ends = frame_ends(&whole);
        assert_eq!(ends.len(), 5);
        // Everything from `at` on never reached the disk: entries whose frame ends by then stay.
        for at in ends[2]..ends[4] {
            let torn = SimDir::default();
            let mut bytes = whole.clone();
            bytes[at as usize..].fill(0);
            torn.put(&name, bytes);
            let mut log = open(&torn).unwrap_or_else(|error| panic!("cut at {at}: {error}"));
            // The last bytes of a frame are padding: zeros either way.
            let stayed = log.last().map_or(0, |id| id.index + 1);
            let expected = ends[1..].iter().filter(|end| **end <= at).count() as u64;
            let padded = ends[1..].iter().filter(|end| **end - 7 <= at).count() as u64;
            assert!(stayed == expected || stayed == padded, "cut at {at}: {stayed} of {expected} entries");
            append(&mut log, [entry(2, stayed, 40)]).await;
            let mut again = open(&torn.after_power_loss()).unwrap();
            assert_eq!(again.last(), Some(log_id(2, stayed)));
            assert_eq!(all(&mut again).await.len() as u64, stayed + 1);
        }
    });
}

#[test]
fn a_flipped_bit_before_the_last_frame_is_damage() {
    run(async {
        let dir = SimDir::default();
        let mut log = open(&dir).unwrap();
        for i in 0..3 {
            append(&mut log, [entry(1, i, 40)]).await;
        }
        drop(log);
        let name = segment_name(1);
        let whole = dir.bytes(&name);
        let ends = frame_ends(&whole);
        let frame_bytes = FRAME_HEADER_BYTES + 40 + crate::codec::ENTRY_HEADER_BYTES;
        for bit in 0..frame_bytes * 8 {
            for (frame, start) in ends[..3].iter().enumerate() {
                let at = *start as usize + bit / 8;
                let flipped = SimDir::default();
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << (bit % 8);
                flipped.put(&name, bytes);
                match open(&flipped) {
                    Err(OpenError::Damaged { .. }) => assert!(frame < 2, "byte {at} of the last frame"),
                    // A last frame that is not whole cannot be told from one that was torn.
                    Ok(log) => {
                        assert_eq!(frame, 2, "byte {at} was taken for a torn tail");
                        assert_eq!(log.last(), Some(log_id(1, 1)));
                    }
                    Err(error) => panic!("byte {at}: {error}"),
                }
            }
        }
    });
}

#[test]
fn damage_in_an_earlier_segment_is_refused() {
    run(async {
        let dir = SimDir::default();
        let mut log = open(&dir).unwrap();
        for i in 0..300 {
            append(&mut log, [entry(1, i, 300)]).await;
        }
        drop(log);
        assert!(dir.names().len() >= 3);
        for name in [segment_name(1), segment_name(2)] {
            let bytes = dir.bytes(&name);
            let last = *frame_ends(&bytes).iter().rev().nth(1).unwrap() as usize;
            for at in [20, last + 3] {
                let damaged = dir.after_power_loss();
                let mut bytes = bytes.clone();
                bytes[at] ^= 0x40;
                damaged.put(&name, bytes);
                assert!(matches!(open(&damaged), Err(OpenError::Damaged { .. })), "{name} byte {at}");
            }
        }
        for lost in [1, 2] {
            let missing = dir.after_power_loss();
            missing.remove(&segment_name(lost)).unwrap();
            assert!(matches!(open(&missing), Err(OpenError::Damaged { .. })), "segment {lost}");
        }
    });
}

#[test]
fn a_log_of_another_cluster_or_member_is_refused() {
    run(async {
        let dir = SimDir::default();
        drop(open(&dir).unwrap());
        let other = LogConfig { cluster: 9, ..config() };
        assert!(matches!(
            Log::open(Arc::new(dir.clone()), other),
            Err(OpenError::OtherCluster { found: 1, expected: 9 })
        ));
        let other = LogConfig { member: 9, ..config() };
        assert!(matches!(
            Log::open(Arc::new(dir.clone()), other),
            Err(OpenError::OtherMember { found: 2, expected: 9 })
        ));
    });
}

#[test]
fn purging_unlinks_segments_and_survives() {
    run(async {
        let dir = SimDir::default();
        let mut log = open(&dir).unwrap();
        for i in 0..400 {
            append(&mut log, [entry(1, i, 300)]).await;
        }
        let before = dir.names().len();
        let target = log.purge_target(350, 2 * SEGMENT_BYTES).unwrap();
        log.purge(log_id(1, target)).await.unwrap();
        append(&mut log, [entry(1, 400, 10)]).await;
        let deadline = Instant::now() + Duration::from_secs(10);
        while dir.names().len() >= before {
            assert!(Instant::now() < deadline, "no segment went");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let first = all(&mut log).await[0].log_id;
        assert_eq!(first, log_id(1, target + 1));
        let mut again = open(&dir.after_power_loss()).unwrap();
        let state = again.get_log_state().await.unwrap();
        assert_eq!(state.last_purged_log_id, Some(log_id(1, target)));
        assert_eq!(all(&mut again).await, all(&mut log).await);
    });
}

#[test]
fn purged_segments_that_come_back_are_removed_again() {
    run(async {
        let dir = SimDir::default();
        let mut log = open(&dir).unwrap();
        for i in 0..600 {
            append(&mut log, [entry(1, i, 300)]).await;
        }
        let old: Vec<_> =
            [1, 2, 3].map(segment_name).into_iter().map(|name| (dir.bytes(&name), name)).collect();
        log.purge(log_id(1, 450)).await.unwrap();
        append(&mut log, [entry(1, 600, 10)]).await;
        drop(log);
        assert!(!dir.names().contains(&segment_name(3)));
        let first = dir.names()[0].clone();
        // Killed before they were unlinked, or the unlinking of some did not get to the disk.
        for back in [&old[..], &old[..1], &old[1..2], &old[2..]] {
            let again = dir.after_kill();
            for (bytes, name) in back {
                again.put(name, bytes.clone());
            }
            for _ in 0..2 {
                let mut log = open(&again).unwrap();
                assert_eq!(all(&mut log).await[0].log_id, log_id(1, 451));
                assert_eq!(again.names()[0], first);
            }
        }
    });
}

#[test]
fn a_snapshot_past_the_end_leaves_no_hole() {
    run(async {
        let dir = SimDir::default();
        let mut log = open(&dir).unwrap();
        append(&mut log, (0..10).map(|i| entry(1, i, 50))).await;
        log.purge(log_id(4, 1000)).await.unwrap();
        assert_eq!(log.last(), Some(log_id(4, 1000)));
        assert!(all(&mut log).await.is_empty());
        append(&mut log, [entry(4, 1001, 50), entry(4, 1002, 50)]).await;
        let mut again = open(&dir.after_power_loss()).unwrap();
        let state = again.get_log_state().await.unwrap();
        assert_eq!(state.last_purged_log_id, Some(log_id(4, 1000)));
        assert_eq!(state.last_log_id, Some(log_id(4, 1002)));
        assert_eq!(all(&mut again).await, all(&mut log).await);
    });
}

#[test]
fn a_write_that_went_elsewhere_is_found_once_another_is_behind_it() {
    run(async {
        for seed in 0..60 {
            let dir = SimDir::default();
            let mut log = open(&dir).unwrap();
            for index in 0..seed % 7 {
                append(&mut log, [entry(1, index, 300)]).await;
            }
            dir.misdirect_next(Some(seed));
            append(&mut log, [entry(1, seed % 7, 300)]).await;
            let astray = dir.astray().expect("a write was misdirected");
            assert!(!astray.is_inside, "{seed}: {astray:?}");
            append(&mut log, [entry(1, seed % 7 + 1, 300)]).await;
            let again = dir.after_kill();
            assert!(again.astray().is_some_and(|astray| astray.is_inside), "{seed}: {astray:?}");
            let found = open(&again).err();
            assert!(found.as_ref().is_some_and(OpenError::is_damage), "{seed}: {astray:?}: {found:?}");
        }
    });
}

#[test]
fn a_full_disk_stops_admission_and_not_the_log() {
    run(async {
        let dir = SimDir::default();
        let mut log = open(&dir).unwrap();
        dir.set_space(Some(SEGMENT_BYTES as usize));
        let mut next = 0;
        let deadline = Instant::now() + Duration::from_secs(20);
        while log.has_room() {
            append(&mut log, [entry(1, next, 100)]).await;
            next += 1;
            assert!(Instant::now() < deadline, "admission never stopped");
            // The disk is asked for the next segment by another thread.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // What was under way still fits.
        append(&mut log, [entry(1, next, 100)]).await;
        dir.set_space(None);
        // By itself: what is refused does not come to ask.
        while !log.has_room() {
            assert!(Instant::now() < deadline, "admission never resumed");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}

/// Polls until `check` holds.
async fn wait_for(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !check() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_full_disk_gets_the_reserve_back_and_leaves_room_for_what_frees_space() {
    run(async {
        const RESERVE_BYTES: usize = 8 * 1024;
        let dir = SimDir::default();
        let space = SEGMENT_BYTES as usize + 3 * RESERVE_BYTES;
        dir.set_space(Some(space));
        let config = LogConfig { reserve_bytes: RESERVE_BYTES as u64, ..config() };
        let mut log = Log::open(Arc::new(dir.clone()), config).unwrap();
        let reserved = || dir.names().contains(&"reserve".to_owned());
        wait_for("a reserve", reserved).await;
        let mut next = 0;
        while log.has_room() {
            append(&mut log, [entry(1, next, 500)]).await;
            next += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        wait_for("the reserve's release", || !reserved()).await;
        assert!(log.has_room_to_free() && log.takes_appends(false));
        while log.takes_appends(false) {
            append(&mut log, [entry(1, next, 500)]).await;
            next += 1;
            tokio::task::yield_now().await;
        }
        assert!(log.has_room_to_free() && log.takes_appends(true));
        // A log that waits for the disk can be closed.
        let mut waiting = log.clone();
        let stuck = tokio::spawn(async move {
            loop {
                waiting.blocking_append([entry(1, next, 1000)]).await?;
                next += 1;
            }
            #[allow(unreachable_code)]
            Ok::<(), std::io::Error>(())
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        stuck.abort();
        let _ = stuck.await;
        drop(log);
    });
}

#[test]
fn a_state_without_room_gets_the_reserve_until_there_is_room_again() {
    run(async {
        const RESERVE_BYTES: usize = 8 * 1024;
        let dir = SimDir::default();
        dir.set_space(Some(SEGMENT_BYTES as usize + 5 * RESERVE_BYTES));
        let config = LogConfig { reserve_bytes: RESERVE_BYTES as u64, ..config() };
        let log = Log::open(Arc::new(dir.clone()), config).unwrap();
        let reserved = || dir.names().contains(&"reserve".to_owned());
        wait_for("a reserve", reserved).await;
        dir.set_space(Some(SEGMENT_BYTES as usize + RESERVE_BYTES));
        log.give_reserve_back();
        wait_for("the reserve's release", || !reserved() && !log.has_room()).await;
        // The reserve's own room is not taken for room: the state is to use it.
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert!(!log.has_room() && !reserved());
        dir.set_space(None);
        wait_for("room", || log.has_room() && reserved()).await;
    });
}

#[test]
fn a_failed_sync_is_fatal_and_never_reported_as_done() {
    run(async {
        let dir = SimDir::default();
        let fatal = Arc::new(AtomicBool::new(false));
        let seen = fatal.clone();
        let on_fatal: Arc<dyn Fn(&str) + Send + Sync> = Arc::new(move |_| seen.store(true, Ordering::SeqCst));
        let mut log = Log::open(Arc::new(dir.clone()), LogConfig { on_fatal, ..config() }).unwrap();
        append(&mut log, [entry(1, 0, 10)]).await;
        dir.fail_syncs(true);
        assert!(log.blocking_append([entry(1, 1, 10)]).await.is_err());
        assert!(log.save_vote(&Vote::new(5, MemberId(1))).await.is_err());
        assert!(fatal.load(Ordering::SeqCst));
    });
}

/// After a failed sync the kernel takes the pages for clean: it shows them to the next process, and does not
/// write them by itself.
#[test]
fn what_is_found_after_a_failed_sync_is_on_the_disk_before_it_counts() {
    run(async {
        let dir = SimDir::default();
        let mut log =
            Log::open(Arc::new(dir.clone()), LogConfig { on_fatal: Arc::new(|_| ()), ..config() }).unwrap();
        append(&mut log, [entry(1, 0, 10)]).await;
        dir.fail_syncs(true);
        assert!(log.blocking_append([entry(1, 1, 10)]).await.is_err());
        assert_eq!(dir.failed_syncs(), 1);
        let lost = open(&dir.after_power_loss()).unwrap();
        assert_eq!(lost.last(), Some(log_id(1, 0)));

        let killed = dir.after_kill();
        let found = open(&killed).unwrap().last();
        assert_eq!(found, Some(log_id(1, 1)), "the kernel has it");
        assert_eq!(open(&killed.after_power_loss()).unwrap().last(), found);
    });
}
