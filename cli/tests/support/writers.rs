//! Writers that never pause, what each was answered and when, and whether it was kept.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use trireme_raft::{Certificates, Remote, RemoteConfig, Tls};
use trireme_store::{Error, KeyRange, Kv, Op, PutRequest, RangeRequest, TxnRequest};

/// How long the last calls may take to end.
const LAST_CALLS: Duration = Duration::from_secs(30);

/// A client of the store at `endpoints`, with the right to everything. Needs a runtime around it.
pub fn remote(pki: &Path, endpoints: Vec<String>) -> Remote {
    let read = |file| std::fs::read(pki.join(file)).expect(file);
    let certificates = Certificates {
        ca_pem: read("store-ca.crt"),
        cert_pem: read("store-client.crt"),
        key_pem: read("store-client.key"),
    };
    let tls = Tls::new(&certificates).expect("certificates");
    Remote::connect(RemoteConfig { endpoints, tls: tls.client() }).expect("a client")
}

/// A write that was acknowledged.
#[derive(Clone, Debug)]
pub struct Ack {
    pub key: String,
    pub at: Instant,
}

#[derive(Default)]
struct Told {
    acks: Vec<Ack>,
    failures: Vec<(Error, Instant)>,
    marks: Vec<(String, Instant)>,
}

pub struct Writers {
    prefix: String,
    stop: Arc<AtomicBool>,
    told: Arc<Mutex<Told>>,
    tasks: Mutex<Vec<tokio::task::JoinHandle<()>>>,
    runtime: tokio::runtime::Runtime,
}

impl Writers {
    /// None at work yet. Keys begin with `prefix`, each is written once.
    pub fn new(prefix: &str) -> Writers {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Writers {
            prefix: prefix.to_owned(),
            stop: Arc::default(),
            told: Arc::default(),
            tasks: Mutex::default(),
            runtime: runtime.expect("a runtime"),
        }
    }

    /// One more, through the masters at `endpoints` and no other.
    pub fn start(&self, pki: &Path, endpoints: Vec<String>) {
        let _within = self.runtime.enter();
        let remote = remote(pki, endpoints);
        let (stop, told) = (self.stop.clone(), self.told.clone());
        let mut tasks = self.tasks.lock();
        let prefix = format!("{}{}/", self.prefix, tasks.len());
        tasks.push(self.runtime.spawn(async move {
            let mut n = 0u64;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                let key = format!("{prefix}{n:08}");
                let put = Op::Put(PutRequest::new(key.clone(), value_of(&key)));
                let done = remote.txn(TxnRequest { success: vec![put], ..TxnRequest::default() }).await;
                let at = Instant::now();
                match done {
                    Ok(_) => told.lock().acks.push(Ack { key, at }),
                    Err(error) => told.lock().failures.push((error, at)),
                }
            }
        }));
    }

    /// What comes from now on is told under this name.
    pub fn mark(&self, phase: &str) -> Instant {
        let now = Instant::now();
        self.told.lock().marks.push((phase.to_owned(), now));
        now
    }

    pub fn acknowledged(&self) -> usize {
        self.told.lock().acks.len()
    }

    /// Ends them all.
    pub fn stop(self) -> Written {
        self.stop.store(true, Ordering::Relaxed);
        let tasks = std::mem::take(&mut *self.tasks.lock());
        self.runtime.block_on(async {
            for task in tasks {
                let ended = tokio::time::timeout(LAST_CALLS, task).await;
                ended.expect("a call without an end").expect("a writer");
            }
        });
        let Told { mut acks, failures, marks } = std::mem::take(&mut *self.told.lock());
        acks.sort_by_key(|ack| ack.at);
        Written { prefix: self.prefix, acks, failures, marks, runtime: self.runtime }
    }
}

fn value_of(key: &str) -> String {
    format!("value of {key}")
}

pub struct Written {
    prefix: String,
    /// In order of time.
    pub acks: Vec<Ack>,
    pub failures: Vec<(Error, Instant)>,
    marks: Vec<(String, Instant)>,
    runtime: tokio::runtime::Runtime,
}

impl Written {
    /// The longest time between two acknowledgements of which the later came between the two
    /// moments.
    pub fn longest_gap(&self, from: Instant, to: Instant) -> Duration {
        let pairs = self.acks.windows(2).filter(|pair| (from..=to).contains(&pair[1].at));
        pairs.map(|pair| pair[1].at - pair[0].at).max().unwrap_or(to - from)
    }

    /// A figure for each phase, past the capture of what tests that pass print: no bound, since two
    /// cores may be shared with a build.
    pub fn tell(&self) {
        let end = self.acks.last().map_or_else(Instant::now, |ack| ack.at);
        for (i, (name, from)) in self.marks.iter().enumerate() {
            let to = self.marks.get(i + 1).map_or(end, |(_, at)| *at).max(*from);
            let count = self.acks.iter().filter(|ack| (*from..to).contains(&ack.at)).count();
            let failed = self.failures.iter().filter(|(_, at)| (*from..to).contains(at)).count();
            super::say(&format!(
                "{name}: {:.1} s, {count} writes acknowledged, {failed} not; longest time between two {} ms",
                (to - *from).as_secs_f64(),
                self.longest_gap(*from, to).as_millis()
            ));
        }
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        for (error, _) in &self.failures {
            *kinds.entry(error.to_string()).or_default() += 1;
        }
        kinds
            .iter()
            .for_each(|(error, count)| super::say(&format!("not acknowledged, {count} times: {error}")));
    }

    /// Every failure says that it may be repeated, or that the write may have been done.
    pub fn assert_failures_may_be_repeated(&self) {
        let repeatable = |error: &Error| {
            let unknown = matches!(error, Error::OutcomeUnknown);
            unknown || matches!(error, Error::NoLeader | Error::Unavailable(_) | Error::TooManyRequests)
        };
        let wrong: Vec<_> = self.failures.iter().filter(|(error, _)| !repeatable(error)).collect();
        assert!(wrong.is_empty(), "refused for good: {wrong:?}");
    }

    /// Whatever was acknowledged is there.
    pub fn assert_kept(&self, pki: &Path, endpoints: Vec<String>) {
        assert!(!self.acks.is_empty(), "nothing was acknowledged");
        let found = self.runtime.block_on(async {
            let remote = remote(pki, endpoints);
            remote.range(RangeRequest::new(KeyRange::prefix(self.prefix.clone()))).await.expect("a read")
        });
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let found: BTreeMap<_, _> = found.kvs.iter().map(|kv| (text(&kv.key), text(&kv.value))).collect();
        let kept = |ack: &&Ack| found.get(&ack.key) == Some(&value_of(&ack.key));
        let lost: Vec<_> = self.acks.iter().filter(|ack| !kept(ack)).map(|ack| &ack.key).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?} of {}", self.acks.len());
    }
}
