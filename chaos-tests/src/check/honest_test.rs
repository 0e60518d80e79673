//! Histories of a store that keeps every promise: the traffic of real runs against one process, whose
//! calls overlap, get lost and are answered too late to be heard.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::{JoinSet, yield_now};
use tokio_util::sync::CancellationToken;
use trireme_store::engine::Model;
use trireme_store::{
    Error, Kv, LeaseGrant, LeaseId, LeaseTimeToLive, Local, RangeRequest, RangeResponse, Revision, Status,
    Store, TxnRequest, TxnResponse, WatchRequest, WatchStream,
};

use super::{ALL, Checked, all, all_with};
use crate::history::{History, Outcome, Recorder};
use crate::traffic::store::{Mix, client, look, resident, watchers};

/// Longest that a history is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
const MEMBER: &str = "one";
/// Nothing is refused as compacted where nobody looks back that far.
const COMPACTED: &str = "history is there until it is compacted";

/// Of a thousand transactions, how many are lost on their way, lost on the way back, and done after
/// nobody waits any more.
const LOST_OF_1000: u32 = 10;
const UNHEARD_OF_1000: u32 = 10;
const LATE_OF_1000: u32 = 10;

/// The store behind a line that is as bad as lines are.
struct Line {
    store: Arc<Local>,
    random: Mutex<StdRng>,
}

impl Line {
    fn draw(&self, below: u32) -> u32 {
        self.random.lock().random_range(0..below)
    }

    /// Lets others go first, so that calls overlap.
    async fn way(&self) {
        for _ in 0..self.draw(4) + 1 {
            yield_now().await;
        }
    }

    async fn both_ways<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.way().await;
        let answer = work.await;
        self.way().await;
        answer
    }
}

#[async_trait]
impl Kv for Line {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        self.both_ways(self.store.range(request)).await
    }

    async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Error> {
        let fate = self.draw(1000);
        self.way().await;
        if fate < LOST_OF_1000 {
            return Err(if fate.is_multiple_of(2) { Error::NoLeader } else { Error::OutcomeUnknown });
        }
        if fate < LOST_OF_1000 + LATE_OF_1000 {
            let (store, rounds) = (self.store.clone(), self.draw(200));
            tokio::spawn(async move {
                for _ in 0..rounds {
                    yield_now().await;
                }
                let _ = store.txn(request).await;
            });
            return Err(Error::OutcomeUnknown);
        }
        let answer = self.store.txn(request).await;
        self.way().await;
        if fate < LOST_OF_1000 + LATE_OF_1000 + UNHEARD_OF_1000 { Err(Error::OutcomeUnknown) } else { answer }
    }

    async fn watch(&self, request: WatchRequest) -> Result<WatchStream, Error> {
        self.way().await;
        let watch = self.store.watch(request).await?;
        // Some break, and are taken up again.
        let items = if self.draw(2) == 0 { usize::MAX } else { self.draw(200) as usize + 1 };
        let broken = stream::iter([Err(Error::NoLeader)]);
        Ok(Box::pin(watch.take(items).chain(broken)))
    }

    async fn compact(&self, revision: Revision, physical: bool) -> Result<Revision, Error> {
        self.both_ways(self.store.compact(revision, physical)).await
    }

    async fn lease_grant(&self, id: LeaseId, ttl_s: i64) -> Result<LeaseGrant, Error> {
        self.both_ways(self.store.lease_grant(id, ttl_s)).await
    }

    async fn lease_revoke(&self, id: LeaseId) -> Result<Revision, Error> {
        self.both_ways(self.store.lease_revoke(id)).await
    }

    async fn lease_keep_alive(&self, id: LeaseId) -> Result<i64, Error> {
        self.both_ways(self.store.lease_keep_alive(id)).await
    }

    async fn lease_time_to_live(&self, id: LeaseId, keys: bool) -> Result<LeaseTimeToLive, Error> {
        self.both_ways(self.store.lease_time_to_live(id, keys)).await
    }

    async fn leases(&self) -> Result<Vec<LeaseId>, Error> {
        self.both_ways(self.store.leases()).await
    }

    async fn barrier(&self) -> Result<Revision, Error> {
        self.both_ways(self.store.barrier()).await
    }

    async fn status(&self) -> Result<Status, Error> {
        self.both_ways(self.store.status()).await
    }
}

