//! What must hold of members whatever clients see: a leader whose disk hangs goes.

use std::time::Duration;

use super::network::Host;

/// A leader whose disk is stuck and that others could replace leads no longer than this.
const STUCK_MAX: Duration = Duration::from_millis(2_500);

#[derive(Default)]
pub(super) struct Promises {
    /// Who leads with a stuck disk while nothing else is wrong, since when and in which term.
    stuck: Option<(Host, Duration, u64)>,
    pub broken: Vec<String>,
}

impl Promises {
    /// A member leads at this moment.
    pub(super) fn leads(&mut self, now: Duration, host: Host, term: u64) {
        let Some((stuck, since, then)) = self.stuck else { return };
        if term > then {
            // The one that is stuck cannot note the new term, and goes on believing in its own.
            self.stuck = None;
        } else if stuck == host && now > since + STUCK_MAX {
            self.stuck = None;
            self.broken.push(format!(
                "nobody but member {host} leads after {STUCK_MAX:?} in which its disk did nothing"
            ));
        }
    }

    /// The disk of a leader hangs, and nothing else keeps another from leading.
    pub(super) fn stuck(&mut self, now: Duration, host: Host, term: u64) {
        self.stuck = Some((host, now, term));
    }

    /// Something else is wrong, too, or nothing is any more.
    pub(super) fn healed(&mut self) {
        self.stuck = None;
    }
}
