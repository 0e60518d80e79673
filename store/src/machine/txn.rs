//! Transactions: compare on what was, choose the branches, check them, then change.
//!
//! etcd's order: every compare, nested ones included, and every check sees the state before the
//! transaction; only its ranges see what it has changed so far.

use std::cmp::Ordering;

use bytes::Bytes;

use super::run::Run;
use crate::engine::EngineError;
use crate::history::{self, Found, KEY_VALUE_BYTES};
use crate::kv::{
    Compare, CompareResult, CompareTarget, DeleteRequest, Error, KeyRange, KeyValue, LeaseId, Op, OpResponse,
    PutRequest, RangeRequest, Revision, TxnRequest, TxnResponse,
};
use crate::limits::{FENCE_SCOPES_MAX, KEY_BYTES_MAX, REQUEST_BYTES_MAX, TXN_ANSWER_BYTES_MAX};
use crate::log::{FENCES_FORGOTTEN, Outcome};
use crate::planted::{self, Bug};

/// Which branch runs, and the same of the nested transactions in it, in order.
struct Path {
    succeeded: bool,
    nested: Vec<Path>,
}

/// A refusal of the transaction as opposed to a failure of the engine.
type Checked = Result<Result<(), Error>, EngineError>;

impl Run<'_, '_> {
    pub(super) fn txn(&mut self, txn: TxnRequest) -> Result<(Outcome, bool), EngineError> {
        if let Err(error) = self.check_txn(&txn) {
            return Ok((Outcome::Failed(error), false));
        }
        let path = self.choose(&txn)?;
        if let Err(error) = self.check_branch(&txn, &path)? {
            return Ok((Outcome::Failed(error), false));
        }
        if !self.answer_fits(&txn, &path)? {
            let error = format!(
                "the answer to this transaction would have more than {TXN_ANSWER_BYTES_MAX} bytes; read outside of it"
            );
            return Ok((Outcome::Failed(Error::Invalid(error)), false));
        }
        let before = self.state.revision;
        let raised = if path.succeeded { txn.raise_fences.as_slice() } else { &[] };
        let raises = !raised.is_empty();
        self.raise_fences(raised);
        let revision = Revision(before.0 + 1);
        let mut response = self.execute(txn, path, before, revision)?;
        self.finish_revision(revision);
        stamp(&mut response, self.state.revision);
        let changed = raises || self.state.revision > before;
        Ok((Outcome::Txn(response), changed))
    }

    /// What needs no key: the request itself and its fences.
    fn check_txn(&self, txn: &TxnRequest) -> Result<(), Error> {
        txn.check()?;
        for fence in &txn.fences {
            let current = self.state.epoch(&fence.scope);
            if current != fence.epoch && !planted::is(Bug::FenceForgotten) {
                return Err(Error::Fenced { scope: fence.scope.clone(), current });
            }
        }
        let new = txn.raise_fences.iter().filter(|scope| !self.state.fences.contains_key(*scope)).count();
        let forgets = self.state.feature_level >= FENCES_FORGOTTEN;
        if !forgets && self.state.fences.len() + new > FENCE_SCOPES_MAX {
            return Err(Error::Invalid(format!("there are already {FENCE_SCOPES_MAX} fences")));
        }
        Ok(())
    }

    fn choose(&mut self, txn: &TxnRequest) -> Result<Path, EngineError> {
        let mut succeeded = true;
        for compare in &txn.compare {
            if !self.holds(compare)? && !planted::is(Bug::ComparesIgnored) {
                succeeded = false;
                break;
            }
        }
        let mut nested = Vec::new();
        for op in if succeeded { &txn.success } else { &txn.failure } {
            if let Op::Txn(txn) = op {
                nested.push(self.choose(txn)?);
            }
        }
        Ok(Path { succeeded, nested })
    }

