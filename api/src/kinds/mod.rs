//! Kinds are rows in a table: everything that routes, discovery, OpenAPI, the registry and CRUD
//! need to know of a kind is in its [`Kind`] row, in a file of its own. Custom resources make
//! their rows at run time and take the same path.

use crate::field_error::ErrorList;
use crate::tree::Value;

pub mod admissionregistration;
pub mod apiextensions;
pub mod apiregistration;
pub mod apps;
pub mod authentication;
pub mod authorization;
pub mod autoscaling;
pub mod batch;
pub mod certificates;
pub mod coordination;
pub mod core;
pub mod discovery;
pub mod flowcontrol;
pub mod networking;
pub mod node;
pub mod policy;
pub mod rbac;
pub mod resource;
pub mod scheduling;
pub mod storage;

#[cfg(test)]
pub(crate) mod discovery_test;
pub mod generic;
mod registry;
pub mod selectable;
mod through;

pub use registry::{GroupVersion, all, by_kind, find, group_versions};
pub use through::Through;

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
    /// DELETE of an object that goes at once answers with the object, not with a `Status`.
    pub returns_deleted: bool,
    /// Names are generated and checked by this rule.
    pub name_rule: NameRule,
    /// Field selectors beyond metadata.name and metadata.namespace: name and how to read it.
    pub selectable: &'static [Selectable],
    /// `metadata.generation` counts changes of spec.
    pub has_generation: bool,
    /// Not stored: handled by the API server itself (reviews, bindings).
    pub virtual_kind: bool,
    pub rules: Rules,
}

/// A field selector's name and how to read its value.
pub type Selectable = (&'static str, fn(&Value) -> String);

impl Kind {
    /// What most rows have; a row names what differs.
    pub const ROW: Kind = Kind {
        group: "",
        kind: "",
        plural: "",
        singular: "",
        short_names: &[],
        categories: &[],
        namespaced: true,
        storage_prefix: "",
        versions: &[],
        subresources: &[],
        verbs: ALL_VERBS,
        create_on_update: false,
        unconditional_update: true,
        returns_deleted: false,
        name_rule: NameRule::DnsSubdomain,
        selectable: &[],
        has_generation: false,
        virtual_kind: false,
        rules: Rules::generic(false, false),
    };

    /// The version that is stored and that all others convert to and from.
    pub fn hub(&self) -> &'static Served {
        &self.versions[0]
    }
    pub fn served(&self, group: &str, version: &str) -> Option<&'static Served> {
        self.versions.iter().find(|s| s.group == group && s.version == version)
    }
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }
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
    /// Field selectors of this version: its name for each, and the hub's; `None` where the hub's
    /// names are used. metadata.name and metadata.namespace are known to all.
    pub selectors: Option<&'static [(&'static str, &'static str)]>,
    /// This version's own defaults, on its own shape, before conversion.
    pub default: fn(&mut Value),
}

impl Served {
    /// What a version without conversion, defaults and deprecation has.
    pub const HUB: Served = Served {
        group: "",
        version: "",
        message: "",
        deprecation: None,
        to_hub: None,
        from_hub: None,
        selectors: None,
        default: no_default,
    };

    /// Served for old manifests only: no short names and no categories in discovery, last in the
    /// order of versions.
    pub fn is_legacy(&self) -> bool {
        self.deprecation.is_some()
    }
    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

fn no_default(_: &mut Value) {}

#[derive(Debug)]
pub struct Subresource {
    pub name: &'static str,
    /// Kind of the body, with its group and version where it is not the parent's
    /// (`scale`: autoscaling/v1 Scale; `eviction`: policy/v1 Eviction).
    pub kind: &'static str,
    pub group_version: Option<(&'static str, &'static str)>,
    pub verbs: &'static [&'static str],
}

impl Subresource {
    pub const SCALE: Subresource = Subresource {
        name: "scale",
        kind: "Scale",
        group_version: Some(("autoscaling", "v1")),
        verbs: &["get", "patch", "update"],
    };
    /// `status` of the kind itself.
    pub const fn status(kind: &'static str) -> Subresource {
        Subresource { name: "status", kind, group_version: None, verbs: &["get", "patch", "update"] }
    }
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
