//! Damage of what is stored: found by reading all of it again and again, noted in the data directory,
//! and the end of this member where the others can give it everything anew.
//!
//! A member that has noted damage does not start on that data ([`StartError::Damaged`]); who starts it
//! sets the data aside and lets it join under a new identity.
//!
//! [`StartError::Damaged`]: super::StartError::Damaged

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use trireme_store::{DiskChecked, Fault, work};

use super::Inner;
use crate::log::OpenError;
use crate::metrics::unix_ms;

/// Says in a data directory what is wrong with it.
const DAMAGED: &str = "DAMAGED";
/// Speed of a check: 2 GiB and the log in half a minute, so that damage behind it is found by the next
/// one within a minute.
const BYTES_PER_SECOND: u64 = 80 << 20;
/// Between the end of a check and the next one's begin, where the state is so large that checks
/// follow each other.
const REST: Duration = Duration::from_secs(5);
/// What is read between two looks at the clock.
const STEP_BYTES: u64 = 4 << 20;

/// Between one member's turn to end and the next one's: damage that all find at the same time must
/// not end a majority.
const TURN: Duration = Duration::from_secs(5);

const HERE: &str = "the state on this member's disk is damaged";

impl Inner {
    /// Checks the whole state and the whole log on the disk, rests, and begins again.
    pub(super) async fn run_disk_check(self: Arc<Self>) {
        let mut took = Duration::ZERO;
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.config.timing.disk_check.saturating_sub(took).max(REST)) => {}
                () = self.stop.cancelled() => return,
            }
            let started = Instant::now();
            let this = self.clone();
            let checks = &self.metrics.checks;
            checks.running.set(1);
            let Ok(checked) = work::blocking(move || this.check_disk()).await else { return };
            checks.running.set(0);
            took = started.elapsed();
            if self.stop.is_cancelled() {
                // Its files may be going away: what was found of them is no damage.
                return;
            }
            match checked {
                Ok((state, log_bytes)) => {
                    tracing::debug!(
                        state_bytes = state.bytes,
                        log_bytes,
                        "state and log on the disk are sound"
                    );
                    checks.sound.inc();
                    checks.ended_unix_ms.set(unix_ms());
                    checks.took_ms.set(took.as_millis() as i64);
                    checks.state_bytes.set(state.bytes as i64);
                    checks.keys.set(state.keys as i64);
                    checks.log_bytes.set(log_bytes as i64);
                    self.solved(HERE);
                }
                Err(Fault::Corrupt(what)) => {
                    checks.damaged.inc();
                    self.damaged(&what).await;
                }
                Err(error) => {
                    checks.failed.inc();
                    tracing::debug!(%error, "the disk could not be checked");
                }
            }
        }
    }

    /// Reads state and log; what was in the one, and the bytes of the other.
    fn check_disk(&self) -> Result<(DiskChecked, u64), Fault> {
        let scratch = self.snapshots.scratch("check");
        let started = Instant::now();
        let (mut read, mut step) = (0, 0);
        let mut pace = |bytes: u64| {
            step += bytes;
            if step < STEP_BYTES {
                return;
            }
            read += std::mem::take(&mut step);
            let due = Duration::from_millis(read * 1000 / BYTES_PER_SECOND);
            // A member that stops does not wait for the rest.
            if !self.stop.is_cancelled() {
                work::pause(due.saturating_sub(started.elapsed()));
            }
        };
        let state = self.store.check_disk(scratch.path(), &mut pace)?;
        match self.log.check(&mut pace) {
            Ok(log_bytes) => Ok((state, log_bytes)),
            Err(OpenError::Io(error)) => Err(Fault::Io(error.to_string())),
            Err(damage) => Err(Fault::Corrupt(damage.to_string())),
        }
    }

    /// Ends this member, to be built anew from the others, if they are enough without it. What is in
    /// memory may still be right, and with too few others it is all there is: then it goes on, and
    /// says so.
    pub(super) async fn damaged(&self, what: &str) {
        let voters = self.voters();
        let turn = voters.iter().position(|id| *id == self.member).unwrap_or(voters.len());
        tokio::select! {
            () = tokio::time::sleep(TURN * turn as u32) => {}
            () = self.stop.cancelled() => return,
        }
        // One that has ended before does not answer any more, and stands for another identity after.
        let others = self.nodes().into_iter().filter(|(id, _)| *id != self.member && voters.contains(id));
        let asked = others.map(|(id, node)| async move {
            self.identify(&node.peer_address).await.is_ok_and(|answer| answer.member == id.0)
        });
        let there = futures::future::join_all(asked).await.into_iter().filter(|there| *there).count();
        if there < voters.len() / 2 + 1 {
            self.problem(format!(
                "{HERE} ({what}), and only {there} of the other members answer: too few to build it anew from"
            ));
            return;
        }
        if let Err(error) = note(&self.config.data_dir, what) {
            tracing::error!(%error, "that the state is damaged could not be noted");
        }
        (self.config.on_fatal)(&format!("{HERE}: {what}"));
    }
}

/// What was noted of a data directory.
pub(crate) fn noted(dir: &Path) -> Option<String> {
    std::fs::read_to_string(path(dir)).ok().map(|text| text.trim().to_owned())
}

pub(super) fn note(dir: &Path, what: &str) -> std::io::Result<()> {
    std::fs::write(path(dir), format!("{what}\n"))?;
    std::fs::File::open(dir)?.sync_all()
}

fn path(dir: &Path) -> PathBuf {
    dir.join(DAMAGED)
}
