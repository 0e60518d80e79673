//! Leases that a client grants, keeps and gives up, and keys that go with them.

use rand::RngExt;
use rand::seq::IndexedRandom;

use super::PREFIX;
use super::acts::Client;
use super::session::answered;
use crate::history::{Answer, Call, Op, Outcome, Refusal};

/// Leases that one client holds at a time.
const HELD_MAX: usize = 6;
/// Seconds. Short ones, so that they end while somebody looks.
const TTLS_S: [i64; 5] = [1, 2, 3, 5, 60];
/// Keys that go with leases.
const KEYS: u64 = 8;

pub(super) struct Leases {
    /// The next one's; those of different clients and seeds differ.
    next: i64,
    held: Vec<i64>,
}

impl Leases {
    pub(super) fn new(seed: u64, client: u32) -> Leases {
        let next = ((seed & 0xffff) << 40 | u64::from(client) << 20 | 1) as i64;
        Leases { next, held: Vec::new() }
    }
}

impl Client {
    pub(super) fn leased_key(&mut self) -> String {
        format!("{PREFIX}t/{}", self.random.random_range(0..KEYS))
    }

    pub(super) async fn grant(&mut self) -> bool {
        let lease = self.leases.next;
        self.leases.next += 1;
        let ttl_s = *TTLS_S.choose(&mut self.random).unwrap_or(&1);
        let outcome = self.session.call(Call::Grant { lease, ttl_s }).await;
        self.learn(&outcome);
        // One that may have been granted is tried, too.
        if !matches!(outcome, Outcome::Refused(_)) {
            if self.leases.held.len() >= HELD_MAX {
                self.leases.held.remove(0);
            }
            self.leases.held.push(lease);
        }
        answered(&outcome)
    }

    fn lease(&mut self) -> Option<i64> {
        self.leases.held.choose(&mut self.random).copied()
    }

    fn forget_if_gone(&mut self, lease: i64, outcome: &Outcome) {
        let gone = match outcome {
            Outcome::Refused(Refusal::LeaseNotFound) | Outcome::Done(Answer::Revoked { .. }) => true,
            Outcome::Done(Answer::TimeToLive { ttl_s, .. }) => *ttl_s < 0,
            _ => false,
        };
        // Now and then it goes on with one that is gone: nothing may come of it.
        if gone && self.random.random_bool(0.8) {
            self.leases.held.retain(|held| *held != lease);
        }
    }

    async fn ask(&mut self, lease: i64, call: Call) -> bool {
        let outcome = self.session.call(call).await;
        self.learn(&outcome);
        self.forget_if_gone(lease, &outcome);
        answered(&outcome)
    }

    /// Without a lease it gets itself one.
    pub(super) async fn put_leased(&mut self) -> bool {
        let Some(lease) = self.lease() else { return self.grant().await };
        let key = self.leased_key();
        let put = Op::Put { key, value: self.value(), lease, prev_kv: self.random.random_bool(0.3) };
        let txn = crate::history::Txn { success: vec![put], ..Default::default() };
        self.ask(lease, Call::Txn(txn)).await
    }

    pub(super) async fn keep_alive(&mut self) -> bool {
        let Some(lease) = self.lease() else { return self.grant().await };
        self.ask(lease, Call::KeepAlive { lease }).await
    }

    pub(super) async fn revoke(&mut self) -> bool {
        let Some(lease) = self.lease() else { return self.grant().await };
        self.ask(lease, Call::Revoke { lease }).await
    }

    pub(super) async fn time_to_live(&mut self) -> bool {
        let Some(lease) = self.lease() else { return self.grant().await };
        self.ask(lease, Call::TimeToLive { lease }).await
    }
}