    fn holds(&mut self, compare: &Compare) -> Result<bool, EngineError> {
        if compare.range.end.is_empty() {
            let kv = self.live(&compare.range.start)?;
            return Ok(
                kv.map_or_else(|| compare_absent(compare), |kv| compare_found(compare, &Found::shared(&kv)))
            );
        }
        let (mut found, mut holds) = (false, true);
        let at = self.state.revision;
        self.history.scan(self.overlay, &compare.range, at, &mut |key| {
            found = true;
            holds = compare_found(compare, &key);
            holds
        })?;
        Ok(if found { holds } else { compare_absent(compare) })
    }

    /// What the chosen operations need from the state before.
    fn check_branch(&mut self, txn: &TxnRequest, path: &Path) -> Checked {
        let mut nested = path.nested.iter();
        for op in if path.succeeded { &txn.success } else { &txn.failure } {
            let checked = match op {
                Op::Range(range)
                    if planted::is(Bug::TxnReadsCompacted)
                        && range.revision < self.state.compact_revision =>
                {
                    Ok(())
                }
                Op::Range(range) => {
                    history::check_revision(range.revision, self.state.revision, self.state.compact_revision)
                }
                Op::Put(put) => self.check_put(put)?,
                Op::Delete(_) => Ok(()),
                Op::Txn(txn) => match nested.next() {
                    Some(path) => self.check_branch(txn, path)?,
                    None => Ok(()),
                },
            };
            if checked.is_err() {
                return Ok(checked);
            }
        }
        Ok(Ok(()))
    }

    fn check_put(&mut self, put: &PutRequest) -> Checked {
        if (put.ignore_value || put.ignore_lease) && self.live(&put.key)?.is_none() {
            return Ok(Err(Error::KeyNotFound));
        }
        if put.lease != LeaseId(0) && !self.state.leases.contains_key(&put.lease) {
            return Ok(Err(Error::LeaseNotFound));
        }
        Ok(Ok(()))
    }

