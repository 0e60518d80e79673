//! Clients' calls as they are made: timed, for the report. Those to the API are paced as well, so that
//! a run's history stays one that can be judged; in bursts, since an answer is judged by when its call
//! began, and who waits for its turn has begun.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;
use trireme_chaos_report::{Sample, What};
use trireme_client::{Error as ApiError, List, Request, Response, Transport, WatchStream as ApiWatch};
use trireme_store::{
    Error, Kv, LeaseGrant, LeaseId, LeaseTimeToLive, RangeRequest, RangeResponse, Revision, Status,
    TxnRequest, TxnResponse, WatchRequest, WatchStream,
};

/// Calls of one client without a pause, and the time that as many have.
const BURST_CALLS: u32 = 10;
const BURST_EVERY: Duration = Duration::from_millis(400);

pub(super) struct Meter {
    pub began: Instant,
    samples: Mutex<Vec<Sample>>,
}

impl Meter {
    pub(super) fn new() -> Meter {
        Meter { began: Instant::now(), samples: Mutex::default() }
    }

    /// Since the run began.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn note(&self, what: What, begin: Instant, ok: bool) {
        let sample = Sample { what, ended: self.now(), took: begin.elapsed(), ok };
        self.samples.lock().push(sample);
    }

    /// Calls of this kind that were done since `from`.
    pub(super) fn acknowledged_since(&self, what: What, from: Duration) -> usize {
        let samples = self.samples.lock();
        let late = samples.iter().rev().take_while(|sample| sample.ended >= from);
        late.filter(|sample| sample.ok && sample.what == what).count()
    }

    pub(super) fn samples(&self) -> Vec<Sample> {
        self.samples.lock().clone()
    }
}

/// A client of the store.
pub(super) struct TimedStore {
    inner: Arc<dyn Kv>,
    meter: Arc<Meter>,
}

impl TimedStore {
    #[allow(clippy::new_ret_no_self)] // whoever has it sees a store
    pub(super) fn new(inner: Arc<dyn Kv>, meter: Arc<Meter>) -> Arc<dyn Kv> {
        Arc::new(TimedStore { inner, meter })
    }
}

#[async_trait]
impl Kv for TimedStore {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        let begin = Instant::now();
        let answer = self.inner.range(request).await;
        self.meter.note(What::StoreRead, begin, answer.is_ok());
        answer
    }

    async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Error> {
        let begin = Instant::now();
        let answer = self.inner.txn(request).await;
        self.meter.note(What::StoreWrite, begin, answer.is_ok());
        answer
    }

    async fn watch(&self, request: WatchRequest) -> Result<WatchStream, Error> {
        self.inner.watch(request).await
    }

    async fn compact(&self, revision: Revision, physical: bool) -> Result<Revision, Error> {
        self.inner.compact(revision, physical).await
    }

    async fn lease_grant(&self, id: LeaseId, ttl_s: i64) -> Result<LeaseGrant, Error> {
        self.inner.lease_grant(id, ttl_s).await
    }

    async fn lease_revoke(&self, id: LeaseId) -> Result<Revision, Error> {
        self.inner.lease_revoke(id).await
    }

    async fn lease_keep_alive(&self, id: LeaseId) -> Result<i64, Error> {
        self.inner.lease_keep_alive(id).await
    }

    async fn lease_time_to_live(&self, id: LeaseId, keys: bool) -> Result<LeaseTimeToLive, Error> {
        self.inner.lease_time_to_live(id, keys).await
    }

    async fn leases(&self) -> Result<Vec<LeaseId>, Error> {
        self.inner.leases().await
    }

    async fn barrier(&self) -> Result<Revision, Error> {
        self.inner.barrier().await
    }

    async fn status(&self) -> Result<Status, Error> {
        self.inner.status().await
    }
}

/// The turn of one client.
#[derive(Default)]
struct Pace(AsyncMutex<Option<(Instant, u32)>>);

impl Pace {
    /// Waits for it; the moment when it came.
    async fn turn(&self) -> Instant {
        let mut burst = self.0.lock().await;
        let (began, calls) = burst.unwrap_or_else(|| (Instant::now(), 0));
        if calls < BURST_CALLS {
            *burst = Some((began, calls + 1));
            return Instant::now();
        }
        tokio::time::sleep_until((began + BURST_EVERY).into()).await;
        let now = Instant::now();
        *burst = Some((now, 1));
        now
    }
}

/// A client of the API. Each attempt of a call is one here; watches take no turn.
pub(super) struct TimedApi {
    inner: Arc<dyn Transport>,
    meter: Arc<Meter>,
    pace: Pace,
}

impl TimedApi {
    #[allow(clippy::new_ret_no_self)] // whoever has it sees a transport
    pub(super) fn new(inner: Arc<dyn Transport>, meter: Arc<Meter>) -> Arc<dyn Transport> {
        Arc::new(TimedApi { inner, meter, pace: Pace::default() })
    }
}

#[async_trait]
impl Transport for TimedApi {
    async fn send(&self, request: Request) -> Result<Response, ApiError> {
        let write = request.method != http::Method::GET;
        let begin = self.pace.turn().await;
        let answer = self.inner.send(request).await;
        if !write {
            return answer;
        }
        let ok = answer.as_ref().is_ok_and(|answer| answer.status.is_success());
        self.meter.note(What::ApiWrite, begin, ok);
        answer
    }

    async fn list(&self, path: &str) -> Result<List, ApiError> {
        self.pace.turn().await;
        self.inner.list(path).await
    }

    async fn watch(&self, path: &str) -> Result<ApiWatch, ApiError> {
        self.inner.watch(path).await
    }
}
