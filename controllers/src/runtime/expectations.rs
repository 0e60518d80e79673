//! What a controller has done and its cache does not show yet.
//!
//! A controller that creates pods and looks at its cache again before they are there would create
//! them twice. So it notes beforehand what it is going to do, events strike that out, and until
//! all is struck out it does nothing more for that key.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// An event that has not come by then will not come: the cache is believed again.
const EXPECTATION_TTL: Duration = Duration::from_secs(300);

struct Pending {
    creations: i64,
    /// Keys of what is being deleted: two events for one object count once.
    deletions: HashSet<String>,
    since: Instant,
}

#[derive(Default)]
pub struct Expectations {
    pending: Mutex<HashMap<String, Pending>>,
}

impl Expectations {
    /// Whether the cache shows everything that was done for `key`.
    pub fn satisfied(&self, key: &str) -> bool {
        self.satisfied_at(key, Instant::now())
    }

    fn satisfied_at(&self, key: &str, now: Instant) -> bool {
        let mut all = self.pending.lock();
        let Some(p) = all.get(key) else { return true };
        let satisfied =
            (p.creations <= 0 && p.deletions.is_empty()) || now.duration_since(p.since) > EXPECTATION_TTL;
        if satisfied {
            all.remove(key);
        }
        satisfied
    }

    pub fn expect_creations(&self, key: &str, count: usize) {
        self.set(key, count, HashSet::new());
    }

    pub fn expect_deletions(&self, key: &str, objects: impl IntoIterator<Item = String>) {
        self.set(key, 0, objects.into_iter().collect());
    }

    fn set(&self, key: &str, creations: usize, deletions: HashSet<String>) {
        let pending = Pending { creations: creations as i64, deletions, since: Instant::now() };
        self.pending.lock().insert(key.to_owned(), pending);
    }

    /// A creation was seen, or did not happen after all.
    pub fn creation_observed(&self, key: &str) {
        if let Some(p) = self.pending.lock().get_mut(key) {
            p.creations -= 1;
        }
    }

    /// A deletion (or its mark) was seen, or did not happen after all.
    pub fn deletion_observed(&self, key: &str, object: &str) {
        if let Some(p) = self.pending.lock().get_mut(key) {
            p.deletions.remove(object);
        }
    }

    /// The key's object is gone.
    pub fn forget(&self, key: &str) {
        self.pending.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_waits_for_its_own_doings_but_not_for_ever() {
        let e = Expectations::default();
        assert!(e.satisfied("rs"));
        e.expect_creations("rs", 2);
        e.creation_observed("rs");
        assert!(!e.satisfied("rs"));
        e.creation_observed("rs");
        assert!(e.satisfied("rs"));
        e.expect_deletions("rs", ["a".to_owned(), "b".to_owned()]);
        e.deletion_observed("rs", "a");
        e.deletion_observed("rs", "a");
        assert!(!e.satisfied("rs"), "one object deleted twice is one");
        assert!(e.satisfied_at("rs", Instant::now() + EXPECTATION_TTL + Duration::from_secs(1)));
    }
}
