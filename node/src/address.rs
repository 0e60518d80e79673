//! Addresses of pods and of hollow nodes.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use parking_lot::Mutex;

/// Pods of a node that has no range of its own yet: a slice of 100.64.0.0/10 by the node's name.
const UNASSIGNED_PREFIX_BITS: u32 = 24;

/// FNV-1a: the same for the same name, in every process.
fn hash(name: &str) -> u32 {
    name.bytes().fold(2_166_136_261, |h, b| (h ^ u32::from(b)).wrapping_mul(16_777_619))
}

/// The address a hollow node says it has: in 172.16.0.0/12, by its name. Nothing listens there.
pub(crate) fn of_node(name: &str) -> Ipv4Addr {
    let host = hash(name) & 0x000f_ffff;
    // Neither a network's own address nor a broadcast.
    let last = 1 + (host & 0xff) % 254;
    Ipv4Addr::from(0xac10_0000 | (host & 0x000f_ff00) | last)
}

/// The addresses of one node's pods, by the pods' uids.
pub(crate) struct Pool {
    base: u32,
    size: u32,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    by_uid: HashMap<String, u32>,
    offsets: HashMap<u32, String>,
    last: u32,
}

impl Pool {
    /// `cidr` is the node's `spec.podCIDR`, "" while it has none.
    pub(crate) fn new(node: &str, cidr: &str) -> Pool {
        let given = cidr.split_once('/').and_then(|(base, bits)| {
            let bits: u32 = bits.parse().ok().filter(|b| (8..=30).contains(b))?;
            Some((u32::from(base.parse::<Ipv4Addr>().ok()?), bits))
        });
        let (base, bits) =
            given.unwrap_or((0x6440_0000 | (hash(node) & 0x003f_ff00), UNASSIGNED_PREFIX_BITS));
        Pool { base, size: 1 << (32 - bits), taken: Mutex::default() }
    }

    /// The pod's address; none is free: `None`.
    pub(crate) fn take(&self, uid: &str) -> Option<IpAddr> {
        let mut taken = self.taken.lock();
        if let Some(offset) = taken.by_uid.get(uid) {
            return Some(self.at(*offset));
        }
        // The network itself, the gateway and the broadcast are not for pods. The next one after
        // the last, so that an address that was just freed is not used again at once.
        let usable = self.size.saturating_sub(3);
        for step in 1..=usable {
            let offset = 2 + (taken.last + step) % usable;
            if !taken.offsets.contains_key(&offset) {
                taken.last = (taken.last + step) % usable;
                taken.offsets.insert(offset, uid.to_owned());
                taken.by_uid.insert(uid.to_owned(), offset);
                return Some(self.at(offset));
            }
        }
        None
    }

    /// Marks an address that a pod has from before.
    pub(crate) fn keep(&self, uid: &str, address: &str) {
        let Ok(address) = address.parse::<Ipv4Addr>() else { return };
        let offset = u32::from(address).wrapping_sub(self.base);
        if offset < self.size {
            let mut taken = self.taken.lock();
            taken.offsets.insert(offset, uid.to_owned());
            taken.by_uid.insert(uid.to_owned(), offset);
        }
    }

    pub(crate) fn free(&self, uid: &str) {
        let mut taken = self.taken.lock();
        if let Some(offset) = taken.by_uid.remove(uid) {
            taken.offsets.remove(&offset);
        }
    }

    fn at(&self, offset: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(self.base + offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_unique_kept_and_freed() {
        let pool = Pool::new("n", "10.1.2.0/29");
        let all: Vec<_> = (0..5).map(|i| pool.take(&format!("p{i}")).unwrap().to_string()).collect();
        let mut sorted = all.clone();
        sorted.sort();
        assert_eq!(sorted, ["10.1.2.2", "10.1.2.3", "10.1.2.4", "10.1.2.5", "10.1.2.6"]);
        assert_eq!(pool.take("more"), None);
        assert_eq!(pool.take("p1").unwrap().to_string(), all[1], "asked again");
        pool.free("p1");
        assert_eq!(pool.take("more").unwrap().to_string(), all[1]);
        let restarted = Pool::new("n", "10.1.2.0/29");
        restarted.keep("old", "10.1.2.3");
        assert!((0..4).all(|i| restarted.take(&format!("q{i}")).unwrap().to_string() != "10.1.2.3"));
    }

    #[test]
    fn nodes_without_a_range_have_one_of_their_own() {
        let take = |node: &str| Pool::new(node, "").take("p").unwrap().to_string();
        assert!(take("a").starts_with("100."));
        assert_ne!(take("node-1"), take("node-2"));
        assert!(of_node("hollow-0").is_private());
        assert_eq!(of_node("hollow-0"), of_node("hollow-0"));
    }
}
