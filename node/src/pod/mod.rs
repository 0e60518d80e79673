//! One pod on its node, from its first container to its last.

mod plan;
mod status;
#[cfg(test)]
mod status_test;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::sleep;
use trireme_api::{Object, Value, value};
use trireme_client::resource::PODS;
use trireme_client::{Client, DeleteOptions, Error, EventKind, PatchKind, Recorder};

use crate::address::Pool;
use crate::runtime::{Runtime, RuntimeError, Sandbox, State};
use plan::Action;

const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// What a pod gets to end in that asks for nothing else.
const GRACE_DEFAULT_SECONDS: i64 = 30;

/// What a pod needs of the node it is on.
pub(crate) struct Host {
    pub(crate) client: Client,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) pool: watch::Receiver<Option<Arc<Pool>>>,
    pub(crate) address: IpAddr,
    pub(crate) recorder: Recorder,
}

enum Trouble {
    Api(Error),
    Runtime(RuntimeError),
    NoAddress,
}

impl From<Error> for Trouble {
    fn from(e: Error) -> Trouble {
        Trouble::Api(e)
    }
}
impl From<RuntimeError> for Trouble {
    fn from(e: RuntimeError) -> Trouble {
        Trouble::Runtime(e)
    }
}

/// Drives the pod until it is gone from the API (`None` comes) or was deleted by us.
pub(crate) async fn drive(host: Host, mut pods: watch::Receiver<Option<Arc<Object>>>) {
    let Some(first) = pods.borrow().clone() else { return };
    let uid = first.uid().to_owned();
    let mut host = host;
    // The pool comes with the addresses that pods have from before taken.
    if host.pool.wait_for(Option::is_some).await.is_err() {
        return;
    }
    let mut worker = Worker { host, written: None, retries: 0 };
    worker.recover(&first).await;
    loop {
        let Some(pod) = pods.borrow_and_update().clone() else { break };
        let step =
            if pod.deletion_timestamp().is_some() { worker.end(&pod).await } else { worker.step(&pod).await };
        let wake = match step {
            Ok(Step::Gone) => break,
            Ok(Step::Wait(wake)) => {
                worker.retries = 0;
                wake
            }
            Err(trouble) => Some(worker.pause(&pod, &trouble)),
        };
        tokio::select! {
            changed = pods.changed() => if changed.is_err() { break },
            () = worker.host.runtime.changed(&pod) => {}
            () = wait(wake) => {}
        }
    }
    worker.host.runtime.remove(&uid).await;
    if let Some(pool) = worker.pool() {
        pool.free(&uid);
    }
}

async fn wait(d: Option<Duration>) {
    match d {
        Some(d) => sleep(d).await,
        None => std::future::pending().await,
    }
}

enum Step {
    Wait(Option<Duration>),
    Gone,
}

struct Worker {
    host: Host,
    /// The status as we wrote it last: it may be newer than the cache's.
    written: Option<Value>,
    retries: u32,
}

impl Worker {
    fn pool(&self) -> Option<Arc<Pool>> {
        self.host.pool.borrow().clone()
    }

    async fn recover(&self, pod: &Object) {
        self.host.runtime.recover(pod).await;
    }

    async fn step(&mut self, pod: &Arc<Object>) -> Result<Step, Trouble> {
        let runtime = self.host.runtime.clone();
        let over = matches!(pod.status()["phase"].str_or_empty(), "Succeeded" | "Failed");
        let sandbox = if over { runtime.sandbox(pod).await } else { Some(self.sandbox(pod).await?) };
        let plan = plan::plan(pod, &runtime.containers(pod).await, Timestamp::now());
        for action in &plan.actions {
            match action {
                Action::Start { name, attempt } => self.start(pod, name, *attempt).await?,
                Action::Stop { id } => {
                    self.killing(pod, id).await;
                    runtime.stop_container(pod, id, grace(pod)).await?;
                }
            }
        }
        if over {
            if let Some(pool) = self.pool() {
                pool.free(pod.uid());
            }
            return Ok(Step::Wait(None));
        }
        self.write_status(pod, sandbox.as_ref(), plan.failed, false).await?;
        // A container that was started may let the next one start.
        let again = plan::plan(pod, &runtime.containers(pod).await, Timestamp::now());
        let wake = if again.actions.is_empty() { again.wake } else { Some(Duration::ZERO) };
        Ok(Step::Wait(wake))
    }