/// What `clients` of a mix make of so many calls.
pub(super) fn honest(seed: u64, mix: &Mix, clients: u32, calls: usize) -> History {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(seed, mix, clients, calls))
}

async fn run(seed: u64, mix: &Mix, clients: u32, calls: usize) -> History {
    let store = Store::open(Arc::new(Model::new())).expect("an empty store");
    let local = Local::new(store, Arc::new(|| 0)).expect("a store that serves");
    let random = Mutex::new(StdRng::seed_from_u64(seed));
    let kv: Arc<dyn Kv> = Arc::new(Line { store: Arc::new(local), random });
    let recorder = Arc::new(Recorder::default());
    let (stop, stop_watchers) = (CancellationToken::new(), CancellationToken::new());
    let (mut writing, mut watching) = (JoinSet::new(), JoinSet::new());
    for id in 0..3 {
        let (kv, recorder, stop) = (kv.clone(), recorder.clone(), stop_watchers.clone());
        watching.spawn(watchers(id, seed, Revision(0), kv, recorder, stop));
    }
    for id in 0..clients {
        let (mix, kv, recorder, stop) = (mix.clone(), kv.clone(), recorder.clone(), stop.clone());
        writing.spawn(client(id, seed, mix, kv, recorder, stop));
    }
    writing.spawn(resident(0, seed, MEMBER.into(), kv.clone(), recorder.clone(), stop.clone()));
    let until = Instant::now() + PATIENCE;
    while recorder.with(|history| history.operations.len()).await < calls {
        assert!(Instant::now() < until, "{calls} calls take too long");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stop.cancel();
    writing.join_all().await;
    let members = [(MEMBER.to_owned(), kv.clone())];
    look(kv, &members, &recorder).await.expect("the last look");
    tokio::time::timeout(PATIENCE, watching.join_all()).await.expect("watchers see the end");
    let history = recorder.with(std::mem::take).await;
    assert_eq!(history.looked, [MEMBER]);
    history
}

pub(super) fn assert_good(history: &History, what: &str) {
    for Checked { name, violations, looked_at, .. } in all(history) {
        assert!(
            violations.is_empty(),
            "{what}: {name}: {} violations, of them {:#?}",
            violations.len(),
            &violations[..violations.len().min(5)]
        );
        // These histories have no leaders, no samples of members and no API; what else there is, is judged.
        let judges = ALL.iter().take_while(|(name, _)| *name != "deposed leaders write nothing");
        let judged = judges.map(|(name, _)| *name).any(|judged| judged == name);
        assert!(looked_at > 0 || !judged || name == COMPACTED, "{what}: {name} had nothing to judge");
    }
}

#[test]
fn honest_histories_pass() {
    for (seed, kubernetes, keys) in [(1, false, 2), (2, false, 12), (3, true, 5), (4, true, 30)] {
        let history = honest(seed, &Mix::whole(kubernetes, keys), 6, 3_000);
        let tally = history.tally();
        let unknown =
            |operation: &&crate::history::Operation| matches!(operation.outcome, Outcome::Unknown(_));
        assert!(tally.written > 500 && tally.read > 300 && tally.events > 1_000, "{tally:?}");
        assert!(history.operations.iter().filter(unknown).count() > 10, "{tally:?}");
        assert_good(&history, &format!("seed {seed}"));
        // What a failed run keeps is what was checked.
        let kept = serde_json::to_vec(&history).expect("a history as JSON");
        assert!(serde_json::from_slice::<History>(&kept).expect("the same, read back") == history);
    }
}

/// Prints how long each checker takes for a history of 100,000 calls.
#[test]
fn a_hundred_thousand_calls() {
    let began = Instant::now();
    let history = honest(5, &Mix::whole(false, 12), 8, 100_000);
    println!("{:?}, made in {:.1} s", history.tally(), began.elapsed().as_secs_f64());
    let mut began = Instant::now();
    let found = all_with(&history, |name| {
        println!("{:>6.2} s  {name}", began.elapsed().as_secs_f64());
        began = Instant::now();
    });
    for Checked { name, violations, undecided, .. } in found {
        assert!(violations.is_empty(), "{name}: {:#?}", &violations[..violations.len().min(5)]);
        assert_eq!(undecided, "", "{name}");
    }
}
