//! Addresses and ports of Services.
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use crate::config::Error;

/// Where Services get their addresses and ports from.
pub(crate) struct ServiceRange {
    pub(crate) base: Ipv4Addr,
    pub(crate) prefix: u8,
    pub(crate) node_ports: RangeInclusive<u16>,
}

impl ServiceRange {
    pub(crate) fn new(cidr: &str, node_ports: RangeInclusive<u16>) -> Result<ServiceRange, Error> {
        let bad = |why: &str| Error::ServiceCidr(cidr.to_owned(), why.to_owned());
        let (base, prefix) = cidr.split_once('/').ok_or_else(|| bad("expected <address>/<bits>"))?;
        let base: Ipv4Addr = base.parse().map_err(|_| bad("expected an IPv4 address before the slash"))?;
        let prefix: u8 = prefix.parse().map_err(|_| bad("expected a number of bits after the slash"))?;
        if !(8..=28).contains(&prefix) {
            return Err(bad("expected 8 to 28 bits"));
        }
        Ok(ServiceRange { base, prefix, node_ports })
    }
}
