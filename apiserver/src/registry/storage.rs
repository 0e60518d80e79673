//! Objects in the store: read at their newest, written by compare-and-swap.

use std::sync::Arc;

use trireme_api::kinds::Kind;
use trireme_api::{Object, Value};
use trireme_store::planted::{self, Bug};
use trireme_store::{
    Compare, DeleteRequest, Error, Fence, KeyRange, LeaseId, Op, OpResponse, PutRequest, RangeRequest,
    Revision, TxnRequest,
};

use super::expiry;
use super::resource::store_key;
use crate::cache::key_of;
use crate::server::Core;
use crate::slow::{self, Step};
use crate::status::{ApiError, Result};
use crate::wire;

/// Namespace of the Leases by which nodes say that they live.
const NODE_LEASES: &str = "kube-node-lease";

/// An object at a revision.
#[derive(Clone)]
pub(crate) struct Current {
    pub(crate) object: Arc<Object>,
    pub(crate) revision: i64,
    /// Read from the store itself, so nothing newer existed at that moment. What a request is
    /// refused for must have been seen on a fresh object.
    pub(crate) fresh: bool,
}

/// Conditions and operations that go with a write of an object.
#[derive(Clone, Default)]
pub(crate) struct Extra {
    pub(crate) compare: Vec<Compare>,
    pub(crate) ops: Vec<Op>,
}

/// How a write ended.
pub(crate) enum Outcome {
    /// Done, at this revision.
    Done(i64),
    /// The object was another than expected: this one, or none.
    Lost(Option<Current>),
    /// The object was as expected, but a condition of [`Extra`] did not hold.
    Refused,
}

/// The object as the cache has it.
pub(crate) fn cached(core: &Core, row: &'static Kind, namespace: &str, name: &str) -> Option<Current> {
    let entry = core.cache.kind(row).get(&key_of(namespace, name))?;
    Some(Current { object: entry.object(), revision: entry.revision, fresh: false })
}

/// The object as the store has it now.
pub(crate) async fn newest(
    core: &Core,
    row: &'static Kind,
    namespace: &str,
    name: &str,
) -> Result<Option<Current>> {
    let key = store_key(row, namespace, name);
    let _step = slow::step(Step::Store);
    let answer = core.kv.range(RangeRequest::new(KeyRange::key(key))).await?;
    answer.kvs.first().map(|kv| current(core, row, &kv.key, &kv.value, kv.mod_revision.0)).transpose()
}

fn current(core: &Core, row: &'static Kind, key: &[u8], stored: &[u8], revision: i64) -> Result<Current> {
    // What the cache has at this revision was derived from the same bytes.
    let suffix = std::str::from_utf8(key).ok().and_then(|k| k.strip_prefix(row.storage_prefix));
    if let Some(entry) = suffix.and_then(|s| core.cache.kind(row).get(s.trim_start_matches('/')))
        && entry.revision == revision
    {
        return Ok(Current { object: entry.object(), revision, fresh: true });
    }
    let value = wire::load(row, stored, revision).map(|loaded| loaded.object).map_err(|e| {
        ApiError::internal(format!("the stored object {} cannot be read: {e}", String::from_utf8_lossy(key)))
    })?;
    Ok(Current { object: Arc::new(Object(value)), revision, fresh: true })
}

/// A write of one object.
pub(crate) struct Write<'a> {
    pub(crate) row: &'static Kind,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// What must be there now: a revision, or nothing (0).
    pub(crate) expected: i64,
    pub(crate) old: Option<&'a Value>,
    /// `None` deletes.
    pub(crate) new: Option<&'a Value>,
    pub(crate) extra: Extra,
    pub(crate) fences: &'a [Fence],
}

/// Tries of a write while a fence's epoch or a lease to end by is found out.
const COMMIT_ATTEMPTS_MAX: u32 = 4;

