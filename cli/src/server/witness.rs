//! What raft tells controllers and scheduler of the other masters' processes.

use std::time::Duration;

use trireme_controllers::runtime::Witness;
use trireme_raft::Replica;

/// Of an incarnation as it is written in an identity.
const INCARNATION_DIGITS: usize = 16;

/// The name of this process as a leader: its master's, and what its proposals to the store carry.
/// Unlike any other's, also across restarts.
pub(super) fn identity(name: &str, member: &Replica) -> String {
    format!("{name}_{:0INCARNATION_DIGITS$x}", member.incarnation())
}

/// Who of them is gone, by what the store's leader hears of its members. A master's controllers are
/// in the process of its member, so what is true of the one is true of the other.
pub(super) struct StoreWitness {
    member: Replica,
}

impl StoreWitness {
    pub(super) fn new(member: Replica) -> StoreWitness {
        StoreWitness { member }
    }
}

/// The master and the incarnation that an identity names; `None` for a stranger's.
fn parse(identity: &str) -> Option<(&str, u64)> {
    let (name, incarnation) = identity.rsplit_once('_')?;
    if incarnation.len() != INCARNATION_DIGITS {
        return None;
    }
    Some((name, u64::from_str_radix(incarnation, 16).ok()?))
}

impl Witness for StoreWitness {
    fn is_gone(&self, identity: &str) -> bool {
        parse(identity).is_some_and(|(name, incarnation)| self.member.is_process_gone(name, incarnation))
    }

    fn led_for(&self) -> Option<Duration> {
        self.member.led_for()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_read_back() {
        assert_eq!(parse("master_1_00000000000000ff"), Some(("master_1", 255)));
        assert_eq!(parse("master-1"), None);
        assert_eq!(parse("kcm_x-y"), None);
        assert_eq!(parse("stranger_ff"), None);
    }
}
