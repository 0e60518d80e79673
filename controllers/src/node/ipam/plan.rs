//! A range cut into equal parts.

use std::collections::HashSet;
use std::fmt;
use std::net::Ipv4Addr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    base: u32,
    bits: u32,
    part_bits: u32,
}

impl Range {
    /// None where `cidr` is no IPv4 range, or too small for a part.
    pub(super) fn parse(cidr: &str, part_bits: u32) -> Option<Range> {
        let (base, bits) = cidr.split_once('/')?;
        let (base, bits) = (u32::from(base.parse::<Ipv4Addr>().ok()?), bits.parse::<u32>().ok()?);
        ((1..=30).contains(&part_bits) && (1..=part_bits).contains(&bits)).then(|| {
            let mask = u32::MAX << (32 - bits);
            Range { base: base & mask, bits, part_bits }
        })
    }

    fn parts(&self) -> u32 {
        1 << (self.part_bits - self.bits)
    }

    pub(super) fn cidr(&self, index: u32) -> String {
        format!("{}/{}", Ipv4Addr::from(self.base + (index << (32 - self.part_bits))), self.part_bits)
    }

    /// Which part `cidr` lies in; none for one from elsewhere.
    pub(super) fn index_of(&self, cidr: &str) -> Option<u32> {
        let address = u32::from(cidr.split_once('/')?.0.parse::<Ipv4Addr>().ok()?);
        let index = address.checked_sub(self.base)? >> (32 - self.part_bits);
        (index < self.parts()).then_some(index)
    }

    /// The first part that is not used.
    pub(super) fn free(&self, used: &HashSet<u32>) -> Option<u32> {
        (0..self.parts()).find(|i| !used.contains(i))
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_counted_and_run_out() {
        let r = Range::parse("10.128.0.0/9", 24).unwrap();
        assert_eq!((r.cidr(0).as_str(), r.cidr(257).as_str()), ("10.128.0.0/24", "10.129.1.0/24"));
        assert_eq!(
            (r.index_of("10.129.1.0/24"), r.index_of("192.168.0.0/24"), r.index_of("")),
            (Some(257), None, None)
        );
        assert_eq!(r.free(&[0, 1, 3].into()), Some(2));
        let small = Range::parse("10.0.0.0/23", 24).unwrap();
        assert_eq!(small.free(&[0, 1].into()), None);
        assert_eq!(Range::parse("10.0.0.0/25", 24), None);
        assert_eq!(Range::parse("fd00::/48", 64), None);
    }
}
