//! What a browser, a probe or Prometheus asks at the clients' port: `/metrics`, `/health`, `/livez`,
//! `/readyz`, `/version`, each with etcd's answer.
//!
//! They need a certificate like everything at this port; any of the store's authority will do.

use std::collections::{BTreeMap, BTreeSet};

use http::{Method, Response, StatusCode, Uri};
use parking_lot::Mutex;
use tonic::body::Body;
use trireme_store::{KeyRange, RangeRequest};

use super::calls::Calls;
use super::{Backend, ETCD_VERSION};
use crate::metrics::{Counter, Text};

const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

const CORRUPTION: &str = "data_corruption";
const SERIALIZABLE: &str = "serializable_read";
const LINEARIZABLE: &str = "linearizable_read";
const NON_LEARNER: &str = "non_learner";
/// What each of them looks at, in this order.
const LIVE: &[&str] = &[SERIALIZABLE];
const READY: &[&str] = &[CORRUPTION, LINEARIZABLE, NON_LEARNER, SERIALIZABLE];

/// How checks have ended.
#[derive(Default)]
pub(super) struct Counts {
    success: Counter,
    failures: Counter,
    /// By type and name: the last result, successes, failures.
    #[allow(clippy::type_complexity)]
    checks: Mutex<BTreeMap<(&'static str, &'static str), (bool, u64, u64)>>,
}

impl Counts {
    fn note(&self, kind: &'static str, name: &'static str, good: bool) {
        let mut checks = self.checks.lock();
        let (last, successes, failures) = checks.entry((kind, name)).or_default();
        *last = good;
        *(if good { successes } else { failures }) += 1;
    }

