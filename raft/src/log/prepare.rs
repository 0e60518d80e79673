//! Who makes segments ahead of their use and unlinks the old ones, so that neither
//! happens between a proposal and its sync.
//!
//! It also keeps a reserve: a file that is given back to the disk when the disk is full,
//! so that the state has room to work with while deletes and compaction shrink it. From then on
//! writes are refused, until there is room for the reserve again and for what was wanted.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use trireme_store::work::{self, Next, Running, Sender, Worker};

use super::LogConfig;
use super::file::{LogDir, LogFile};

/// A full disk is tried again after this long.
const RETRY: Duration = Duration::from_millis(500);

/// The reserve's file.
const RESERVE: &str = "reserve";

pub(super) fn segment_name(sequence: u64) -> String {
    format!("{sequence:016x}.log")
}

pub(super) fn parse_segment_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok())?
}

/// What there is room for, as far as who makes segments has found.
#[derive(Default)]
pub(super) struct Room {
    /// The disk has none.
    pub full: AtomicBool,
    /// The next segment is made: for so long the log goes on whatever the disk says.
    pub next_is_made: AtomicBool,
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

pub(super) enum Job {
    Prepare {
        sequence: u64,
        bytes: u64,
    },
    Unlink(Vec<String>),
    /// The disk is full for somebody else: the reserve is given back.
    Release,
    Stop,
}

#[derive(Default)]
struct Made {
    prepared: Option<(u64, Prepared)>,
    stopped: bool,
}

type Slot = (Mutex<Made>, Condvar);

pub(super) struct Preparer {
    jobs: Sender<Job>,
    slot: Arc<Slot>,
    room: Arc<Room>,
    asked: u64,
}

impl Preparer {
    pub(super) fn start(
        dir: Arc<dyn LogDir>,
        config: LogConfig,
        room: Arc<Room>,
    ) -> io::Result<(Self, Running)> {
        let slot = Arc::new(Slot::default());
        let reserved =
            dir.open(RESERVE).and_then(|file| file.size()).is_ok_and(|size| size == config.reserve_bytes);
        let maker = Maker { dir, config, slot: slot.clone(), room: room.clone(), reserved, wanted: None };
        let (jobs, running) = work::start_for_waiting("raft-log-prep", maker)?;
        Ok((Self { jobs, slot, room, asked: 0 }, running))
    }

    /// A way to who makes segments, for those who find the disk full.
    pub(super) fn jobs(&self) -> Sender<Job> {
        self.jobs.clone()
    }

    /// Asks for segment `sequence`, once.
    pub(super) fn ask(&mut self, sequence: u64, bytes: u64) {
        if self.asked < sequence {
            self.asked = sequence;
            let _ = self.jobs.send(Job::Prepare { sequence, bytes });
        }
    }

    /// Whether segment `sequence` can be taken at once.
    pub(super) fn has(&mut self, sequence: u64, bytes: u64) -> bool {
        self.ask(sequence, bytes);
        let made = self.slot.0.lock();
        made.stopped || made.prepared.as_ref().is_some_and(|(found, _)| *found == sequence)
    }

