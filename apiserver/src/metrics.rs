//! Metrics, under upstream's names, in the text format that Prometheus scrapes.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::filters::RequestInfo;
use crate::server::Core;

/// Upper bounds in seconds of `apiserver_request_duration_seconds`.
const DURATION_BOUNDS_S: [f64; 16] =
    [0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 60.0];

/// Gives further families in the text format, of names that this server has not.
pub type MoreMetrics = std::sync::Arc<dyn Fn() -> String + Send + Sync>;

#[derive(Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<Labels, Requests>>,
    allowed: AtomicU64,
    denied: AtomicU64,
    long_running: AtomicI64,
    events_sent: AtomicU64,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Labels {
    verb: &'static str,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
}

#[derive(Default)]
struct Requests {
    by_code: BTreeMap<u16, u64>,
    buckets: [u64; DURATION_BOUNDS_S.len()],
    count: u64,
    sum_s: f64,
}

impl Metrics {
    pub(crate) fn request(&self, info: &RequestInfo, code: u16, elapsed: Duration) {
        let known = code != 404 || !info.is_resource;
        let labels = Labels {
            verb: verb_label(&info.verb),
            group: if known { info.group.clone() } else { String::new() },
            version: if known { info.version.clone() } else { String::new() },
            resource: if known { info.resource.clone() } else { String::new() },
            subresource: if known { info.subresource.clone() } else { String::new() },
            scope: match (info.is_resource, info.name.is_empty(), info.namespace.is_empty()) {
                (false, ..) => "",
                (true, false, _) => "resource",
                (true, true, false) => "namespace",
                (true, true, true) => "cluster",
            },
        };
        let seconds = elapsed.as_secs_f64();
        let mut requests = self.requests.lock();
        let r = requests.entry(labels).or_default();
        *r.by_code.entry(code).or_default() += 1;
        if info.verb != "watch" {
            for (bucket, bound) in r.buckets.iter_mut().zip(DURATION_BOUNDS_S) {
                *bucket += u64::from(seconds <= bound);
            }
            r.count += 1;
            r.sum_s += seconds;
        }
    }

    pub(crate) fn authorization(&self, allowed: bool) {
        let counter = if allowed { &self.allowed } else { &self.denied };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn watch_events(&self, n: usize) {
        self.events_sent.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// Counts a long-running request for as long as the guard lives.
    pub(crate) fn long_running(core: std::sync::Arc<Core>) -> LongRunning {
        core.metrics.long_running.fetch_add(1, Ordering::Relaxed);
        LongRunning(core)
    }
}

pub(crate) struct LongRunning(std::sync::Arc<Core>);

impl Drop for LongRunning {
    fn drop(&mut self) {
        self.0.metrics.long_running.fetch_sub(1, Ordering::Relaxed);
    }
}

fn verb_label(verb: &str) -> &'static str {
    match verb {
        "get" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        _ => "other",
    }
}

/// `/metrics`.
pub(crate) fn render(core: &Core) -> String {
    let mut out = String::new();
    let head = |out: &mut String, name: &str, kind: &str, help: &str| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    };
    let m = &core.metrics;
    {
        let requests = m.requests.lock();
        head(&mut out, "apiserver_request_total", "counter", "Requests by verb, resource, scope and answer.");
        for (l, r) in requests.iter() {
            for (code, n) in &r.by_code {
                let _ = writeln!(
                    out,
                    "apiserver_request_total{{code=\"{code}\",component=\"apiserver\",{}}} {n}",
                    l.text()
                );
            }
        }
        head(
            &mut out,
            "apiserver_request_duration_seconds",
            "histogram",
            "Time from request to answer, without watches.",
        );
        for (l, r) in requests.iter().filter(|(_, r)| r.count > 0) {
            let text = l.text();
            let name = "apiserver_request_duration_seconds";
            for (bound, n) in DURATION_BOUNDS_S.iter().zip(r.buckets) {
                let _ = writeln!(out, "{name}_bucket{{component=\"apiserver\",{text},le=\"{bound}\"}} {n}");
            }
            let _ = writeln!(out, "{name}_bucket{{component=\"apiserver\",{text},le=\"+Inf\"}} {}", r.count);
            let _ = writeln!(out, "{name}_sum{{component=\"apiserver\",{text}}} {}", r.sum_s);
            let _ = writeln!(out, "{name}_count{{component=\"apiserver\",{text}}} {}", r.count);
        }
    }
    head(&mut out, "apiserver_authorization_decisions_total", "counter", "Authorization decisions.");
    for (decision, n) in [("allowed", &m.allowed), ("denied", &m.denied)] {
        let _ = writeln!(
            out,
            "apiserver_authorization_decisions_total{{decision=\"{decision}\"}} {}",
            n.load(Ordering::Relaxed)
        );
    }
    head(&mut out, "apiserver_longrunning_requests", "gauge", "Watches and streams being served.");
    let _ = writeln!(
        out,
        "apiserver_longrunning_requests{{verb=\"WATCH\"}} {}",
        m.long_running.load(Ordering::Relaxed)
    );
    head(&mut out, "apiserver_watch_events_total", "counter", "Events sent to watchers.");
    let _ = writeln!(out, "apiserver_watch_events_total {}", m.events_sent.load(Ordering::Relaxed));
    head(&mut out, "apiserver_current_inflight_requests", "gauge", "Requests being served.");
    for (kind, max, free) in [
        ("readOnly", crate::limits::READS_IN_FLIGHT_MAX, core.reads.available_permits()),
        ("mutating", crate::limits::WRITES_IN_FLIGHT_MAX, core.writes.available_permits()),
    ] {
        let _ = writeln!(
            out,
            "apiserver_current_inflight_requests{{request_kind=\"{kind}\"}} {}",
            max.saturating_sub(free)
        );
    }
    head(&mut out, "apiserver_storage_objects", "gauge", "Objects by resource.");
    head(&mut out, "apiserver_registered_watchers", "gauge", "Watchers by resource.");
    for kind in core.cache.kinds() {
        let row = kind.row;
        let resource = crate::status::qualified(row.group, row.plural);
        let _ = writeln!(out, "apiserver_storage_objects{{resource=\"{resource}\"}} {}", kind.len());
        let watchers = kind.watcher_count();
        if watchers > 0 {
            let _ = writeln!(
                out,
                "apiserver_registered_watchers{{group=\"{}\",kind=\"{}\",version=\"{}\"}} {watchers}",
                row.group, row.kind, row.versions[0].version
            );
        }
    }
    head(&mut out, "trireme_apiserver_slow_requests_total", "counter", "Requests that took too long.");
    for (kind, n) in core.slow.counts() {
        let _ = writeln!(out, "trireme_apiserver_slow_requests_total{{kind=\"{kind}\"}} {n}");
    }
    head(&mut out, "apiserver_watch_cache_revision", "gauge", "Revision the watch cache has reached.");
    let _ = writeln!(out, "apiserver_watch_cache_revision {}", core.cache.revision());
    if let Some(more) = core.beside.get() {
        out += &more();
    }
    out
}

impl Labels {
    fn text(&self) -> String {
        format!(
            "group=\"{}\",resource=\"{}\",scope=\"{}\",subresource=\"{}\",verb=\"{}\",version=\"{}\"",
            escape(&self.group),
            escape(&self.resource),
            self.scope,
            escape(&self.subresource),
            self.verb,
            escape(&self.version)
        )
    }
}

fn escape(s: &str) -> String {
    s.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
