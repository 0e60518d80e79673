//! A user with `kubectl`: makes a Deployment, scales it, rolls it to another image, deletes it, again
//! and again, and repeats what was not done, as a user would.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::tools::output;
use crate::history::{Command as Record, CommandOutcome, Recorder};

const DEPLOYMENT: &str = "chaos-rolled";
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(300);
/// After the faults, for each of the four things.
const CALM_TIMEOUT: Duration = Duration::from_secs(60);

/// How it went, all together.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub rounds: u32,
    pub done: u32,
    pub not_done: u32,
}

impl Tally {
    fn count(&mut self, done: bool) {
        if done {
            self.done += 1;
        } else {
            self.not_done += 1;
        }
    }
}

pub(super) struct User {
    kubeconfig: PathBuf,
    recorder: Arc<Recorder>,
    pub tally: Mutex<Tally>,
}

/// What is wanted of the Deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Made { replicas: usize, image: &'static str },
    Gone,
}

const ROUND: [(&[&str], Wanted); 4] = [
    (
        &["create", "deployment", DEPLOYMENT, "--image=first", "--replicas=3"],
        Wanted::Made { replicas: 3, image: "first" },
    ),
    (&["scale", "deployment", DEPLOYMENT, "--replicas=5"], Wanted::Made { replicas: 5, image: "first" }),
    (&["set", "image", "deployment", DEPLOYMENT, "*=second"], Wanted::Made { replicas: 5, image: "second" }),
    (&["delete", "deployment", DEPLOYMENT, "--wait=false"], Wanted::Gone),
];

impl User {
    pub(super) fn new(kubeconfig: &Path, recorder: Arc<Recorder>) -> User {
        User { kubeconfig: kubeconfig.to_owned(), recorder, tally: Mutex::default() }
    }

    async fn call(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(std::env::var_os("KUBECTL").unwrap_or_else(|| "kubectl".into()));
        command
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .arg("--request-timeout=10s")
            .args(arguments)
            .env("KUBECACHEDIR", self.kubeconfig.with_file_name("kubectl-cache"))
            .env("HOME", self.kubeconfig.with_file_name("kubectl-home"));
        let line = format!("kubectl {}", arguments.join(" "));
        let begin = self.recorder.moment();
        let said = output(command, &line, CALL_TIMEOUT).await;
        let outcome = match &said {
            Ok(_) => CommandOutcome::Done,
            Err(error) => refused_or_unknown(&format!("{error:#}")),
        };
        let done = Record { begin, end: self.recorder.moment(), line, outcome };
        self.recorder.with(|history| history.commands.push(done)).await;
        said
    }

    /// Rounds until `stop`; each thing is tried again until it is done.
    pub(super) async fn work(&self, stop: &CancellationToken) {
        loop {
            for (arguments, _) in ROUND {
                loop {
                    let done = tokio::select! {
                        () = stop.cancelled() => return,
                        done = self.once(arguments) => done,
                    };
                    self.tally.lock().count(done);
                    if done {
                        break;
                    }
                    tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(POLL) => {} }
                }
                tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(PAUSE) => {} }
            }
            self.tally.lock().rounds += 1;
        }
    }

    /// Whether it is done now. An earlier attempt whose answer was lost may have done it.
    async fn once(&self, arguments: &[&str]) -> bool {
        match self.call(arguments).await {
            Ok(_) => true,
            Err(error) => {
                let said = format!("{error:#}");
                let before = match arguments[0] {
                    "create" => said.contains("AlreadyExists") || said.contains("already exists"),
                    "delete" => said.contains("NotFound"),
                    _ => false,
                };
                if !before {
                    tracing::debug!("{said}");
                }
                before
            }
        }
    }

    /// A whole round in peace, each thing seen to be so.
    pub(super) async fn in_peace(&self) -> Result<()> {
        self.until_done(ROUND[3].0).await?;
        self.until(Wanted::Gone).await?;
        for (arguments, wanted) in ROUND {
            self.until_done(arguments).await?;
            self.until(wanted).await.with_context(|| format!("after kubectl {}", arguments.join(" ")))?;
        }
        Ok(())
    }

    async fn until_done(&self, arguments: &[&str]) -> Result<()> {
        let deadline = Instant::now() + CALM_TIMEOUT;
        while !self.once(arguments).await {
            if Instant::now() > deadline {
                bail!("kubectl {} was not done within {} s", arguments.join(" "), CALM_TIMEOUT.as_secs());
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    async fn until(&self, wanted: Wanted) -> Result<()> {
        let deadline = Instant::now() + CALM_TIMEOUT;
        let selector = format!("app={DEPLOYMENT}");
        loop {
            let pods = self.call(&["get", "pods", "-l", &selector, "-o", "json"]).await;
            let found = match pods {
                Ok(pods) => {
                    let pods: Value = serde_json::from_str(&pods).context("kubectl's pods")?;
                    match differs(&pods, wanted) {
                        None => return Ok(()),
                        Some(differs) => differs,
                    }
                }
                Err(error) => format!("{error:#}"),
            };
            if Instant::now() > deadline {
                bail!("{wanted:?} is wanted, and after {} s: {found}", CALM_TIMEOUT.as_secs());
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// By the words with which `kubectl` begins what a server told it.
fn refused_or_unknown(said: &str) -> CommandOutcome {
    if said.contains("Error from server") {
        CommandOutcome::Refused(said.to_owned())
    } else {
        CommandOutcome::Unknown(said.to_owned())
    }
}

/// What pods there are, where that is not what is wanted.
fn differs(pods: &Value, wanted: Wanted) -> Option<String> {
    let pods = pods["items"].as_array().cloned().unwrap_or_default();
    let describe = |pod: &Value| {
        let state = match pod["metadata"]["deletionTimestamp"].as_str() {
            Some(_) => "Terminating",
            None => pod["status"]["phase"].as_str().unwrap_or("no phase"),
        };
        format!("{state} {}", pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default())
    };
    let found: Vec<String> = pods.iter().map(describe).collect();
    let right = match wanted {
        Wanted::Gone => found.is_empty(),
        Wanted::Made { replicas, image } => {
            found.len() == replicas && found.iter().all(|pod| *pod == format!("Running {image}"))
        }
    };
    (!right).then(|| format!("{found:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_said_is_told_from_what_none_did() {
        let refused = refused_or_unknown("kubectl scale: Error from server (NotFound): not found (exit 1)");
        assert!(matches!(refused, CommandOutcome::Refused(_)));
        let unknown = refused_or_unknown("kubectl scale: Unable to connect to the server: EOF (exit 1)");
        assert!(matches!(unknown, CommandOutcome::Unknown(_)));
    }

    #[test]
    fn pods_are_what_is_wanted_or_not() {
        let pod = |phase: &str, image: &str| serde_json::json!({"metadata": {}, "status": {"phase": phase}, "spec": {"containers": [{"image": image}]}});
        let two = serde_json::json!({"items": [pod("Running", "a"), pod("Running", "a")]});
        let made = |replicas, image| Wanted::Made { replicas, image };
        assert_eq!(differs(&two, made(2, "a")), None);
        assert!(differs(&two, made(3, "a")).is_some());
        assert!(differs(&two, made(2, "b")).is_some());
        assert!(differs(&two, Wanted::Gone).is_some());
        let waits = serde_json::json!({"items": [pod("Pending", "a")]});
        assert_eq!(differs(&waits, made(1, "a")), Some("[\"Pending a\"]".to_owned()));
        assert_eq!(differs(&serde_json::json!({"items": []}), Wanted::Gone), None);
    }
}
