//! `/healthz`, `/livez`, `/readyz` and their single checks.

use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::server::Core;
use crate::server::listener::Phase;

/// Post-start hooks, in the order they run.
pub(crate) const HOOKS: [&str; 6] = [
    "start-system-namespaces-controller",
    "rbac/bootstrap-roles",
    "scheduling/bootstrap-system-priority-classes",
    "priority-and-fairness-config-producer",
    "apiservice-registration-controller",
    "bootstrap-controller",
];

/// Which hooks have run.
#[derive(Default)]
pub(crate) struct Health {
    hooks: [AtomicBool; HOOKS.len()],
    /// The store did not answer for longer than an election takes.
    store_silent: AtomicBool,
}

/// Time between two questions to the store.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// How long the store may be silent, elections included, before balancers are to go elsewhere.
const STORE_SILENCE_MAX: Duration = Duration::from_secs(3);

/// Asks the store now and then whether it still answers: a replica that is cut off from the others
/// must not be sent requests, while one whose leader is being replaced stays.
pub(crate) async fn watch_store(core: Weak<Core>) {
    let mut heard = Instant::now();
    loop {
        tokio::time::sleep(PROBE_INTERVAL).await;
        let Some(core) = core.upgrade() else { return };
        if matches!(tokio::time::timeout(PROBE_INTERVAL, core.kv.barrier()).await, Ok(Ok(_))) {
            heard = Instant::now();
        }
        let silent = heard.elapsed() > STORE_SILENCE_MAX;
        if core.health.store_silent.swap(silent, Ordering::AcqRel) != silent {
            if silent {
                tracing::warn!("the store does not answer; readyz fails until it does");
            } else {
                tracing::info!("the store answers again");
            }
        }
    }
}

impl Health {
    pub(crate) fn hook_done(&self, hook: &str) {
        if let Some(i) = HOOKS.iter().position(|h| *h == hook) {
            self.hooks[i].store(true, Ordering::Release);
        }
    }
}

/// One check: its name, and what is wrong if anything is.
struct Check {
    name: String,
    failure: Option<&'static str>,
}

/// The checks of an endpoint (`healthz`, `livez`, `readyz`).
fn checks(core: &Core, endpoint: &str) -> Vec<Check> {
    let ok = |name: &str| Check { name: name.to_owned(), failure: None };
    let when = |name: &str, good: bool, failure: &'static str| Check {
        name: name.to_owned(),
        failure: (!good).then_some(failure),
    };
    let mut out = vec![ok("ping"), ok("log")];
    let synced = core.cache.is_synced();
    if endpoint != "livez" {
        let answers = synced && !core.health.store_silent.load(Ordering::Acquire);
        out.push(when("etcd", answers, "the store does not answer"));
    }
    if endpoint == "readyz" {
        out.push(when("informer-sync", synced, "the watch cache is not filled yet"));
    }
    for (hook, done) in HOOKS.iter().zip(&core.health.hooks) {
        out.push(when(&format!("poststarthook/{hook}"), done.load(Ordering::Acquire), "not finished"));
    }
    if endpoint == "readyz" {
        out.push(when("shutdown", *core.phase.borrow() == Phase::Running, "process is shutting down"));
    }
    out
}

pub(crate) fn is_ready(core: &Core) -> bool {
    checks(core, "readyz").iter().all(|c| c.failure.is_none())
}

/// Answer to `/readyz`, `/readyz?verbose`, `/readyz/ping`: status code and text. `None`: no such
/// check.
pub(crate) fn answer(
    core: &Core,
    endpoint: &str,
    check: Option<&str>,
    verbose: bool,
    exclude: &[&str],
) -> Option<(u16, String)> {
    let mut checks = checks(core, endpoint);
    if let Some(name) = check {
        let check = checks.into_iter().find(|c| c.name == name)?;
        return Some(match check.failure {
            None => (200, "ok".into()),
            Some(failure) => (500, format!("internal server error: {failure}\n")),
        });
    }
    checks.retain(|c| !exclude.contains(&c.name.as_str()));
    let failed = checks.iter().any(|c| c.failure.is_some());
    if !failed && !verbose {
        return Some((200, "ok".into()));
    }
    let mut text = String::new();
    for c in &checks {
        // The reason is for those who may read the log: upstream withholds it as well.
        text.push_str(&match c.failure {
            None => format!("[+]{} ok\n", c.name),
            Some(_) => format!("[-]{} failed: reason withheld\n", c.name),
        });
    }
    text.push_str(&format!("{endpoint} check {}\n", if failed { "failed" } else { "passed" }));
    Some((if failed { 500 } else { 200 }, text))
}
