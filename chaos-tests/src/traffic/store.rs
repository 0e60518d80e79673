//! Traffic straight to the store.
//!
//! ```text
//!   client    what a mix of etcd's kind asks for, through any member
//!   watchers  watches of everything from the beginning to the end, quick and slow, and others that come and go
//!   leader    leads with others in turn, and writes as who leads
//!   resident  reads that one member alone answers, and how it says that it stands
//!   look      everything once more when all has healed, from each member
//! ```
//!
//! Keys are shared by all clients. Every value is written once, so that whoever reads it tells which
//! write was done.

mod acts;
mod compactors;
mod leaders;
mod leases;
mod mix;
mod registry;
mod session;
mod watching;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use trireme_store::Kv;

use super::PAUSE;
use crate::history::{Answer, Call, Compare, Keys, Op, OpAnswer, Outcome, Range, Recorder, Sample, Txn};
use acts::Client;
pub use compactors::compactors;
pub use leaders::leader;
pub use mix::{Action, Mix};
use session::Session;
pub use watching::watchers;

pub const PREFIX: &str = "/chaos/";
/// Written when all is over: a watcher that has seen it has seen everything.
pub const END_KEY: &str = "/chaos/~end";
/// How often a last look asks before it gives up; each time may take an answer's whole time.
const LOOKS_MAX: usize = 50;
/// Numbers of the clients that take the last look.
const LOOKER: u32 = 90_000;
/// Numbers of clients that live at one member.
const RESIDENT: u32 = 80_000;
/// Between two questions of a resident.
const RESIDENT_PAUSE: Duration = Duration::from_millis(40);
/// How far back residents read.
const RESIDENT_PAST: i64 = 200;

/// Does what a mix does, until `stop`. Clients of a run have different numbers.
pub async fn client(
    id: u32,
    seed: u64,
    mix: Mix,
    kv: Arc<dyn Kv>,
    recorder: Arc<Recorder>,
    stop: CancellationToken,
) {
    let session = Session { client: id, member: None, kv, recorder };
    let random = StdRng::seed_from_u64(seed ^ (u64::from(id) << 32) ^ 0x5eed);
    let mut client = Client::new(session, random, mix.clone(), seed);
    while !stop.is_cancelled() {
        if !client.act().await {
            sleep(PAUSE).await;
        }
        if !mix.pace.is_zero() {
            sleep(mix.pace).await;
        }
    }
}

/// Reads what `member` has without asking others, until `stop`; `kv` must go nowhere else.
pub async fn resident(
    id: u32,
    seed: u64,
    member: String,
    kv: Arc<dyn Kv>,
    recorder: Arc<Recorder>,
    stop: CancellationToken,
) {
    let mut random = StdRng::seed_from_u64(seed ^ (u64::from(id) << 32) ^ 0x4051);
    let session = Session { client: RESIDENT + id, member: Some(member), kv, recorder };
    let mut seen = 0;
    while !stop.is_cancelled() {
        sleep(RESIDENT_PAUSE).await;
        if random.random_bool(0.3) {
            let asked = session.recorder.tick();
            if let Some(status) = session.status().await {
                let sample = Sample {
                    asked,
                    tick: session.recorder.tick(),
                    member: format!("{:016x}", status.member_id),
                    term: status.term,
                    leads: status.leader_id != 0 && status.leader_id == status.member_id,
                    applied_index: status.applied_index,
                    revision: status.revision.0,
                    state_hash: String::new(),
                };
                session.recorder.sample(sample).await;
            }
            continue;
        }
        let past = random.random_bool(0.3) && seen > RESIDENT_PAST;
        let range = Range {
            keys: Keys::prefix(PREFIX),
            limit: if random.random_bool(0.3) { 0 } else { random.random_range(1..10) },
            revision: if past { seen - random.random_range(0..RESIDENT_PAST) } else { 0 },
            serializable: true,
            ..Range::default()
        };
        if let Some(answer) = session.range(range).await {
            seen = seen.max(answer.revision);
        }
    }
}

/// The last write, which ends watchers, and everything that is there, by `any` and by each member.
///
/// # Errors
/// Who did not answer, of a cluster that is said to be whole.
pub async fn look(
    any: Arc<dyn Kv>,
    members: &[(String, Arc<dyn Kv>)],
    recorder: &Arc<Recorder>,
) -> Result<(), String> {
    let session = |n: usize, member: Option<&String>, kv: &Arc<dyn Kv>| Session {
        client: LOOKER + n as u32,
        member: member.cloned(),
        kv: kv.clone(),
        recorder: recorder.clone(),
    };
    let all = |revision, serializable| {
        Call::Range(Range { keys: Keys::prefix(PREFIX), revision, serializable, ..Range::default() })
    };
    let reader = session(0, None, &any);
    let unanswered = |who: &str| format!("{who} does not answer a read");
    let end = async {
        until_done(&reader, &all(0, false)).await?;
        let end = last_write(&reader).await?;
        // At the last write's revision, since leases go on ending.
        until_done(&reader, &all(end, false)).await?;
        Some(end)
    };
    let end = end.await.ok_or_else(|| unanswered("the store"))?;
    for (n, (name, kv)) in members.iter().enumerate() {
        let local = session(n + 1, Some(name), kv);
        for call in [Call::Barrier, all(end, true), all(0, true)] {
            until_done(&local, &call).await.ok_or_else(|| unanswered(name))?;
        }
        recorder.with(|history| history.looked.push(name.clone())).await;
    }
    Ok(())
}

/// Asks until it is answered, a few times.
async fn until_done(session: &Session, call: &Call) -> Option<()> {
    for _ in 0..LOOKS_MAX {
        if let Outcome::Done(_) = session.call(call.clone()).await {
            return Some(());
        }
        sleep(PAUSE).await;
    }
    None
}

/// The revision of the run's last write, which is done once.
async fn last_write(session: &Session) -> Option<i64> {
    for n in 0..LOOKS_MAX {
        let put = Op::Put { key: END_KEY.into(), value: format!("end.{n}"), lease: 0, prev_kv: false };
        let look = Op::Range(Range { keys: Keys::one(END_KEY), ..Range::default() });
        let compare = vec![Compare::unchanged(END_KEY, 0)];
        let call = Call::Txn(Txn { compare, success: vec![put], failure: vec![look], ..Txn::default() });
        if let Outcome::Done(Answer::Txn { revision, succeeded, results }) = session.call(call).await {
            return match results.first() {
                Some(OpAnswer::Range(found)) if !succeeded => found.kvs.first().map(|kv| kv.mod_revision),
                _ => Some(revision),
            };
        }
        sleep(PAUSE).await;
    }
    None
}
