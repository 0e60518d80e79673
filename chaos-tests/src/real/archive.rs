//! A continuous backup while hosts break, and what can be restored from it when all is over.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::sleep;
use trireme_chaos_report::Promise;
use trireme_store::engine::{RocksEngine, RocksOptions};
use trireme_store::{KeyRange, KeyValue, RangeRequest, Revision, Store};

use super::course::HEAL_TIMEOUT;
use super::inflict::World;
use super::tools::output;
use crate::cluster::binary;
use crate::traffic::store::PREFIX;

/// The drill restores, starts and compares a cluster.
const DRILL_TIMEOUT: Duration = Duration::from_secs(240);
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);
/// Of what a drill says that fails.
const LINES_SHOWN: usize = 12;

pub(super) struct Archive {
    binary: String,
    folder: String,
    key: String,
    /// How the masters' stores are reached.
    reach: Vec<String>,
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

impl Archive {
    /// Begins it: a folder that all masters see, as one on a shared file system.
    pub(super) async fn start(world: &World, dir: &Path) -> Result<Archive> {
        let reach = [
            "--pki-dir".into(),
            text(world.masters.pki()),
            "--endpoints".into(),
            world.masters.endpoints().join(","),
        ];
        let archive = Archive {
            binary: text(&binary()?),
            folder: text(&dir.join("archive")),
            key: text(&dir.join("archive.key")),
            reach: reach.into(),
        };
        std::fs::create_dir(&archive.folder).context("a folder for the backup")?;
        archive.trireme(&["backup", "key", &archive.key], &[], dir).await?;
        let start = ["backup", "start", "--to", &archive.folder, "--key-file", &archive.key];
        archive.trireme(&start, &archive.reach, dir).await?;
        Ok(archive)
    }

    async fn trireme(&self, arguments: &[&str], more: &[String], dir: &Path) -> Result<String> {
        let mut command = Command::new(&self.binary);
        command.args(arguments).args(more).current_dir(dir);
        output(command, &format!("trireme {}", arguments.join(" ")), CALL_TIMEOUT).await
    }

    /// What was written before this call is restored from it, and nothing else, while the cluster goes on:
    /// objects of the API by a drill, and keys of the store's clients.
    pub(super) async fn judge(&self, world: &World, dir: &Path) -> Promise {
        let outcome = async {
            let revision = self.wait(world, dir).await?;
            self.compare_keys(world, dir, revision).await?;
            self.drill(world, dir).await
        };
        let wrong = outcome.await.err().map(|error| format!("{error:#}"));
        Promise::new("what is restored from the backup is what the cluster had", wrong.into_iter().collect())
    }

    /// Waits until it has what all masters have by now; the newest revision of them.
    async fn wait(&self, world: &World, dir: &Path) -> Result<i64> {
        let said = world.masters.status().await;
        let wanted = said.iter().filter_map(|(_, status)| Some(status.as_ref()?.revision.0)).max();
        let wanted = wanted.context("no master answers")?;
        let deadline = Instant::now() + HEAL_TIMEOUT;
        loop {
            let status = self.trireme(&["backup", "status", "-o", "json"], &self.reach, dir).await?;
            let status: Value = serde_json::from_str(&status).context("the backup's status")?;
            let reached = status["revision"].as_i64().unwrap_or(0);
            let whole = status["gaps"].as_array().is_some_and(Vec::is_empty);
            if reached >= wanted && whole {
                return Ok(wanted);
            }
            if Instant::now() >= deadline {
                bail!(
                    "{} s after the faults it is not at revision {wanted}: {status}",
                    HEAL_TIMEOUT.as_secs()
                );
            }
            sleep(POLL).await;
        }
    }

    /// Restores that revision, and looks at what clients of the store had written by then.
    async fn compare_keys(&self, world: &World, dir: &Path, revision: i64) -> Result<()> {
        let all = RangeRequest::new(KeyRange::prefix(PREFIX));
        let then = RangeRequest { revision: Revision(revision), ..all.clone() };
        let store = world.masters.store_at(world.masters.endpoints())?;
        let had = store.range(then).await.context("what the cluster had")?.kvs;
        let restored = dir.join("restored");
        let revision = revision.to_string();
        let from = ["restore", "--from", &self.folder, "--key-file", &self.key, "--revision", &revision];
        let to = ["--name".into(), "m1".into(), "--data-dir".into(), text(&restored)];
        self.trireme(&from, &to, dir).await?;
        let engine = RocksEngine::open(&restored.join("store/state"), RocksOptions::default())?;
        let has = Store::open(Arc::new(engine)).context("the restored state")?.range(&all)?.kvs;
        let of = |kvs: &[KeyValue]| -> BTreeMap<Bytes, Bytes> {
            kvs.iter().map(|kv| (kv.key.clone(), kv.value.clone())).collect()
        };
        let (had, has) = (of(&had), of(&has));
        let differ = |key: &&Bytes| had.get(*key) != has.get(*key);
        let keys: BTreeSet<&Bytes> = had.keys().chain(has.keys()).filter(differ).collect();
        let keys: Vec<_> = keys.into_iter().map(|key| String::from_utf8_lossy(key)).collect();
        ensure!(
            keys.is_empty(),
            "of {} keys of the store's clients, {keys:?} are not as they were",
            had.len()
        );
        ensure!(!had.is_empty(), "the store's clients had no keys to compare");
        Ok(())
    }

    async fn drill(&self, world: &World, dir: &Path) -> Result<()> {
        let mut command = Command::new(&self.binary);
        command
            .args(["chaos", "run", "restore-drill", "--yes", "--insist", "--kubeconfig"])
            .arg(world.masters.kubeconfig())
            .args(["--from", &self.folder, "--key-file", &self.key])
            .env("TMPDIR", dir)
            .current_dir(dir)
            .stdin(std::process::Stdio::null())
            .process_group(0)
            .kill_on_drop(true);
        let ended = tokio::time::timeout(DRILL_TIMEOUT, command.output()).await;
        let output = ended.context("the drill does not end")?.context("run the drill")?;
        if !output.status.success() {
            let said = [&output.stdout[..], &output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
            bail!("{}", lines[lines.len().saturating_sub(LINES_SHOWN)..].join(" | "));
        }
        Ok(())
    }
}
