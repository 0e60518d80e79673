//! Counters, gauges and histograms: an observation is a few atomic additions and takes no lock.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// `N` upper bounds, each twice the one before.
pub(crate) const fn doubling<const N: usize>(first: f64) -> [f64; N] {
    let mut bounds = [first; N];
    let mut i = 1;
    while i < N {
        bounds[i] = bounds[i - 1] * 2.0;
        i += 1;
    }
    bounds
}

/// 1 ms to 8 s: etcd's bounds for what a disk does.
pub(crate) static DISK_BOUNDS_S: [f64; 14] = doubling(0.001);
/// 0.1 ms to 3 s: etcd's bounds for a round trip between members.
pub(crate) static ROUND_TRIP_BOUNDS_S: [f64; 16] = doubling(0.0001);
/// 10 ms to 11 minutes: etcd's bounds for a snapshot.
pub(crate) static SNAPSHOT_BOUNDS_S: [f64; 17] = doubling(0.01);
/// What gRPC's own metrics have, in every language.
pub(crate) static CALL_BOUNDS_S: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn inc(&self) {
        self.add(1);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that is set.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicI64);

impl Gauge {
    pub(crate) fn set(&self, n: i64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Durations by size.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds_s: &'static [f64],
    /// One more than there are bounds.
    counts: Box<[AtomicU64]>,
    nanos: AtomicU64,
}

impl Histogram {
    pub(crate) fn new(bounds_s: &'static [f64]) -> Self {
        let counts = (0..=bounds_s.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds_s, counts, nanos: AtomicU64::new(0) }
    }

    pub(crate) fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let place = self.bounds_s.partition_point(|bound| *bound < seconds);
        self.counts[place].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    }

    pub(crate) fn observe_ns(&self, took_ns: u64) {
        self.observe(Duration::from_nanos(took_ns));
    }

    /// Bound → observations up to it, for each bound; then all of them, and their sum in seconds.
    pub(crate) fn read(&self) -> (Vec<(f64, u64)>, u64, f64) {
        let mut total = 0;
        let mut buckets = Vec::with_capacity(self.bounds_s.len());
        for (bound, count) in self.bounds_s.iter().zip(self.counts.iter()) {
            total += count.load(Ordering::Relaxed);
            buckets.push((*bound, total));
        }
        total += self.counts[self.bounds_s.len()].load(Ordering::Relaxed);
        (buckets, total, self.nanos.load(Ordering::Relaxed) as f64 / 1e9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_on_a_bound_counts_below_it() {
        let histogram = Histogram::new(&DISK_BOUNDS_S);
        for ms in [1, 2, 3, 9000] {
            histogram.observe(Duration::from_millis(ms));
        }
        let (buckets, count, sum) = histogram.read();
        assert_eq!(buckets[..3], [(0.001, 1), (0.002, 2), (0.004, 3)]);
        assert_eq!(buckets.last(), Some(&(8.192, 3)));
        assert_eq!(count, 4);
        assert!((sum - 9.006).abs() < 1e-9, "{sum}");
    }
}
