//! The one place that makes `Status` objects: every error a client sees, in upstream's shape and
//! wording.

use trireme_api::field_error::FieldError;
use trireme_api::tree::{Map, Value};
use trireme_store as store;

/// An answer that is not success.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    pub code: u16,
    /// "" where upstream gives none.
    pub reason: &'static str,
    pub message: String,
    pub details: Option<Box<Details>>,
    /// `metadata.continue`, for an expired continue token.
    pub continue_token: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Details {
    pub name: String,
    pub group: String,
    pub kind: String,
    pub uid: String,
    pub causes: Vec<Cause>,
    pub retry_after_s: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    pub reason: String,
    pub message: String,
    pub field: String,
}

pub type Result<T> = std::result::Result<T, ApiError>;

/// A group and a resource or kind; the group "" is core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Qualified<'a> {
    pub group: &'a str,
    pub name: &'a str,
}

impl std::fmt::Display for Qualified<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        Ok(())
    }
}

/// `resource.group`, or `Kind.group` where upstream names the kind.
pub fn qualified<'a>(group: &'a str, name: &'a str) -> Qualified<'a> {
    Qualified { group, name }
}

pub use trireme_api::field_error::quote;

impl ApiError {
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> ApiError {
        ApiError { code, reason, message: message.into(), details: None, continue_token: None }
    }
    fn with(mut self, details: Details) -> ApiError {
        self.details = Some(Box::new(details));
        self
    }
    fn about(resource: Qualified<'_>, name: &str) -> Details {
        Details {
            name: name.into(),
            group: resource.group.into(),
            kind: resource.name.into(),
            ..Details::default()
        }
    }
    /// With details that say nothing, as some of upstream's answers have them.
    pub fn with_details(mut self) -> ApiError {
        self.details.get_or_insert_default();
        self
    }

