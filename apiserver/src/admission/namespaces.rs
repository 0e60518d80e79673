//! NamespaceLifecycle: nothing is made in a namespace that is not there or is going, and some
//! namespaces do not go.

use super::{Operation, Request};
use crate::registry::storage::{self, Current};
use crate::status::{ApiError, Result, qualified};

/// Namespaces the cluster cannot do without.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub(super) async fn lifecycle(request: &Request<'_>) -> Result<()> {
    let Some(namespaces) = request.namespace_row() else { return Ok(()) };
    let name = request.call.info.namespace.as_str();
    if request.operation == Operation::Delete || name.is_empty() {
        return Ok(());
    }
    let core = request.core();
    let mut found = storage::cached(core, namespaces, "", name);
    if found.is_none() {
        // Made a moment ago, perhaps through another server.
        core.cache.barrier().await?;
        found = storage::cached(core, namespaces, "", name);
    }
    let Some(found) = found else { return Err(ApiError::not_found(qualified("", "namespaces"), name)) };
    takes_content(request, &found)
}

/// Refuses to create in a namespace that is going.
pub(crate) fn takes_content(request: &Request<'_>, found: &Current) -> Result<()> {
    let name = request.call.info.namespace.as_str();
    let going =
        found.object.deletion_timestamp().is_some() || found.object.status()["phase"] == *"Terminating";
    if request.operation == Operation::Create && going {
        let why = format!("unable to create new content in namespace {name} because it is being terminated");
        return Err(ApiError::forbidden(request.resource.qualified(), &request.name, why).with_cause(
            "NamespaceTerminating",
            format!("namespace {name} is being terminated"),
            "metadata.namespace",
        ));
    }
    Ok(())
}

pub(super) fn protect(request: &Request<'_>) -> Result<()> {
    if request.is("", "namespaces") && IMMORTAL.contains(&request.name.as_str()) {
        return Err(request.refuse("this namespace may not be deleted"));
    }
    Ok(())
}
