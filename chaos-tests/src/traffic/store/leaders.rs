//! Clients of which one leads at a time: it takes over from the one before, who does not hear of it,
//! and writes with its epoch until somebody has taken over from it.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use trireme_store::Kv;

use super::PREFIX;
use super::session::Session;
use crate::history::{Call, Op, Outcome, Recorder, Refusal, Txn};

/// Numbers of clients that lead.
const FIRST: u32 = 70_000;
/// How often one that leads begins a new epoch, as one does that starts again.
const BEGINS_ANEW: f64 = 0.02;
/// Until one that was deposed takes over again, at most.
const REST_MS: u64 = 2_000;
const PACE: Duration = Duration::from_millis(20);

/// Leads now and then, until `stop`. Leaders of a run have different numbers.
pub async fn leader(n: u32, seed: u64, kv: Arc<dyn Kv>, recorder: Arc<Recorder>, stop: CancellationToken) {
    let session = Session { client: FIRST + n, member: None, kv, recorder };
    let mut random = StdRng::seed_from_u64(seed ^ (u64::from(n) << 32) ^ 0x1ead);
    // As far as it knows.
    let (mut leads, mut epoch) = (false, 0);
    for written in 1u64.. {
        if stop.is_cancelled() {
            return;
        }
        let begins = !leads || random.random_bool(BEGINS_ANEW);
        let key = format!("{PREFIX}f/{}", if begins { "leader" } else { "work" });
        let value = format!("{}.{written}", session.client);
        let put = Op::Put { key, value, lease: 0, prev_kv: false };
        let txn = Txn { success: vec![put], fence: Some(epoch), raises: begins, ..Txn::default() };
        match session.call(Call::Txn(txn)).await {
            Outcome::Done(_) if begins => (leads, epoch) = (true, epoch + 1),
            Outcome::Refused(Refusal::Fenced { current }) => {
                (leads, epoch) = (false, current);
                sleep(Duration::from_millis(random.random_range(0..REST_MS))).await;
            }
            // Whether an epoch has begun that it was told nothing of, the next try tells.
            Outcome::Unknown(_) if begins => leads = false,
            _ => {}
        }
        sleep(PACE).await;
    }
}
