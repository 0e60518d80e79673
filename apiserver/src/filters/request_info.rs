//! What a path and method ask for, by upstream's rules.

use http::Method;

/// A request, taken apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RequestInfo {
    pub(crate) path: String,
    /// Under `/api/<version>` or `/apis/<group>/<version>`, and past them.
    pub(crate) is_resource: bool,
    /// get, list, watch, create, update, patch, delete, deletecollection; the lower-case method
    /// for paths that are not resources.
    pub(crate) verb: String,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) namespace: String,
    pub(crate) resource: String,
    pub(crate) subresource: String,
    /// Of the object, from the path; for lists and watches from `metadata.name=` when it is all
    /// that is selected.
    pub(crate) name: String,
    /// The path after the prefix: `namespaces`, `default`, `pods`, ...
    pub(crate) parts: Vec<String>,
    /// Of lists, watches and deletions of collections.
    pub(crate) field_selector: String,
    /// The name came from the path, not from a selector.
    pub(crate) named: bool,
    /// Under the deprecated `/watch/` prefix.
    pub(crate) watch_prefix: bool,
}

/// Subresources of a namespace itself; every other part after it is a resource within.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

impl RequestInfo {
    pub(crate) fn new(method: &Method, path: &str, query: &Query) -> RequestInfo {
        let mut info = RequestInfo {
            path: path.to_owned(),
            verb: method.as_str().to_ascii_lowercase(),
            ..RequestInfo::default()
        };
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let rest = match parts.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => {
                info.version = (*version).to_owned();
                rest
            }
            ["apis", group, version, rest @ ..] if !rest.is_empty() => {
                info.group = (*group).to_owned();
                info.version = (*version).to_owned();
                rest
            }
            _ => return info,
        };
        info.is_resource = true;
        info.verb = match *method {
            Method::POST => "create",
            Method::GET | Method::HEAD => "get",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "",
        }
        .to_owned();
        let mut rest: Vec<String> = rest.iter().map(|p| percent_decode(p, false)).collect();
        if rest.first().is_some_and(|p| p == "watch") && rest.len() > 1 {
            info.watch_prefix = true;
            info.verb = "watch".into();
            rest.remove(0);
        }
        if rest[0] == "namespaces" {
            if rest.len() > 1 {
                info.namespace = rest[1].clone();
                // `namespaces/x/pods` is about pods; `namespaces/x` and `namespaces/x/status`
                // about the namespace.
                if rest.len() > 2 && !NAMESPACE_SUBRESOURCES.contains(&rest[2].as_str()) {
                    rest.drain(..2);
                }
            }
        } else {
            info.namespace.clear();
        }
        info.parts = rest;
        info.resource = info.parts[0].clone();
        info.name = info.parts.get(1).cloned().unwrap_or_default();
        info.subresource = info.parts.get(2).cloned().unwrap_or_default();
        info.named = !info.name.is_empty();
        if info.resource == "namespaces" && info.parts.len() == 1 {
            info.namespace.clear();
        }
        if !info.named {
            match info.verb.as_str() {
                "get" => {
                    info.verb = if query.is_true("watch") { "watch" } else { "list" }.into();
                }
                "delete" => info.verb = "deletecollection".into(),
                _ => {}
            }
        }
        if !info.named
            && matches!(info.verb.as_str(), "list" | "watch" | "deletecollection")
            && let Some(selector) = query.get("fieldSelector")
        {
            info.name = single_name(selector).unwrap_or_default();
            selector.clone_into(&mut info.field_selector);
        }
        info
    }

    pub(crate) fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch" | "head" | "options")
    }

    /// Watches, and streams into containers: not bound by the request's deadline.
    pub(crate) fn is_long_running(&self) -> bool {
        self.verb == "watch"
            || matches!(self.subresource.as_str(), "exec" | "attach" | "portforward" | "proxy" | "log")
    }
}

