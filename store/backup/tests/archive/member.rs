//! A member without a cluster: a store, the log it was made from, and what the state was after
//! each entry.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use object_store::ObjectStore;
use tokio_util::sync::CancellationToken;
use trireme_backup::{Archive, Archiver, ArchiverConfig, Error, Key, Progressed, RawBody, RawEntry, Source};
use trireme_store::engine::{RocksEngine, RocksOptions};
use trireme_store::log::{Command, CommandOp, LeaseExpiry, LogPosition, Mark, ProposalId};
use trireme_store::{Applied, DeleteRequest, KeyRange, LeaseId, Op, PutRequest, Revision, Store, TxnRequest};

pub const CLUSTER: u64 = 0xc1;
pub const TERM: u64 = 3;
const DEADLINE: Duration = Duration::from_secs(60);

/// What the state was after an entry.
#[derive(Clone, Debug)]
pub struct Moment {
    pub time_ms: i64,
    pub applied: Applied,
}

pub struct Member {
    store: Store,
    log: parking_lot::Mutex<Vec<RawEntry>>,
    history: parking_lot::Mutex<Vec<Moment>>,
    /// Entries below are not in the log any more.
    pub purged_below: AtomicU64,
    /// Entries above are applied, and the log does not give them out yet.
    pub readable_to: AtomicU64,
    pub reads: AtomicU64,
    /// An entry whose value the log tells otherwise than it was applied; zero: none.
    pub lies_at: AtomicU64,
    pub term: AtomicU64,
}

impl Member {
    pub fn new(dir: &Path) -> Arc<Member> {
        let engine = RocksEngine::open(dir, RocksOptions::default()).expect("engine");
        Arc::new(Member {
            store: Store::open(Arc::new(engine)).expect("store"),
            log: parking_lot::Mutex::default(),
            history: parking_lot::Mutex::default(),
            purged_below: AtomicU64::new(0),
            readable_to: AtomicU64::new(u64::MAX),
            reads: AtomicU64::new(0),
            lies_at: AtomicU64::new(0),
            term: AtomicU64::new(TERM),
        })
    }

    pub fn add(&self, op: Option<CommandOp>) {
        let mut log = self.log.lock();
        let index = log.len() as u64;
        let at = LogPosition { term: self.term.load(Ordering::Relaxed), node_id: 0, index };
        // Several entries share a millisecond.
        let time_ms = 1_700_000_000_000 + (index / 3 * 10) as i64;
        let body = match op {
            None => RawBody::Blank,
            Some(op) => {
                let proposal = ProposalId { client: 9, seq: index + 1 };
                RawBody::Command(Command { proposal, time_ms, op }.encode())
            }
        };
        let raw = RawEntry { at, body };
        let entry = decoded(&raw);
        log.push(raw);
        self.store.apply(vec![entry]).expect("apply");
        self.history.lock().push(Moment { time_ms, applied: self.store.applied() });
    }

    /// Changes of every kind.
    pub fn write(&self, count: u64) {
        for _ in 0..count {
            let n = self.log.lock().len() as u64;
            let put = |n: u64| {
                Op::Put(PutRequest::new(
                    format!("/k/{}", n % 17),
                    format!("value {n} {}", "x".repeat(n as usize % 400)),
                ))
            };
            let leased = |n: u64, lease: u64| {
                let mut put = PutRequest::new(format!("/leased/{n}"), "v");
                put.lease = LeaseId(lease as i64);
                Op::Put(put)
            };
            let txn = |success| CommandOp::Txn(TxnRequest { success, ..TxnRequest::default() });
            let op = match n % 16 {
                0 => None,
                1 => Some(CommandOp::LeaseGrant { id: LeaseId(n as i64), ttl_s: 60 }),
                2 => Some(CommandOp::LeaseGrant { id: LeaseId(n as i64), ttl_s: 90 }),
                3 => Some(txn(vec![leased(n, n - 2), leased(n + 1, n - 2)])),
                4 => Some(txn(vec![leased(n + 1, n - 2)])),
                9 => Some(CommandOp::Mark(Mark { previous: None })),
                10 => Some(txn(vec![Op::Delete(DeleteRequest {
                    range: KeyRange::key(format!("/k/{}", n % 17)),
                    prev_kv: false,
                })])),
                // Both leases end in one entry: two revisions.
                12 => Some(CommandOp::LeaseExpire(LeaseExpiry {
                    term: self.term.load(Ordering::Relaxed),
                    leases: vec![(LeaseId(n as i64 - 11), 0), (LeaseId(n as i64 - 10), 0)],
                })),
                13 => Some(CommandOp::Compact(Revision(self.store.revision().0 / 2))),
                _ => Some(txn(vec![put(n), put(n + 5)])),
            };
            self.add(op);
        }
    }

