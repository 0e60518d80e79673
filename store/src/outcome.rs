//! What a command came to.

use bytes::Bytes;

use crate::codec::{DecodeError, Reader, Writer};
use crate::kv::{Error, KeyValue, LeaseGrant, LeaseId, OpResponse, RangeResponse, Revision, TxnResponse};
use crate::limits::TXN_OPS_MAX;
use crate::log::MarkedHash;

/// What applying one entry came to: the same on every replica, `Marked` apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A blank or a membership entry.
    None,
    Txn(TxnResponse),
    /// The revision when history was forgotten.
    Compacted(Revision),
    Granted(LeaseGrant),
    Revoked(Revision),
    /// The lease's whole time to live.
    Renewed {
        ttl_s: i64,
        generation: u64,
    },
    /// Those that did end; the others were renewed or gone.
    Expired {
        revision: Revision,
        leases: Vec<LeaseId>,
    },
    /// This replica's own hash at this mark, and whether its hash at the mark before was the
    /// leader's (`None`: nothing to compare). `Some(false)`: replicas have diverged.
    Marked {
        own: MarkedHash,
        agrees: Option<bool>,
    },
    FeatureLevel(u32),
    /// Nothing was changed (except that [`Error::OutcomeUnknown`] says what it says).
    Failed(Error),
}

impl Outcome {
    /// The error as an error.
    pub fn into_result(self) -> Result<Self, Error> {
        match self {
            Outcome::Failed(error) => Err(error),
            other => Ok(other),
        }
    }

    /// For the dedup window and for answers between members.
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::with_capacity(32);
        self.write(&mut w);
        w.finish()
    }

    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes, "outcome");
        let outcome = Self::read(&mut r)?;
        r.end()?;
        Ok(outcome)
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        match self {
            Outcome::None => w.u8(0),
            Outcome::Txn(txn) => {
                w.u8(1);
                put_txn(w, txn);
            }
            Outcome::Compacted(revision) => {
                w.u8(2);
                w.i64(revision.0);
            }
            Outcome::Granted(grant) => {
                w.u8(3);
                w.i64(grant.revision.0);
                w.i64(grant.id.0);
                w.i64(grant.ttl_s);
            }
            Outcome::Revoked(revision) => {
                w.u8(4);
                w.i64(revision.0);
            }
            Outcome::Renewed { ttl_s, generation } => {
                w.u8(5);
                w.i64(*ttl_s);
                w.u64(*generation);
            }
            Outcome::Expired { revision, leases } => {
                w.u8(6);
                w.i64(revision.0);
                w.u64(leases.len() as u64);
                for id in leases {
                    w.i64(id.0);
                }
            }
            Outcome::Marked { own, agrees } => {
                w.u8(7);
                w.u64(own.index);
                w.u128(own.hash);
                w.u8(match agrees {
                    None => 0,
                    Some(false) => 1,
                    Some(true) => 2,
                });
            }
            Outcome::FeatureLevel(level) => {
                w.u8(8);
                w.u64(u64::from(*level));
            }
            Outcome::Failed(error) => {
                w.u8(9);
                put_error(w, error);
            }
        }
    }

    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match r.u8()? {
            0 => Outcome::None,
            1 => Outcome::Txn(get_txn(r, 0)?),
            2 => Outcome::Compacted(Revision(r.i64()?)),
            3 => Outcome::Granted(LeaseGrant {
                revision: Revision(r.i64()?),
                id: LeaseId(r.i64()?),
                ttl_s: r.i64()?,
            }),
            4 => Outcome::Revoked(Revision(r.i64()?)),
            5 => Outcome::Renewed { ttl_s: r.i64()?, generation: r.u64()? },
            6 => {
                let revision = Revision(r.i64()?);
                let n = r.count()?;
                let leases = (0..n).map(|_| Ok(LeaseId(r.i64()?))).collect::<Result<_, DecodeError>>()?;
                Outcome::Expired { revision, leases }
            }
            7 => {
                let own = MarkedHash { index: r.u64()?, hash: r.u128()? };
                let agrees = match r.u8()? {
                    0 => None,
                    1 => Some(false),
                    2 => Some(true),
                    tag => return Err(r.unknown_tag(tag)),
                };
                Outcome::Marked { own, agrees }
            }
            8 => {
                let level = r.u64()?;
                Outcome::FeatureLevel(u32::try_from(level).map_err(|_| r.malformed("level"))?)
            }
            9 => Outcome::Failed(get_error(r)?),
            tag => return Err(r.unknown_tag(tag)),
        })
    }
}

pub(crate) fn put_kv(w: &mut Writer, kv: &KeyValue) {
    w.bytes(&kv.key);
    w.i64(kv.create_revision.0);
    w.i64(kv.mod_revision.0);
    w.i64(kv.version);
    w.i64(kv.lease.0);
    w.bytes(&kv.value);
}

fn get_kv(r: &mut Reader) -> Result<KeyValue, DecodeError> {
    Ok(KeyValue {
        key: r.bytes()?,
        create_revision: Revision(r.i64()?),
        mod_revision: Revision(r.i64()?),
        version: r.i64()?,
        lease: LeaseId(r.i64()?),
        value: r.bytes()?,
    })
}

