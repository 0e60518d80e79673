//! Leases of the store for objects that end by themselves: Events.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use trireme_api::kinds::Kind;
use trireme_store::{Error, Kv, LeaseId};

use crate::limits::{EVENT_TTL_S, EXPIRY_LEASE_KEYS_MAX, EXPIRY_LEASE_REUSE_S};

/// How many seconds after its last write an object of this kind ends, if it does.
pub(super) fn ttl_s(row: &Kind) -> Option<i64> {
    (row.group.is_empty() && row.plural == "events").then_some(EVENT_TTL_S)
}

/// The lease that new Events share: one for each would cost a write more and memory.
#[derive(Default)]
pub(crate) struct ExpiryLeases {
    shared: Mutex<Option<Shared>>,
}

struct Shared {
    id: LeaseId,
    /// No object is given to it any more from then on: it would end too early.
    until: Instant,
    keys: u32,
}

impl ExpiryLeases {
    /// A lease that ends no sooner than `ttl_s` from now, and little later.
    pub(super) async fn lease(&self, kv: &dyn Kv, ttl_s: i64) -> Result<LeaseId, Error> {
        let mut shared = self.shared.lock().await;
        let now = Instant::now();
        if let Some(lease) = shared.as_mut().filter(|l| now < l.until && l.keys < EXPIRY_LEASE_KEYS_MAX) {
            lease.keys += 1;
            return Ok(lease.id);
        }
        let id = kv.lease_grant(LeaseId(0), ttl_s + EXPIRY_LEASE_REUSE_S).await?.id;
        let until = now + Duration::from_secs(EXPIRY_LEASE_REUSE_S.unsigned_abs());
        *shared = Some(Shared { id, until, keys: 1 });
        Ok(id)
    }

    /// `id` is not there any more: somebody revoked it.
    pub(super) async fn forget(&self, id: LeaseId) {
        let mut shared = self.shared.lock().await;
        if shared.as_ref().is_some_and(|lease| lease.id == id) {
            *shared = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use trireme_store::engine::Model;
    use trireme_store::{Clock, Local, Store};

    #[tokio::test]
    async fn a_lease_is_shared_until_it_is_full_or_gone() {
        let clock: Clock = Arc::new(|| 0);
        let kv = Local::new(Store::open(Arc::new(Model::new())).unwrap(), clock).unwrap();
        let leases = ExpiryLeases::default();
        let first = leases.lease(&kv, 3600).await.unwrap();
        for _ in 1..EXPIRY_LEASE_KEYS_MAX {
            assert_eq!(leases.lease(&kv, 3600).await.unwrap(), first);
        }
        let second = leases.lease(&kv, 3600).await.unwrap();
        assert_ne!(second, first, "the first is full");
        let ttl = kv.lease_time_to_live(second, false).await.unwrap().granted_ttl_s;
        assert_eq!(ttl, 3600 + EXPIRY_LEASE_REUSE_S, "the last object on it lives its whole time");
        leases.forget(first).await;
        assert_eq!(leases.lease(&kv, 3600).await.unwrap(), second);
        leases.forget(second).await;
        assert_ne!(leases.lease(&kv, 3600).await.unwrap(), second);
    }
}
