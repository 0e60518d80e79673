//! What can be said of a request without looking at the state. Proposers ask it first, so that a
//! wrong request costs no entry of the log; apply asks it again, since the log is what counts.

use std::collections::BTreeSet;

use crate::kv::{DeleteRequest, Error, KeyRange, Op, PutRequest, RangeRequest, TxnRequest};
use crate::limits::{FENCE_SCOPE_BYTES_MAX, KEY_BYTES_MAX, REQUEST_BYTES_MAX, TXN_OPS_MAX};

impl RangeRequest {
    pub fn check(&self) -> Result<(), Error> {
        check_key(&self.range.start)
    }
}

impl TxnRequest {
    /// Size, number of operations, empty keys, contradictory flags, keys changed twice.
    pub fn check(&self) -> Result<(), Error> {
        if self.payload_bytes() > REQUEST_BYTES_MAX {
            return Err(Error::TooLarge);
        }
        check_fences(self)?;
        check_ops(self, TXN_OPS_MAX)?;
        for branch in [&self.success, &self.failure] {
            Changed::default().add(branch)?;
        }
        Ok(())
    }
}

fn check_key(key: &[u8]) -> Result<(), Error> {
    match key.len() {
        0 => Err(Error::EmptyKey),
        n if n > KEY_BYTES_MAX => Err(Error::TooLarge),
        _ => Ok(()),
    }
}

fn check_put(put: &PutRequest) -> Result<(), Error> {
    check_key(&put.key)?;
    if put.ignore_value && !put.value.is_empty() {
        return Err(Error::ValueProvided);
    }
    if put.ignore_lease && put.lease.0 != 0 {
        return Err(Error::LeaseProvided);
    }
    Ok(())
}

fn check_fences(txn: &TxnRequest) -> Result<(), Error> {
    if txn.fences.len() > TXN_OPS_MAX || txn.raise_fences.len() > TXN_OPS_MAX {
        return Err(Error::TooManyOps);
    }
    let scopes = txn.fences.iter().map(|fence| &fence.scope).chain(&txn.raise_fences);
    for scope in scopes {
        if scope.is_empty() || scope.len() > FENCE_SCOPE_BYTES_MAX {
            return Err(Error::Invalid(format!(
                "a fence's scope must have 1 to {FENCE_SCOPE_BYTES_MAX} bytes: {scope:.64}"
            )));
        }
    }
    Ok(())
}

/// etcd's budget: a nested transaction has what its parent's longest list leaves.
fn check_ops(txn: &TxnRequest, budget: usize) -> Result<(), Error> {
    let ops = txn.compare.len().max(txn.success.len()).max(txn.failure.len());
    if ops > budget {
        return Err(Error::TooManyOps);
    }
    for compare in &txn.compare {
        check_key(&compare.range.start)?;
    }
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            Op::Range(range) => range.check()?,
            Op::Put(put) => check_put(put)?,
            Op::Delete(DeleteRequest { range, .. }) => check_key(&range.start)?,
            Op::Txn(nested) => {
                if !nested.fences.is_empty() || !nested.raise_fences.is_empty() {
                    return Err(Error::Invalid("a nested transaction cannot have fences".into()));
                }
                check_ops(nested, budget - ops)?;
            }
        }
    }
    Ok(())
}

/// What one branch changes: no key may be put twice, or put and deleted. Deletions may overlap.
#[derive(Default)]
struct Changed<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Vec<&'a KeyRange>,
}

impl<'a> Changed<'a> {
    fn add(&mut self, ops: &'a [Op]) -> Result<(), Error> {
        for op in ops {
            match op {
                Op::Put(put) => self.merge(Changed { puts: [&put.key[..]].into(), deletes: Vec::new() })?,
                Op::Delete(delete) => {
                    self.merge(Changed { puts: BTreeSet::new(), deletes: vec![&delete.range] })?;
                }
                Op::Txn(nested) => {
                    // Only one branch runs, so the two may change the same keys.
                    let (mut success, mut failure) = (Changed::default(), Changed::default());
                    success.add(&nested.success)?;
                    failure.add(&nested.failure)?;
                    self.conflicts(&success)?;
                    self.conflicts(&failure)?;
                    self.absorb(success);
                    self.absorb(failure);
                }
                Op::Range(_) => {}
            }
        }
        Ok(())
    }

