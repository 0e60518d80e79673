//! The thread that makes segments ahead of their use and unlinks the old ones, so that neither
//! happens between a proposal and its sync.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::LogConfig;
use super::file::{LogDir, LogFile};

/// A full disk is tried again after this long.
const RETRY: Duration = Duration::from_millis(500);

pub(super) fn segment_name(sequence: u64) -> String {
    format!("{sequence:016x}.log")
}

pub(super) fn parse_segment_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok())?
}

/// A segment of zeros, on the disk with its name.
pub(super) struct Prepared {
    pub name: String,
    pub file: Arc<dyn LogFile>,
    pub capacity: u64,
}

/// Makes segment `sequence`.
pub(super) fn prepare_segment(dir: &dyn LogDir, sequence: u64, bytes: u64) -> io::Result<Prepared> {
    let name = segment_name(sequence);
    let file = dir.create(&name)?;
    file.zero(0, bytes)?;
    file.sync()?;
    dir.sync()?;
    Ok(Prepared { name, file, capacity: bytes })
}

enum Job {
    Prepare { sequence: u64, bytes: u64 },
    Unlink(Vec<String>),
    Stop,
}

#[derive(Default)]
struct Slot {
    prepared: Option<(u64, Prepared)>,
    failure: Option<String>,
}

pub(super) struct Preparer {
    jobs: mpsc::Sender<Job>,
    slot: Arc<(Mutex<Slot>, Condvar)>,
    asked: u64,
}

impl Preparer {
    pub(super) fn start(dir: Arc<dyn LogDir>, config: LogConfig) -> (Self, JoinHandle<()>) {
        let (jobs, queue) = mpsc::channel();
        let slot = Arc::new((Mutex::new(Slot::default()), Condvar::new()));
        let shared = slot.clone();
        let thread = std::thread::Builder::new()
            .name("raft-log-prep".into())
            .spawn(move || run(dir.as_ref(), &config, &queue, &shared))
            .expect("a thread can be started");
        (Self { jobs, slot, asked: 0 }, thread)
    }

    /// Asks for segment `sequence`, once.
    pub(super) fn ask(&mut self, sequence: u64, bytes: u64) {
        if self.asked < sequence {
            self.asked = sequence;
            let _ = self.jobs.send(Job::Prepare { sequence, bytes });
        }
    }

    /// Whether the segment asked for is still not there because the disk refuses.
    pub(super) fn failing(&self) -> bool {
        self.slot.0.lock().failure.is_some()
    }

    /// Waits for segment `sequence`.
    pub(super) fn take(&mut self, sequence: u64, bytes: u64) -> Prepared {
        self.ask(sequence, bytes);
        let (lock, ready) = &*self.slot;
        let mut slot = lock.lock();
        loop {
            if let Some((_, prepared)) = slot.prepared.take_if(|(found, _)| *found == sequence) {
                return prepared;
            }
            ready.wait(&mut slot);
        }
    }

    pub(super) fn unlink(&self, names: Vec<String>) {
        let _ = self.jobs.send(Job::Unlink(names));
    }
}

impl Drop for Preparer {
    fn drop(&mut self) {
        let _ = self.jobs.send(Job::Stop);
    }
}

fn run(dir: &dyn LogDir, config: &LogConfig, queue: &mpsc::Receiver<Job>, slot: &(Mutex<Slot>, Condvar)) {
    let (lock, ready) = slot;
    let mut wanted: Option<(u64, u64)> = None;
    loop {
        // A job that failed is tried again, with unlinking in between: that is what makes room.
        let job = match wanted {
            None => queue.recv().unwrap_or(Job::Stop),
            Some((sequence, bytes)) => match queue.recv_timeout(RETRY) {
                Ok(job) => job,
                Err(mpsc::RecvTimeoutError::Timeout) => Job::Prepare { sequence, bytes },
                Err(mpsc::RecvTimeoutError::Disconnected) => Job::Stop,
            },
        };
        match job {
            Job::Stop => return,
            Job::Unlink(names) => {
                for name in &names {
                    if let Err(error) = dir.remove(name) {
                        tracing::warn!(segment = name, %error, "an old segment of the raft log stays");
                    }
                }
                // Not synced: a segment that comes back after a crash is purged again.
            }
            Job::Prepare { sequence, bytes } => match prepare_segment(dir, sequence, bytes) {
                Ok(prepared) => {
                    wanted = None;
                    let mut slot = lock.lock();
                    if slot.failure.take().is_some() {
                        tracing::info!("there is room for the raft log again");
                    }
                    slot.prepared = Some((sequence, prepared));
                    ready.notify_all();
                }
                Err(error) if is_full(&error) => {
                    if wanted.is_none() {
                        tracing::error!(%error, "no room for the next segment of the raft log: writes are refused");
                    }
                    // What was allocated of it is given back, for deletes and compaction to use.
                    let _ = dir.remove(&segment_name(sequence));
                    wanted = Some((sequence, bytes));
                    lock.lock().failure = Some(error.to_string());
                }
                Err(error) => {
                    (config.on_fatal)(&format!("preparing a segment of the raft log: {error}"));
                    return;
                }
            },
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
