//! Commands as bytes.
//!
//! The first byte is the version. A new operation or field needs a new version, proposed only once
//! the feature level says that every member reads it.

use bytes::Bytes;

use super::{Command, CommandOp, LeaseExpiry, Mark, MarkedHash, ProposalId};
use crate::codec::{DecodeError, Reader, Writer};
use crate::kv::{
    Compare, CompareResult, CompareTarget, DeleteRequest, Fence, KeyRange, LeaseId, Op, PutRequest,
    RangeRequest, Revision, SortOrder, SortTarget, TxnRequest,
};
use crate::limits::TXN_OPS_MAX;

const VERSION: u8 = 1;

const TXN: u8 = 1;
const COMPACT: u8 = 2;
const LEASE_GRANT: u8 = 3;
const LEASE_REVOKE: u8 = 4;
const LEASE_RENEW: u8 = 5;
const LEASE_EXPIRE: u8 = 6;
const MARK: u8 = 7;
const FEATURE_LEVEL: u8 = 8;

impl Command {
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::with_capacity(64 + self.op.payload_bytes());
        w.u8(VERSION);
        w.u64(self.proposal.client);
        w.u64(self.proposal.seq);
        w.i64(self.time_ms);
        match &self.op {
            CommandOp::Txn(txn) => {
                w.u8(TXN);
                put_txn(&mut w, txn);
            }
            CommandOp::Compact(revision) => {
                w.u8(COMPACT);
                w.i64(revision.0);
            }
            CommandOp::LeaseGrant { id, ttl_s } => {
                w.u8(LEASE_GRANT);
                w.i64(id.0);
                w.i64(*ttl_s);
            }
            CommandOp::LeaseRevoke(id) => {
                w.u8(LEASE_REVOKE);
                w.i64(id.0);
            }
            CommandOp::LeaseRenew(id) => {
                w.u8(LEASE_RENEW);
                w.i64(id.0);
            }
            CommandOp::LeaseExpire(expiry) => {
                w.u8(LEASE_EXPIRE);
                w.u64(expiry.term);
                w.u64(expiry.leases.len() as u64);
                for (id, generation) in &expiry.leases {
                    w.i64(id.0);
                    w.u64(*generation);
                }
            }
            CommandOp::Mark(mark) => {
                w.u8(MARK);
                w.bool(mark.previous.is_some());
                if let Some(previous) = mark.previous {
                    w.u64(previous.index);
                    w.u128(previous.hash);
                }
            }
            CommandOp::FeatureLevel(level) => {
                w.u8(FEATURE_LEVEL);
                w.u64(u64::from(*level));
            }
        }
        w.finish()
    }

    /// Reads a command back; keys and values share `bytes`' memory. An error means that this build
    /// must not go on applying the log.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes, "command");
        let version = r.u8()?;
        if version != VERSION {
            return Err(r.unknown_version(version));
        }
        let proposal = ProposalId { client: r.u64()?, seq: r.u64()? };
        let time_ms = r.i64()?;
        let op = match r.u8()? {
            TXN => CommandOp::Txn(get_txn(&mut r, 0)?),
            COMPACT => CommandOp::Compact(Revision(r.i64()?)),
            LEASE_GRANT => CommandOp::LeaseGrant { id: LeaseId(r.i64()?), ttl_s: r.i64()? },
            LEASE_REVOKE => CommandOp::LeaseRevoke(LeaseId(r.i64()?)),
            LEASE_RENEW => CommandOp::LeaseRenew(LeaseId(r.i64()?)),
            LEASE_EXPIRE => {
                let term = r.u64()?;
                let n = r.count()?;
                let leases =
                    (0..n).map(|_| Ok((LeaseId(r.i64()?), r.u64()?))).collect::<Result<_, DecodeError>>()?;
                CommandOp::LeaseExpire(LeaseExpiry { term, leases })
            }
            MARK => {
                let previous =
                    if r.bool()? { Some(MarkedHash { index: r.u64()?, hash: r.u128()? }) } else { None };
                CommandOp::Mark(Mark { previous })
            }
            FEATURE_LEVEL => {
                let level = r.u64()?;
                let level = u32::try_from(level).map_err(|_| r.malformed("feature level"))?;
                CommandOp::FeatureLevel(level)
            }
            tag => return Err(r.unknown_tag(tag)),
        };
        r.end()?;
        Ok(Self { proposal, time_ms, op })
    }
}

