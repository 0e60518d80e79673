//! Counters of all controllers of this process, under upstream's names.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use parking_lot::Mutex;

#[derive(Default)]
struct PerController {
    reconciled: u64,
    failed: u64,
    seconds: f64,
    depth: usize,
}

#[derive(Default)]
pub struct Metrics {
    controllers: Mutex<BTreeMap<&'static str, PerController>>,
    leading: Mutex<BTreeMap<String, bool>>,
}

impl Metrics {
    pub(super) fn reconciled(&self, name: &'static str, took: Duration, good: bool, depth: usize) {
        let mut all = self.controllers.lock();
        let one = all.entry(name).or_default();
        one.reconciled += 1;
        one.failed += u64::from(!good);
        one.seconds += took.as_secs_f64();
        one.depth = depth;
    }

    pub(super) fn leading(&self, lease: &str, leading: bool) {
        self.leading.lock().insert(lease.to_owned(), leading);
    }

    /// In the text format of Prometheus.
    pub fn render(&self) -> String {
        let mut out = String::new();
        let all = self.controllers.lock();
        let mut family = |name: &str, kind: &str, value: &dyn Fn(&PerController) -> f64| {
            let _ = writeln!(out, "# TYPE {name} {kind}");
            for (controller, one) in all.iter() {
                let _ = writeln!(out, "{name}{{name=\"{controller}\"}} {}", value(one));
            }
        };
        family("workqueue_work_duration_seconds_count", "counter", &|c| c.reconciled as f64);
        family("workqueue_work_duration_seconds_sum", "counter", &|c| c.seconds);
        family("workqueue_retries_total", "counter", &|c| c.failed as f64);
        family("workqueue_depth", "gauge", &|c| c.depth as f64);
        let _ = writeln!(out, "# TYPE leader_election_master_status gauge");
        for (lease, leading) in self.leading.lock().iter() {
            let _ = writeln!(out, "leader_election_master_status{{name=\"{lease}\"}} {}", u8::from(*leading));
        }
        out
    }
}
