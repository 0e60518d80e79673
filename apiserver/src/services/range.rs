//! Where Services get their addresses and ports from.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use rand::RngExt;
use trireme_store::planted::{self, Bug};

use crate::config::Error;

pub(crate) struct ServiceRange {
    base: u32,
    bits: u8,
    pub(crate) node_ports: RangeInclusive<u16>,
}

impl ServiceRange {
    pub(crate) fn new(cidr: &str, node_ports: RangeInclusive<u16>) -> Result<ServiceRange, Error> {
        let bad = |why: &str| Error::ServiceCidr(cidr.to_owned(), why.to_owned());
        let (base, bits) = cidr.split_once('/').ok_or_else(|| bad("expected <address>/<bits>"))?;
        let base: Ipv4Addr = base.parse().map_err(|_| bad("expected an IPv4 address before the slash"))?;
        let bits: u8 = bits.parse().map_err(|_| bad("expected a number of bits after the slash"))?;
        if !(8..=28).contains(&bits) {
            return Err(bad("expected 8 to 28 bits"));
        }
        let base = u32::from(base);
        if base & (u32::MAX >> bits) != 0 {
            return Err(bad("the address has bits set past the prefix"));
        }
        if node_ports.is_empty() || *node_ports.start() == 0 {
            return Err(bad("the node port range is empty"));
        }
        Ok(ServiceRange { base, bits, node_ports })
    }

    fn size(&self) -> u32 {
        1 << (32 - u32::from(self.bits))
    }

    pub(crate) fn cidr(&self) -> String {
        format!("{}/{}", Ipv4Addr::from(self.base), self.bits)
    }

    /// The `kubernetes` Service's address.
    pub(crate) fn first(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.base + 1)
    }

    /// Whether an address can be a Service's: in the range, and neither its first nor its last.
    pub(crate) fn holds(&self, address: Ipv4Addr) -> bool {
        let offset = u32::from(address).wrapping_sub(self.base);
        offset > 0 && offset < self.size() - 1
    }

    /// Some address. The lower part of the range is left to those who name one, as upstream does.
    pub(crate) fn random(&self) -> Ipv4Addr {
        if planted::is(Bug::AddressTwice) {
            return Ipv4Addr::from(self.base + rand::rng().random_range(16..24));
        }
        let band = (self.size() / 16).clamp(16, 256).min(self.size() / 2);
        Ipv4Addr::from(self.base + rand::rng().random_range(band..self.size() - 1))
    }

    pub(crate) fn random_port(&self) -> u16 {
        if planted::is(Bug::PortTwice) {
            return self.node_ports.start() + rand::rng().random_range(0..8);
        }
        rand::rng().random_range(self.node_ports.clone())
    }

    pub(crate) fn port_text(&self) -> String {
        format!("{}-{}", self.node_ports.start(), self.node_ports.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_from_the_range() {
        let range = ServiceRange::new("10.96.0.0/12", 30000..=32767).unwrap();
        assert_eq!(range.first().to_string(), "10.96.0.1");
        for _ in 0..100 {
            assert!(range.holds(range.random()));
        }
        assert!(!range.holds("10.96.0.0".parse().unwrap()) && !range.holds("10.112.0.0".parse().unwrap()));
        assert!(!range.holds("10.111.255.255".parse().unwrap()));
        assert!(ServiceRange::new("10.96.0.1/12", 1..=2).is_err());
    }
}
