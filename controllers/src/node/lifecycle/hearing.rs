//! Who was heard, and whether anybody is: silence of all says more about us than about them.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// What nodes were last heard to say, and when, on our own clock.
#[derive(Default)]
pub(super) struct Hearing {
    heard: HashMap<String, (String, Instant)>,
    /// A node that was well when somebody looked: asked first, so that judging one node does not
    /// mean looking at all.
    witness: String,
    nobody: bool,
}

/// Whether a change for one node is one for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Same,
    /// The last node that was well is not any more, or the first one is again: all must be looked
    /// at.
    Changed,
}

impl Hearing {
    /// How long the node has said nothing new. Times that it writes are only compared, never taken
    /// for ours.
    pub(super) fn silence(&mut self, node: &str, says: &str, now: Instant) -> Duration {
        match self.heard.get(node) {
            Some((said, at)) if said == says => now.saturating_duration_since(*at),
            _ => {
                self.heard.insert(node.to_owned(), (says.to_owned(), now));
                Duration::ZERO
            }
        }
    }

    /// The node is gone. Whether it was the one that spoke for all.
    pub(super) fn forget(&mut self, node: &str) -> bool {
        self.heard.remove(node);
        self.witness == node
    }

    /// No node is well.
    pub(super) fn nobody(&self) -> bool {
        self.nobody
    }

    pub(super) fn witness(&self) -> &str {
        &self.witness
    }

    /// `node` is well. After a silence of all, every other node has its whole grace again: what
    /// kept us from hearing this one kept us from hearing them.
    pub(super) fn well(&mut self, node: &str, now: Instant) -> Turn {
        if !self.nobody {
            if self.witness.is_empty() {
                node.clone_into(&mut self.witness);
            }
            return Turn::Same;
        }
        self.nobody = false;
        node.clone_into(&mut self.witness);
        for (_, at) in self.heard.values_mut() {
            *at = now;
        }
        Turn::Changed
    }

    /// A node is not well; `found` is one that is.
    pub(super) fn unwell(&mut self, found: Option<String>) -> Turn {
        match found {
            Some(witness) => {
                self.witness = witness;
                Turn::Same
            }
            None if self.nobody => Turn::Same,
            None => {
                self.nobody = true;
                self.witness.clear();
                Turn::Changed
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_silence_of_all_everyone_has_the_whole_grace_again() {
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        let mut h = Hearing::default();
        for node in ["a", "b"] {
            assert_eq!(h.silence(node, "1", at(0)), Duration::ZERO);
            assert_eq!(h.well(node, at(0)), Turn::Same);
        }
        assert_eq!(h.silence("a", "1", at(60)), Duration::from_secs(60));
        assert_eq!(h.unwell(Some("b".into())), Turn::Same);
        assert!(!h.nobody());
        assert_eq!(h.unwell(None), Turn::Changed);
        assert_eq!(h.unwell(None), Turn::Same);
        assert!(h.nobody());
        assert_eq!(h.silence("b", "2", at(70)), Duration::ZERO);
        assert_eq!(h.well("b", at(70)), Turn::Changed);
        assert!(!h.nobody());
        assert_eq!(h.silence("a", "1", at(75)), Duration::from_secs(5));
        assert!(h.forget("b") && !h.forget("a"));
    }
}