    pub fn bad_request(message: impl Into<String>) -> ApiError {
        Self::new(400, "BadRequest", message)
    }
    pub fn unauthorized() -> ApiError {
        Self::new(401, "Unauthorized", "Unauthorized")
    }
    /// `pods "x" is forbidden: why`, without the name where there is none.
    pub fn forbidden(resource: Qualified<'_>, name: &str, why: impl std::fmt::Display) -> ApiError {
        let message = if resource.name.is_empty() {
            format!("forbidden: {why}")
        } else if name.is_empty() {
            format!("{resource} is forbidden: {why}")
        } else {
            format!("{resource} {} is forbidden: {why}", quote(name))
        };
        Self::new(403, "Forbidden", message).with(Self::about(resource, name))
    }
    pub fn not_found(resource: Qualified<'_>, name: &str) -> ApiError {
        Self::new(404, "NotFound", format!("{resource} {} not found", quote(name)))
            .with(Self::about(resource, name))
    }
    /// A path that is not served.
    pub fn no_such_path() -> ApiError {
        Self::new(404, "NotFound", "the server could not find the requested resource")
            .with(Details::default())
    }
    pub fn method_not_allowed() -> ApiError {
        Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
            .with(Details::default())
    }
    /// An object that answers only to some verbs, as `pods/x is not supported on resources of kind`.
    pub fn not_supported(resource: Qualified<'_>, action: &str) -> ApiError {
        Self::new(
            405,
            "MethodNotAllowed",
            format!("{action} is not supported on resources of kind \"{resource}\""),
        )
        .with(Self::about(resource, ""))
    }
    pub fn not_acceptable(accepted: &str) -> ApiError {
        Self::new(
            406,
            "NotAcceptable",
            format!("406: Not Acceptable\n\nAvailable representations: {accepted}"),
        )
        .with(Details::default())
    }
    pub fn not_acceptable_text(message: impl Into<String>) -> ApiError {
        Self::new(406, "NotAcceptable", message)
    }
    pub fn already_exists(resource: Qualified<'_>, name: &str) -> ApiError {
        Self::new(409, "AlreadyExists", format!("{resource} {} already exists", quote(name)))
            .with(Self::about(resource, name))
    }
    pub fn conflict(resource: Qualified<'_>, name: &str, why: impl std::fmt::Display) -> ApiError {
        Self::new(
            409,
            "Conflict",
            format!("Operation cannot be fulfilled on {resource} {}: {why}", quote(name)),
        )
        .with(Self::about(resource, name))
    }
    /// The compare-and-swap on a resource version lost.
    pub fn modified(resource: Qualified<'_>, name: &str) -> ApiError {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }
    pub fn gone(message: impl Into<String>) -> ApiError {
        Self::new(410, "Expired", message)
    }
    pub fn too_old(asked: i64, oldest: i64) -> ApiError {
        Self::gone(format!("too old resource version: {asked} ({oldest})"))
    }
    pub fn too_large(limit: usize) -> ApiError {
        Self::new(413, "RequestEntityTooLarge", format!("Request entity too large: limit is {limit}"))
    }
    pub fn unsupported_media_type(message: impl Into<String>) -> ApiError {
        Self::new(415, "UnsupportedMediaType", message)
    }
    /// 422 with a cause per wrong field. `kind` is a kind with its group.
    pub fn invalid(kind: Qualified<'_>, name: &str, errors: &[FieldError]) -> ApiError {
        let mut texts: Vec<String> = Vec::new();
        for e in errors {
            let text = e.to_string();
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let list = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let mut details = Self::about(kind, name);
        details.causes = errors
            .iter()
            .map(|e| Cause { reason: e.reason().into(), message: e.body(), field: e.field.clone() })
            .collect();
        Self::new(422, "Invalid", format!("{kind} {} is invalid: {list}", quote(name))).with(details)
    }
    /// 422 without a field, where upstream gives a message of its own.
    pub fn unprocessable(message: impl Into<String>) -> ApiError {
        Self::new(422, "Invalid", message).with(Details::default())
    }
    /// Wrong query options: `ListOptions.meta.k8s.io "" is invalid: ...`.
    pub fn invalid_options(kind: &str, errors: &[FieldError]) -> ApiError {
        Self::invalid(qualified("meta.k8s.io", kind), "", errors)
    }
    pub fn too_many_requests(message: impl Into<String>, retry_after_s: u32) -> ApiError {
        Self::new(429, "TooManyRequests", message).with(Details { retry_after_s, ..Details::default() })
    }
    /// An eviction that a disruption budget does not allow now.
    pub fn disruption_budget(
        message: impl Into<String>,
        cause: impl Into<String>,
        retry_after_s: u32,
    ) -> ApiError {
        Self::new(429, "TooManyRequests", message).with(Details {
            retry_after_s,
            causes: vec![Cause {
                reason: "DisruptionBudget".into(),
                message: cause.into(),
                field: String::new(),
            }],
            ..Details::default()
        })
    }
    pub fn internal(why: impl std::fmt::Display) -> ApiError {
        Self::new(500, "InternalError", format!("Internal error occurred: {why}")).with(Details {
            causes: vec![Cause { reason: String::new(), message: why.to_string(), field: String::new() }],
            ..Details::default()
        })
    }
    /// 500 with a message alone: what upstream answers for an error that is not a `Status`.
    pub fn plain(message: impl Into<String>) -> ApiError {
        Self::new(500, "", message)
    }
    pub fn unavailable(message: impl Into<String>) -> ApiError {
        Self::new(503, "ServiceUnavailable", message).with(Details { retry_after_s: 1, ..Details::default() })
    }
    pub fn timeout(message: impl std::fmt::Display) -> ApiError {
        Self::new(504, "Timeout", format!("Timeout: {message}")).with(Details::default())
    }
    /// The revision asked for does not exist yet.
    pub fn future_revision(asked: i64, current: i64) -> ApiError {
        Self::new(504, "Timeout", format!("Timeout: Too large resource version: {asked}, current: {current}"))
            .with(Details {
                causes: vec![Cause {
                    reason: "ResourceVersionTooLarge".into(),
                    message: "Too large resource version".into(),
                    field: String::new(),
                }],
                retry_after_s: 1,
                ..Details::default()
            })
    }
    /// A write that may or may not have happened. Without `Retry-After`: a client would repeat it.
    pub fn outcome_unknown() -> ApiError {
        Self::new(
            504,
            "Timeout",
            "Timeout: the outcome of this write is unknown: it may or may not have been done; read the object before trying again",
        )
        .with(Details::default())
    }

    pub fn with_cause(mut self, reason: &str, message: impl Into<String>, field: &str) -> ApiError {
        self.details.get_or_insert_default().causes.push(Cause {
            reason: reason.into(),
            message: message.into(),
            field: field.into(),
        });
        self
    }

    pub fn retry_after_s(&self) -> u32 {
        self.details.as_ref().map_or(0, |d| d.retry_after_s)
    }

    /// The `Status` object.
    pub fn to_value(&self) -> Value {
        let mut status = Map::with_capacity(8);
        status.set("kind", "Status");
        status.set("apiVersion", "v1");
        let mut metadata = Map::new();
        if let Some(token) = &self.continue_token {
            metadata.set("continue", token.as_str());
        }
        status.set("metadata", metadata);
        status.set("status", "Failure");
        status.set("message", self.message.as_str());
        if !self.reason.is_empty() {
            status.set("reason", self.reason);
        }
        if let Some(details) = &self.details {
            status.set("details", details.to_map());
        }
        status.set("code", i64::from(self.code));
        Value::Object(status)
    }
}

impl Details {
    fn to_map(&self) -> Map {
        let mut out = Map::new();
        for (key, value) in
            [("name", &self.name), ("group", &self.group), ("kind", &self.kind), ("uid", &self.uid)]
        {
            if !value.is_empty() {
                out.set(key, value.as_str());
            }
        }
        if !self.causes.is_empty() {
            let causes: Vec<Value> = self
                .causes
                .iter()
                .map(|c| {
                    let mut m = Map::new();
                    for (key, value) in [("reason", &c.reason), ("message", &c.message), ("field", &c.field)]
                    {
                        if !value.is_empty() {
                            m.set(key, value.as_str());
                        }
                    }
                    Value::Object(m)
                })
                .collect();
            out.set("causes", causes);
        }
        if self.retry_after_s > 0 {
            out.set("retryAfterSeconds", i64::from(self.retry_after_s));
        }
        out
    }
}

/// `Status` of a deletion that removed the object at once.
pub fn deleted(resource: Qualified<'_>, name: &str, uid: &str) -> Value {
    let mut out = success();
    let details = Details {
        name: name.into(),
        group: resource.group.into(),
        kind: resource.name.into(),
        uid: uid.into(),
        ..Details::default()
    };
    out.make(&[]).set("details", details.to_map());
    out
}

/// `Status` of something that was created and is not shown.
pub fn created() -> Value {
    let mut out = success();
    out.make(&[]).set("code", 201i64);
    out
}

/// `Status` without more.
pub fn success() -> Value {
    let mut status = Map::new();
    status.set("kind", "Status");
    status.set("apiVersion", "v1");
    status.set("metadata", Map::new());
    status.set("status", "Success");
    Value::Object(status)
}

/// How an error of the store reaches a client that read, or wrote with a known outcome.
impl From<store::Error> for ApiError {
    fn from(e: store::Error) -> ApiError {
        use store::Error as E;
        match e {
            E::OutcomeUnknown => ApiError::outcome_unknown(),
            E::Compacted { .. } => ApiError::gone("The provided resource version is too old."),
            E::FutureRevision { current } => ApiError::future_revision(0, current.0),
            // The store has waited for a leader already. As upstream passes etcd's error on: with
            // Retry-After a client would wait ten times as long before it says anything.
            E::NoLeader => ApiError::plain(e.to_string()),
            E::Unavailable(ref why) if why.contains("timed out") => ApiError::plain(e.to_string()),
            // This replica alone: another answers.
            E::Unavailable(_) => ApiError::unavailable(format!("the store cannot answer now: {e}")),
            E::TooManyRequests => ApiError::too_many_requests("the store has too many requests in flight", 1),
            E::NoSpace => {
                ApiError::new(507, "InsufficientStorage", format!("the store has no space left: {e}"))
            }
            E::TooLarge => ApiError::too_large(crate::limits::REQUEST_BODY_BYTES_MAX),
            E::Fenced { .. } => ApiError::new(409, "Conflict", e.to_string()).with(Details {
                causes: vec![Cause {
                    reason: "LeaderFenced".into(),
                    message: "another leader has taken over; stop leading".into(),
                    field: String::new(),
                }],
                ..Details::default()
            }),
            other => ApiError::internal(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_api::field_error::Path;

    #[test]
    fn one_and_several_field_errors_read_as_upstream_writes_them() {
        let path = Path::new("metadata");
        let e = FieldError::required(&path.child("name"), "name or generateName is required");
        let one = ApiError::invalid(qualified("", "ConfigMap"), "", std::slice::from_ref(&e));
        assert_eq!(
            one.message,
            "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required"
        );
        let twice = ApiError::invalid(qualified("apps", "Deployment"), "a", &[e.clone(), e]);
        assert!(!twice.message.contains('['), "repeated messages are said once: {}", twice.message);
        assert_eq!(twice.details.unwrap().causes.len(), 2);
    }

    #[test]
    fn an_unknown_outcome_gives_no_retry_after() {
        let e = ApiError::from(store::Error::OutcomeUnknown);
        assert_eq!((e.code, e.retry_after_s()), (504, 0));
    }

    #[test]
    fn without_a_quorum_the_answer_is_etcds_and_is_not_to_be_waited_for() {
        for e in [store::Error::NoLeader, store::Error::Unavailable("request timed out".into())] {
            let text = e.to_string();
            let e = ApiError::from(e);
            assert_eq!((e.code, e.reason, e.retry_after_s(), e.message), (500, "", 0, text));
        }
        let restarting = ApiError::from(store::Error::Unavailable("this member is stopping".into()));
        assert_eq!((restarting.code, restarting.retry_after_s()), (503, 1));
    }
}
