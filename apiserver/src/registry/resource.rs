//! What a path names: a kind in one of its versions, and perhaps a subresource.

use trireme_api::kinds::{self, Kind, Served, Subresource};

use crate::filters::RequestInfo;
use crate::status::{ApiError, Qualified, Result, qualified};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Resource {
    pub(crate) row: &'static Kind,
    pub(crate) served: &'static Served,
    pub(crate) sub: Option<&'static Subresource>,
}

impl Resource {
    /// `None`: no such resource, or no such subresource of it.
    pub(crate) fn find(info: &RequestInfo) -> Option<Resource> {
        let (row, served) = kinds::find(&info.group, &info.version, &info.resource)?;
        let sub = match info.subresource.as_str() {
            "" => None,
            name => Some(row.subresource(name)?),
        };
        // Streams into containers have more parts; nothing else has.
        let parts_max = if matches!(info.subresource.as_str(), "proxy") { usize::MAX } else { 3 };
        (info.parts.len() <= parts_max).then_some(Resource { row, served, sub })
    }

    /// Refuses verbs and scopes that this resource does not have.
    pub(crate) fn check_path(&self, info: &RequestInfo) -> Result<()> {
        let own_namespace = self.row.plural == "namespaces" && self.row.group.is_empty();
        if self.row.namespaced {
            let everywhere = matches!(info.verb.as_str(), "list" | "watch") && !info.named;
            if info.namespace.is_empty() && !everywhere {
                let creates = info.verb == "create" || self.row.verbs.contains(&"list");
                return Err(if creates && !info.named {
                    ApiError::method_not_allowed()
                } else {
                    ApiError::no_such_path()
                });
            }
        } else if !info.namespace.is_empty() && !own_namespace {
            return Err(ApiError::no_such_path());
        }
        let verbs = self.sub.map_or(self.row.verbs, |s| s.verbs);
        let fits = match (info.named, info.verb.as_str()) {
            (true, "create") => self.sub.is_some(),
            (false, "update" | "patch" | "get") => false,
            _ => true,
        };
        if !fits || !verbs.contains(&info.verb.as_str()) {
            return Err(ApiError::method_not_allowed());
        }
        Ok(())
    }

    /// The resource with its group, as messages about objects name it.
    pub(crate) fn qualified(&self) -> Qualified<'static> {
        qualified(self.served.group, self.row.plural)
    }

    /// The kind with its group, as messages about validation name it.
    pub(crate) fn hub_kind(&self) -> Qualified<'static> {
        qualified(self.row.hub().group, self.row.kind)
    }

    /// Whether the version asked for is the stored one.
    pub(crate) fn is_hub(&self) -> bool {
        std::ptr::eq(self.served, self.row.hub())
    }

    /// The store's key of an object.
    pub(crate) fn key(&self, namespace: &str, name: &str) -> String {
        store_key(self.row, namespace, name)
    }
}

/// The store's key of an object of a kind.
pub(crate) fn store_key(row: &Kind, namespace: &str, name: &str) -> String {
    if row.namespaced {
        format!("{}/{namespace}/{name}", row.storage_prefix)
    } else {
        format!("{}/{name}", row.storage_prefix)
    }
}
