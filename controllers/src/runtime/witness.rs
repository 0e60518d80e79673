//! What raft tells controllers and scheduler of the other masters' processes: a master's controllers are
//! in the process of its member, so what is true of the one is true of the other.

use std::time::Duration;

use super::leader::Witness;

/// Of an incarnation as it is written in an identity.
const INCARNATION_DIGITS: usize = 16;

/// The name of a process as a leader: its master's, and what its proposals to the store carry. Unlike any
/// other's, also across restarts.
pub fn identity(master: &str, incarnation: u64) -> String {
    format!("{master}_{incarnation:0INCARNATION_DIGITS$x}")
}

/// The master and the incarnation that an identity names; `None` for a stranger's.
fn parse(identity: &str) -> Option<(&str, u64)> {
    let (name, incarnation) = identity.rsplit_once('_')?;
    if incarnation.len() != INCARNATION_DIGITS {
        return None;
    }
    Some((name, u64::from_str_radix(incarnation, 16).ok()?))
}

/// Who of the masters' processes is gone, as the store's member of this process tells it.
pub struct MemberWitness<G, L> {
    is_gone: G,
    led_for: L,
}

impl<G, L> MemberWitness<G, L>
where
    G: Fn(&str, u64) -> bool + Send + Sync,
    L: Fn() -> Option<Duration> + Send + Sync,
{
    /// `is_gone` is asked about a master and an incarnation of its process; `led_for` says for how long
    /// this process's member has led.
    pub fn new(is_gone: G, led_for: L) -> Self {
        Self { is_gone, led_for }
    }
}

impl<G, L> Witness for MemberWitness<G, L>
where
    G: Fn(&str, u64) -> bool + Send + Sync,
    L: Fn() -> Option<Duration> + Send + Sync,
{
    fn is_gone(&self, identity: &str) -> bool {
        parse(identity).is_some_and(|(name, incarnation)| (self.is_gone)(name, incarnation))
    }

    fn led_for(&self) -> Option<Duration> {
        (self.led_for)()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_read_back() {
        assert_eq!(parse(&identity("master_1", 255)), Some(("master_1", 255)));
        assert_eq!(parse("master-1"), None);
        assert_eq!(parse("kcm_x-y"), None);
        assert_eq!(parse("stranger_ff"), None);
    }
}
