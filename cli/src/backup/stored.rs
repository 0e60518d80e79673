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
/// What is put back if a configuration does not work. Written together with it, and gone as soon as
/// something was archived under it.
const TRIAL: &str = "/trireme/backup/trial";
/// Who archives, under a lease of its own.
const ARCHIVER: &str = "/trireme/backup/archiver";
/// How that goes, under the same lease.
const TOLD: &str = "/trireme/backup/told";
/// What is true of one cluster's masters and of no other's, who would wait for the end of a lease
/// that nobody keeps.
pub(crate) const OF_MASTERS: [&str; 2] = [ARCHIVER, TOLD];

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

/// A configuration as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Configured {
    pub stored: Stored,
    /// At which it was written: which configuration it is.
    pub written: Revision,
    /// Nothing was archived under it so far.
    pub trial: Option<Trial>,
}

/// What is known of a configuration that has not shown yet that it works.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trial {
    /// The last one that did, if there was one.
    pub before: Option<Stored>,
}

/// What who archives says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Told {
    /// At which the configuration was written that this is about. A later one has nothing to do with
    /// it.
    pub config: i64,
    /// Something was written under it.
    pub works: bool,
    pub problem: Option<String>,
    /// The base that is being made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub making: Option<Making>,
}

/// How far a base is, in bytes of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Making {
    pub done_bytes: u64,
    pub of_bytes: u64,
}

/// The configuration. With `serializable` as this member knows it.
pub(super) async fn config(kv: &dyn Kv, serializable: bool) -> Result<Option<Configured>> {
    // One read, so that the two belong together.
    let both = KeyRange { start: CONFIG.into(), end: [TRIAL, "\0"].concat().into() };
    let request = RangeRequest { serializable, ..RangeRequest::new(both) };
    let (mut config, mut trial) = (None, None);
    for found in kv.range(request).await?.kvs {
        match &found.key[..] {
            key if key == CONFIG.as_bytes() => config = Some(found),
            key if key == TRIAL.as_bytes() => trial = Some(found),
            _ => {}
        }
    }
    let Some(found) = config else { return Ok(None) };
    let stored = read(CONFIG, &found)?;
    let trial = trial.filter(|trial| trial.mod_revision == found.mod_revision);
    let trial = trial.map(|trial| read(TRIAL, &trial)).transpose()?;
    Ok(Some(Configured { stored, written: found.mod_revision, trial }))
}

fn read<T: serde::de::DeserializeOwned>(key: &str, found: &KeyValue) -> Result<T> {
    serde_json::from_slice(&found.value).with_context(|| format!("the store's {key}"))
}

fn put(key: &'static str, value: &impl Serialize) -> Result<Op> {
    Ok(Op::Put(PutRequest::new(key, serde_json::to_vec(value)?)))
}

fn delete(key: &'static str) -> Op {
    Op::Delete(DeleteRequest { range: KeyRange::key(key), prev_kv: false })
}

/// Puts `stored` in the place of `now`, on trial; at which revision, or `None` where another
/// configuration is there by now.
pub(super) async fn try_config(
    kv: &dyn Kv,
    stored: &Stored,
    now: Option<&Configured>,
) -> Result<Option<Revision>> {
    // What never worked is nothing to go back to.
    let before = now.and_then(|now| match &now.trial {
        Some(trial) => trial.before.clone(),
        None => Some(now.stored.clone()),
    });
    let request = TxnRequest {
        compare: vec![Compare::mod_revision(CONFIG, now.map_or(Revision(0), |now| now.written))],
        success: vec![put(CONFIG, stored)?, put(TRIAL, &Trial { before })?],
        ..TxnRequest::default()
    };
    let done = kv.txn(request).await?;
    Ok(done.succeeded.then_some(done.revision))
}

/// Puts back what was there before the configuration of `written`, if it is the one that is there
/// and nothing was archived under it; whether that was so.
pub(super) async fn take_back(kv: &dyn Kv, written: Revision, trial: &Trial) -> Result<bool> {
    let back = match &trial.before {
        Some(before) => put(CONFIG, before)?,
        None => delete(CONFIG),
    };
    let request = TxnRequest {
        compare: vec![Compare::mod_revision(CONFIG, written), Compare::mod_revision(TRIAL, written)],
        success: vec![back, delete(TRIAL)],
        ..TxnRequest::default()
    };
    Ok(kv.txn(request).await?.succeeded)
}

/// Whether there was one.
pub(super) async fn remove_config(kv: &dyn Kv) -> Result<bool> {
    let request = TxnRequest {
        compare: vec![Compare::mod_revision(CONFIG, Revision(0))],
        failure: vec![delete(CONFIG), delete(TRIAL)],
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

/// What was last told of the configuration of `written`; nothing where who archives has gone.
pub(super) async fn told(kv: &dyn Kv, written: Revision) -> Result<Option<Told>> {
    let Some(found) = get(kv, TOLD, false).await? else { return Ok(None) };
    let told: Told = read(TOLD, &found)?;
    Ok(Some(told).filter(|told| told.config == written.0))
}

/// Tells those who ask how it goes, for as long as `lease` lives. With the first that works, the
/// configuration is on trial no more.
pub(super) async fn tell(kv: &dyn Kv, told: &Told, lease: LeaseId) -> Result<()> {
    let put = Op::Put(PutRequest { lease, ..PutRequest::new(TOLD, serde_json::to_vec(told)?) });
    let mut request = TxnRequest { success: vec![put.clone()], failure: vec![put], ..TxnRequest::default() };
    if told.works {
        // Of this configuration: that of a later one stays.
        request.compare = vec![Compare::mod_revision(TRIAL, Revision(told.config))];
        request.success.push(delete(TRIAL));
    }
    kv.txn(request).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trireme_store::engine::Model;
    use trireme_store::{Local, Rebirth, Store};

    use super::*;

    #[tokio::test]
    async fn a_cluster_that_is_made_of_another_does_not_wait_for_whoever_archived_that() {
        let old = Store::open(Arc::new(Model::new())).unwrap();
        let kv = Local::new(old.clone(), Arc::new(|| 0)).unwrap();
        let stored = Stored {
            location: crate::backup::location("/mnt/backup").unwrap(),
            key: KeySource::File("/etc/key".into()),
            base_every_s: 3600,
            keep_s: 7200,
        };
        let written = try_config(&kv, &stored, None).await.unwrap().unwrap();
        let lease = kv.lease_grant(LeaseId(0), 3).await.unwrap().id;
        assert!(become_archiver(&kv, "master-1", lease).await.unwrap());
        let news = Told { config: written.0, works: true, problem: None, making: None };
        tell(&kv, &news, lease).await.unwrap();
        let at = old.revision();
        kv.lease_revoke(lease).await.unwrap();

        // As of a moment whose leases are not known any more.
        let (engine, rebirth) = (Arc::new(Model::new()), crate::restore::rebirth());
        let made = old.reborn(&*engine, &Rebirth { at: Some(at), ..rebirth }, &mut |_, _| {}).unwrap();
        assert_eq!(made.left_behind, [0, 1, 1]);
        let new = Local::new(Store::open(engine).unwrap(), Arc::new(|| 0)).unwrap();
        let kept = config(&new, false).await.unwrap().unwrap();
        assert_eq!((kept.stored, kept.trial), (stored, None));
        assert_eq!(archiver(&new, false).await.unwrap(), None);
        let lease = new.lease_grant(LeaseId(0), 3).await.unwrap().id;
        assert!(become_archiver(&new, "master-1", lease).await.unwrap());
    }
}