impl CommandOp {
    /// Bytes of the keys and values it carries, for limits and buffers.
    pub fn payload_bytes(&self) -> usize {
        match self {
            CommandOp::Txn(txn) => txn.payload_bytes(),
            CommandOp::LeaseExpire(expiry) => expiry.leases.len() * 12,
            _ => 32,
        }
    }
}

impl TxnRequest {
    /// Bytes of the keys and values it carries, plus a little for each operation.
    pub fn payload_bytes(&self) -> usize {
        const PER_OP: usize = 16;
        let compares: usize = self
            .compare
            .iter()
            .map(|c| {
                let value = match &c.target {
                    CompareTarget::Value(v) => v.len(),
                    _ => 0,
                };
                c.range.start.len() + c.range.end.len() + value + PER_OP
            })
            .sum();
        let ops = |ops: &[Op]| -> usize {
            ops.iter()
                .map(|op| match op {
                    Op::Range(r) => r.range.start.len() + r.range.end.len() + 2 * PER_OP,
                    Op::Put(p) => p.key.len() + p.value.len() + PER_OP,
                    Op::Delete(d) => d.range.start.len() + d.range.end.len() + PER_OP,
                    Op::Txn(t) => t.payload_bytes(),
                })
                .sum()
        };
        let fences: usize = self.fences.iter().map(|f| f.scope.len() + PER_OP).sum();
        let raised: usize = self.raise_fences.iter().map(|s| s.len() + PER_OP).sum();
        compares + ops(&self.success) + ops(&self.failure) + fences + raised
    }
}

fn put_range(w: &mut Writer, range: &KeyRange) {
    w.bytes(&range.start);
    w.bytes(&range.end);
}

fn get_range(r: &mut Reader) -> Result<KeyRange, DecodeError> {
    Ok(KeyRange { start: r.bytes()?, end: r.bytes()? })
}

fn put_txn(w: &mut Writer, txn: &TxnRequest) {
    w.u64(txn.compare.len() as u64);
    for compare in &txn.compare {
        put_compare(w, compare);
    }
    for ops in [&txn.success, &txn.failure] {
        w.u64(ops.len() as u64);
        for op in ops {
            put_op(w, op);
        }
    }
    w.u64(txn.fences.len() as u64);
    for fence in &txn.fences {
        w.bytes(fence.scope.as_bytes());
        w.u64(fence.epoch);
    }
    w.u64(txn.raise_fences.len() as u64);
    for scope in &txn.raise_fences {
        w.bytes(scope.as_bytes());
    }
}

fn get_txn(r: &mut Reader, depth: usize) -> Result<TxnRequest, DecodeError> {
    if depth > TXN_OPS_MAX {
        return Err(r.malformed("transactions are nested too deep"));
    }
    let mut txn = TxnRequest::default();
    for _ in 0..r.count()? {
        txn.compare.push(get_compare(r)?);
    }
    for _ in 0..r.count()? {
        txn.success.push(get_op(r, depth)?);
    }
    for _ in 0..r.count()? {
        txn.failure.push(get_op(r, depth)?);
    }
    for _ in 0..r.count()? {
        txn.fences.push(Fence { scope: r.string()?, epoch: r.u64()? });
    }
    for _ in 0..r.count()? {
        txn.raise_fences.push(r.string()?);
    }
    Ok(txn)
}

fn put_compare(w: &mut Writer, compare: &Compare) {
    put_range(w, &compare.range);
    w.u8(match compare.result {
        CompareResult::Equal => 0,
        CompareResult::Greater => 1,
        CompareResult::Less => 2,
        CompareResult::NotEqual => 3,
    });
    match &compare.target {
        CompareTarget::Version(n) => {
            w.u8(0);
            w.i64(*n);
        }
        CompareTarget::Create(revision) => {
            w.u8(1);
            w.i64(revision.0);
        }
        CompareTarget::Mod(revision) => {
            w.u8(2);
            w.i64(revision.0);
        }
        CompareTarget::Value(value) => {
            w.u8(3);
            w.bytes(value);
        }
        CompareTarget::Lease(id) => {
            w.u8(4);
            w.i64(id.0);
        }
    }
}