/// Writes, if the object and everything in `extra` is as expected.
pub(crate) async fn commit(core: &Core, write: Write<'_>) -> Result<Outcome> {
    let key = store_key(write.row, write.namespace, write.name);
    let scope = lease_scope(&write);
    // A leader that writes its own Lease stays fenced by what it says itself.
    let own = write.fences.iter().find(|f| scope.as_ref() == Some(&f.scope)).map(|f| f.epoch);
    let mut epoch = own.unwrap_or_else(|| write.old.map_or(0, lease_epoch));
    let ttl_s = write.new.and_then(|_| expiry::ttl_s(write.row));
    for _ in 0..COMMIT_ATTEMPTS_MAX {
        let mut fences = if planted::is(Bug::FenceNotPassed) { Vec::new() } else { write.fences.to_vec() };
        let mut raise_fences = Vec::new();
        let put = match (write.new, &scope) {
            (Some(new), None) => Some(match with_its_epoch(&write, new) {
                Some(kept) => wire::store_bytes(&kept),
                None => wire::store_bytes(new),
            }),
            (Some(new), Some(scope)) => {
                fences.retain(|f| f.scope != *scope);
                fences.push(Fence { scope: scope.clone(), epoch });
                raise_fences.push(scope.clone());
                let mut shown = new.clone();
                shown.make(&["metadata", "annotations"]).insert(FENCE_ANNOTATION, (epoch + 1).to_string());
                wire::normalize(write.row.hub(), &mut shown);
                Some(wire::store_bytes(&shown))
            }
            (None, scope) => {
                if let Some(scope) = scope {
                    raise_fences.push(scope.clone());
                }
                None
            }
        };
        let mut compare = vec![Compare::mod_revision(key.clone(), Revision(write.expected))];
        let blind = if write.expected > 0 { Bug::UpdateBlind } else { Bug::CreatedOver };
        if planted::is(blind) && write.row.kind == "ConfigMap" {
            compare.clear();
        }
        compare.extend(write.extra.compare.iter().cloned());
        let _step = slow::step(Step::Store);
        let lease = match ttl_s {
            Some(ttl_s) => core.expiry.lease(core.kv.as_ref(), ttl_s).await?,
            None => LeaseId(0),
        };
        let mut success = vec![match put {
            Some(bytes) => Op::Put(PutRequest { lease, ..PutRequest::new(key.clone(), bytes) }),
            None => Op::Delete(DeleteRequest { range: KeyRange::key(key.clone()), prev_kv: false }),
        }];
        success.extend(write.extra.ops.iter().cloned());
        let failure = vec![Op::Range(RangeRequest::new(KeyRange::key(key.clone())))];
        let answer = match core.kv.txn(TxnRequest { compare, success, failure, fences, raise_fences }).await {
            Ok(answer) => answer,
            Err(Error::Fenced { scope: fenced, current })
                if own.is_none() && scope.as_ref() == Some(&fenced) =>
            {
                // Our own idea of the epoch was old; nothing was written.
                epoch = current;
                continue;
            }
            Err(Error::LeaseNotFound) if ttl_s.is_some() => {
                core.expiry.forget(lease).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if answer.succeeded {
            return Ok(Outcome::Done(answer.revision.0));
        }
        let found = match answer.responses.first() {
            Some(OpResponse::Range(range)) => range.kvs.first(),
            _ => None,
        };
        let found =
            found.map(|kv| current(core, write.row, &kv.key, &kv.value, kv.mod_revision.0)).transpose()?;
        if found.as_ref().map_or(0, |c| c.revision) == write.expected {
            return Ok(Outcome::Refused);
        }
        return Ok(Outcome::Lost(found));
    }
    Err(ApiError::unavailable("what the write depends on changes too quickly"))
}

/// Where a Lease shows how often its holder has changed; the store checks it, this only tells.
pub(crate) const FENCE_ANNOTATION: &str = "trireme.io/fence-epoch";

fn is_lease(row: &Kind) -> bool {
    row.plural == "leases" && row.group == "coordination.k8s.io"
}

/// The Lease with the epoch that is stored, where the write keeps the holder and says another:
/// leaders fence themselves by what is shown there.
fn with_its_epoch(write: &Write<'_>, new: &Value) -> Option<Value> {
    const NONE: &Value = &Value::Null;
    if !is_lease(write.row) {
        return None;
    }
    let stored = &write.old.unwrap_or(NONE)["metadata"]["annotations"][FENCE_ANNOTATION];
    if new["metadata"]["annotations"][FENCE_ANNOTATION] == *stored {
        return None;
    }
    let mut kept = new.clone();
    let annotations = kept.make(&["metadata", "annotations"]);
    match stored.as_str() {
        Some(epoch) => {
            annotations.insert(FENCE_ANNOTATION, epoch.to_owned());
        }
        None => {
            annotations.remove(FENCE_ANNOTATION);
        }
    }
    wire::normalize(write.row.hub(), &mut kept);
    Some(kept)
}

/// The fence of a Lease whose holder this write changes.
fn lease_scope(write: &Write<'_>) -> Option<String> {
    // A node's Lease says that it lives; nobody writes as its holder. A cluster has a bounded number of
    // fences, and an unbounded one of nodes over its life.
    if !is_lease(write.row) || write.namespace == NODE_LEASES {
        return None;
    }
    let holder =
        |v: Option<&Value>| v.and_then(|v| v["spec"]["holderIdentity"].as_str()).unwrap_or("").to_owned();
    (holder(write.old) != holder(write.new)).then(|| format!("{}/{}", write.namespace, write.name))
}

fn lease_epoch(lease: &Value) -> u64 {
    lease["metadata"]["annotations"][FENCE_ANNOTATION].as_str().and_then(|s| s.parse().ok()).unwrap_or(0)
}
