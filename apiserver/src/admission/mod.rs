//! Admission: upstream's default plugins, in upstream's order, around pure functions of the
//! object. What they need of the world is looked up here.

mod certificates;
pub(crate) mod namespaces;
mod node_restriction;
mod rbac;

use trireme_api::kinds::Kind;
use trireme_api::{Value, admission as pure};

use crate::cache::Filter;
use crate::filters::Call;
use crate::registry::Resource;
use crate::server::{Core, row};
use crate::slow::{self, Step};
use crate::status::{ApiError, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
}

/// What is being admitted.
pub(crate) struct Request<'a> {
    pub(crate) call: &'a Call,
    pub(crate) resource: &'a Resource,
    pub(crate) operation: Operation,
    /// "" while it is not known yet.
    pub(crate) name: String,
}

impl<'a> Request<'a> {
    pub(crate) fn new(call: &'a Call, resource: &'a Resource, operation: Operation) -> Request<'a> {
        Request { call, resource, operation, name: String::new() }
    }

    fn core(&self) -> &Core {
        &self.call.core
    }

    fn row(&self) -> &'static Kind {
        self.resource.row
    }

    fn is(&self, group: &str, plural: &str) -> bool {
        self.row().group == group && self.row().plural == plural
    }

    fn subresource(&self) -> &'static str {
        self.resource.sub.map_or("", |s| s.name)
    }

    fn creates(&self, group: &str, plural: &str) -> bool {
        self.operation == Operation::Create && self.is(group, plural) && self.subresource().is_empty()
    }

    fn refuse(&self, why: impl std::fmt::Display) -> ApiError {
        ApiError::forbidden(self.resource.qualified(), &self.name, why)
    }

    /// The kind of the namespace this is in; `None` for what is in none.
    pub(crate) fn namespace_row(&self) -> Option<&'static Kind> {
        self.row().namespaced.then(|| row("", "namespaces")).flatten()
    }

    fn all(&self, group: &str, plural: &str, namespace: &str) -> Vec<std::sync::Arc<trireme_api::Object>> {
        self.core()
            .kind_cache(group, plural)
            .map(|kind| kind.select(&Filter::namespace(namespace)).iter().map(|e| e.object()).collect())
            .unwrap_or_default()
    }
}

/// Changes an object as the plugins do. `value` is in the storage version.
pub(crate) async fn mutate(request: &Request<'_>, value: &mut Value, old: Option<&Value>) -> Result<()> {
    let _step = slow::step(Step::Admission);
    namespaces::lifecycle(request).await?;
    let namespace = request.call.info.namespace.as_str();
    let core = request.core();
    let refuse = |e: pure::Refused| request.refuse(e);
    if request.creates("", "pods") {
        let ranges = request.all("", "limitranges", namespace);
        pure::limit_ranger::default(value, ranges.iter().map(|r| &r.0));
        let name = pure::service_account::account_name(value).to_owned();
        let account = core.lookup("", "serviceaccounts", namespace, &name).await;
        let volume =
            format!("{}{}", pure::service_account::TOKEN_VOLUME_PREFIX, crate::registry::name_suffix());
        pure::service_account::admit(value, account.as_ref().map(|a| &a.0), &volume).map_err(refuse)?;
        let class = priority_class(request, pure::priority::class_name(value)).await;
        pure::priority::admit_pod(value, class.as_ref().map(|c| &c.0)).map_err(refuse)?;
    }
    if request.is("", "pods") && request.operation != Operation::Delete && request.subresource().is_empty() {
        pure::default_toleration_seconds::admit(value);
    }
    if request.creates("", "nodes") {
        pure::taint_nodes_by_condition::admit(value);
    }
    if request.creates("", "persistentvolumeclaims") {
        let classes = request.all("storage.k8s.io", "storageclasses", "");
        pure::default_class::admit_claim(value, classes.iter().map(|c| &c.0));
    }
    if request.creates("networking.k8s.io", "ingresses") {
        let classes = request.all("networking.k8s.io", "ingressclasses", "");
        pure::default_class::admit_ingress(value, classes.iter().map(|c| &c.0));
    }
    if request.operation == Operation::Create && request.subresource().is_empty() {
        pure::storage_object_in_use_protection::admit(request.row().kind, value);
        certificates::fill_requester(request, value);
    }
    // What a plugin added is defaulted like everything else.
    if request.operation == Operation::Create || old.is_some() {
        (request.row().hub().default)(value);
    }
    Ok(())
}

/// Refuses what the plugins refuse. `new` is `None` for a deletion.
pub(crate) async fn validate(request: &Request<'_>, new: Option<&Value>, old: Option<&Value>) -> Result<()> {
    let _step = slow::step(Step::Admission);
    if request.operation == Operation::Delete {
        namespaces::protect(request)?;
    }
    node_restriction::check(request, new, old)?;
    let Some(new) = new else { return Ok(()) };
    let namespace = request.call.info.namespace.as_str();
    if request.creates("", "pods") {
        let ranges = request.all("", "limitranges", namespace);
        pure::limit_ranger::validate_pod(new, ranges.iter().map(|r| &r.0)).map_err(|e| request.refuse(e))?;
        let class = new["spec"]["runtimeClassName"].str_or_empty();
        if !class.is_empty()
            && request.core().lookup("node.k8s.io", "runtimeclasses", "", class).await.is_none()
        {
            return Err(request.refuse(format!("pod rejected: RuntimeClass {class:?} not found")));
        }
    }
    if request.is("", "persistentvolumeclaims") && request.subresource().is_empty() {
        let ranges = request.all("", "limitranges", namespace);
        pure::limit_ranger::validate_claim(new, ranges.iter().map(|r| &r.0))
            .map_err(|e| request.refuse(e))?;
    }
    if request.is("scheduling.k8s.io", "priorityclasses") {
        one_default_class(request, new)?;
    }
    certificates::check(request, new, old)?;
    rbac::no_escalation(request, new, old)
}

async fn priority_class(request: &Request<'_>, name: &str) -> Option<std::sync::Arc<trireme_api::Object>> {
    if !name.is_empty() {
        return request.core().lookup("scheduling.k8s.io", "priorityclasses", "", name).await;
    }
    request
        .all("scheduling.k8s.io", "priorityclasses", "")
        .into_iter()
        .find(|c| c["globalDefault"] == Value::Bool(true))
}

fn one_default_class(request: &Request<'_>, new: &Value) -> Result<()> {
    if new["globalDefault"] != Value::Bool(true) {
        return Ok(());
    }
    let other = request
        .all("scheduling.k8s.io", "priorityclasses", "")
        .into_iter()
        .find(|c| c["globalDefault"] == Value::Bool(true) && c.name() != request.name);
    match other {
        Some(other) => Err(request.refuse(format!(
            "PriorityClass {} is already marked as default. Only one default can exist",
            other.name()
        ))),
        None => Ok(()),
    }
}