    /// Whether the answer stays within its limit. Decided on the state before the transaction, so
    /// that one that does not fit changes nothing, and in the same way on every replica; what the
    /// transaction itself puts is counted as if each of its ranges gave all of it.
    fn answer_fits(&mut self, txn: &TxnRequest, path: &Path) -> Result<bool, EngineError> {
        let mut chosen = Vec::new();
        chosen_ops(txn, path, &mut chosen);
        // Of one key at most what a request may put there: few of them fit without a look.
        let single = KEY_VALUE_BYTES + KEY_BYTES_MAX + REQUEST_BYTES_MAX;
        let (mut most, mut put) = (0usize, 0usize);
        for op in &chosen {
            most = most.saturating_add(match op {
                Op::Range(range) if range.count_only => 0,
                Op::Range(range) if range.range.end.is_empty() => single,
                Op::Delete(delete) if delete.prev_kv && delete.range.end.is_empty() => single,
                Op::Range(_) => usize::MAX,
                Op::Delete(delete) if delete.prev_kv => usize::MAX,
                Op::Put(put) if put.prev_kv => single,
                Op::Put(_) | Op::Delete(_) | Op::Txn(_) => 0,
            });
            if let Op::Put(request) = op {
                put += KEY_VALUE_BYTES + request.key.len() + request.value.len();
            }
        }
        if most <= TXN_ANSWER_BYTES_MAX {
            return Ok(true);
        }
        let mut bytes = 0;
        for op in chosen {
            let one_key = |key: &Bytes| RangeRequest::new(KeyRange::key(key.clone()));
            let read = match op {
                Op::Range(range) => {
                    bytes += if range.count_only || range.revision.0 > 0 { 0 } else { put };
                    range.clone()
                }
                Op::Delete(delete) if delete.prev_kv => RangeRequest::new(delete.range.clone()),
                Op::Put(put) if put.prev_kv => one_key(&put.key),
                Op::Put(_) | Op::Delete(_) | Op::Txn(_) => continue,
            };
            let current = self.state.revision;
            bytes +=
                history::range_bytes(&mut self.history, self.overlay, &read, current, TXN_ANSWER_BYTES_MAX)?;
            if bytes > TXN_ANSWER_BYTES_MAX {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn execute(
        &mut self,
        txn: TxnRequest,
        path: Path,
        before: Revision,
        revision: Revision,
    ) -> Result<TxnResponse, EngineError> {
        let mut ops = if path.succeeded { txn.success } else { txn.failure };
        if planted::is(Bug::HalfTxn) && ops.len() > 1 {
            ops.pop();
        }
        let mut nested = path.nested.into_iter();
        let mut responses = Vec::with_capacity(ops.len());
        for op in ops {
            responses.push(match op {
                Op::Range(mut request) => {
                    if planted::is(Bug::TxnReadsNew) {
                        request.revision = Revision(0);
                    }
                    let current = if self.has_changes() { revision } else { before };
                    let range = history::range(&mut self.history, self.overlay, &request, current)?;
                    OpResponse::Range(range)
                }
                Op::Put(put) => {
                    let wanted = put.prev_kv;
                    let previous = self.put_key(put, revision)?;
                    OpResponse::Put { prev_kv: previous.filter(|_| wanted) }
                }
                Op::Delete(delete) => self.delete_range(delete, revision)?,
                Op::Txn(txn) => {
                    let path = nested.next().expect("a path was chosen for every nested transaction");
                    OpResponse::Txn(self.execute(txn, path, before, revision)?)
                }
            });
        }
        Ok(TxnResponse { revision: before, succeeded: path.succeeded, responses })
    }

    fn delete_range(
        &mut self,
        request: DeleteRequest,
        revision: Revision,
    ) -> Result<OpResponse, EngineError> {
        let mut live: Vec<KeyValue> = Vec::new();
        if request.range.end.is_empty() {
            live.extend(self.live(&request.range.start)?);
        } else {
            self.history.scan(self.overlay, &request.range, revision, &mut |found| {
                live.push(found.to_kv(true));
                true
            })?;
        }
        let deleted = i64::try_from(live.len()).unwrap_or(i64::MAX);
        let prev_kvs = if request.prev_kv { live.clone() } else { Vec::new() };
        for kv in live {
            self.delete_live_key(kv, revision);
        }
        Ok(OpResponse::Delete { deleted, prev_kvs })
    }
}

/// The operations that will run, those of nested transactions among them.
fn chosen_ops<'t>(txn: &'t TxnRequest, path: &Path, out: &mut Vec<&'t Op>) {
    let mut nested = path.nested.iter();
    for op in if path.succeeded { &txn.success } else { &txn.failure } {
        match op {
            Op::Txn(txn) => {
                if let Some(path) = nested.next() {
                    chosen_ops(txn, path, out);
                }
            }
            op => out.push(op),
        }
    }
}

/// A transaction and those within it answer with one revision.
fn stamp(response: &mut TxnResponse, revision: Revision) {
    response.revision = revision;
    for response in &mut response.responses {
        if let OpResponse::Txn(nested) = response {
            stamp(nested, revision);
        }
    }
}

fn compare_found(compare: &Compare, key: &Found<'_>) -> bool {
    let ordering = match &compare.target {
        CompareTarget::Version(version) => key.version.cmp(version),
        CompareTarget::Create(revision) => key.create_revision.cmp(revision),
        CompareTarget::Mod(revision) => key.mod_revision.cmp(revision),
        CompareTarget::Value(value) => key.value.cmp(value),
        CompareTarget::Lease(lease) => key.lease.cmp(lease),
    };
    decide(compare.result, ordering)
}

/// No key in the range: everything is zero, and there is no value to compare.
fn compare_absent(compare: &Compare) -> bool {
    let ordering = match &compare.target {
        CompareTarget::Version(version) => 0.cmp(version),
        CompareTarget::Create(revision) | CompareTarget::Mod(revision) => 0.cmp(&revision.0),
        CompareTarget::Lease(lease) => 0.cmp(&lease.0),
        CompareTarget::Value(_) => return false,
    };
    decide(compare.result, ordering)
}

fn decide(result: CompareResult, ordering: Ordering) -> bool {
    match result {
        CompareResult::Equal => ordering == Ordering::Equal,
        CompareResult::Greater => ordering == Ordering::Greater,
        CompareResult::Less => ordering == Ordering::Less,
        CompareResult::NotEqual => ordering != Ordering::Equal,
    }
}
