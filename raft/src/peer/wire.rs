//! Between openraft's types and the messages.

use bytes::BytesMut;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderRequest, VoteRequest,
    VoteResponse,
};
use tonic::Status;

use crate::codec;
use crate::peer::pb;
use crate::types::{LeaderId, LogId, MemberId, TypeConfig, Vote, log_id};

pub(crate) fn position(id: Option<LogId>) -> Option<pb::Position> {
    id.map(|id| pb::Position { term: id.leader_id.term, index: id.index })
}

pub(crate) fn read_position(position: Option<pb::Position>) -> Option<LogId> {
    position.map(|position| log_id(position.term, position.index))
}

pub(crate) fn ballot(vote: &Vote) -> Option<pb::Ballot> {
    Some(pb::Ballot {
        term: vote.leader_id.term,
        member: vote.leader_id.voted_for.0,
        committed: vote.committed,
    })
}

pub(crate) fn read_ballot(ballot: Option<pb::Ballot>) -> Result<Vote, Status> {
    let ballot = ballot.ok_or_else(|| Status::invalid_argument("no vote"))?;
    Ok(Vote {
        leader_id: LeaderId { term: ballot.term, voted_for: MemberId(ballot.member) },
        committed: ballot.committed,
    })
}

pub(crate) fn append_request(request: &AppendEntriesRequest<TypeConfig>) -> pb::AppendRequest {
    let bytes = request.entries.iter().map(codec::encoded_len).sum();
    let mut entries = BytesMut::with_capacity(bytes);
    for entry in &request.entries {
        codec::encode_entry(entry, &mut entries);
    }
    pb::AppendRequest {
        vote: ballot(&request.vote),
        previous: position(request.prev_log_id),
        committed: position(request.leader_commit),
        first_index: request.entries.first().map_or(0, |entry| entry.log_id.index),
        count: request.entries.len() as u32,
        entries: entries.freeze(),
    }
}

pub(crate) fn read_append_request(
    message: pb::AppendRequest,
) -> Result<AppendEntriesRequest<TypeConfig>, Status> {
    let mut bytes = message.entries;
    // The count is not trusted to reserve memory: each entry takes its header at least.
    let mut entries =
        Vec::with_capacity((message.count as usize).min(bytes.len() / codec::ENTRY_HEADER_BYTES));
    for offset in 0..u64::from(message.count) {
        let entry = codec::decode_entry(&mut bytes, message.first_index + offset)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        entries.push(entry);
    }
    if !bytes.is_empty() {
        return Err(Status::invalid_argument("bytes after the last entry"));
    }
    Ok(AppendEntriesRequest {
        vote: read_ballot(message.vote)?,
        prev_log_id: read_position(message.previous),
        leader_commit: read_position(message.committed),
        entries,
    })
}

pub(crate) fn append_response(result: &StreamAppendResult<TypeConfig>) -> pb::AppendResponse {
    use pb::append_response::Result as R;
    let result = match result {
        Ok(last) => R::Matched(pb::Matched { last: position(*last) }),
        Err(StreamAppendError::Conflict(at)) => {
            R::Conflict(pb::Position { term: at.leader_id.term, index: at.index })
        }
        Err(StreamAppendError::HigherVote(vote)) => R::Higher(ballot(vote).unwrap_or_default()),
    };
    pb::AppendResponse { result: Some(result), ..Default::default() }
}

pub(crate) fn read_append_response(
    message: pb::AppendResponse,
) -> Result<StreamAppendResult<TypeConfig>, Status> {
    use pb::append_response::Result as R;
    match message.result {
        Some(R::Matched(matched)) => Ok(Ok(read_position(matched.last))),
        Some(R::Conflict(at)) => Ok(Err(StreamAppendError::Conflict(log_id(at.term, at.index)))),
        Some(R::Higher(vote)) => Ok(Err(StreamAppendError::HigherVote(read_ballot(Some(vote))?))),
        None => Err(Status::invalid_argument("an append was answered with nothing")),
    }
}

pub(crate) fn vote_request(request: &VoteRequest<TypeConfig>) -> pb::VoteRequest {
    pb::VoteRequest {
        vote: ballot(&request.vote),
        last: position(request.last_log_id),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(crate) fn read_vote_request(message: pb::VoteRequest) -> Result<VoteRequest<TypeConfig>, Status> {
    let mut request = VoteRequest::new(read_ballot(message.vote)?, read_position(message.last));
    request.leadership_transfer = message.leadership_transfer;
    Ok(request)
}

pub(crate) fn vote_response(response: &VoteResponse<TypeConfig>) -> pb::VoteResponse {
    pb::VoteResponse {
        vote: ballot(&response.vote),
        granted: response.vote_granted,
        last: position(response.last_log_id),
    }
}

pub(crate) fn read_vote_response(message: pb::VoteResponse) -> Result<VoteResponse<TypeConfig>, Status> {
    Ok(VoteResponse::new(read_ballot(message.vote)?, read_position(message.last), message.granted))
}

pub(crate) fn transfer_request(request: &TransferLeaderRequest<TypeConfig>) -> pb::TransferLeaderRequest {
    pb::TransferLeaderRequest {
        from: ballot(request.from_leader()),
        to: request.to_node_id().0,
        last: position(request.last_log_id().copied()),
    }
}

pub(crate) fn read_transfer_request(
    message: pb::TransferLeaderRequest,
) -> Result<TransferLeaderRequest<TypeConfig>, Status> {
    let from = read_ballot(message.from)?;
    Ok(TransferLeaderRequest::new(from, MemberId(message.to), read_position(message.last)))
}
