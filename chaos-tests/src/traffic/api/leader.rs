//! Clients that lead in turn: each takes the Lease from whoever has it, and writes in its term's name
//! until it is refused.

use trireme_client::Error;

use super::NAMESPACE;
use super::acts::{Actor, answered};
use super::objects::{self, LEASE, LEASE_RESOURCE, LED};
use crate::history::{ApiCall, ApiFence, ApiOutcome};

impl Actor {
    /// Takes the Lease, which ends the term of whoever has it.
    pub(super) async fn lead(&mut self) -> bool {
        let begin = self.session.recorder.tick();
        // Another name each time: a holder who takes it again begins a new term, too.
        let holder = format!("client-{}-{}", self.session.client, begin.0);
        let outcome = self.session.call(ApiCall::Lead, None, self.take(&holder)).await;
        if !answered(&outcome) {
            return matches!(outcome, ApiOutcome::Refused(_));
        }
        // The epoch is the store's, and shows where the Lease is read.
        let found = self.session.api.get(&LEASE_RESOURCE, NAMESPACE, LEASE).await;
        let Ok(found) = found else { return false };
        let shown = objects::shown("leases", &found);
        if shown.value != holder {
            return true;
        }
        let Some(epoch) = objects::epoch(&found) else { return true };
        let fence = ApiFence { lease: format!("{NAMESPACE}/{LEASE}"), epoch };
        self.term = Some(fence.clone());
        let led = async { Ok(ApiOutcome::Changed(shown)) };
        self.session.call(ApiCall::Lead, Some(fence), led).await;
        true
    }

    /// From whoever has it.
    async fn take(&self, holder: &str) -> Result<ApiOutcome, Error> {
        let api = &self.session.api;
        let taken = match api.get(&LEASE_RESOURCE, NAMESPACE, LEASE).await {
            Ok(found) => {
                let lease = objects::lease(holder, found.resource_version());
                api.update(&LEASE_RESOURCE, &lease).await?
            }
            Err(error) if error.is_not_found() => {
                api.create(&LEASE_RESOURCE, NAMESPACE, &objects::lease(holder, "")).await?
            }
            Err(error) => return Err(error),
        };
        Ok(ApiOutcome::Changed(objects::shown("leases", &taken)))
    }

    /// Goes on as the leader of the last term that it had, which may be over.
    pub(super) async fn write_as_leader(&mut self) -> bool {
        let Some(term) = self.term.clone() else { return true };
        let value = self.value();
        let outcome = self.write(LED, &value, Some(term)).await;
        // Refused: by another who leads, or by another's write. It finds out by trying again.
        answered(&outcome) || matches!(outcome, ApiOutcome::Refused(_))
    }
}