    async fn sandbox(&self, pod: &Object) -> Result<Sandbox, Trouble> {
        if let Some(sandbox) = self.host.runtime.sandbox(pod).await {
            return Ok(sandbox);
        }
        let address = if pod.spec()["hostNetwork"] == Value::Bool(true) {
            self.host.address
        } else {
            self.pool().and_then(|pool| pool.take(pod.uid())).ok_or(Trouble::NoAddress)?
        };
        Ok(self.host.runtime.run_sandbox(pod, address).await?)
    }

    async fn start(&self, pod: &Object, name: &str, attempt: u32) -> Result<(), Trouble> {
        let all = pod.spec()["initContainers"].items().iter().chain(pod.spec()["containers"].items());
        for spec in all.filter(|c| c["name"] == *name) {
            let image = spec["image"].str_or_empty();
            let image_id = self.host.runtime.pull_image(image).await?;
            self.host.runtime.start_container(pod, spec, &image_id, attempt).await?;
            let tell =
                |reason: &str, message: String| self.tell(pod, name, EventKind::Normal, reason, message);
            tell("Pulled", format!("Container image {image:?} already present on machine"));
            tell("Created", "Container created".into());
            tell("Started", "Container started".into());
        }
        Ok(())
    }

    /// An event about one of the pod's containers.
    fn tell(&self, pod: &Object, container: &str, kind: EventKind, reason: &str, message: String) {
        let init = pod.spec()["initContainers"].items().iter().any(|c| c["name"] == *container);
        let list = if init { "initContainers" } else { "containers" };
        let path = format!("spec.{list}{{{container}}}");
        self.host.recorder.event_at(pod, "v1", "Pod", &path, kind, reason, message);
    }

    async fn killing(&self, pod: &Object, id: &str) {
        for c in self.host.runtime.containers(pod).await.iter().filter(|c| c.id == *id) {
            self.tell(pod, &c.name, EventKind::Normal, "Killing", format!("Stopping container {}", c.name));
        }
    }

    /// Containers that this status holds back, and the one before did not.
    fn back_off(&self, pod: &Object, status: &Value) {
        let held = |c: &Value| c["state"]["waiting"]["reason"] == "CrashLoopBackOff";
        let before = self.written.as_ref().unwrap_or(pod.status());
        for list in ["initContainerStatuses", "containerStatuses"] {
            for c in status[list].items().iter().filter(|c| held(c)) {
                let name = c["name"].str_or_empty();
                if before[list].items().iter().any(|b| b["name"] == *name && held(b)) {
                    continue;
                }
                let (pod_name, namespace, uid) = (pod.name(), pod.namespace(), pod.uid());
                let message = format!(
                    "Back-off restarting failed container {name} in pod {pod_name}_{namespace}({uid})"
                );
                self.tell(pod, name, EventKind::Warning, "BackOff", message);
            }
        }
    }