/// The name in a selector that is just `metadata.name=x`.
fn single_name(selector: &str) -> Option<String> {
    selector.split(',').find_map(|term| {
        let value = term.strip_prefix("metadata.name==").or_else(|| term.strip_prefix("metadata.name="))?;
        let good =
            !value.is_empty() && !value.contains(['/', '%', '=', '!']) && value != "." && value != "..";
        good.then(|| value.to_owned())
    })
}

/// The query, in order, decoded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(query: &str) -> Query {
        Query(
            query
                .split('&')
                .filter(|p| !p.is_empty())
                .map(|pair| {
                    let (k, v) = pair.split_once('=').unwrap_or((pair, ""));
                    (percent_decode(k, true), percent_decode(v, true))
                })
                .collect(),
        )
    }
    /// The first value of `key`; `None` when it is not there at all.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }
    /// The first value of `key`, "" when absent.
    pub(crate) fn text(&self, key: &str) -> &str {
        self.get(key).unwrap_or("")
    }
    pub(crate) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }
    /// Upstream's conversion of a query value to a boolean: absent, `false` and `0` are false.
    pub(crate) fn is_true(&self, key: &str) -> bool {
        self.get(key).is_some_and(|v| !matches!(v.to_ascii_lowercase().as_str(), "false" | "0"))
    }
    /// Three-valued: `None` when absent.
    pub(crate) fn flag(&self, key: &str) -> Option<bool> {
        self.get(key).map(|_| self.is_true(key))
    }
}

/// Percent-decoding; in a query `+` is a space. What is not valid UTF-8 is replaced.
pub(crate) fn percent_decode(s: &str, plus: bool) -> String {
    let encoded = s.contains('%') || (plus && s.contains('+'));
    if !encoded {
        return s.to_owned();
    }
    let bytes = s.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        match bytes[i] {
            b'%' => {
                let hex = bytes.get(i + 1..i + 3).and_then(|h| std::str::from_utf8(h).ok());
                match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
                    Some(b) => {
                        out.push(b);
                        i += 3;
                        continue;
                    }
                    None => out.push(b'%'),
                }
            }
            b'+' if plus => out.push(b' '),
            b => out.push(b),
        }
        i += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: Method, path: &str, expected: [&str; 6]) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let i = RequestInfo::new(&method, path, &Query::parse(query));
        assert_eq!(
            [&*i.verb, &*i.group, &*i.namespace, &*i.resource, &*i.subresource, &*i.name],
            expected,
            "{method} {path}?{query}"
        );
    }

    #[test]
    fn paths_are_taken_apart() {
        use Method as M;
        check(M::GET, "/api/v1/namespaces", ["list", "", "", "namespaces", "", ""]);
        check(M::GET, "/api/v1/namespaces/a", ["get", "", "a", "namespaces", "", "a"]);
        check(M::PUT, "/api/v1/namespaces/a/finalize", ["update", "", "a", "namespaces", "finalize", "a"]);
        check(M::GET, "/api/v1/namespaces/a/pods", ["list", "", "a", "pods", "", ""]);
        check(M::GET, "/api/v1/pods?watch=1", ["watch", "", "", "pods", "", ""]);
        check(M::GET, "/api/v1/pods?watch=false", ["list", "", "", "pods", "", ""]);
        check(
            M::DELETE,
            "/apis/apps/v1/namespaces/a/deployments",
            ["deletecollection", "apps", "a", "deployments", "", ""],
        );
        check(
            M::PATCH,
            "/apis/apps/v1/namespaces/a/deployments/d/scale",
            ["patch", "apps", "a", "deployments", "scale", "d"],
        );
        check(M::GET, "/api/v1/watch/namespaces/a/secrets", ["watch", "", "a", "secrets", "", ""]);
        check(
            M::GET,
            "/api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dx",
            ["list", "", "a", "pods", "", "x"],
        );
        check(M::GET, "/api/v1/namespaces/%20/secrets", ["list", "", " ", "secrets", "", ""]);
        check(M::GET, "/version", ["get", "", "", "", "", ""]);
        assert!(!RequestInfo::new(&M::GET, "/apis/apps/v1", &Query::default()).is_resource);
    }
}
