//! The hollow runtime: plays containers, runs nothing.
//!
//! A container starts at once and runs until its [`program`] says that it ends. No task runs per
//! container: states are worked out when they are asked for.

pub mod program;

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use trireme_api::{Object, Value};

use crate::runtime::{Container, Runtime, RuntimeError, Sandbox, State};
use program::Program;
use trireme_client::clock::parse_time;

const ID_PREFIX: &str = "hollow://";
/// However long a pod asks for, a container that is told to stop takes no longer than this.
const STOP_MAX: Duration = Duration::from_secs(1);
/// Ended attempts that are remembered per container.
const ATTEMPTS_KEPT: usize = 2;

#[derive(Clone)]
struct Played {
    id: String,
    name: String,
    attempt: u32,
    image_id: String,
    since: Timestamp,
    /// When it ends by itself, and how.
    end: Option<(Timestamp, i32)>,
}

#[derive(Default)]
struct Pod {
    sandbox: Option<Sandbox>,
    containers: Vec<Played>,
}

#[derive(Default)]
pub struct Hollow {
    pods: Mutex<HashMap<String, Pod>>,
}

impl Played {
    fn state(&self, now: Timestamp) -> State {
        match self.end {
            Some((finished, code)) if finished <= now => State::Exited { since: self.since, finished, code },
            _ => State::Running { since: self.since },
        }
    }
}

#[async_trait]
impl Runtime for Hollow {
    fn version(&self) -> String {
        format!("{ID_PREFIX}{}", env!("CARGO_PKG_VERSION"))
    }

    async fn recover(&self, pod: &Object) {
        let status = pod.status();
        let Ok(address) = status["podIP"].str_or_empty().parse() else { return };
        let mut pods = self.pods.lock();
        let played = pods.entry(pod.uid().to_owned()).or_default();
        if played.sandbox.is_some() {
            return;
        }
        played.sandbox = Some(Sandbox { id: sandbox_id(pod), address });
        let lists = [("initContainers", "initContainerStatuses"), ("containers", "containerStatuses")];
        for (specs, statuses) in lists {
            for known in status[statuses].items() {
                let spec = pod.spec()[specs].items().iter().find(|c| c["name"] == known["name"]);
                if let Some(c) = spec.and_then(|spec| recovered(pod, spec, known)) {
                    played.containers.push(c);
                }
            }
        }
    }

    async fn sandbox(&self, pod: &Object) -> Option<Sandbox> {
        self.pods.lock().get(pod.uid())?.sandbox.clone()
    }

    async fn run_sandbox(&self, pod: &Object, address: IpAddr) -> Result<Sandbox, RuntimeError> {
        let mut pods = self.pods.lock();
        let played = pods.entry(pod.uid().to_owned()).or_default();
        Ok(played.sandbox.get_or_insert_with(|| Sandbox { id: sandbox_id(pod), address }).clone())
    }

    async fn pull_image(&self, image: &str) -> Result<String, RuntimeError> {
        Ok(format!("{ID_PREFIX}{image}"))
    }

    async fn start_container(
        &self,
        pod: &Object,
        container: &Value,
        image_id: &str,
        attempt: u32,
    ) -> Result<(), RuntimeError> {
        let name = container["name"].str_or_empty();
        let now = Timestamp::now();
        let mut pods = self.pods.lock();
        let played = pods.entry(pod.uid().to_owned()).or_default();
        if played.containers.iter().any(|c| c.name == name && c.attempt == attempt) {
            return Ok(());
        }
        played.containers.push(Played {
            id: container_id(pod, name, attempt),
            name: name.to_owned(),
            attempt,
            image_id: image_id.to_owned(),
            since: now,
            end: end(pod, container, now),
        });
        let attempts = played.containers.iter().filter(|c| c.name == name).count();
        if attempts > ATTEMPTS_KEPT
            && let Some(oldest) = played.containers.iter().position(|c| c.name == name)
        {
            played.containers.remove(oldest);
        }
        Ok(())
    }

    async fn stop_container(&self, pod: &Object, id: &str, grace: Duration) -> Result<(), RuntimeError> {
        let takes = program::stop_time(pod).min(grace).min(STOP_MAX);
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        let now = Timestamp::now();
        if let Some(c) =
            self.pods.lock().get_mut(pod.uid()).and_then(|p| p.containers.iter_mut().find(|c| c.id == id))
            && matches!(c.state(now), State::Running { .. })
        {
            c.end = Some((now, 0));
        }
        Ok(())
    }

    async fn containers(&self, pod: &Object) -> Vec<Container> {
        let now = Timestamp::now();
        let pods = self.pods.lock();
        let Some(played) = pods.get(pod.uid()) else { return Vec::new() };
        played
            .containers
            .iter()
            .map(|c| Container {
                id: c.id.clone(),
                name: c.name.clone(),
                attempt: c.attempt,
                image_id: c.image_id.clone(),
                state: c.state(now),
            })
            .collect()
    }

    async fn changed(&self, pod: &Object) {
        let now = Timestamp::now();
        let next = {
            let pods = self.pods.lock();
            let ends = pods.get(pod.uid()).into_iter().flat_map(|p| &p.containers).filter_map(|c| c.end);
            ends.map(|(at, _)| at).filter(|at| *at > now).min()
        };
        match next {
            Some(at) => {
                let left = Duration::try_from(at.duration_since(now)).unwrap_or_default();
                // The wall clock and the timer may disagree by a hair.
                tokio::time::sleep(left + Duration::from_millis(1)).await;
            }
            None => std::future::pending().await,
        }
    }

    async fn remove(&self, uid: &str) {
        self.pods.lock().remove(uid);
    }
}

fn end(pod: &Object, container: &Value, since: Timestamp) -> Option<(Timestamp, i32)> {
    match program::of(pod, container) {
        Program::Forever => None,
        Program::Ends { after, code } => {
            let after = SignedDuration::try_from(after).unwrap_or(SignedDuration::MAX);
            since.checked_add(after).ok().map(|at| (at, code))
        }
    }
}

fn sandbox_id(pod: &Object) -> String {
    format!("{ID_PREFIX}{}", pod.uid())
}

fn container_id(pod: &Object, name: &str, attempt: u32) -> String {
    format!("{ID_PREFIX}{}-{name}-{attempt}", pod.uid())
}

fn recovered(pod: &Object, spec: &Value, known: &Value) -> Option<Played> {
    let name = known["name"].str_or_empty();
    let attempt = u32::try_from(known["restartCount"].as_i64().unwrap_or(0)).unwrap_or(0);
    let (since, end) = match (&known["state"]["running"], &known["state"]["terminated"]) {
        (Value::Object(_), _) => {
            let since = parse_time(known["state"]["running"]["startedAt"].str_or_empty())?;
            (since, end(pod, spec, since))
        }
        (_, Value::Object(_)) => {
            let ended = &known["state"]["terminated"];
            let since = parse_time(ended["startedAt"].str_or_empty())?;
            let code = i32::try_from(ended["exitCode"].as_i64().unwrap_or(0)).unwrap_or(-1);
            (since, Some((parse_time(ended["finishedAt"].str_or_empty())?, code)))
        }
        _ => return None,
    };
    Some(Played {
        id: container_id(pod, name, attempt),
        name: name.to_owned(),
        attempt,
        image_id: known["imageID"].str_or_empty().to_owned(),
        since,
        end,
    })
}
