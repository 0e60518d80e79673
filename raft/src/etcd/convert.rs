//! Between etcd's messages and [`trireme_store`]'s types: the face reads requests and writes
//! responses, [`crate::Remote`] the reverse (its writes travel as commands instead).

use trireme_store as kv;
use trireme_store::{Error, KeyRange, LeaseId, Revision};

use super::pb::etcdserverpb as pb;
use super::pb::mvccpb;

/// Deepest nesting of transactions that is read from the wire.
const TXN_DEPTH_MAX: usize = 16;

fn range(key: bytes::Bytes, end: bytes::Bytes) -> KeyRange {
    KeyRange { start: key, end }
}

pub(crate) fn key_value(kv: kv::KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key,
        create_revision: kv.create_revision.0,
        mod_revision: kv.mod_revision.0,
        version: kv.version,
        value: kv.value,
        lease: kv.lease.0,
    }
}

pub(crate) fn key_value_from(kv: mvccpb::KeyValue) -> kv::KeyValue {
    kv::KeyValue {
        key: kv.key,
        create_revision: Revision(kv.create_revision),
        mod_revision: Revision(kv.mod_revision),
        version: kv.version,
        value: kv.value,
        lease: LeaseId(kv.lease),
    }
}

pub(crate) fn range_request_from(r: pb::RangeRequest) -> Result<kv::RangeRequest, Error> {
    use pb::range_request::{SortOrder, SortTarget};
    if r.key.is_empty() {
        return Err(Error::EmptyKey);
    }
    let bad = || Error::Invalid("etcdserver: invalid sort option".into());
    Ok(kv::RangeRequest {
        sort_order: match SortOrder::try_from(r.sort_order).map_err(|_| bad())? {
            SortOrder::None => kv::SortOrder::None,
            SortOrder::Ascend => kv::SortOrder::Ascend,
            SortOrder::Descend => kv::SortOrder::Descend,
        },
        sort_target: match SortTarget::try_from(r.sort_target).map_err(|_| bad())? {
            SortTarget::Key => kv::SortTarget::Key,
            SortTarget::Version => kv::SortTarget::Version,
            SortTarget::Create => kv::SortTarget::Create,
            SortTarget::Mod => kv::SortTarget::Mod,
            SortTarget::Value => kv::SortTarget::Value,
        },
        range: range(r.key, r.range_end),
        limit: r.limit,
        revision: Revision(r.revision),
        serializable: r.serializable,
        keys_only: r.keys_only,
        count_only: r.count_only,
        min_mod_revision: Revision(r.min_mod_revision),
        max_mod_revision: Revision(r.max_mod_revision),
        min_create_revision: Revision(r.min_create_revision),
        max_create_revision: Revision(r.max_create_revision),
    })
}

pub(crate) fn range_request(r: kv::RangeRequest) -> pb::RangeRequest {
    use pb::range_request::{SortOrder, SortTarget};
    let order = match r.sort_order {
        kv::SortOrder::None => SortOrder::None,
        kv::SortOrder::Ascend => SortOrder::Ascend,
        kv::SortOrder::Descend => SortOrder::Descend,
    };
    let target = match r.sort_target {
        kv::SortTarget::Key => SortTarget::Key,
        kv::SortTarget::Version => SortTarget::Version,
        kv::SortTarget::Create => SortTarget::Create,
        kv::SortTarget::Mod => SortTarget::Mod,
        kv::SortTarget::Value => SortTarget::Value,
    };
    pb::RangeRequest {
        key: r.range.start,
        range_end: r.range.end,
        limit: r.limit,
        revision: r.revision.0,
        sort_order: order as i32,
        sort_target: target as i32,
        serializable: r.serializable,
        keys_only: r.keys_only,
        count_only: r.count_only,
        min_mod_revision: r.min_mod_revision.0,
        max_mod_revision: r.max_mod_revision.0,
        min_create_revision: r.min_create_revision.0,
        max_create_revision: r.max_create_revision.0,
    }
}

/// `header` is set by the face; within a transaction etcd's clients read only its revision.
pub(crate) fn range_response(r: kv::RangeResponse, header: Option<pb::ResponseHeader>) -> pb::RangeResponse {
    pb::RangeResponse {
        header,
        kvs: r.kvs.into_iter().map(key_value).collect(),
        more: r.more,
        count: r.count,
    }
}

