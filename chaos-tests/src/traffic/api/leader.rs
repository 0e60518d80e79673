//! Clients that lead in turn: each takes the Lease from whoever has it, and writes in its term's name
//! until it is refused.

use super::NAMESPACE;
use super::acts::{Actor, answered};
use super::objects::{self, LEASE, LEASE_RESOURCE, LED};
use crate::history::{ApiCall, ApiFence, ApiOutcome};

impl Actor {
    /// Takes the Lease, which ends the term of whoever has it.
    pub(super) async fn lead(&mut self) -> bool {
        let begin = self.session.recorder.tick();
        let version = match self.session.api.get(&LEASE_RESOURCE, NAMESPACE, LEASE).await {
            Ok(found) => found.resource_version().to_owned(),
            Err(error) if error.is_not_found() => String::new(),
            Err(_) => return false,
        };
        // Another name each time: a holder who takes it again begins a new term, too.
        let holder = format!("client-{}-{}", self.session.client, begin.0);
        let lease = objects::lease(&holder, &version);
        let taken = if version.is_empty() {
            self.session.api.create(&LEASE_RESOURCE, NAMESPACE, &lease).await
        } else {
            self.session.api.update(&LEASE_RESOURCE, &lease).await
        };
        let Ok(taken) = taken else { return true };
        let Some(epoch) = objects::epoch(&taken) else { return true };
        let fence = ApiFence { lease: format!("{NAMESPACE}/{LEASE}"), epoch };
        self.term = Some(fence.clone());
        let shown = objects::shown("leases", &taken);
        let done = async { Ok(ApiOutcome::Changed(shown)) };
        answered(&self.session.call(ApiCall::Lead, Some(fence), done).await)
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
