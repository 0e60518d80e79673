//! Kinds are rows in a table: everything that routes, discovery, OpenAPI, the registry and CRUD
//! need to know of a kind is in its [`Kind`] row, in a file of its own. Custom resources make
//! their rows at run time and take the same path.

use crate::field_error::ErrorList;
use crate::tree::Value;

/// One stored kind, in all the versions (and groups) it is served in.
#[derive(Debug)]
pub struct Kind {
    /// The group it is stored under: "" for core.
    pub group: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub namespaced: bool,
    /// Upstream's key prefix: `/registry/minions`. Objects lie at `<prefix>/[<namespace>/]<name>`.
    pub storage_prefix: &'static str,
    /// Every group and version this is served in; the first is the storage version (the hub that
    /// all others convert to and from).
    pub versions: &'static [Served],
    /// Subresources beside the main resource.
    pub subresources: &'static [Subresource],
    /// Verbs of the main resource; see [`ALL_VERBS`].
    pub verbs: &'static [&'static str],
    /// PUT to a name that does not exist creates it.
    pub create_on_update: bool,
    /// PUT without `metadata.resourceVersion` is accepted.
    pub unconditional_update: bool,
    /// Names are generated and checked by this rule.
    pub name_rule: NameRule,
    /// Field selectors beyond metadata.name and metadata.namespace: name and how to read it.
    pub selectable: &'static [(&'static str, fn(&Value) -> String)],
    /// `metadata.generation` counts changes of spec.
    pub has_generation: bool,
    /// Not stored: handled by the API server itself (reviews, bindings).
    pub virtual_kind: bool,
    pub rules: Rules,
}

/// A group and version a kind is served in.
#[derive(Debug)]
pub struct Served {
    pub group: &'static str,
    pub version: &'static str,
    /// Name in [`crate::schema`]: `core/v1.Pod`.
    pub message: &'static str,
    /// Legacy: the `Warning` header, e.g. `apps/v1beta1 Deployment is deprecated in v1.9+, unavailable in v1.16+; use apps/v1 Deployment`.
    pub deprecation: Option<&'static str>,
    /// To and from the hub; `None` where the trees agree.
    pub to_hub: Option<fn(&mut Value)>,
    pub from_hub: Option<fn(&mut Value)>,
    /// This version's own defaults, on its own shape, before conversion.
    pub default: fn(&mut Value),
}

#[derive(Debug)]
pub struct Subresource {
    pub name: &'static str,
    /// Kind of the body, with its group and version where it is not the parent's
    /// (`scale`: autoscaling/v1 Scale; `eviction`: policy/v1 Eviction).
    pub kind: &'static str,
    pub group_version: Option<(&'static str, &'static str)>,
    pub verbs: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    DnsSubdomain,
    DnsLabel,
    Dns1035Label,
    /// RBAC and others: a path segment, anything but `.`, `..`, `/` and `%`.
    PathSegment,
}

pub const ALL_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// What a rule may ask of the world: everything that is not a function of the object.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// RFC 3339, seconds.
    pub now: &'a str,
    /// Who sends the request.
    pub user: &'a str,
    pub dry_run: bool,
}

/// The rules of a kind, all on the hub's tree. Every one is pure.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Before create: drop what a client may not set (status), set what a new object has.
    pub prepare_create: fn(&mut Value, &Context<'_>),
    /// Before an update of the main resource: keep status, bump generation if spec changed.
    pub prepare_update: fn(new: &mut Value, old: &Value, &Context<'_>),
    /// Before an update through `status`: keep everything but status.
    pub prepare_status: fn(new: &mut Value, old: &Value, &Context<'_>),
    pub validate: fn(&Value) -> ErrorList,
    pub validate_update: fn(new: &Value, old: &Value) -> ErrorList,
    pub validate_status: fn(new: &Value, old: &Value) -> ErrorList,
    /// `Warning` headers for a new or changed object.
    pub warnings: fn(new: &Value, old: Option<&Value>) -> Vec<String>,
}
