//! Which members answer this leader's heartbeats, and as which process.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::types::MemberId;

/// A member that refuses connections, or closes them, and has not answered for this long is gone.
const REFUSED_GONE: Duration = Duration::from_millis(250);
/// One that is only silent: stopped, cut off, or its machine without power.
const SILENT_GONE: Duration = Duration::from_millis(800);
/// Heartbeats that must have gone unanswered beside that: when it is this process that stood
/// still, time has passed and nobody was asked.
const UNANSWERED_MIN: u32 = 5;

/// What a leader's heartbeats have told of one member, in one term.
#[derive(Clone, Copy, Debug)]
struct Heard {
    term: u64,
    /// Of the last answer; before it, of the first question.
    at: Instant,
    unanswered: u32,
    refused: bool,
    /// Zero until it has answered.
    incarnation: u64,
}

/// All members, by their answers to heartbeats. What was heard in an earlier term counts for
/// nothing.
#[derive(Default)]
pub(crate) struct Liveness(Mutex<HashMap<MemberId, Heard>>);

impl Liveness {
    /// A heartbeat of `term` is on its way.
    pub(super) fn asked(&self, member: MemberId, term: u64) {
        self.update(member, term, |heard| heard.unanswered = heard.unanswered.saturating_add(1));
    }

    pub(super) fn answered(&self, member: MemberId, term: u64, incarnation: u64) {
        self.update(member, term, |heard| {
            let at = Instant::now();
            *heard = Heard { term, at, unanswered: 0, refused: false, incarnation };
        });
    }

    /// Nobody listens at its address, or its connection was closed.
    pub(super) fn refused(&self, member: MemberId, term: u64) {
        self.update(member, term, |heard| heard.refused = true);
    }

    fn update(&self, member: MemberId, term: u64, change: impl FnOnce(&mut Heard)) {
        let mut all = self.0.lock();
        let new = Heard { term, at: Instant::now(), unanswered: 0, refused: false, incarnation: 0 };
        let heard = all.entry(member).or_insert(new);
        if heard.term > term {
            // An answer to a question of an earlier leadership.
            return;
        }
        if heard.term < term {
            *heard = new;
        }
        change(heard);
    }

    /// Whether, by what the leader of `term` has heard, the process `incarnation` of `member` has
    /// ended or is out of reach. Nothing heard is no answer: false. `led_until` is when it last
    /// spoke as the leader before this one: its silence began then.
    pub(crate) fn is_gone(
        &self,
        member: MemberId,
        term: u64,
        incarnation: u64,
        led_until: Option<Instant>,
    ) -> bool {
        let Some(heard) = self.0.lock().get(&member).copied().filter(|heard| heard.term == term) else {
            return false;
        };
        if heard.incarnation != 0 && heard.incarnation != incarnation {
            return true;
        }
        let patience = if heard.refused { REFUSED_GONE } else { SILENT_GONE };
        let at = led_until.filter(|_| heard.incarnation == 0).map_or(heard.at, |until| until.min(heard.at));
        heard.unanswered >= UNANSWERED_MIN && at.elapsed() >= patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: MemberId = MemberId(1);

    /// As if all that was heard so far had been heard that much earlier.
    fn age(liveness: &Liveness, by: Duration) {
        for heard in liveness.0.lock().values_mut() {
            heard.at -= by;
        }
    }

    #[test]
    fn silence_counts_only_where_it_was_asked_for() {
        let liveness = Liveness::default();
        assert!(!liveness.is_gone(A, 1, 7, None), "never asked");
        liveness.asked(A, 1);
        liveness.answered(A, 1, 7);
        age(&liveness, SILENT_GONE);
        liveness.asked(A, 1);
        assert!(!liveness.is_gone(A, 1, 7, None), "time passed, but hardly a question was asked");
        (0..UNANSWERED_MIN).for_each(|_| liveness.asked(A, 1));
        assert!(liveness.is_gone(A, 1, 7, None));
        assert!(!liveness.is_gone(A, 2, 7, None), "an earlier leadership says nothing");
        liveness.asked(A, 2);
        assert!(!liveness.is_gone(A, 2, 7, None));
        (0..UNANSWERED_MIN).for_each(|_| liveness.asked(A, 2));
        age(&liveness, REFUSED_GONE);
        assert!(!liveness.is_gone(A, 2, 7, None), "only silent");
        liveness.refused(A, 2);
        assert!(liveness.is_gone(A, 2, 7, None));
        // Late news of the term before change nothing.
        liveness.answered(A, 1, 7);
        assert!(liveness.is_gone(A, 2, 7, None));
        liveness.answered(A, 2, 7);
        assert!(!liveness.is_gone(A, 2, 7, None));
    }

    #[test]
    fn the_silence_of_the_leader_before_began_with_its_last_word() {
        let liveness = Liveness::default();
        (0..UNANSWERED_MIN).for_each(|_| liveness.asked(A, 2));
        let long_ago = Instant::now() - SILENT_GONE;
        assert!(!liveness.is_gone(A, 2, 7, None));
        assert!(liveness.is_gone(A, 2, 7, Some(long_ago)));
        liveness.answered(A, 2, 7);
        (0..UNANSWERED_MIN).for_each(|_| liveness.asked(A, 2));
        assert!(!liveness.is_gone(A, 2, 7, Some(long_ago)), "it has answered since");
    }

    #[test]
    fn another_process_of_the_member_is_another() {
        let liveness = Liveness::default();
        liveness.asked(A, 1);
        assert!(!liveness.is_gone(A, 1, 7, None));
        liveness.answered(A, 1, 8);
        assert!(liveness.is_gone(A, 1, 7, None) && !liveness.is_gone(A, 1, 8, None));
    }
}
