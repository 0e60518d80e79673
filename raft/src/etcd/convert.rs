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
        None => return Err(Error::EmptyKey),
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
    // The zero value of a target may be left out on the wire.
    let target = match (CompareTarget::try_from(c.target).map_err(|_| bad("target"))?, c.target_union) {
        (CompareTarget::Version, Some(TargetUnion::Version(v))) => kv::CompareTarget::Version(v),
        (CompareTarget::Version, None) => kv::CompareTarget::Version(0),
        (CompareTarget::Create, Some(TargetUnion::CreateRevision(v))) => {
            kv::CompareTarget::Create(Revision(v))
        }
        (CompareTarget::Create, None) => kv::CompareTarget::Create(Revision(0)),
        (CompareTarget::Mod, Some(TargetUnion::ModRevision(v))) => kv::CompareTarget::Mod(Revision(v)),
        (CompareTarget::Mod, None) => kv::CompareTarget::Mod(Revision(0)),
        (CompareTarget::Value, Some(TargetUnion::Value(v))) => kv::CompareTarget::Value(v),
        (CompareTarget::Value, None) => kv::CompareTarget::Value(bytes::Bytes::new()),
        (CompareTarget::Lease, Some(TargetUnion::Lease(v))) => kv::CompareTarget::Lease(LeaseId(v)),
        (CompareTarget::Lease, None) => kv::CompareTarget::Lease(LeaseId(0)),
        _ => return Err(bad("target")),
    };
    Ok(kv::Compare { range: range(c.key, c.range_end), result, target })
}

pub(crate) fn txn_response(r: kv::TxnResponse, header: pb::ResponseHeader) -> pb::TxnResponse {
    use pb::response_op::Response;
    // Inner headers carry the revision alone, as etcd's do.
    let inner = |revision: Revision| Some(pb::ResponseHeader { revision: revision.0, ..Default::default() });
    let revision = r.revision;
    let responses = r
        .responses
        .into_iter()
        .map(|response| pb::ResponseOp {
            response: Some(match response {
                kv::OpResponse::Range(r) => {
                    let header = inner(r.revision);
                    Response::ResponseRange(range_response(r, header))
                }
                kv::OpResponse::Put { prev_kv } => Response::ResponsePut(pb::PutResponse {
                    header: inner(revision),
                    prev_kv: prev_kv.map(key_value),
                }),
                kv::OpResponse::Delete { deleted, prev_kvs } => {
                    Response::ResponseDeleteRange(pb::DeleteRangeResponse {
                        header: inner(revision),
                        deleted,
                        prev_kvs: prev_kvs.into_iter().map(key_value).collect(),
                    })
                }
                kv::OpResponse::Txn(t) => {
                    let header = pb::ResponseHeader { revision: t.revision.0, ..Default::default() };
                    Response::ResponseTxn(txn_response(t, header))
                }
            }),
        })
        .collect();
    pb::TxnResponse { header: Some(header), succeeded: r.succeeded, responses }
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
    }
}
