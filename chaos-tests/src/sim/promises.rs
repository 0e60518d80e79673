//! What must hold of members whatever clients see.

use std::collections::BTreeMap;
use std::time::Duration;

use super::network::Host;

const HANGS: &str = "a leader whose disk hangs goes";
const REFUSES: &str = "writes find no room only where the leader or a quorum has none";
const GOES_ON: &str = "reads and deletes go on while disks are full";
const ENDS: &str = "who meets a sync that fails ends";
const ASTRAY: &str = "a write that went astray is found";

/// A leader whose disk is stuck and that others could replace leads no longer than this.
const STUCK_MAX: Duration = Duration::from_millis(2_500);
/// That a disk has room again is known to the leader, and used, within this.
const ROOM_NOTICED: Duration = Duration::from_secs(3);
/// Reads and deletes stand no longer than this where disks are full and nothing else is wrong.
const REST_MAX: Duration = Duration::from_secs(4);

/// Whoever is told that a sync failed has ended within this.
const ENDS_MAX: Duration = Duration::from_millis(500);

#[derive(Default)]
pub(super) struct Promises {
    /// Who leads with a stuck disk while nothing else is wrong, since when and in which term.
    stuck: Option<(Host, Duration, u64)>,
    /// While disks are full and nothing else is wrong: reads and deletes that were done, and when there was
    /// one more.
    goes_on: Option<(u64, Duration)>,
    /// When the leader or a quorum last had no room, and how many answers had said so by then.
    lacked: Option<Duration>,
    refused: u64,
    /// Who runs though a sync of its log has failed, and since when that is seen.
    failed: BTreeMap<Host, Duration>,
    pub broken: BTreeMap<&'static str, Vec<String>>,
}

impl Promises {
    fn say(&mut self, promise: &'static str, what: String) {
        self.broken.entry(promise).or_default().push(what);
    }

    /// A member leads at this moment.
    pub(super) fn leads(&mut self, now: Duration, host: Host, term: u64) {
        let Some((stuck, since, then)) = self.stuck else { return };
        if term > then {
            // The one that is stuck cannot note the new term, and goes on believing in its own.
            self.stuck = None;
        } else if stuck == host && now > since + STUCK_MAX {
            self.stuck = None;
            let what =
                format!("nobody but member {host} leads after {STUCK_MAX:?} in which its disk did nothing");
            self.say(HANGS, what);
        }
    }

    /// The disk of a leader hangs, and nothing else keeps another from leading.
    pub(super) fn stuck(&mut self, now: Duration, host: Host, term: u64) {
        self.stuck = Some((host, now, term));
    }

    /// Disks are full, and nothing else is wrong; `done` reads and deletes were done before.
    pub(super) fn full(&mut self, now: Duration, done: u64) {
        self.goes_on = Some((done, now));
    }

    /// So many reads and deletes have been done by now.
    pub(super) fn done(&mut self, now: Duration, done: u64) {
        let Some((before, since)) = self.goes_on else { return };
        if done > before {
            self.goes_on = Some((done, now));
        } else if now > since + REST_MAX {
            self.goes_on = None;
            let ms = now.as_millis();
            self.say(GOES_ON, format!("none was done in {REST_MAX:?}, at {ms} ms"));
        }
    }

    /// So many writes have been refused for want of room by now; `lacks` where the leader or a quorum has
    /// none.
    pub(super) fn refused(&mut self, now: Duration, refused: u64, lacks: bool) {
        if lacks {
            self.lacked = Some(now);
        }
        let is_known = self.lacked.is_some_and(|lacked| now <= lacked + ROOM_NOTICED);
        if refused > self.refused && !is_known {
            let (ms, count) = (now.as_millis(), refused - self.refused);
            self.say(REFUSES, format!("{count} were refused at {ms} ms"));
        }
        self.refused = refused;
    }

    /// Whether a member runs though a sync of its log has failed in its present life.
    pub(super) fn runs_on(&mut self, now: Duration, host: Host, runs_on: bool) {
        if !runs_on {
            self.failed.remove(&host);
        } else if now > *self.failed.entry(host).or_insert(now) + ENDS_MAX {
            self.failed.insert(host, now);
            let ms = now.as_millis();
            self.say(ENDS, format!("member {host} runs on {ENDS_MAX:?} after a sync failed, at {ms} ms"));
        }
    }

    /// A member started from a log of which a write had gone astray.
    pub(super) fn started_astray(&mut self, host: Host, what: String) {
        self.say(ASTRAY, format!("member {host} started without {what}"));
    }

    /// Something else is wrong, too, or nothing is any more.
    pub(super) fn healed(&mut self) {
        (self.stuck, self.goes_on) = (None, None);
    }
}
