//! A node's own object: registration, heartbeats, what it says it is.

use std::net::Ipv4Addr;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::sleep;
use trireme_api::{Object, Value, value};
use trireme_client::resource::{LEASES, NODES};
use trireme_client::{Client, Error, EventKind, PatchKind, Recorder};

use trireme_client::clock::{rfc3339, rfc3339_micro};

const LEASE_NAMESPACE: &str = "kube-node-lease";
const LEASE_SECONDS: i64 = 40;
const LEASE_RENEW: Duration = Duration::from_secs(10);
/// A status that says nothing new is still said this often.
const STATUS_EVERY: Duration = Duration::from_secs(300);
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Of heartbeats that fail one after the other, the first is told, and then every so many-th:
/// once a minute.
const FAILURES_PER_WARNING: u32 = 12;

const NOTICE_ANNOTATION: &str = "trireme.io/runtime-notice";
const NOTICE: &str = "hollow: no container runs on this node; pods assigned to it only appear to run";

/// What a node offers, as quantities.
#[derive(Clone, Debug)]
pub struct Capacity {
    pub cpu: String,
    pub memory: String,
    pub ephemeral_storage: String,
    pub pods: u32,
}

impl Default for Capacity {
    fn default() -> Capacity {
        Capacity { cpu: "8".into(), memory: "32Gi".into(), ephemeral_storage: "100Gi".into(), pods: 110 }
    }
}

