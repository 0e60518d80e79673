//! What the cluster keeps of its backup: how it is made, and who makes it. Never the key itself.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use trireme_backup::{KeySource, Location};
use trireme_store::{
    Compare, DeleteRequest, KeyRange, KeyValue, Kv, LeaseId, Op, PutRequest, RangeRequest, Revision,
    TxnRequest,
};

/// Beside the API's keys, which none of its servers serves.
const CONFIG: &str = "/trireme/backup/config";
/// Who archives, under a lease of its own.
const ARCHIVER: &str = "/trireme/backup/archiver";
/// What is wrong with it, under the same lease.
const PROBLEM: &str = "/trireme/backup/problem";

/// How the backup is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Stored {
    pub location: Location,
    pub key: KeySource,
    pub base_every_s: u64,
    pub keep_s: u64,
}

impl Stored {
    pub(super) fn base_every(&self) -> Duration {
        Duration::from_secs(self.base_every_s)
    }

    pub(super) fn keep(&self) -> Duration {
        Duration::from_secs(self.keep_s)
    }
}

async fn get(kv: &dyn Kv, key: &str, serializable: bool) -> Result<Option<KeyValue>, trireme_store::Error> {
    let request = RangeRequest { serializable, ..RangeRequest::new(KeyRange::key(key.to_owned())) };
    Ok(kv.range(request).await?.kvs.pop())
}

/// The configuration, and the revision at which it was written. With `serializable` as this member
/// knows it.
pub(super) async fn config(kv: &dyn Kv, serializable: bool) -> Result<Option<(Stored, Revision)>> {
    let Some(found) = get(kv, CONFIG, serializable).await? else { return Ok(None) };
    let stored = serde_json::from_slice(&found.value).with_context(|| format!("the store's {CONFIG}"))?;
    Ok(Some((stored, found.mod_revision)))
}

pub(super) async fn set_config(kv: &dyn Kv, stored: &Stored) -> Result<()> {
    let put = Op::Put(PutRequest::new(CONFIG, serde_json::to_vec(stored)?));
    kv.txn(TxnRequest { success: vec![put], ..TxnRequest::default() }).await?;
    Ok(())
}

/// Whether there was one.
pub(super) async fn remove_config(kv: &dyn Kv) -> Result<bool> {
    let delete = Op::Delete(DeleteRequest { range: KeyRange::key(CONFIG), prev_kv: false });
    let request = TxnRequest {
        compare: vec![Compare::mod_revision(CONFIG, Revision(0))],
        failure: vec![delete],
        ..TxnRequest::default()
    };
    Ok(!kv.txn(request).await?.succeeded)
}

/// Name of the member that archives.
pub(super) async fn archiver(kv: &dyn Kv, serializable: bool) -> Result<Option<String>> {
    let found = get(kv, ARCHIVER, serializable).await?;
    Ok(found.map(|kv| String::from_utf8_lossy(&kv.value).into_owned()))
}

/// Makes `member` the one that archives, for as long as `lease` lives, if there is none.
pub(super) async fn become_archiver(kv: &dyn Kv, member: &str, lease: LeaseId) -> Result<bool> {
    let put = PutRequest { lease, ..PutRequest::new(ARCHIVER, member.to_owned()) };
    let request = TxnRequest {
        compare: vec![Compare::mod_revision(ARCHIVER, Revision(0))],
        success: vec![Op::Put(put)],
        ..TxnRequest::default()
    };
    Ok(kv.txn(request).await?.succeeded)
}

pub(super) async fn problem(kv: &dyn Kv) -> Result<Option<String>> {
    let found = get(kv, PROBLEM, false).await?;
    Ok(found.map(|kv| String::from_utf8_lossy(&kv.value).into_owned()))
}

/// Tells what is wrong, or that nothing is, to those who ask for the status.
pub(super) async fn set_problem(kv: &dyn Kv, problem: Option<&str>, lease: LeaseId) -> Result<()> {
    let op = match problem {
        Some(text) => Op::Put(PutRequest { lease, ..PutRequest::new(PROBLEM, text.to_owned()) }),
        None => Op::Delete(DeleteRequest { range: KeyRange::key(PROBLEM), prev_kv: false }),
    };
    kv.txn(TxnRequest { success: vec![op], ..TxnRequest::default() }).await?;
    Ok(())
}