fn put_kvs(w: &mut Writer, kvs: &[KeyValue]) {
    w.u64(kvs.len() as u64);
    for kv in kvs {
        put_kv(w, kv);
    }
}

fn get_kvs(r: &mut Reader) -> Result<Vec<KeyValue>, DecodeError> {
    let n = r.count()?;
    (0..n).map(|_| get_kv(r)).collect()
}

fn put_txn(w: &mut Writer, txn: &TxnResponse) {
    w.i64(txn.revision.0);
    w.bool(txn.succeeded);
    w.u64(txn.responses.len() as u64);
    for response in &txn.responses {
        match response {
            OpResponse::Range(range) => {
                w.u8(0);
                w.i64(range.revision.0);
                w.bool(range.more);
                w.i64(range.count);
                put_kvs(w, &range.kvs);
            }
            OpResponse::Put { prev_kv } => {
                w.u8(1);
                w.bool(prev_kv.is_some());
                if let Some(kv) = prev_kv {
                    put_kv(w, kv);
                }
            }
            OpResponse::Delete { deleted, prev_kvs } => {
                w.u8(2);
                w.i64(*deleted);
                put_kvs(w, prev_kvs);
            }
            OpResponse::Txn(txn) => {
                w.u8(3);
                put_txn(w, txn);
            }
        }
    }
}

fn get_txn(r: &mut Reader, depth: usize) -> Result<TxnResponse, DecodeError> {
    if depth > TXN_OPS_MAX {
        return Err(r.malformed("transactions are nested too deep"));
    }
    let mut txn = TxnResponse { revision: Revision(r.i64()?), succeeded: r.bool()?, responses: Vec::new() };
    for _ in 0..r.count()? {
        txn.responses.push(match r.u8()? {
            0 => OpResponse::Range(RangeResponse {
                revision: Revision(r.i64()?),
                more: r.bool()?,
                count: r.i64()?,
                kvs: get_kvs(r)?,
            }),
            1 => OpResponse::Put { prev_kv: if r.bool()? { Some(get_kv(r)?) } else { None } },
            2 => OpResponse::Delete { deleted: r.i64()?, prev_kvs: get_kvs(r)? },
            3 => OpResponse::Txn(get_txn(r, depth + 1)?),
            tag => return Err(r.unknown_tag(tag)),
        });
    }
    Ok(txn)
}

/// One byte, then what the variant carries. The numbers are part of the format.
pub(crate) fn put_error(w: &mut Writer, error: &Error) {
    let tag = match error {
        Error::Compacted { .. } => 0,
        Error::FutureRevision { .. } => 1,
        Error::LeaseNotFound => 2,
        Error::LeaseExists => 3,
        Error::LeaseTtlTooLarge => 4,
        Error::EmptyKey => 5,
        Error::KeyNotFound => 6,
        Error::ValueProvided => 7,
        Error::LeaseProvided => 8,
        Error::DuplicateKey => 9,
        Error::TooManyOps => 10,
        Error::TooLarge => 11,
        Error::Invalid(_) => 12,
        Error::Fenced { .. } => 13,
        Error::NoLeader => 14,
        Error::TooManyRequests => 15,
        Error::NoSpace => 16,
        Error::Unavailable(_) => 17,
        Error::OutcomeUnknown => 18,
        Error::SlowWatcher { .. } => 19,
        Error::Broken(_) => 20,
    };
    w.u8(tag);
    match error {
        Error::Compacted { compact_revision: revision } => w.i64(revision.0),
        Error::FutureRevision { current } => w.i64(current.0),
        Error::Invalid(text) | Error::Unavailable(text) | Error::Broken(text) => {
            w.bytes(text.as_bytes());
        }
        Error::Fenced { scope, current } => {
            w.bytes(scope.as_bytes());
            w.u64(*current);
        }
        Error::SlowWatcher { buffered } => w.u64(*buffered as u64),
        _ => {}
    }
}

pub(crate) fn get_error(r: &mut Reader) -> Result<Error, DecodeError> {
    Ok(match r.u8()? {
        0 => Error::Compacted { compact_revision: Revision(r.i64()?) },
        1 => Error::FutureRevision { current: Revision(r.i64()?) },
        2 => Error::LeaseNotFound,
        3 => Error::LeaseExists,
        4 => Error::LeaseTtlTooLarge,
        5 => Error::EmptyKey,
        6 => Error::KeyNotFound,
        7 => Error::ValueProvided,
        8 => Error::LeaseProvided,
        9 => Error::DuplicateKey,
        10 => Error::TooManyOps,
        11 => Error::TooLarge,
        12 => Error::Invalid(r.string()?),
        13 => Error::Fenced { scope: r.string()?, current: r.u64()? },
        14 => Error::NoLeader,
        15 => Error::TooManyRequests,
        16 => Error::NoSpace,
        17 => Error::Unavailable(r.string()?),
        18 => Error::OutcomeUnknown,
        19 => {
            let buffered = r.u64()?;
            Error::SlowWatcher { buffered: usize::try_from(buffered).map_err(|_| r.malformed("a count"))? }
        }
        20 => Error::Broken(r.string()?),
        tag => return Err(r.unknown_tag(tag)),
    })
}
