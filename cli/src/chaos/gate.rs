//! What must be so before anything is done: the cluster is one for tests, and nobody else is at it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use trireme_api::{Object, value};
use trireme_client::DeleteOptions;
use trireme_client::resource::NAMESPACES;

use super::board::{Board, within};
use super::order::{self, ENVIRONMENT, LABEL, LOAD, TEST};

/// The load's, and the sign that a run is under way: there is one of a name.
const NAMESPACE: &str = "trireme-chaos";
/// Who made it.
const BY: &str = "trireme.io/run-by";
/// A run that is older was killed.
const RUN_MAX_S: i64 = 3_600;
/// How long a namespace may take to go.
const GONE_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(250);

/// Whether the cluster is marked as one for tests.
pub(super) async fn is_for_tests(board: &Board) -> Result<bool> {
    let namespace = within(board.client().get(&NAMESPACES, "", order::NAMESPACE)).await;
    let namespace =
        namespace.with_context(|| format!("read namespace {} of {}", order::NAMESPACE, board.server()))?;
    Ok(namespace.label(ENVIRONMENT) == Some(TEST))
}

/// Makes the namespace, which nobody else can have at the same time.
pub(super) async fn enter(board: &Board) -> Result<&'static str> {
    let by = format!("process {} on {}", std::process::id(), host());
    let object = Object(value!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {LABEL: LOAD}, "annotations": {BY: by}},
    }));
    let began = Instant::now();
    loop {
        match within(board.client().create(&NAMESPACES, "", &object)).await {
            Ok(_) => return Ok(NAMESPACE),
            Err(error) if error.is_already_exists() => {}
            Err(error) => return Err(error).context(format!("make namespace {NAMESPACE}")),
        }
        let there = match within(board.client().get(&NAMESPACES, "", NAMESPACE)).await {
            Ok(there) => there,
            Err(error) if error.is_not_found() => continue,
            Err(error) => return Err(error).context(format!("read namespace {NAMESPACE}")),
        };
        if there.label(LABEL) != Some(LOAD) {
            bail!(
                "there is a namespace {NAMESPACE} that no run made: it has no label {LABEL}={LOAD}. Remove it"
            );
        }
        if there.deletion_timestamp().is_none() {
            let made = there.metadata()["creationTimestamp"].as_str().unwrap_or_default();
            let made = made.parse::<jiff::Timestamp>().map_or(0, |made| made.as_second());
            if jiff::Timestamp::now().as_second() - made < RUN_MAX_S {
                bail!(
                    "another run is under way, by {}. If it was killed: kubectl delete namespace {NAMESPACE}",
                    there.annotation(BY).unwrap_or("somebody")
                );
            }
            let _ = delete(board, there.uid()).await;
        }
        if began.elapsed() > GONE_WITHIN {
            bail!("namespace {NAMESPACE} of an earlier run does not go");
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn delete(board: &Board, uid: &str) -> Result<(), trireme_client::Error> {
    let options = DeleteOptions::uid(uid);
    within(board.client().delete(&NAMESPACES, "", NAMESPACE, &options)).await.map(|_| ())
}

/// Removes the namespace and everything in it.
pub(super) async fn leave(board: &Board) -> Result<()> {
    let began = Instant::now();
    loop {
        let last = match within(board.client().get(&NAMESPACES, "", NAMESPACE)).await {
            Ok(there) if there.deletion_timestamp().is_some() => return Ok(()),
            Ok(there) => delete(board, there.uid()).await.err(),
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => Some(error),
        };
        if began.elapsed() > GONE_WITHIN {
            let why = last.map(|error| error.to_string()).unwrap_or_default();
            bail!("namespace {NAMESPACE} could not be removed, remove it by hand: {why}");
        }
        tokio::time::sleep(POLL).await;
    }
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}
