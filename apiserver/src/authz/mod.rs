//! Authorization: who may do what. `system:masters` may do all, nodes what their graph allows,
//! everyone what RBAC grants.

mod node;
pub(crate) mod rbac;

use crate::filters::RequestInfo;
use crate::identity::{Identity, SYSTEM_MASTERS};
use crate::server::Core;
use crate::status::{ApiError, qualified};

/// What someone wants to do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attributes {
    pub(crate) verb: String,
    pub(crate) group: String,
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Of lists, watches and deletions of collections.
    pub(crate) field_selector: String,
    /// For what is not a resource.
    pub(crate) path: String,
    pub(crate) is_resource: bool,
}

impl From<&RequestInfo> for Attributes {
    fn from(info: &RequestInfo) -> Attributes {
        Attributes {
            verb: info.verb.clone(),
            group: info.group.clone(),
            resource: info.resource.clone(),
            subresource: info.subresource.clone(),
            namespace: info.namespace.clone(),
            name: info.name.clone(),
            field_selector: info.field_selector.clone(),
            path: info.path.clone(),
            is_resource: info.is_resource,
        }
    }
}

impl Attributes {
    /// One verb on one object.
    pub(crate) fn resource(
        verb: &str,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Attributes {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Attributes {
            verb: verb.into(),
            group: group.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            namespace: namespace.into(),
            name: name.into(),
            is_resource: true,
            ..Attributes::default()
        }
    }

    pub(crate) fn full_resource(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }
}

/// The answer, with its reason ("" for a refusal that nobody explains).
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Decision {
    pub(crate) allowed: bool,
    pub(crate) reason: String,
}

pub(crate) fn authorize(core: &Core, user: &Identity, attributes: &Attributes) -> Decision {
    if user.in_group(SYSTEM_MASTERS) {
        return Decision { allowed: true, reason: String::new() };
    }
    let mut reason = String::new();
    if let Some(name) = user.node_name() {
        let decision = node::authorize(core, name, attributes);
        if decision.allowed {
            return decision;
        }
        reason = decision.reason;
    }
    let decision = core.rbac.current(&core.cache).authorize(user, attributes);
    if decision.allowed || reason.is_empty() { decision } else { Decision { allowed: false, reason } }
}

/// The 403 that says who may not do what.
pub(crate) fn refusal(user: &Identity, a: &Attributes, reason: &str) -> ApiError {
    let who = crate::status::quote(&user.name);
    let mut why = if !a.is_resource {
        format!("User {who} cannot {} path {}", a.verb, crate::status::quote(&a.path))
    } else {
        let scope = if a.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace {}", crate::status::quote(&a.namespace))
        };
        format!(
            "User {who} cannot {} resource {} in API group {} {scope}",
            a.verb,
            crate::status::quote(&a.full_resource()),
            crate::status::quote(&a.group),
        )
    };
    if !reason.is_empty() {
        why = format!("{why}: {reason}");
    }
    ApiError::forbidden(qualified(&a.group, &a.resource), &a.name, why)
}

/// Refuses what is not allowed.
pub(crate) fn require(core: &Core, user: &Identity, attributes: &Attributes) -> Result<(), ApiError> {
    let decision = authorize(core, user, attributes);
    core.metrics.authorization(decision.allowed);
    if decision.allowed { Ok(()) } else { Err(refusal(user, attributes, &decision.reason)) }
}
