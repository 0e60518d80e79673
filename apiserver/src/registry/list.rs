//! LIST: from the cache, or from the store's history for exact revisions and later pages.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{BufMut, Bytes, BytesMut};
use http::{Response, StatusCode};
use trireme_store::planted::{self, Bug};
use trireme_store::{Error, KeyRange, RangeRequest, Revision};

use super::Resource;
use super::options::{AsOf, ListOptions};
use crate::cache::Entry;
use crate::filters::Call;
use crate::limits;
use crate::negotiate::{self, EstimatedBytes, Transform};
use crate::present;
use crate::server::{Body, Core};
use crate::slow::{self, Step};
use crate::status::{ApiError, Result, quote};
use crate::wire::Format;

/// A page of a list.
pub(crate) struct ListPage {
    pub(crate) revision: i64,
    pub(crate) continue_token: String,
    /// Objects past this page; only when nothing is selected.
    pub(crate) remaining: Option<usize>,
    pub(crate) entries: Vec<Arc<Entry>>,
}

/// `list`.
pub(super) async fn list(call: &Call, resource: &Resource) -> Result<Response<Body>> {
    let target = negotiate::target(call)?;
    if let Transform::PartialMetadata(_) = target.transform {
        return Err(ApiError::not_acceptable_text(format!(
            "you requested PartialObjectMetadata, but the requested object is a list (*{}.{}List)",
            present::go_package(resource),
            resource.row.kind
        )));
    }
    let options = ListOptions::parse(call, resource, false)?;
    let page = select(&call.core, resource, &options).await?;
    if target.format == Format::Json
        && target.transform == Transform::None
        && resource.is_hub()
        && !target.pretty
    {
        let _step = slow::step(Step::Encode);
        return Ok(stream(resource, page));
    }
    present::list(call, resource, target, &page)
}

