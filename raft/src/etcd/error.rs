//! The store's errors as gRPC statuses, with the codes and messages that etcd's clients match on,
//! and back.

use tonic::{Code, Status};
use trireme_store::{Error, Revision};

/// Carries what a message cannot, for [`crate::Remote`].
const DETAIL: &str = "trireme-error";

/// etcd's code and message for `error`.
pub(crate) fn status(error: Error) -> Status {
    let code = match &error {
        Error::Compacted { .. } | Error::FutureRevision { .. } => Code::OutOfRange,
        Error::LeaseNotFound => Code::NotFound,
        Error::LeaseExists | Error::Fenced { .. } => Code::FailedPrecondition,
        Error::LeaseTtlTooLarge => Code::OutOfRange,
        Error::EmptyKey
        | Error::KeyNotFound
        | Error::ValueProvided
        | Error::LeaseProvided
        | Error::DuplicateKey
        | Error::TooManyOps
        | Error::TooLarge
        | Error::Invalid(_) => Code::InvalidArgument,
        Error::NoLeader | Error::Unavailable(_) | Error::OutcomeUnknown | Error::SlowWatcher { .. } => {
            Code::Unavailable
        }
        Error::TooManyRequests | Error::NoSpace => Code::ResourceExhausted,
        Error::Broken(_) => Code::DataLoss,
    };
    let detail = match &error {
        Error::Compacted { compact_revision } => Some(format!("compacted {compact_revision}")),
        Error::FutureRevision { current } => Some(format!("future {current}")),
        Error::Fenced { scope, current } => Some(format!("fenced {current} {scope}")),
        Error::SlowWatcher { buffered } => Some(format!("slow {buffered}")),
        Error::OutcomeUnknown => Some("unknown".to_owned()),
        Error::Unavailable(why) => Some(format!("unavailable {why}")),
        _ => None,
    };
    // etcd answers an unknown outcome as a timeout.
    let message = match &error {
        Error::OutcomeUnknown => "etcdserver: request timed out".to_owned(),
        other => other.to_string(),
    };
    let mut status = Status::new(code, message);
    if let Some(value) = detail.and_then(|d| d.parse().ok()) {
        status.metadata_mut().insert(DETAIL, value);
    }
    status
}

/// What a master's answer means for the caller of [`crate::Remote`]. A broken connection counts
/// as an unknown outcome: the request may have been carried out.
pub(crate) fn from_status(status: &Status) -> Error {
    if let Some(detail) = status.metadata().get(DETAIL).and_then(|v| v.to_str().ok()) {
        let (kind, rest) = detail.split_once(' ').unwrap_or((detail, ""));
        let number = |s: &str| s.parse::<i64>().unwrap_or(0);
        match kind {
            "compacted" => return Error::Compacted { compact_revision: Revision(number(rest)) },
            "future" => return Error::FutureRevision { current: Revision(number(rest)) },
            "fenced" => {
                let (current, scope) = rest.split_once(' ').unwrap_or((rest, ""));
                return Error::Fenced { scope: scope.to_owned(), current: current.parse().unwrap_or(0) };
            }
            "slow" => return Error::SlowWatcher { buffered: number(rest) as usize },
            "unknown" => return Error::OutcomeUnknown,
            "unavailable" => return Error::Unavailable(rest.to_owned()),
            _ => {}
        }
    }
    let plain = [
        Error::LeaseNotFound,
        Error::LeaseExists,
        Error::LeaseTtlTooLarge,
        Error::EmptyKey,
        Error::KeyNotFound,
        Error::ValueProvided,
        Error::LeaseProvided,
        Error::DuplicateKey,
        Error::TooManyOps,
        Error::TooLarge,
        Error::NoLeader,
        Error::TooManyRequests,
        Error::NoSpace,
    ];
    if let Some(known) = plain.into_iter().find(|e| e.to_string() == status.message()) {
        return known;
    }
    match status.code() {
        Code::InvalidArgument => Error::Invalid(status.message().to_owned()),
        Code::DataLoss => Error::Broken(status.message().to_owned()),
        Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented => {
            Error::Invalid(status.message().to_owned())
        }
        _ => Error::OutcomeUnknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_survive_the_wire() {
        for error in [
            Error::Compacted { compact_revision: Revision(7) },
            Error::FutureRevision { current: Revision(9) },
            Error::LeaseNotFound,
            Error::LeaseExists,
            Error::DuplicateKey,
            Error::Fenced { scope: "kube-system/kube-scheduler".into(), current: 3 },
            Error::NoLeader,
            Error::NoSpace,
            Error::TooManyRequests,
            Error::OutcomeUnknown,
            Error::Unavailable("restarting".into()),
            Error::SlowWatcher { buffered: 10 },
            Error::Invalid("etcdserver: invalid sort option".into()),
        ] {
            assert_eq!(from_status(&status(error.clone())), error);
        }
        let cut = Status::unavailable("connection reset");
        assert_eq!(from_status(&cut), Error::OutcomeUnknown);
    }
}
