//! A range as a stream (etcd 3.7): pages at one revision, so that neither side holds it whole.
//!
//! All parts but the last carry key-values alone; the last has the header, the count and whether
//! there is more. Merged, they are the answer that Range gives.

use std::sync::Arc;

use futures::Stream;
use futures::stream::try_unfold;
use tonic::Status;
use trireme_store::{Error, RangeRequest, Revision, SortOrder, SortTarget};

use super::pb::etcdserverpb as pb;
use super::{Backend, convert, error, header};

/// Bytes of keys and values in one part, unless one key-value alone has more.
const PART_BYTES: usize = 1 << 20;

type Part = Result<pb::RangeStreamResponse, Status>;

/// Refuses what cannot be streamed: another order needs the whole range in hand. Clients turn to
/// Range on this code.
pub(super) fn check(request: &RangeRequest) -> Result<(), Status> {
    let in_order_of_keys = request.sort_target == SortTarget::Key && request.sort_order != SortOrder::Descend;
    if in_order_of_keys {
        return Ok(());
    }
    Err(Status::unimplemented("etcdserver: a range is streamed in the order of its keys alone"))
}

/// The parts of the answer. The first read is as linearizable as the request asks; the others are
/// at the revision that it found.
pub(super) fn parts(backend: Arc<dyn Backend>, request: RangeRequest) -> impl Stream<Item = Part> {
    try_unfold(Walk::Start(request), move |walk| {
        let backend = backend.clone();
        async move { step(&*backend, walk).await.map_err(error::status) }
    })
}

enum Walk {
    Start(RangeRequest),
    Going(Going),
    Done,
}

struct Going {
    /// What is left of it.
    request: RangeRequest,
    /// The newest revision when the request was taken.
    current: Revision,
    /// Keys walked so far.
    count: i64,
}

async fn step(backend: &dyn Backend, walk: Walk) -> Result<Option<(pb::RangeStreamResponse, Walk)>, Error> {
    let mut going = match walk {
        Walk::Done => return Ok(None),
        Walk::Going(going) => going,
        Walk::Start(request) if request.count_only => {
            let found = backend.range(request).await?;
            let header = header(backend, found.revision);
            return Ok(Some((part(convert::range_response(found, Some(header))), Walk::Done)));
        }
        Walk::Start(request) => start(backend, request).await?,
    };
    let page = backend.range_page(going.request.clone(), PART_BYTES).await?;
    going.count += page.walked;
    let given = i64::try_from(page.kvs.len()).unwrap_or(i64::MAX);
    let mut response = pb::RangeResponse {
        kvs: page.kvs.into_iter().map(convert::key_value).collect(),
        ..Default::default()
    };
    let limit_reached = going.request.limit > 0 && given >= going.request.limit;
    match page.rest {
        Some(rest) if !limit_reached => {
            going.request.range = rest;
            if going.request.limit > 0 {
                going.request.limit -= given;
            }
            return Ok(Some((part(response), Walk::Going(going))));
        }
        Some(rest) => {
            // What was not asked for is counted, and looked through for one more.
            let beyond = RangeRequest { range: rest, limit: 1, keys_only: true, ..going.request };
            let beyond = backend.range(beyond).await?;
            going.count += beyond.count;
            response.more = !beyond.kvs.is_empty();
        }
        None => {}
    }
    response.count = going.count;
    response.header = Some(header(backend, going.current));
    Ok(Some((part(response), Walk::Done)))
}

/// Finds the revision to read at, and whether it can be read.
async fn start(backend: &dyn Backend, request: RangeRequest) -> Result<Going, Error> {
    let first = trireme_store::KeyRange::key(request.range.start.clone());
    let probe = RangeRequest { range: first, count_only: true, ..request.clone() };
    let current = backend.range(probe).await?.revision;
    let revision = if request.revision.0 > 0 { request.revision } else { current };
    // This member has that revision now: no further read has to ask the leader.
    let request = RangeRequest { revision, serializable: true, limit: request.limit.max(0), ..request };
    Ok(Going { request, current, count: 0 })
}

fn part(response: pb::RangeResponse) -> pb::RangeStreamResponse {
    pb::RangeStreamResponse { range_response: Some(response) }
}