    /// Waits for segment `sequence`; `None` when the log is closed first, and in a simulated world,
    /// where nobody would come, when it is not there.
    pub(super) fn take(&mut self, sequence: u64, bytes: u64) -> Option<Prepared> {
        self.ask(sequence, bytes);
        let (lock, ready) = &*self.slot;
        let mut slot = lock.lock();
        loop {
            if let Some((_, prepared)) = slot.prepared.take_if(|(found, _)| *found == sequence) {
                self.room.next_is_made.store(false, Ordering::Relaxed);
                return Some(prepared);
            }
            if slot.stopped || work::is_simulated() {
                return None;
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

struct Maker {
    dir: Arc<dyn LogDir>,
    config: LogConfig,
    slot: Arc<Slot>,
    room: Arc<Room>,
    /// The reserve is there.
    reserved: bool,
    /// A segment that could not be made.
    wanted: Option<(u64, u64)>,
}

impl Worker<Job> for Maker {
    fn work(&mut self, job: Option<Job>, _: &mut dyn FnMut() -> Option<Job>) -> Next {
        if let Some(Job::Stop) = job {
            return Next::Nothing;
        }
        if let Err(error) = self.take(job) {
            (self.config.on_fatal)(&format!("preparing a segment of the raft log: {error}"));
            return Next::Nothing;
        }
        match self.room.full.load(Ordering::Relaxed) || !self.reserved {
            true => Next::JobWithin(RETRY),
            false => Next::Job,
        }
    }

    fn end(&mut self) {
        let (lock, ready) = &*self.slot;
        lock.lock().stopped = true;
        ready.notify_all();
    }
}

impl Maker {
    fn take(&mut self, job: Option<Job>) -> io::Result<()> {
        match job {
            Some(Job::Unlink(names)) => {
                for name in &names {
                    if let Err(error) = self.dir.remove(name) {
                        tracing::warn!(segment = name, %error, "an old segment of the raft log stays");
                    }
                }
                // Not synced: a segment that comes back after a crash is purged again.
                self.restore()
            }
            Some(Job::Release) => {
                self.release();
                Ok(())
            }
            Some(Job::Prepare { sequence, bytes }) => {
                self.wanted = Some((sequence, bytes));
                match self.room.full.load(Ordering::Relaxed) {
                    true => self.restore(),
                    false => self.prepare(),
                }
            }
            Some(Job::Stop) | None => self.restore(),
        }
    }

    /// Makes the segment that is wanted; where the disk refuses, gives the reserve back.
    fn prepare(&mut self) -> io::Result<()> {
        let Some((sequence, bytes)) = self.wanted else { return Ok(()) };
        match prepare_segment(self.dir.as_ref(), sequence, bytes) {
            Ok(prepared) => {
                self.wanted = None;
                let (lock, ready) = &*self.slot;
                {
                    let mut made = lock.lock();
                    made.prepared = Some((sequence, prepared));
                    self.room.next_is_made.store(true, Ordering::Relaxed);
                }
                ready.notify_all();
                Ok(())
            }
            Err(error) if is_full(&error) => {
                // What was allocated of it is given back, for deletes and compaction to use.
                let _ = self.dir.remove(&segment_name(sequence));
                self.release();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn release(&mut self) {
        if !self.room.full.swap(true, Ordering::Relaxed) {
            tracing::error!("the disk is full: writes are refused, deletes and compaction are not");
        }
        if std::mem::take(&mut self.reserved) {
            let _ = self.dir.remove(RESERVE);
        }
    }

    /// Takes the reserve back, and makes what is wanted, when there is room for both and as much
    /// again as the reserve: with less, what made room would be full again at once.
    fn restore(&mut self) -> io::Result<()> {
        let reserve = self.config.reserve_bytes;
        let needed = 2 * reserve + self.wanted.map_or(0, |(_, bytes)| bytes);
        if self.reserved && !self.room.full.load(Ordering::Relaxed) || self.dir.free_bytes()? < needed {
            return Ok(());
        }
        if !self.reserved {
            match self.make_reserve() {
                Ok(()) => self.reserved = true,
                Err(error) if is_full(&error) => {
                    let _ = self.dir.remove(RESERVE);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        self.prepare()?;
        if self.wanted.is_none() && self.room.full.swap(false, Ordering::Relaxed) {
            tracing::info!("the disk has room again: writes are taken");
        }
        Ok(())
    }

    fn make_reserve(&self) -> io::Result<()> {
        let bytes = self.config.reserve_bytes;
        if bytes > 0 {
            let file = self.dir.create(RESERVE)?;
            file.allocate(bytes)?;
            file.sync()?;
        }
        Ok(())
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