pub(crate) fn range_response_from(r: pb::RangeResponse) -> kv::RangeResponse {
    kv::RangeResponse {
        revision: revision_of(&r.header),
        kvs: r.kvs.into_iter().map(key_value_from).collect(),
        more: r.more,
        count: r.count,
    }
}

pub(crate) fn revision_of(header: &Option<pb::ResponseHeader>) -> Revision {
    Revision(header.as_ref().map_or(0, |h| h.revision))
}

pub(crate) fn put_request_from(r: pb::PutRequest) -> Result<kv::PutRequest, Error> {
    if r.key.is_empty() {
        return Err(Error::EmptyKey);
    }
    if r.ignore_value && !r.value.is_empty() {
        return Err(Error::ValueProvided);
    }
    if r.ignore_lease && r.lease != 0 {
        return Err(Error::LeaseProvided);
    }
    Ok(kv::PutRequest {
        key: r.key,
        value: r.value,
        lease: LeaseId(r.lease),
        prev_kv: r.prev_kv,
        ignore_value: r.ignore_value,
        ignore_lease: r.ignore_lease,
    })
}

pub(crate) fn delete_request_from(r: pb::DeleteRangeRequest) -> Result<kv::DeleteRequest, Error> {
    if r.key.is_empty() {
        return Err(Error::EmptyKey);
    }
    Ok(kv::DeleteRequest { range: range(r.key, r.range_end), prev_kv: r.prev_kv })
}

pub(crate) fn txn_request_from(r: pb::TxnRequest) -> Result<kv::TxnRequest, Error> {
    txn_at_depth(r, 0)
}

fn txn_at_depth(r: pb::TxnRequest, depth: usize) -> Result<kv::TxnRequest, Error> {
    if depth > TXN_DEPTH_MAX {
        return Err(Error::Invalid(format!(
            "etcdserver: transactions are nested deeper than {TXN_DEPTH_MAX}"
        )));
    }
    let ops =
        |ops: Vec<pb::RequestOp>| ops.into_iter().map(|op| op_from(op, depth)).collect::<Result<Vec<_>, _>>();
    Ok(kv::TxnRequest {
        compare: r.compare.into_iter().map(compare_from).collect::<Result<_, _>>()?,
        success: ops(r.success)?,
        failure: ops(r.failure)?,
        fences: Vec::new(),
        raise_fences: Vec::new(),
    })
}

fn op_from(op: pb::RequestOp, depth: usize) -> Result<kv::Op, Error> {
    use pb::request_op::Request;
    Ok(match op.request {
        Some(Request::RequestRange(r)) => kv::Op::Range(range_request_from(r)?),
        Some(Request::RequestPut(r)) => kv::Op::Put(put_request_from(r)?),
        Some(Request::RequestDeleteRange(r)) => kv::Op::Delete(delete_request_from(r)?),
        Some(Request::RequestTxn(r)) => kv::Op::Txn(txn_at_depth(r, depth + 1)?),
        // etcd's words for an operation of no kind.
        None => return Err(Error::KeyNotFound),
    })
}

fn compare_from(c: pb::Compare) -> Result<kv::Compare, Error> {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    if c.key.is_empty() {
        return Err(Error::EmptyKey);
    }
    let bad = |what: &str| Error::Invalid(format!("etcdserver: invalid compare {what}"));
    let result = match CompareResult::try_from(c.result).map_err(|_| bad("result"))? {
        CompareResult::Equal => kv::CompareResult::Equal,
        CompareResult::Greater => kv::CompareResult::Greater,
        CompareResult::Less => kv::CompareResult::Less,
        CompareResult::NotEqual => kv::CompareResult::NotEqual,
    };
    // As etcd reads it: a value that is left out, or is of another target, is the zero value.
    let union = c.target_union;
    let target = match CompareTarget::try_from(c.target).map_err(|_| bad("target"))? {
        CompareTarget::Version => kv::CompareTarget::Version(match union {
            Some(TargetUnion::Version(version)) => version,
            _ => 0,
        }),
        CompareTarget::Create => kv::CompareTarget::Create(Revision(match union {
            Some(TargetUnion::CreateRevision(revision)) => revision,
            _ => 0,
        })),
        CompareTarget::Mod => kv::CompareTarget::Mod(Revision(match union {
            Some(TargetUnion::ModRevision(revision)) => revision,
            _ => 0,
        })),
        CompareTarget::Value => kv::CompareTarget::Value(match union {
            Some(TargetUnion::Value(value)) => value,
            _ => bytes::Bytes::new(),
        }),
        CompareTarget::Lease => kv::CompareTarget::Lease(LeaseId(match union {
            Some(TargetUnion::Lease(lease)) => lease,
            _ => 0,
        })),
    };
    Ok(kv::Compare { range: range(c.key, c.range_end), result, target })
}

