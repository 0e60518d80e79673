//! Query options of reads, checked as upstream checks them.

use trireme_api::field_error::{FieldError, Path};
use trireme_api::selector::{FieldSelector, LabelSelector};

use super::Resource;
use crate::cache::Filter;
use crate::filters::Call;
use crate::status::{ApiError, Result, quote};

/// A `resourceVersion` of a get or watch; what is not a number is a 500 there, as upstream.
pub(crate) fn parse_revision(text: &str) -> Result<i64> {
    match text.parse::<u64>() {
        Ok(n) => Ok(i64::try_from(n).unwrap_or(i64::MAX)),
        Err(_) => Err(ApiError::plain(format!(
            "resourceVersion: Invalid value: {}: strconv.ParseUint: parsing {}: invalid syntax",
            quote(text),
            quote(text)
        ))),
    }
}

/// Which revision a list is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AsOf {
    /// Not older than any write acknowledged before.
    Newest,
    /// Whatever the cache has.
    Any,
    NotOlderThan(i64),
    Exact(i64),
}

/// What the stored version calls a field that this version selects by.
fn stored_field<'a>(resource: &Resource, field: &'a str) -> Option<&'a str> {
    if matches!(field, "metadata.name" | "metadata.namespace") {
        return Some(field);
    }
    match resource.served.selectors {
        Some(names) => names.iter().find(|(name, _)| *name == field).map(|(_, stored)| *stored),
        None => resource.row.selectable.iter().any(|(name, _)| *name == field).then_some(field),
    }
}

/// Options of a list or watch.
#[derive(Clone, Debug)]
pub(crate) struct ListOptions {
    pub(crate) filter: Filter,
    /// Most objects of a page; 0 is all.
    pub(crate) limit: usize,
    pub(crate) continue_token: String,
    pub(crate) resource_version: String,
    pub(crate) version_match: String,
    pub(crate) bookmarks: bool,
    pub(crate) send_initial_events: Option<bool>,
    pub(crate) timeout_s: Option<u64>,
}

impl ListOptions {
    pub(crate) fn parse(call: &Call, resource: &Resource, watch: bool) -> Result<ListOptions> {
        let q = &call.query;
        let number = |key: &str| -> Result<Option<i64>> {
            match q.text(key) {
                "" => Ok(None),
                text => text.parse().map(Some).map_err(|_| {
                    ApiError::bad_request(format!(
                        "strconv.ParseInt: parsing {}: invalid syntax",
                        quote(text)
                    ))
                }),
            }
        };
        let limit = number("limit")?;
        let timeout = number("timeoutSeconds")?;
        let labels: LabelSelector = match q.text("labelSelector") {
            "" => LabelSelector::everything(),
            text => text.parse().map_err(|e| ApiError::bad_request(format!("{e}")))?,
        };
        let mut fields: FieldSelector = match q.text("fieldSelector") {
            "" => FieldSelector::everything(),
            text => text.parse().map_err(|e| ApiError::bad_request(format!("{e}")))?,
        };
        let row = resource.row;
        fields
            .check(|field| stored_field(resource, field).is_some())
            .map_err(|e| ApiError::bad_request(e.to_string()))?;
        for term in &mut fields.terms {
            if let Some(stored) = stored_field(resource, &term.field).filter(|s| *s != term.field) {
                term.field = stored.to_owned();
            }
        }
        let options = ListOptions {
            filter: Filter {
                namespace: if row.namespaced { call.info.namespace.clone() } else { String::new() },
                labels,
                fields,
            },
            limit: limit.and_then(|l| usize::try_from(l).ok()).unwrap_or(0),
            continue_token: q.text("continue").to_owned(),
            resource_version: q.text("resourceVersion").to_owned(),
            version_match: q.text("resourceVersionMatch").to_owned(),
            bookmarks: q.is_true("allowWatchBookmarks"),
            send_initial_events: q.flag("sendInitialEvents"),
            timeout_s: timeout.and_then(|t| u64::try_from(t).ok()),
        };
        let errors = options.errors(watch);
        if errors.is_empty() { Ok(options) } else { Err(ApiError::invalid_options("ListOptions", &errors)) }
    }

    fn errors(&self, watch: bool) -> Vec<FieldError> {
        let match_path = Path::new("resourceVersionMatch");
        let initial_path = Path::new("sendInitialEvents");
        let forbid = |text: &str| vec![FieldError::forbidden(&match_path, text)];
        let version_match = self.version_match.as_str();
        if watch {
            if self.send_initial_events.is_some() {
                if version_match != "NotOlderThan" {
                    return forbid("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
                }
                return Vec::new();
            }
            if !version_match.is_empty() {
                return forbid(
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                );
            }
            if !self.continue_token.is_empty() {
                return forbid("resourceVersionMatch is forbidden when continue is provided");
            }
            return Vec::new();
        }
        let mut errors = Vec::new();
        if !version_match.is_empty() {
            if !self.continue_token.is_empty() {
                errors.extend(forbid("resourceVersionMatch is forbidden when continue is provided"));
            }
            if self.resource_version.is_empty() {
                errors.extend(forbid("resourceVersionMatch is forbidden unless resourceVersion is provided"));
            }
            if !matches!(version_match, "Exact" | "NotOlderThan") {
                let mut e = FieldError::not_supported(&match_path, version_match, &[]);
                e.detail = "supported values: \"Exact\", \"NotOlderThan\", \"\"".into();
                errors.push(e);
            }
            if version_match == "Exact" && self.resource_version == "0" {
                errors
                    .extend(forbid("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""));
            }
        }
        if self.send_initial_events.is_some() {
            errors.push(FieldError::forbidden(&initial_path, "sendInitialEvents is forbidden for list"));
        }
        errors
    }

    /// Which revision a list without a continue token is of.
    pub(crate) fn as_of(&self) -> Result<AsOf> {
        let revision = match self.resource_version.as_str() {
            "" => return Ok(AsOf::Newest),
            "0" => return Ok(AsOf::Any),
            text => text.parse::<u64>().map(|n| i64::try_from(n).unwrap_or(i64::MAX)).map_err(|_| {
                ApiError::bad_request(format!(
                    "resourceVersion: Invalid value: {}: strconv.ParseUint: parsing {}: invalid syntax",
                    quote(text),
                    quote(text)
                ))
            })?,
        };
        // With a limit and no match, a revision means exactly itself: an older rule of the API.
        let exact = self.version_match == "Exact" || (self.version_match.is_empty() && self.limit > 0);
        Ok(if exact { AsOf::Exact(revision) } else { AsOf::NotOlderThan(revision) })
    }
}