/// The page that the options ask for.
pub(crate) async fn select(core: &Core, resource: &Resource, options: &ListOptions) -> Result<ListPage> {
    let cache = &core.cache;
    if resource.row.virtual_kind {
        // Component statuses: served for old clients, and there are none.
        let revision = cache.barrier().await?;
        return Ok(ListPage {
            revision,
            continue_token: String::new(),
            remaining: None,
            entries: Vec::new(),
        });
    }
    if !options.continue_token.is_empty() {
        let token = Token::decode(&options.continue_token)
            .map_err(|e| ApiError::bad_request(format!("invalid continue token: {e}")))?;
        if !matches!(options.resource_version.as_str(), "" | "0") {
            return Err(ApiError::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        if token.revision < 0 {
            // A client that took the offer to go on inconsistently.
            let revision = cache.barrier().await?;
            return Ok(from_cache(core, resource, options, revision, &token.start));
        }
        cache.wait_for_client(token.revision).await?;
        if planted::is(Bug::PageMoves) {
            return Ok(from_cache(core, resource, options, token.revision, &token.start));
        }
        return at_revision(core, resource, options, token.revision, &token.start).await;
    }
    match options.as_of()? {
        AsOf::Newest => {
            let revision =
                if planted::is(Bug::CachedList) { cache.revision() } else { cache.barrier().await? };
            Ok(from_cache(core, resource, options, revision, ""))
        }
        AsOf::Any => {
            // Whatever there is, whole: a limit does not apply to reads from the cache as it is.
            let unlimited = ListOptions { limit: 0, ..options.clone() };
            Ok(from_cache(core, resource, &unlimited, cache.revision(), ""))
        }
        AsOf::NotOlderThan(wanted) => {
            let revision = cache.wait_for_client(wanted).await?;
            Ok(from_cache(core, resource, options, revision, ""))
        }
        AsOf::Exact(revision) => {
            cache.wait_for_client(revision).await?;
            at_revision(core, resource, options, revision, "").await
        }
    }
}

/// What the cache holds, which is at least `revision`.
fn from_cache(
    core: &Core,
    resource: &Resource,
    options: &ListOptions,
    revision: i64,
    start: &str,
) -> ListPage {
    let limit = if options.limit == 0 { usize::MAX } else { options.limit };
    let selected = core.cache.kind(resource.row).select_from(&options.filter, start, limit);
    let revision = revision.max(selected.changed);
    page(options, revision, selected.entries, selected.remaining)
}

fn page(options: &ListOptions, revision: i64, entries: Vec<Arc<Entry>>, remaining: usize) -> ListPage {
    let continue_token = match entries.last() {
        Some(last) if remaining > 0 => {
            let key = match options.filter.namespace.as_str() {
                "" => &*last.key,
                namespace => &last.key[namespace.len() + 1..],
            };
            Token { revision, start: format!("{key}\0") }.encode()
        }
        _ => String::new(),
    };
    let remaining = (remaining > 0 && !options.filter.selects()).then_some(remaining);
    ListPage { revision, continue_token, remaining, entries }
}

/// A list of exactly one revision: from the cache when the kind has not changed since, else from
/// the store's history.
async fn at_revision(
    core: &Core,
    resource: &Resource,
    options: &ListOptions,
    revision: i64,
    start: &str,
) -> Result<ListPage> {
    let row = resource.row;
    let kind = core.cache.kind(row);
    if kind.changed_revision() <= revision {
        let limit = if options.limit == 0 { usize::MAX } else { options.limit };
        let selected = kind.select_from(&options.filter, start, limit);
        if selected.changed <= revision {
            return Ok(page(options, revision, selected.entries, selected.remaining));
        }
    }
    let prefix = match options.filter.namespace.as_str() {
        "" => format!("{}/", row.storage_prefix),
        namespace => format!("{}/{namespace}/", row.storage_prefix),
    };
    let _step = slow::step(Step::Store);
    let mut range = KeyRange::prefix(prefix.clone());
    range.start = format!("{prefix}{start}").into();
    let limit = if options.limit == 0 { usize::MAX } else { options.limit };
    let mut entries = Vec::new();
    loop {
        let mut request = RangeRequest::new(range.clone());
        request.revision = Revision(revision);
        request.limit = limits::HISTORY_PAGE_KEYS_MAX.min(i64::try_from(limit).unwrap_or(i64::MAX));
        let answer = match core.kv.range(request).await {
            Ok(answer) => answer,
            Err(Error::Compacted { .. }) => return Err(expired(options, start)),
            Err(Error::FutureRevision { current }) => {
                return Err(ApiError::future_revision(revision, current.0));
            }
            Err(error) => return Err(error.into()),
        };
        let mut taken = 0;
        for kv in &answer.kvs {
            taken += 1;
            let Some(key) =
                std::str::from_utf8(&kv.key).ok().and_then(|k| k.strip_prefix(row.storage_prefix))
            else {
                continue;
            };
            match Entry::load(row, key.trim_start_matches('/'), &kv.value, kv.mod_revision.0) {
                Ok(entry) if options.filter.matches(row, &entry) => entries.push(Arc::new(entry)),
                Ok(_) => {}
                Err(error) => {
                    return Err(ApiError::internal(format!("{}: {error}", String::from_utf8_lossy(&kv.key))));
                }
            }
            if entries.len() == limit {
                break;
            }
        }
        let remaining = usize::try_from(answer.count).unwrap_or(0).saturating_sub(taken);
        if entries.len() == limit || remaining == 0 || answer.kvs.is_empty() {
            return Ok(page(options, revision, entries, remaining));
        }
        // Here every key of the answer was taken, and there is at least one.
        let mut next = answer.kvs[taken - 1].key.to_vec();
        next.push(0);
        range.start = next.into();
    }
}

/// 410 with a token that goes on at the newest revision, for clients that prefer that to nothing.
fn expired(options: &ListOptions, start: &str) -> ApiError {
    if options.continue_token.is_empty() {
        return ApiError::gone("The resourceVersion for the provided list is too old.");
    }
    let mut error = ApiError::gone(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
         results. Continuing with the provided token results in an inconsistent list - objects that were created, \
         modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    error.continue_token = Some(Token { revision: -1, start: start.to_owned() }.encode());
    error
}

/// Bytes gathered into one frame of a streamed list.
const FRAME_BYTES: usize = 64 * 1024;

/// JSON of a list in its stored version: the cached bytes, copied as the client takes them.
fn stream(resource: &Resource, page: ListPage) -> Response<Body> {
    let head = list_head(resource.row.kind, &resource.served.api_version(), &page);
    let size = head.len() + page.entries.iter().map(|e| e.json.len() + 1).sum::<usize>();
    let mut entries = page.entries.into_iter();
    let mut first = Some(head);
    let mut state = 0u8;
    let chunks = futures::stream::iter(std::iter::from_fn(move || {
        if state == 2 {
            return None;
        }
        let mut out = BytesMut::with_capacity(FRAME_BYTES.min(size) + 1024);
        let mut comma = true;
        if let Some(head) = first.take() {
            out.put_slice(head.as_bytes());
            comma = false;
        }
        for entry in entries.by_ref() {
            if comma {
                out.put_u8(b',');
            }
            comma = true;
            out.put_u8(b'{');
            out.put_slice(entry.list_item());
            if out.len() >= FRAME_BYTES {
                return Some(out.freeze());
            }
        }
        state = 2;
        out.put_slice(b"]}\n");
        Some(out.freeze())
    }));
    let body = if size <= FRAME_BYTES { small(chunks) } else { Body::stream(chunks) };
    let mut response = negotiate::respond_body(StatusCode::OK, Format::Json.content_type(), body);
    response.extensions_mut().insert(EstimatedBytes(size));
    response
}

/// A list that fits one frame is sent whole, with its length.
fn small(chunks: futures::stream::Iter<impl Iterator<Item = Bytes>>) -> Body {
    use futures::{FutureExt, StreamExt};
    let parts: Vec<Bytes> = chunks.collect::<Vec<_>>().now_or_never().unwrap_or_default();
    Body::Full(parts.concat().into())
}

/// Everything before the first item.
pub(super) fn list_head(kind: &str, api_version: &str, page: &ListPage) -> String {
    let mut out = format!(
        "{{\"kind\":\"{kind}List\",\"apiVersion\":\"{api_version}\",\"metadata\":{{\"resourceVersion\":\"{}\"",
        page.revision
    );
    if !page.continue_token.is_empty() {
        out.push_str(&format!(",\"continue\":\"{}\"", page.continue_token));
    }
    if let Some(remaining) = page.remaining {
        out.push_str(&format!(",\"remainingItemCount\":{remaining}"));
    }
    out.push_str("},\"items\":[");
    out
}

/// Upstream's continue token: a revision and the first key of the next page.
#[derive(Debug, PartialEq)]
struct Token {
    /// -1: the newest.
    revision: i64,
    start: String,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct WireToken {
    v: String,
    #[serde(default)]
    rv: i64,
    #[serde(default)]
    start: String,
}

impl Token {
    fn encode(&self) -> String {
        let token = WireToken { v: "meta.k8s.io/v1".into(), rv: self.revision, start: self.start.clone() };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
    }

    fn decode(text: &str) -> std::result::Result<Token, String> {
        let bad = |why: String| format!("continue key is not valid: {why}");
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| bad("illegal base64 data at input byte 0".to_owned()))?;
        let token: WireToken = match serde_json::from_slice(&bytes) {
            Ok(token) => token,
            Err(_) => return Err(bad(json_complaint(&bytes))),
        };
        if token.v != "meta.k8s.io/v1" {
            return Err(bad(format!("server does not recognize this encoded version {}", quote(&token.v))));
        }
        if token.rv == 0 {
            return Err(bad("incorrect encoded start resourceVersion (version meta.k8s.io/v1)".into()));
        }
        if token.start.is_empty() {
            return Err(bad("encoded start key empty (version meta.k8s.io/v1)".into()));
        }
        // A key that climbs would read outside of the kind.
        let climbs =
            token.start.trim_end_matches('\0').split('/').any(|part| matches!(part, "" | "." | ".."));
        if climbs {
            return Err(bad(token.start));
        }
        Ok(Token { revision: token.rv, start: token.start })
    }
}

/// What Go's JSON decoder says of bytes that do not begin a value.
fn json_complaint(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match text.trim_start().chars().next() {
        None => "unexpected end of JSON input".into(),
        Some('{') => "unexpected end of JSON input".into(),
        Some(c) => format!("invalid character {} looking for beginning of value", go_char(c)),
    }
}

fn go_char(c: char) -> String {
    match c {
        '\'' => "'\\''".into(),
        '"' => "'\"'".into(),
        c => format!("'{c}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_both_ways_and_cannot_climb() {
        let token = Token { revision: 7, start: "default/a\0".into() };
        assert_eq!(Token::decode(&token.encode()), Ok(token));
        assert_eq!(
            Token::decode("abc").unwrap_err(),
            "continue key is not valid: invalid character 'i' looking for beginning of value"
        );
        let climbing = "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiIuLi8ifQ";
        assert_eq!(Token::decode(climbing).unwrap_err(), "continue key is not valid: ../");
    }
}