    pub fn applied(&self) -> Applied {
        self.store.applied()
    }

    pub fn last_index(&self) -> u64 {
        self.store.applied().position.expect("entries were applied").index
    }

    pub fn store_handle(&self) -> &Store {
        &self.store
    }

    pub fn history(&self) -> Vec<Moment> {
        self.history.lock().clone()
    }
}

pub fn decoded(raw: &RawEntry) -> trireme_store::log::Entry {
    use trireme_store::log::{Entry, EntryBody};
    let body = match &raw.body {
        RawBody::Blank => EntryBody::Blank,
        RawBody::Membership(members) => EntryBody::Membership(members.clone()),
        RawBody::Command(command) => EntryBody::Command(Command::decode(command.clone()).expect("a command")),
    };
    Entry { at: raw.at, body }
}

impl Source for Member {
    fn store(&self) -> &Store {
        &self.store
    }

    fn read(&self, from: u64, to: u64, budget: usize) -> Result<Vec<RawEntry>, Error> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let from = from.max(self.purged_below.load(Ordering::Relaxed));
        let to = to.min(self.readable_to.load(Ordering::Relaxed));
        let lie = self.lies_at.load(Ordering::Relaxed);
        // Few at a time, so that reading goes on where it stopped.
        let count = (budget >> 17).max(1);
        let log = self.log.lock();
        let entries = log.iter().filter(|entry| (from..=to).contains(&entry.at.index)).take(count);
        Ok(entries
            .map(|entry| if lie > 0 && entry.at.index == lie { altered(entry) } else { entry.clone() })
            .collect())
    }
}

fn altered(entry: &RawEntry) -> RawEntry {
    let RawBody::Command(command) = &entry.body else { panic!("entry {} is no command", entry.at.index) };
    let mut command = Command::decode(command.clone()).expect("a command");
    let CommandOp::Txn(txn) = &mut command.op else { panic!("entry {} is no transaction", entry.at.index) };
    let Op::Put(put) = &mut txn.success[0] else { panic!("entry {} puts nothing", entry.at.index) };
    put.value = "altered".into();
    RawEntry { at: entry.at, body: RawBody::Command(command.encode()) }
}

pub fn key() -> Key {
    Key::from_bytes([42; 32])
}

pub fn archive(storage: &Arc<dyn ObjectStore>) -> Archive {
    Archive::over(storage.clone(), key(), CLUSTER, "memory")
}

pub fn config(dir: &Path) -> ArchiverConfig {
    ArchiverConfig {
        // The entries' times are of long ago.
        keep: Duration::from_secs(u64::MAX),
        flush_every: Duration::ZERO,
        base_bytes_per_s: 0,
        ..ArchiverConfig::new("a", dir.join("scratch"))
    }
}

/// An archiver at work; stops when dropped.
pub struct Working {
    stop: CancellationToken,
    progress: tokio::sync::watch::Receiver<Progressed>,
}

impl Working {
    pub fn start(archive: Archive, member: &Arc<Member>, config: ArchiverConfig) -> Working {
        let archiver = Archiver::new(archive, member.clone(), config);
        let (stop, progress) = (CancellationToken::new(), archiver.progress());
        tokio::spawn(archiver.run(stop.clone()));
        Working { stop, progress }
    }

    /// Waits until everything applied is archived.
    pub async fn reaches(&mut self, index: u64) {
        self.until("the archive", |told| told.index >= index).await;
    }

    pub fn told(&self) -> Progressed {
        self.progress.borrow().clone()
    }

    pub async fn until(&mut self, what: &str, reached: impl Fn(&Progressed) -> bool) {
        let waited =
            tokio::time::timeout(DEADLINE, self.progress.wait_for(|told| reached(told))).await.is_ok();
        assert!(waited, "{what} did not come so far: {:?}", self.progress.borrow());
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Tries until it succeeds.
pub async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