fn get_compare(r: &mut Reader) -> Result<Compare, DecodeError> {
    let range = get_range(r)?;
    let result = match r.u8()? {
        0 => CompareResult::Equal,
        1 => CompareResult::Greater,
        2 => CompareResult::Less,
        3 => CompareResult::NotEqual,
        tag => return Err(r.unknown_tag(tag)),
    };
    let target = match r.u8()? {
        0 => CompareTarget::Version(r.i64()?),
        1 => CompareTarget::Create(Revision(r.i64()?)),
        2 => CompareTarget::Mod(Revision(r.i64()?)),
        3 => CompareTarget::Value(r.bytes()?),
        4 => CompareTarget::Lease(LeaseId(r.i64()?)),
        tag => return Err(r.unknown_tag(tag)),
    };
    Ok(Compare { range, result, target })
}

fn put_op(w: &mut Writer, op: &Op) {
    match op {
        Op::Range(request) => {
            w.u8(0);
            put_range_request(w, request);
        }
        Op::Put(put) => {
            w.u8(1);
            w.bytes(&put.key);
            w.bytes(&put.value);
            w.i64(put.lease.0);
            let flags = [put.prev_kv, put.ignore_value, put.ignore_lease];
            w.u8(bits(&flags));
        }
        Op::Delete(delete) => {
            w.u8(2);
            put_range(w, &delete.range);
            w.bool(delete.prev_kv);
        }
        Op::Txn(txn) => {
            w.u8(3);
            put_txn(w, txn);
        }
    }
}

fn get_op(r: &mut Reader, depth: usize) -> Result<Op, DecodeError> {
    Ok(match r.u8()? {
        0 => Op::Range(get_range_request(r)?),
        1 => {
            let (key, value, lease) = (r.bytes()?, r.bytes()?, LeaseId(r.i64()?));
            let [prev_kv, ignore_value, ignore_lease] = unbits(r)?;
            Op::Put(PutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease })
        }
        2 => Op::Delete(DeleteRequest { range: get_range(r)?, prev_kv: r.bool()? }),
        3 => Op::Txn(get_txn(r, depth + 1)?),
        tag => return Err(r.unknown_tag(tag)),
    })
}

fn put_range_request(w: &mut Writer, request: &RangeRequest) {
    put_range(w, &request.range);
    w.i64(request.limit);
    w.i64(request.revision.0);
    w.u8(match request.sort_order {
        SortOrder::None => 0,
        SortOrder::Ascend => 1,
        SortOrder::Descend => 2,
    });
    w.u8(match request.sort_target {
        SortTarget::Key => 0,
        SortTarget::Version => 1,
        SortTarget::Create => 2,
        SortTarget::Mod => 3,
        SortTarget::Value => 4,
    });
    w.u8(bits(&[request.serializable, request.keys_only, request.count_only]));
    w.i64(request.min_mod_revision.0);
    w.i64(request.max_mod_revision.0);
    w.i64(request.min_create_revision.0);
    w.i64(request.max_create_revision.0);
}

fn get_range_request(r: &mut Reader) -> Result<RangeRequest, DecodeError> {
    let mut request = RangeRequest::new(get_range(r)?);
    request.limit = r.i64()?;
    request.revision = Revision(r.i64()?);
    request.sort_order = match r.u8()? {
        0 => SortOrder::None,
        1 => SortOrder::Ascend,
        2 => SortOrder::Descend,
        tag => return Err(r.unknown_tag(tag)),
    };
    request.sort_target = match r.u8()? {
        0 => SortTarget::Key,
        1 => SortTarget::Version,
        2 => SortTarget::Create,
        3 => SortTarget::Mod,
        4 => SortTarget::Value,
        tag => return Err(r.unknown_tag(tag)),
    };
    [request.serializable, request.keys_only, request.count_only] = unbits(r)?;
    request.min_mod_revision = Revision(r.i64()?);
    request.max_mod_revision = Revision(r.i64()?);
    request.min_create_revision = Revision(r.i64()?);
    request.max_create_revision = Revision(r.i64()?);
    Ok(request)
}

fn bits(flags: &[bool]) -> u8 {
    flags.iter().enumerate().fold(0, |acc, (i, set)| acc | u8::from(*set) << i)
}

fn unbits<const N: usize>(r: &mut Reader) -> Result<[bool; N], DecodeError> {
    let raw = r.u8()?;
    if usize::from(raw) >= 1 << N {
        return Err(r.malformed("an unknown flag is set"));
    }
    Ok(std::array::from_fn(|i| raw & 1 << i != 0))
}
