//! Time as the masters tell it, and how far this machine's own is to be trusted meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// What the beat sleeps at a time.
const BEAT: Duration = Duration::from_millis(20);

/// When a line was logged, by the clock of who logged it.
pub fn logged_at(line: &str) -> Timestamp {
    let word = line.split_whitespace().next().unwrap_or_default();
    word.parse().unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// When the store came to be led by who writes this log, for the first time from `from` on.
pub fn came_to_lead(log: &str, from: Timestamp) -> Option<Timestamp> {
    let lines = log.lines().filter(|line| line.contains("the store is led") && line.contains("here=true"));
    lines.map(logged_at).find(|at| *at >= from)
}

/// The value of a field in a line of a log: `age_ms=1034`.
pub fn field(line: &str, name: &str) -> Option<f64> {
    let mut words = line.split([' ', '"']);
    words.find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}

/// How late a thread was at most that only wanted to be woken: what others on this machine were late
/// by is not theirs.
pub struct Beat {
    stop: Arc<AtomicBool>,
    late_ms_max: Arc<AtomicU64>,
}

impl Beat {
    pub fn start() -> Beat {
        let beat = Beat { stop: Arc::default(), late_ms_max: Arc::default() };
        let (stop, late) = (beat.stop.clone(), beat.late_ms_max.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                std::thread::sleep(BEAT);
                let over = began.elapsed().saturating_sub(BEAT);
                late.fetch_max(over.as_millis() as u64, Ordering::Relaxed);
            }
        });
        beat
    }

    pub fn late_at_most(&self) -> Duration {
        Duration::from_millis(self.late_ms_max.load(Ordering::Relaxed))
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