    pub(super) fn render(&self, text: &mut Text) {
        text.counter("etcd_server_health_success", "Times that /health said true.", self.success.get());
        text.counter("etcd_server_health_failures", "Times that /health said false.", self.failures.get());
        let checks = self.checks.lock().clone();
        let name = "etcd_server_healthcheck";
        text.family(name, "gauge", "The last result of a check.");
        for ((kind, check), (good, ..)) in &checks {
            text.sample(name, &[("type", kind), ("name", check)], u8::from(*good));
        }
        let name = "etcd_server_healthchecks_total";
        text.family(name, "counter", "Results of checks.");
        for ((kind, check), (_, successes, failures)) in &checks {
            for (status, n) in [("success", successes), ("error", failures)] {
                text.sample(name, &[("type", kind), ("name", check), ("status", status)], n);
            }
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Path {
    Metrics,
    Version,
    Health { serializable: bool, exclude: BTreeSet<String> },
    Probe(Probe),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    kind: &'static str,
    checks: Vec<&'static str>,
    exclude: BTreeSet<String>,
    verbose: bool,
}

impl Path {
    /// `None` for a path that is not one of these.
    pub(super) fn of(uri: &Uri) -> Option<Self> {
        let query: Vec<(&str, &str)> = uri
            .query()
            .unwrap_or_default()
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .collect();
        let exclude = || {
            let names = query.iter().filter(|(key, value)| *key == "exclude" && !value.is_empty());
            names.map(|(_, value)| (*value).to_owned()).collect()
        };
        let (root, check) = match uri.path()[1..].split_once('/') {
            Some((root, check)) => (root, Some(check)),
            None => (&uri.path()[1..], None),
        };
        let (kind, known) = match (root, check) {
            ("metrics", None) => return Some(Self::Metrics),
            ("version", None) => return Some(Self::Version),
            ("health", None) => {
                let serializable = query.contains(&("serializable", "true"));
                return Some(Self::Health { serializable, exclude: exclude() });
            }
            ("livez", _) => ("livez", LIVE),
            ("readyz", _) => ("readyz", READY),
            _ => return None,
        };
        let checks: Vec<&'static str> =
            known.iter().copied().filter(|name| check.is_none_or(|check| check == *name)).collect();
        // As in etcd, it is its being there that counts.
        let verbose = query.iter().any(|(key, _)| *key == "verbose");
        (!checks.is_empty()).then(|| Self::Probe(Probe { kind, checks, exclude: exclude(), verbose }))
    }

    /// By which a client's certificate is asked whether it may.
    pub(super) fn root(&self) -> &'static str {
        match self {
            Self::Metrics => "/metrics",
            Self::Version => "/version",
            Self::Health { .. } => "/health",
            Self::Probe(Probe { kind: "livez", .. }) => "/livez",
            Self::Probe(_) => "/readyz",
        }
    }

    pub(super) async fn answer(
        self,
        method: &Method,
        allowed: bool,
        backend: &dyn Backend,
        calls: &Calls,
    ) -> Response<Body> {
        if !allowed {
            return respond(StatusCode::FORBIDDEN, PLAIN, "this certificate may not ask\n".into());
        }
        if *method != Method::GET && *method != Method::HEAD {
            let mut refused = respond(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "Method Not Allowed\n".into());
            refused.headers_mut().insert(http::header::ALLOW, http::HeaderValue::from_static("GET"));
            return refused;
        }
        match self {
            Self::Metrics => {
                let mut text = Text::default();
                calls.render(&mut text);
                respond(StatusCode::OK, METRICS_TYPE, text.finish() + &backend.metrics())
            }
            Self::Version => {
                let cluster = ETCD_VERSION.rsplit_once('.').map_or(ETCD_VERSION, |(minor, _)| minor);
                let body = format!("{{\"etcdserver\":\"{ETCD_VERSION}\",\"etcdcluster\":\"{cluster}.0\"}}");
                respond(StatusCode::OK, JSON, body)
            }
            Self::Health { serializable, exclude } => {
                let found = health(backend, serializable, &exclude).await;
                let (status, counter) = match found {
                    Ok(()) => (StatusCode::OK, &calls.health.success),
                    Err(_) => (StatusCode::SERVICE_UNAVAILABLE, &calls.health.failures),
                };
                counter.inc();
                let reason = found.err().unwrap_or_default().replace('\\', "\\\\").replace('"', "\\\"");
                let good = status == StatusCode::OK;
                respond(status, JSON, format!("{{\"health\":\"{good}\",\"reason\":\"{reason}\"}}"))
            }
            Self::Probe(probe) => probe.answer(backend, &calls.health).await,
        }
    }
}

impl Probe {
    async fn answer(self, backend: &dyn Backend, counts: &Counts) -> Response<Body> {
        let (mut lines, mut good) = (String::new(), true);
        for check in self.checks {
            if self.exclude.contains(check) {
                continue;
            }
            let found = run_check(check, backend).await;
            counts.note(self.kind, check, found.is_ok());
            match found {
                Ok(()) => lines += &format!("[+]{check} ok\n"),
                Err(reason) => {
                    lines += &format!("[-]{check} failed: {reason}\n");
                    good = false;
                }
            }
        }
        if !good {
            lines += &format!("{} check failed\n", self.kind);
            return respond(StatusCode::SERVICE_UNAVAILABLE, PLAIN, lines);
        }
        let body = if self.verbose { lines + "ok\n" } else { "ok\n".to_owned() };
        respond(StatusCode::OK, PLAIN, body)
    }
}

/// Whether this member serves. Of the alarms it knows its own alone: who asks all members for theirs
/// would wait for the one that is gone.
async fn health(backend: &dyn Backend, serializable: bool, exclude: &BTreeSet<String>) -> Result<(), String> {
    if !backend.has_room() && !exclude.contains("NOSPACE") {
        return Err("ALARM NOSPACE".into());
    }
    if !serializable && !*backend.has_leader().borrow() {
        return Err("RAFT NO LEADER".into());
    }
    read(backend, serializable).await
}

async fn run_check(check: &str, backend: &dyn Backend) -> Result<(), String> {
    match check {
        // One that is found damaged ends, or has nobody to be built anew from, and says so.
        CORRUPTION => match backend.status().await {
            Ok(status) => match status.errors.into_iter().find(|error| error.contains("damaged")) {
                Some(_) => Err("ALARM CORRUPT".into()),
                None => Ok(()),
            },
            Err(error) => Err(error.to_string()),
        },
        LINEARIZABLE if !*backend.has_leader().borrow() => Err("RAFT NO LEADER".into()),
        LINEARIZABLE => read(backend, false).await,
        NON_LEARNER => match backend.status().await {
            Ok(status) if status.is_learner => Err("THE LOCAL MEMBER IS A LEARNER".into()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        },
        _ => read(backend, true).await,
    }
}

/// Reads one key, as a client would.
async fn read(backend: &dyn Backend, serializable: bool) -> Result<(), String> {
    let request =
        RangeRequest { limit: 1, keys_only: true, serializable, ..RangeRequest::new(KeyRange::key(vec![0])) };
    match backend.range(request).await {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("RANGE ERROR:{error}")),
    }
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::new(http_body_util::Full::new(bytes::Bytes::from(body))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    headers.insert(
        http::header::HeaderName::from_static("x-content-type-options"),
        http::HeaderValue::from_static("nosniff"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_apart() {
        let of = |path: &str| Path::of(&path.parse().unwrap());
        assert_eq!(of("/metrics"), Some(Path::Metrics));
        for other in ["/", "/metrics/x", "/healthz", "/etcdserverpb.KV/Range", "/readyz/nothing", "/livez/x"]
        {
            assert_eq!(of(other), None, "{other}");
        }
        let Some(Path::Health { serializable, exclude }) = of("/health?serializable=true&exclude=NOSPACE")
        else {
            panic!("no path");
        };
        assert!(serializable && exclude.contains("NOSPACE"));
        let Some(Path::Probe(probe)) = of("/readyz?verbose&exclude=non_learner") else { panic!("no path") };
        assert!(probe.verbose && probe.checks == READY && probe.exclude.contains(NON_LEARNER));
        let Some(Path::Probe(probe)) = of("/readyz/linearizable_read") else { panic!("no path") };
        assert_eq!((probe.checks, probe.verbose), (vec![LINEARIZABLE], false));
    }
}
