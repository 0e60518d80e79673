//! `Runtime`: what the agent needs of whatever runs containers, in the shape of CRI.

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use trireme_api::{Object, Value};

/// What the agent does next about it is the same for all: try again, later and later.
#[derive(Debug, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct RuntimeError {
    /// As a waiting container shows it: `ErrImagePull`, `CreateContainerError`, …
    pub reason: String,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Created,
    Running { since: Timestamp },
    Exited { since: Timestamp, finished: Timestamp, code: i32 },
}

/// One container as the runtime knows it. Of a name there may be several attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// With the runtime's prefix: `containerd://…`.
    pub id: String,
    pub name: String,
    pub attempt: u32,
    pub image_id: String,
    pub state: State,
}

/// A pod's network namespace and address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    pub id: String,
    pub address: IpAddr,
}

/// Runs pods. Every call names the pod's uid; asking again for what is there already gives it.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// `<name>://<version>`, as `nodeInfo.containerRuntimeVersion` has it.
    fn version(&self) -> String;

    /// Tells what was there before the agent started again, if only the API remembers it.
    async fn recover(&self, pod: &Object);

    async fn sandbox(&self, pod: &Object) -> Option<Sandbox>;

    /// `address` is the pod's own, or the node's for a pod on the host's network.
    async fn run_sandbox(&self, pod: &Object, address: IpAddr) -> Result<Sandbox, RuntimeError>;

    /// The image's id.
    async fn pull_image(&self, image: &str) -> Result<String, RuntimeError>;

    /// Makes and starts one attempt of one container of the pod's spec.
    async fn start_container(
        &self,
        pod: &Object,
        container: &Value,
        image_id: &str,
        attempt: u32,
    ) -> Result<(), RuntimeError>;

    /// Ends it; by force when `grace` has passed.
    async fn stop_container(&self, pod: &Object, id: &str, grace: Duration) -> Result<(), RuntimeError>;

    /// All attempts that are remembered, the latest of each name last.
    async fn containers(&self, pod: &Object) -> Vec<Container>;

    /// Returns when a container of the pod has changed, or may have.
    async fn changed(&self, pod: &Object);

    /// Forgets the pod and frees what it held.
    async fn remove(&self, uid: &str);
}
