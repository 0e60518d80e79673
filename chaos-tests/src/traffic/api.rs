//! Traffic to the API: ConfigMaps that all clients update by compare-and-swap, Services that come and
//! go with their addresses and ports, lists in pages and whole, a Lease that clients take from each
//! other, what its leaders write, and pods that are evicted as far as their budget allows.

mod acts;
mod evictions;
mod leader;
mod objects;
mod settled;
mod watching;
mod workloads;

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use trireme_client::{Client, Error};

use super::{ANSWER_TIMEOUT, PAUSE};
use crate::history::{ApiCall, ApiFence, ApiOperation, ApiOutcome, Recorder};
use acts::Actor;
pub use evictions::{AVAILABLE_MIN, evictions};
pub use objects::{END, READY};
pub use settled::{SETTLE, settle};
pub use watching::watchers;
pub use workloads::{Wanted, operator};

pub const NAMESPACE: &str = "default";
/// How often the last look asks before it gives up.
const LOOKS_MAX: usize = 50;
/// The client that takes the last look.
const LOOKER: u32 = 95_000;

/// A client of the API, and where it writes down what it was told.
struct Session {
    client: u32,
    api: Client,
    recorder: Arc<Recorder>,
}

impl Session {
    /// Writes a call down with what it came to.
    async fn call(
        &self,
        call: ApiCall,
        fence: Option<ApiFence>,
        work: impl Future<Output = Result<ApiOutcome, Error>>,
    ) -> ApiOutcome {
        let begin = self.recorder.tick();
        let outcome = match timeout(ANSWER_TIMEOUT, work).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) if error.is_not_found() => ApiOutcome::Absent,
            Ok(Err(error)) => failure(&error),
            Err(_) => ApiOutcome::Unknown("no answer".into()),
        };
        let end = self.recorder.tick();
        let operation =
            ApiOperation { client: self.client, begin, end, fence, call, outcome: outcome.clone() };
        self.recorder.api_operation(operation).await;
        outcome
    }
}

/// A server's word that it was refused is believed; a timeout or a server error may have been done.
fn failure(error: &Error) -> ApiOutcome {
    match error {
        Error::Unreachable(_) => ApiOutcome::Refused(error.to_string()),
        Error::Api { status, .. } if (400..500).contains(status) => ApiOutcome::Refused(error.to_string()),
        _ => ApiOutcome::Unknown(error.to_string()),
    }
}

/// Writes and reads until `stop`. Clients of a run have different numbers.
pub async fn client(id: u32, seed: u64, api: Client, recorder: Arc<Recorder>, stop: CancellationToken) {
    let random = StdRng::seed_from_u64(seed ^ (u64::from(id) << 32));
    let mut actor = Actor::new(Session { client: id, api, recorder }, random);
    while !stop.is_cancelled() {
        if !actor.act().await {
            sleep(PAUSE).await;
        }
    }
}

/// The last look: lists of everything, which must be what watches tell; and the last writes, which end
/// watches. In this order, since a list is compared with what watches told by then.
///
/// # Errors
/// What was not answered, of a cluster that is said to be whole.
pub async fn look(api: Client, recorder: &Arc<Recorder>) -> Result<(), String> {
    let mut actor = Actor::new(
        Session { client: LOOKER, api, recorder: recorder.clone() },
        StdRng::seed_from_u64(u64::from(LOOKER)),
    );
    for resource in objects::RESOURCES {
        for paged in [false, true] {
            let mut answered = false;
            for _ in 0..LOOKS_MAX {
                answered = actor.list(resource, paged).await;
                if answered {
                    break;
                }
                sleep(PAUSE).await;
            }
            if !answered {
                return Err(format!("a list of {resource} is not answered"));
            }
        }
    }
    for resource in objects::WATCHED {
        end(&actor, resource).await.ok_or_else(|| format!("no end of {resource} can be written"))?;
    }
    Ok(())
}

/// Writes what ends the watches of a resource, once.
async fn end(actor: &Actor, resource: &'static str) -> Option<()> {
    for n in 0..LOOKS_MAX {
        let value = format!("end.{n}");
        let call = ApiCall::Create { id: objects::id(resource, END), value: value.clone() };
        let work = async {
            let object = objects::end(resource, &value);
            let done = actor.session.api.create(&objects::resource(resource), NAMESPACE, &object).await?;
            Ok(ApiOutcome::Changed(objects::shown(resource, &done)))
        };
        let outcome = actor.session.call(call, None, work).await;
        // It may be there by a try of which nothing was heard.
        if matches!(outcome, ApiOutcome::Changed(_))
            || matches!(actor.look_at(resource, END).await, ApiOutcome::Found(_))
        {
            return Some(());
        }
        sleep(PAUSE).await;
    }
    None
}

impl Actor {
    /// Whether the API answered.
    async fn act(&mut self) -> bool {
        match self.random.random_range(0..100) {
            0..40 => self.update().await,
            40..44 => self.delete_config_map().await,
            44..58 => self.get().await,
            58..68 => self.create_service().await,
            68..76 => self.delete_service().await,
            76..84 => {
                let resource = objects::RESOURCES[self.random.random_range(0..objects::RESOURCES.len())];
                let paged = self.random.random_bool(0.5);
                self.list(resource, paged).await
            }
            84..88 => self.lead().await,
            _ => self.write_as_leader().await,
        }
    }
}