    fn conflicts(&self, other: &Changed<'a>) -> Result<(), Error> {
        let put_twice = other.puts.iter().any(|key| self.puts.contains(key));
        if put_twice || deletes_any(&self.deletes, &other.puts) || deletes_any(&other.deletes, &self.puts) {
            return Err(Error::DuplicateKey);
        }
        Ok(())
    }

    fn absorb(&mut self, other: Changed<'a>) {
        self.puts.extend(other.puts);
        self.deletes.extend(other.deletes);
    }

    fn merge(&mut self, other: Changed<'a>) -> Result<(), Error> {
        self.conflicts(&other)?;
        self.absorb(other);
        Ok(())
    }
}

fn deletes_any(deletes: &[&KeyRange], puts: &BTreeSet<&[u8]>) -> bool {
    deletes.iter().any(|range| {
        let from_start = puts.range(&range.start[..]..).next();
        from_start.is_some_and(|key| range.contains(key))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::{Compare, Revision};

    fn put(key: &'static str) -> Op {
        Op::Put(PutRequest::new(key, "v"))
    }

    fn delete(prefix: &'static str) -> Op {
        Op::Delete(DeleteRequest { range: KeyRange::prefix(prefix), prev_kv: false })
    }

    fn txn(success: Vec<Op>, failure: Vec<Op>) -> TxnRequest {
        TxnRequest { success, failure, ..Default::default() }
    }

    fn check(request: TxnRequest, expected: Result<(), Error>) {
        assert_eq!(request.check(), expected, "{request:?}");
    }

    #[test]
    fn a_key_is_changed_once_in_a_branch() {
        let nested = |success, failure| Op::Txn(txn(success, failure));
        check(txn(vec![put("a"), put("b")], vec![put("a")]), Ok(()));
        check(txn(vec![put("a"), put("a")], vec![]), Err(Error::DuplicateKey));
        check(txn(vec![], vec![put("a"), put("a")]), Err(Error::DuplicateKey));
        check(txn(vec![put("ab"), delete("a")], vec![]), Err(Error::DuplicateKey));
        check(txn(vec![delete("a"), put("ab")], vec![]), Err(Error::DuplicateKey));
        check(txn(vec![delete("a"), delete("ab"), put("b")], vec![]), Ok(()));
        check(txn(vec![nested(vec![put("a")], vec![put("a")])], vec![]), Ok(()));
        check(txn(vec![nested(vec![put("a")], vec![]), put("a")], vec![]), Err(Error::DuplicateKey));
        check(txn(vec![nested(vec![], vec![delete("a")]), put("a")], vec![]), Err(Error::DuplicateKey));
        check(
            txn(vec![nested(vec![put("a")], vec![]), nested(vec![delete("a")], vec![])], vec![]),
            Err(Error::DuplicateKey),
        );
    }

    #[test]
    fn limits_and_flags() {
        let many = |n| (0..n).map(|i| Op::Put(PutRequest::new(format!("k{i}"), "v"))).collect::<Vec<_>>();
        check(txn(many(128), vec![]), Ok(()));
        check(txn(many(129), vec![]), Err(Error::TooManyOps));
        check(txn(vec![Op::Txn(txn(many(127), vec![]))], vec![]), Ok(()));
        check(txn(vec![Op::Txn(txn(many(128), vec![]))], vec![]), Err(Error::TooManyOps));
        check(txn(vec![put("")], vec![]), Err(Error::EmptyKey));
        let compare = Compare::mod_revision("", Revision(0));
        check(TxnRequest { compare: vec![compare], ..Default::default() }, Err(Error::EmptyKey));
        let large = PutRequest::new("k", vec![0; REQUEST_BYTES_MAX]);
        check(txn(vec![Op::Put(large)], vec![]), Err(Error::TooLarge));
        let mut kept = PutRequest::new("k", "v");
        kept.ignore_value = true;
        check(txn(vec![Op::Put(kept.clone())], vec![]), Err(Error::ValueProvided));
        kept.value = "".into();
        check(txn(vec![Op::Put(kept.clone())], vec![]), Ok(()));
        kept.ignore_lease = true;
        kept.lease = crate::kv::LeaseId(7);
        check(txn(vec![Op::Put(kept)], vec![]), Err(Error::LeaseProvided));
    }
}
