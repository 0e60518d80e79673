//! POST of a new object.

use http::{Response, StatusCode};
use trireme_api::Value;
use trireme_api::kinds::Context;
use trireme_store::planted::{self, Bug};
use trireme_store::{Compare, Revision};

use super::storage::{self, Extra, Outcome, Write};
use super::write::{Expected, WriteOptions, decode};
use super::{Resource, managed, meta};
use crate::admission::{self, Operation, Request};
use crate::filters::Call;
use crate::negotiate;
use crate::present::{self, Subject};
use crate::server::Body;
use crate::status::{ApiError, Result};
use crate::{clock, limits, slow, wire};

/// `create`.
pub(super) async fn create(call: &Call, resource: &Resource) -> Result<Response<Body>> {
    let target = negotiate::target(call)?;
    let options = WriteOptions::parse(call, "CreateOptions", false)?;
    let bytes = call.body().await?;
    let mut value = decode(call, Expected::of(resource), &bytes, options.field_validation)?;
    if resource.row.virtual_kind {
        return super::reviews::create(call, resource, target, &options, value).await;
    }
    check_namespace(call, resource, &mut value)?;
    if !value["metadata"]["resourceVersion"].str_or_empty().is_empty() {
        return Err(ApiError::plain("resourceVersion should not be set on objects to be created"));
    }
    meta::strip_for_create(&mut value);
    wire::default_and_normalize(resource.row, resource.served, &mut value);
    managed::update(resource, None, &mut value, &options.field_manager, "", &clock::now());
    wire::to_hub(resource.row, resource.served, &mut value);
    let created = run(call, resource, &options, value).await?;
    present::one(call, resource, target, StatusCode::CREATED, Subject::Hub(&created))
}

/// The body's namespace must be the path's; a body without one gets it.
pub(super) fn check_namespace(call: &Call, resource: &Resource, value: &mut Value) -> Result<()> {
    let sent = value["metadata"]["namespace"].str_or_empty();
    if !resource.row.namespaced {
        if !sent.is_empty() {
            return Err(ApiError::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        return Ok(());
    }
    if sent.is_empty() {
        value.make(&["metadata"]).set("namespace", call.info.namespace.as_str());
    } else if sent != call.info.namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// Admits, prepares, validates and stores a new object (in the storage version, with its field
/// owners), and gives it as stored.
pub(crate) async fn run(
    call: &Call,
    resource: &Resource,
    options: &WriteOptions,
    sent: Value,
) -> Result<Value> {
    let row = resource.row;
    let core = &call.core;
    let generated = sent["metadata"]["name"].str_or_empty().is_empty();
    for attempt in 1..=limits::GENERATE_NAME_ATTEMPTS_MAX {
        let now = clock::now();
        let mut value = sent.clone();
        let namespace = value["metadata"]["namespace"].str_or_empty().to_owned();
        let mut request = Request::new(call, resource, Operation::Create);
        request.name = value["metadata"]["name"].str_or_empty().to_owned();
        admission::mutate(&request, &mut value, None).await?;

        meta::stamp(&mut value, &now);
        let base = value["metadata"]["generateName"].str_or_empty();
        if generated && !base.is_empty() {
            let name = meta::generate_name(base);
            value.make(&["metadata"]).set("name", name);
        }
        let context = Context { now: &now, user: &call.user.name, dry_run: options.dry_run };
        (row.rules.prepare_create)(&mut value, &context);
        wire::normalize(row.hub(), &mut value);
        let errors = (row.rules.validate)(&value);
        if !errors.is_empty() {
            let name = value["metadata"]["name"].str_or_empty();
            return Err(ApiError::invalid(resource.hub_kind(), name, &errors));
        }
        for warning in (row.rules.warnings)(&value, None) {
            call.warn(warning);
        }
        let name = value["metadata"]["name"].str_or_empty().to_owned();
        request.name.clone_from(&name);
        slow::about(&name);
        if planted::is(Bug::UidAgain) {
            let mut name_alone = std::hash::DefaultHasher::new();
            std::hash::Hash::hash(&(&namespace, &name), &mut name_alone);
            let hash = std::hash::Hasher::finish(&name_alone);
            value.make(&["metadata"]).set("uid", uuid::Uuid::from_u64_pair(hash, hash).to_string());
        }
        let mut extra = namespace_holds(call, &request)?;
        admission::validate(&request, Some(&value), None).await?;
        let allocation = crate::services::allocate(core, resource, &mut value, None, options.dry_run).await?;
        extra.compare.extend(allocation.extra.compare);
        extra.ops.extend(allocation.extra.ops);
        if options.dry_run {
            if storage::newest(core, row, &namespace, &name).await?.is_some() {
                return Err(ApiError::already_exists(resource.qualified(), &name));
            }
            return Ok(value);
        }
        let write = Write {
            row,
            namespace: &namespace,
            name: &name,
            expected: 0,
            old: None,
            new: Some(&value),
            extra,
            fences: &call.fences,
        };
        match storage::commit(core, write).await? {
            Outcome::Done(revision) => {
                wire::set_resource_version(&mut value, revision);
                return Ok(value);
            }
            Outcome::Lost(_)
                if generated
                    && !base_of(&sent).is_empty()
                    && attempt < limits::GENERATE_NAME_ATTEMPTS_MAX => {}
            Outcome::Lost(_) => return Err(ApiError::already_exists(resource.qualified(), &name)),
            // The namespace changed, or somebody else took the address: look again.
            Outcome::Refused => {
                core.cache.barrier().await?;
            }
        }
    }
    Err(ApiError::conflict(
        resource.qualified(),
        sent["metadata"]["name"].str_or_empty(),
        "too many others write at the same time; try again",
    ))
}

fn base_of(value: &Value) -> &str {
    value["metadata"]["generateName"].str_or_empty()
}

/// The condition that the namespace is still as admission saw it when the object is stored, so
/// that nothing is created in a namespace whose deletion has begun.
fn namespace_holds(call: &Call, request: &Request<'_>) -> Result<Extra> {
    let mut extra = Extra::default();
    if let Some(namespace) = request.namespace_row()
        && let Some(current) = storage::cached(&call.core, namespace, "", &call.info.namespace)
    {
        // Judged on the very revision that the condition names.
        admission::namespaces::takes_content(request, &current)?;
        let key = super::resource::store_key(namespace, "", &call.info.namespace);
        extra.compare.push(Compare::mod_revision(key, Revision(current.revision)));
    }
    Ok(extra)
}
