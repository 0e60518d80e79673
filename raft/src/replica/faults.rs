//! Faults that an operator plays on a member that runs, to see what comes of them: `trireme chaos`.
//!
//! Each is so until a moment that is fixed when it begins, and nothing of it is kept anywhere: it ends
//! by itself, and with the process, whether or not anybody is left to take it back. No file, socket or
//! clock of the machine is touched.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::{Inner, Replica};
use crate::metrics::unix_ms;
use crate::peer::Until;

/// None lasts longer.
pub const FAULT_LASTS_MAX: Duration = Duration::from_secs(300);

/// What can be done to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChaosFault {
    /// It neither sends to the other members nor hears them. Its clients still reach it.
    CutOff,
    /// It takes its disk for full, which has the room it had.
    NoRoom,
    /// Its wall clock goes by so much before the machine's, or behind it. Waiting and elections go by
    /// another clock, here as with a clock that was set.
    ClockOff { ms: i64 },
}

/// Those of one member.
#[derive(Default)]
pub(super) struct Faults {
    pub(super) cut: Arc<Until>,
    clock: Until,
    clock_ms: AtomicI64,
}

impl Faults {
    fn clock_shift_ms(&self) -> i64 {
        self.clock.left().map_or(0, |_| self.clock_ms.load(Ordering::Relaxed))
    }

    fn words(&self, told_full: bool) -> Vec<String> {
        let mut words = Vec::new();
        if self.cut.left().is_some() {
            words.push("chaos: it is kept from the other members".to_owned());
        }
        if told_full {
            words.push("chaos: it was told that its disk is full".to_owned());
        }
        if self.clock.left().is_some() {
            words.push(format!("chaos: its clock is off by {} s", self.clock_shift_ms() / 1_000));
        }
        words
    }
}

impl Replica {
    /// Has `fault` be so for `lasts`, and no longer than [`FAULT_LASTS_MAX`].
    pub fn inflict(&self, fault: ChaosFault, lasts: Duration) {
        let (inner, lasts) = (&self.inner, lasts.min(FAULT_LASTS_MAX));
        tracing::warn!(?fault, lasts_ms = lasts.as_millis() as u64, "a fault is played on this member");
        match fault {
            ChaosFault::CutOff => inner.faults.cut.set(lasts),
            ChaosFault::NoRoom => inner.log.tell_full(lasts),
            ChaosFault::ClockOff { ms } => {
                inner.faults.clock_ms.store(ms, Ordering::Relaxed);
                inner.faults.clock.set(lasts);
            }
        }
    }

    /// Ends all faults before their time.
    pub fn relieve(&self) {
        self.inner.faults.cut.set(Duration::ZERO);
        self.inner.faults.clock.set(Duration::ZERO);
        self.inner.log.tell_full(Duration::ZERO);
    }

    /// Says, whenever it is asked, by how many milliseconds this member's wall clock goes before the
    /// machine's: for what else goes by that clock. It does not keep the member.
    pub fn clock_shift_ms(&self) -> impl Fn() -> i64 + Clone + Send + Sync + use<> {
        let faults = self.inner.faults.clone();
        move || faults.clock_shift_ms()
    }
}

impl Inner {
    /// The wall clock as this member has it.
    pub(super) fn wall_ms(&self) -> i64 {
        unix_ms() + self.faults.clock_shift_ms()
    }

    /// What is being played on it, in words.
    pub(super) fn faults_in_words(&self) -> Vec<String> {
        self.faults.words(self.log.is_told_full())
    }
}
