//! The history's words in the store's, and back.

use bytes::Bytes;
use trireme_store as store;
use trireme_store::{Error, KeyRange, KeyValue, LeaseId, Revision};

use crate::history::{
    Answer, Compare, Event, KeyVersion, Keys, Op, OpAnswer, Outcome, Range, RangeAnswer, Refusal, Relation,
    Target, Txn,
};

/// Whose epochs fence the traffic of leaders.
const SCOPE: &str = "chaos/leader";
/// Values are filled up with spaces to this many bytes, so that they weigh what real ones do.
const VALUE_BYTES: usize = 200;

pub(super) fn padded(value: &str) -> Bytes {
    format!("{value:<VALUE_BYTES$}").into_bytes().into()
}

/// What was written; a value that is not as it was written is none that anybody wrote.
fn shown(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let written = text.trim_end_matches(' ');
    if value.is_empty() || value.len() == written.len().max(VALUE_BYTES) {
        written.to_owned()
    } else {
        format!("{written} in {} bytes", value.len())
    }
}

fn text(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

pub(super) fn key_range(keys: &Keys) -> KeyRange {
    KeyRange { start: keys.start.clone().into(), end: keys.end.clone().into() }
}

pub(super) fn range(range: &Range) -> store::RangeRequest {
    store::RangeRequest {
        limit: range.limit,
        revision: Revision(range.revision),
        serializable: range.serializable,
        keys_only: range.keys_only,
        count_only: range.count_only,
        ..store::RangeRequest::new(key_range(&range.keys))
    }
}

pub(super) fn txn(txn: &Txn) -> store::TxnRequest {
    store::TxnRequest {
        compare: txn.compare.iter().map(compare).collect(),
        success: txn.success.iter().map(op).collect(),
        failure: txn.failure.iter().map(op).collect(),
        fences: txn.fence.map(|epoch| store::Fence { scope: SCOPE.to_owned(), epoch }).into_iter().collect(),
        raise_fences: txn.raises.then(|| SCOPE.to_owned()).into_iter().collect(),
    }
}

fn compare(compare: &Compare) -> store::Compare {
    store::Compare {
        range: KeyRange::key(compare.key.clone()),
        result: match compare.relation {
            Relation::Equal => store::CompareResult::Equal,
            Relation::NotEqual => store::CompareResult::NotEqual,
            Relation::Less => store::CompareResult::Less,
            Relation::Greater => store::CompareResult::Greater,
        },
        target: match &compare.target {
            Target::Version(version) => store::CompareTarget::Version(*version),
            Target::Create(revision) => store::CompareTarget::Create(Revision(*revision)),
            Target::Mod(revision) => store::CompareTarget::Mod(Revision(*revision)),
            Target::Lease(lease) => store::CompareTarget::Lease(LeaseId(*lease)),
            Target::Value(value) => store::CompareTarget::Value(padded(value)),
        },
    }
}

fn op(op: &Op) -> store::Op {
    match op {
        Op::Range(read) => store::Op::Range(range(read)),
        Op::Put { key, value, lease, prev_kv } => store::Op::Put(store::PutRequest {
            lease: LeaseId(*lease),
            prev_kv: *prev_kv,
            ..store::PutRequest::new(key.clone(), padded(value))
        }),
        Op::Delete { keys, prev_kv } => {
            store::Op::Delete(store::DeleteRequest { range: key_range(keys), prev_kv: *prev_kv })
        }
    }
}

pub(super) fn key_version(kv: &KeyValue) -> KeyVersion {
    KeyVersion {
        key: text(&kv.key),
        create_revision: kv.create_revision.0,
        mod_revision: kv.mod_revision.0,
        version: kv.version,
        lease: kv.lease.0,
        value: shown(&kv.value),
    }
}

pub(super) fn range_answer(answer: &store::RangeResponse) -> RangeAnswer {
    RangeAnswer {
        revision: answer.revision.0,
        kvs: answer.kvs.iter().map(key_version).collect(),
        more: answer.more,
        count: answer.count,
    }
}

pub(super) fn txn_answer(answer: &store::TxnResponse) -> Answer {
    let results = answer.responses.iter().filter_map(|response| {
        Some(match response {
            store::OpResponse::Range(range) => OpAnswer::Range(range_answer(range)),
            store::OpResponse::Put { prev_kv } => OpAnswer::Put { prev: prev_kv.as_ref().map(key_version) },
            store::OpResponse::Delete { deleted, prev_kvs } => {
                OpAnswer::Delete { deleted: *deleted, prev: prev_kvs.iter().map(key_version).collect() }
            }
            // The traffic has no transactions in transactions.
            store::OpResponse::Txn(_) => return None,
        })
    });
    Answer::Txn { revision: answer.revision.0, succeeded: answer.succeeded, results: results.collect() }
}

pub(super) fn event(event: &store::Event) -> Event {
    Event {
        put: event.kind == store::EventKind::Put,
        kv: key_version(&event.kv),
        prev: event.prev_kv.as_ref().map(key_version),
    }
}

/// What an error says of what was asked for.
pub(super) fn failure(error: &Error) -> Outcome {
    Outcome::Refused(match error {
        Error::OutcomeUnknown => return Outcome::Unknown("outcome unknown".into()),
        Error::Broken(why) => return Outcome::Unknown(why.clone()),
        Error::Compacted { compact_revision } => Refusal::Compacted { revision: compact_revision.0 },
        Error::FutureRevision { .. } => Refusal::FutureRevision,
        Error::LeaseNotFound => Refusal::LeaseNotFound,
        Error::Fenced { current, .. } => Refusal::Fenced { current: *current },
        other => Refusal::Other(other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_they_were_written_or_as_nobody_wrote_them() {
        let long = "x".repeat(VALUE_BYTES + 7);
        for value in ["1.2", &long] {
            assert_eq!(shown(&padded(value)), *value);
        }
        assert_eq!(shown(b""), "", "keys only");
        assert_ne!(shown(&padded("1.2")[..VALUE_BYTES - 1]), "1.2");
    }
}
