//! Leases: granted, attached, kept, revoked, run out.

use super::{DEADLINE, Suite, lease_id};
use crate::kv::{Error, KeyRange, LeaseId, PutRequest};
use crate::limits::LEASE_TTL_MAX_S;

impl Suite {
    pub(super) async fn leases(&self) {
        self.grants().await;
        self.attached_keys().await;
        self.expiry().await;
    }

    async fn put_leased(&self, key: &str, lease: LeaseId) {
        let mut put = PutRequest::new(key.to_owned(), "v");
        put.lease = lease;
        self.put(put).await.unwrap_or_else(|e| panic!("put {key}: {e}"));
    }

    async fn grants(&self) {
        let chosen = self.kv.lease_grant(LeaseId(0), 600).await.expect("the store chooses");
        assert!(chosen.id.0 > 0, "{chosen:?}");
        assert_eq!(chosen.ttl_s, 600);
        let id = lease_id(1);
        let _ = self.kv.lease_revoke(id).await;
        assert_eq!(self.kv.lease_grant(id, 600).await.expect("grant").id, id);
        assert_eq!(self.kv.lease_grant(id, 600).await, Err(Error::LeaseExists));
        let too_long = self.kv.lease_grant(lease_id(2), LEASE_TTL_MAX_S + 1).await;
        assert_eq!(too_long, Err(Error::LeaseTtlTooLarge));
        let all = self.kv.leases().await.expect("leases");
        assert!(all.contains(&id) && all.contains(&chosen.id), "{all:?}");
        let ttl = self.kv.lease_time_to_live(id, true).await.expect("time to live");
        assert!(ttl.ttl_s > 500 && ttl.ttl_s <= 600, "{ttl:?}");
        assert_eq!((ttl.id, ttl.granted_ttl_s, ttl.keys.len()), (id, 600, 0));
        assert_eq!(self.kv.lease_keep_alive(id).await, Ok(600));
        for id in [id, chosen.id] {
            self.kv.lease_revoke(id).await.expect("revoke");
            assert_eq!(self.kv.lease_revoke(id).await, Err(Error::LeaseNotFound));
            assert_eq!(self.kv.lease_keep_alive(id).await, Err(Error::LeaseNotFound));
            assert_eq!(self.kv.lease_time_to_live(id, true).await.expect("of none").ttl_s, -1);
        }
    }

    async fn attached_keys(&self) {
        let (first, second) = (lease_id(3), lease_id(4));
        for id in [first, second] {
            self.kv.lease_grant(id, 600).await.expect("grant");
        }
        for key in ["lease/a", "lease/b", "lease/c", "lease/d"] {
            self.put_leased(key, first).await;
        }
        assert_eq!(self.get("lease/a").await.expect("put").lease, first);
        self.put_leased("lease/b", second).await;
        self.set("lease/c", "a put without a lease detaches").await;
        let mut kept = PutRequest::new("lease/d", "2");
        kept.ignore_lease = true;
        self.put(kept).await.expect("ignore_lease");
        let keys = self.kv.lease_time_to_live(first, true).await.expect("keys").keys;
        assert_eq!(keys, ["lease/a", "lease/d"]);
        let before = self.now().await;
        let revision = self.kv.lease_revoke(first).await.expect("revoke");
        assert!(revision > before);
        let left: Vec<_> = self.list("lease/", |_| {}).await.kvs.into_iter().map(|kv| kv.key).collect();
        assert_eq!(left, ["lease/b", "lease/c"]);
        self.delete(KeyRange::key("lease/b"), false).await;
        self.put_leased("lease/e", second).await;
        self.set("lease/b", "of no lease now").await;
        self.kv.lease_revoke(second).await.expect("revoke");
        let left: Vec<_> = self.list("lease/", |_| {}).await.kvs.into_iter().map(|kv| kv.key).collect();
        assert_eq!(left, ["lease/b", "lease/c"]);
    }

    /// A lease that nobody renews takes its keys with it; one that is renewed outlives it.
    async fn expiry(&self) {
        let (dying, kept) = (lease_id(5), lease_id(6));
        let granted = self.kv.lease_grant(dying, 1).await.expect("grant").ttl_s;
        self.kv.lease_grant(kept, granted).await.expect("grant");
        self.put_leased("expire/dying", dying).await;
        self.put_leased("expire/kept", kept).await;
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while self.get("expire/dying").await.is_some() {
            assert!(tokio::time::Instant::now() < deadline, "the lease of {granted} s never ended");
            self.kv.lease_keep_alive(kept).await.expect("the other is alive");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        assert!(self.get("expire/kept").await.is_some());
        assert_eq!(self.kv.lease_keep_alive(dying).await, Err(Error::LeaseNotFound));
        assert!(!self.kv.leases().await.expect("leases").contains(&dying));
        self.kv.lease_revoke(kept).await.expect("revoke");
    }
}