/// The answer to a transaction. As etcd has it, each operation's header carries the revision that
/// the store had reached with it, and that of a nested transaction carries none.
pub(crate) fn txn_response(r: kv::TxnResponse, header: pb::ResponseHeader) -> pb::TxnResponse {
    let mut reached = Reached { before: r.revision, after: r.revision, changed: false };
    if r.responses.iter().any(changes) {
        reached.before = Revision(r.revision.0 - 1);
    }
    reached.txn(r, header)
}

/// Whether an operation, or one within it, changed a key.
fn changes(response: &kv::OpResponse) -> bool {
    match response {
        kv::OpResponse::Range(_) => false,
        kv::OpResponse::Put { .. } => true,
        kv::OpResponse::Delete { deleted, .. } => *deleted > 0,
        kv::OpResponse::Txn(txn) => txn.responses.iter().any(changes),
    }
}

/// How far a transaction has come while its operations are gone through.
struct Reached {
    before: Revision,
    after: Revision,
    changed: bool,
}

impl Reached {
    fn txn(&mut self, r: kv::TxnResponse, header: pb::ResponseHeader) -> pb::TxnResponse {
        let responses = r.responses.into_iter().map(|response| self.op(response)).collect();
        pb::TxnResponse { header: Some(header), succeeded: r.succeeded, responses }
    }

    fn op(&mut self, response: kv::OpResponse) -> pb::ResponseOp {
        use pb::response_op::Response;
        let at = |revision: Revision| {
            Some(pb::ResponseHeader { revision: revision.0, ..pb::ResponseHeader::default() })
        };
        self.changed |= !matches!(response, kv::OpResponse::Txn(_)) && changes(&response);
        let now = if self.changed { self.after } else { self.before };
        let response = match response {
            kv::OpResponse::Range(range) => {
                let header = at(range.revision);
                Response::ResponseRange(range_response(range, header))
            }
            kv::OpResponse::Put { prev_kv } => {
                Response::ResponsePut(pb::PutResponse { header: at(now), prev_kv: prev_kv.map(key_value) })
            }
            kv::OpResponse::Delete { deleted, prev_kvs } => {
                Response::ResponseDeleteRange(pb::DeleteRangeResponse {
                    header: at(now),
                    deleted,
                    prev_kvs: prev_kvs.into_iter().map(key_value).collect(),
                })
            }
            kv::OpResponse::Txn(txn) => Response::ResponseTxn(self.txn(txn, pb::ResponseHeader::default())),
        };
        pb::ResponseOp { response: Some(response) }
    }
}

pub(crate) fn event(e: kv::Event) -> mvccpb::Event {
    mvccpb::Event {
        r#type: match e.kind {
            kv::EventKind::Put => mvccpb::event::EventType::Put,
            kv::EventKind::Delete => mvccpb::event::EventType::Delete,
        } as i32,
        kv: Some(key_value(e.kv)),
        prev_kv: e.prev_kv.map(key_value),
    }
}

pub(crate) fn event_from(e: mvccpb::Event) -> Option<kv::Event> {
    Some(kv::Event {
        kind: match mvccpb::event::EventType::try_from(e.r#type).ok()? {
            mvccpb::event::EventType::Put => kv::EventKind::Put,
            mvccpb::event::EventType::Delete => kv::EventKind::Delete,
        },
        kv: key_value_from(e.kv?),
        prev_kv: e.prev_kv.map(key_value_from),
    })
}

pub(crate) fn watch_request_from(r: &pb::WatchCreateRequest) -> kv::WatchRequest {
    use pb::watch_create_request::FilterType;
    kv::WatchRequest {
        // etcd reads an absent key as "from the first key".
        range: KeyRange {
            start: if r.key.is_empty() { bytes::Bytes::from_static(&[0]) } else { r.key.clone() },
            end: r.range_end.clone(),
        },
        start_revision: Revision(r.start_revision),
        prev_kv: r.prev_kv,
        no_put: r.filters().any(|f| f == FilterType::Noput),
        no_delete: r.filters().any(|f| f == FilterType::Nodelete),
        progress_notify: r.progress_notify,
        // A stream that asked for a leader ends as a whole.
        without_leader: true,
    }
}