/// One node as it registers.
#[derive(Clone)]
pub(crate) struct Registration {
    pub(crate) client: Client,
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) capacity: Capacity,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) runtime_version: String,
    pub(crate) recorder: Recorder,
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl Registration {
    fn metadata(&self) -> Value {
        let arch = architecture();
        let mut labels = value!({
            "beta.kubernetes.io/arch": arch,
            "beta.kubernetes.io/os": "linux",
            "kubernetes.io/arch": arch,
            "kubernetes.io/hostname": self.name.as_str(),
            "kubernetes.io/os": "linux",
            "trireme.io/runtime": "hollow",
        });
        for (k, v) in &self.labels {
            labels.make(&[]).insert(k.as_str(), v.as_str());
        }
        value!({"name": self.name.as_str(), "labels": labels, "annotations": {NOTICE_ANNOTATION: NOTICE}})
    }

    /// `old` is the status that is there: what did not change keeps its time.
    fn status(&self, old: &Value, now: Timestamp) -> Value {
        let time = rfc3339(now);
        let capacity = value!({
            "cpu": self.capacity.cpu.as_str(),
            "ephemeral-storage": self.capacity.ephemeral_storage.as_str(),
            "memory": self.capacity.memory.as_str(),
            "pods": self.capacity.pods.to_string(),
        });
        let condition = |kind: &str, status: &str, reason: &str, message: &str| {
            let known =
                old["conditions"].items().iter().find(|c| c["type"] == *kind && c["status"] == *status);
            let since = known.map_or(time.as_str(), |c| c["lastTransitionTime"].str_or_empty());
            value!({
                "type": kind, "status": status, "lastHeartbeatTime": time, "lastTransitionTime": since,
                "reason": reason, "message": message,
            })
        };
        value!({
            "addresses": [
                {"type": "InternalIP", "address": self.address.to_string()},
                {"type": "Hostname", "address": self.name.as_str()},
            ],
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": [
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
                condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": {
                "machineID": self.name.as_str(),
                "systemUUID": self.name.as_str(),
                "bootID": self.name.as_str(),
                "kernelVersion": "hollow",
                "osImage": "Trireme hollow node",
                "containerRuntimeVersion": self.runtime_version.as_str(),
                "kubeletVersion": concat!("v1.36.0+trireme.", env!("CARGO_PKG_VERSION")),
                "kubeProxyVersion": "",
                "operatingSystem": "linux",
                "architecture": architecture(),
            },
        })
    }

    fn event(&self, reason: &str, message: String) {
        // Events about nodes carry the name as uid, as kubectl describe looks for them.
        let node = Object(value!({"metadata": {"name": self.name.as_str(), "uid": self.name.as_str()}}));
        self.recorder.event(&node, "v1", "Node", EventKind::Normal, reason, message);
    }

    /// Until it is done: makes the Node or takes over the one that is there.
    pub(crate) async fn register(&self) -> Object {
        let mut pause = RETRY_FIRST;
        loop {
            match self.try_register().await {
                Ok(node) => {
                    self.event("Starting", "Starting kubelet.".into());
                    self.event("NodeReady", format!("Node {} status is now: NodeReady", self.name));
                    return node;
                }
                Err(e) => tracing::warn!(node = self.name, error = %e, "cannot register yet"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    async fn try_register(&self) -> Result<Object, Error> {
        let status = self.status(&Value::Null, Timestamp::now());
        let node = Object(
            value!({"apiVersion": "v1", "kind": "Node", "metadata": self.metadata(), "status": status}),
        );
        match self.client.create(&NODES, "", &node).await {
            Err(e) if e.is_already_exists() => {
                let metadata = self.metadata();
                let patch = value!({"metadata": {
                    "labels": metadata["labels"], "annotations": metadata["annotations"],
                }});
                self.client.patch(&NODES, "", &self.name, "", PatchKind::Merge, &patch).await?;
                self.report().await
            }
            other => other,
        }
    }

    async fn report(&self) -> Result<Object, Error> {
        let old = self.client.get(&NODES, "", &self.name).await?;
        let patch = value!({"status": self.status(old.status(), Timestamp::now())});
        let new = self.client.patch(&NODES, "", &self.name, "status", PatchKind::Strategic, &patch).await?;
        let conditions = old.status()["conditions"].items();
        if conditions.iter().any(|c| c["type"] == "Ready" && c["status"] != "True") {
            self.event("NodeReady", format!("Node {} status is now: NodeReady", self.name));
        }
        Ok(new)
    }

    /// For ever: renews the Lease, and reports the status now and then, or when asked to by
    /// `stale` (someone took us for dead).
    pub(crate) async fn heartbeat(&self, mut node: Object, stale: &tokio::sync::Notify) {
        let mut lease: Option<Object> = None;
        let mut reported = tokio::time::Instant::now();
        let (mut pause, mut failures) = (RETRY_FIRST, 0);
        loop {
            let renewed = self.renew(lease.as_ref(), &node).await;
            match renewed {
                Ok(now) => {
                    if failures > 0 {
                        tracing::info!(node = self.name, failures, "the node's Lease is renewed again");
                    }
                    lease = Some(now);
                    (pause, failures) = (RETRY_FIRST, 0);
                }
                Err(e) => {
                    // Another writer was faster: the next try reads what it wrote.
                    if failures % FAILURES_PER_WARNING == 0 && !e.is_conflict() {
                        tracing::warn!(node = self.name, failures, error = %e, "cannot renew the node's Lease");
                    }
                    failures += 1;
                    lease = None;
                    sleep(pause).await;
                    pause = (pause * 2).min(RETRY_MAX);
                    continue;
                }
            }
            let asked = tokio::select! {
                () = sleep(LEASE_RENEW) => false,
                () = stale.notified() => true,
            };
            if asked || reported.elapsed() >= STATUS_EVERY {
                match self.report().await {
                    Ok(_) => reported = tokio::time::Instant::now(),
                    // Deleted while we live: a node registers again.
                    Err(e) if e.is_not_found() => {
                        node = self.register().await;
                        lease = None;
                    }
                    Err(e) => {
                        tracing::debug!(node = self.name, error = %e, "status report failed");
                        stale.notify_one();
                        sleep(RETRY_FIRST).await;
                    }
                }
            }
        }
    }

    async fn renew(&self, known: Option<&Object>, node: &Object) -> Result<Object, Error> {
        let now = rfc3339_micro(Timestamp::now());
        let there = match known {
            Some(lease) => Some(lease.clone()),
            None => match self.client.get(&LEASES, LEASE_NAMESPACE, &self.name).await {
                Ok(lease) => Some(lease),
                Err(e) if e.is_not_found() => None,
                Err(e) => return Err(e),
            },
        };
        let owner =
            value!([{"apiVersion": "v1", "kind": "Node", "name": self.name.as_str(), "uid": node.uid()}]);
        let create = there.is_none();
        let mut lease = there.unwrap_or_else(|| {
            Object(value!({
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"namespace": LEASE_NAMESPACE, "name": self.name.as_str()},
            }))
        });
        lease.metadata_mut().set("ownerReferences", owner);
        let spec = lease.make(&["spec"]);
        spec.set("holderIdentity", self.name.as_str());
        spec.set("leaseDurationSeconds", LEASE_SECONDS);
        spec.set("renewTime", now);
        if create {
            self.client.create(&LEASES, LEASE_NAMESPACE, &lease).await
        } else {
            self.client.update(&LEASES, &lease).await
        }
    }
}