    /// Stops what runs, says so, and then takes the pod out of the API.
    async fn end(&mut self, pod: &Arc<Object>) -> Result<Step, Trouble> {
        let runtime = self.host.runtime.clone();
        let running: Vec<String> = runtime
            .containers(pod)
            .await
            .into_iter()
            .filter(|c| matches!(c.state, State::Running { .. } | State::Created))
            .map(|c| c.id)
            .collect();
        for id in &running {
            self.killing(pod, id).await;
        }
        let stops = running.iter().map(|id| runtime.stop_container(pod, id, grace(pod)));
        for stopped in futures::future::join_all(stops).await {
            stopped?;
        }
        let sandbox = runtime.sandbox(pod).await;
        match self.write_status(pod, sandbox.as_ref(), None, true).await {
            Err(Trouble::Api(e)) if e.is_not_found() => return Ok(Step::Gone),
            other => other?,
        }
        let options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::uid(pod.uid()) };
        match self.host.client.delete(&PODS, pod.namespace(), pod.name(), &options).await {
            // A finalizer may keep it: then the API says when it goes.
            Ok(_) => Ok(Step::Wait(None)),
            // Another pod has the name: this one is gone.
            Err(e) if e.is_not_found() || e.is_conflict() => Ok(Step::Gone),
            Err(e) => Err(e.into()),
        }
    }

    async fn write_status(
        &mut self,
        pod: &Object,
        sandbox: Option<&Sandbox>,
        failed: Option<(&str, &str)>,
        ending: bool,
    ) -> Result<(), Trouble> {
        let containers = self.host.runtime.containers(pod).await;
        let host_ip = self.host.address.to_string();
        let current = self.as_written(pod);
        let pod = &current;
        let observed =
            status::Observed { pod, containers: &containers, sandbox, host_ip: &host_ip, failed, ending };
        let status = status::of(&observed, Timestamp::now());
        if self.written.as_ref() == Some(&status) || covers(pod.status(), &status) {
            return Ok(());
        }
        let patch = value!({"metadata": {"uid": pod.uid()}, "status": status});
        self.host
            .client
            .patch(&PODS, pod.namespace(), pod.name(), "status", PatchKind::Strategic, &patch)
            .await?;
        self.back_off(pod, &status);
        self.written = Some(status);
        Ok(())
    }

    /// The pod with what we wrote last: the cache may not show it yet, and times would start anew.
    fn as_written(&self, pod: &Object) -> Object {
        let mut out = pod.clone();
        let Some(written) = &self.written else { return out };
        let mut conditions = out.status()["conditions"].items().to_vec();
        for ours in written["conditions"].items() {
            match conditions.iter_mut().find(|c| c["type"] == ours["type"]) {
                Some(c) => *c = ours.clone(),
                None => conditions.push(ours.clone()),
            }
        }
        let status = out.make(&["status"]);
        status.set("conditions", conditions);
        status.set("startTime", written["startTime"].clone());
        out
    }

    fn pause(&mut self, pod: &Object, trouble: &Trouble) -> Duration {
        let (namespace, name) = (pod.namespace(), pod.name());
        match trouble {
            Trouble::Api(e) => tracing::debug!(namespace, name, error = %e, "pod waits for the API"),
            Trouble::Runtime(e) => tracing::warn!(namespace, name, error = %e, "pod waits for the runtime"),
            Trouble::NoAddress => {
                tracing::warn!(namespace, name, "pod waits for an address: its node has none left")
            }
        }
        let wait = RETRY_FIRST.saturating_mul(1 << self.retries.min(10)).min(RETRY_MAX);
        self.retries += 1;
        wait
    }
}

fn grace(pod: &Object) -> Duration {
    let seconds = pod.metadata()["deletionGracePeriodSeconds"]
        .as_i64()
        .or_else(|| pod.spec()["terminationGracePeriodSeconds"].as_i64())
        .unwrap_or(GRACE_DEFAULT_SECONDS);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// Whether `new` says nothing that `old` does not say already. Conditions are compared one by
/// one: others own some of them.
fn covers(old: &Value, new: &Value) -> bool {
    new.members().iter().all(|(field, value)| match &**field {
        "conditions" => value.items().iter().all(|c| {
            old["conditions"].items().iter().find(|o| o["type"] == c["type"]).is_some_and(|o| covers(o, c))
        }),
        _ => old[&**field] == *value || (value.is_null() && old.get(field).is_none()),
    })
}
