//! PUT, and what every change of an existing object has in common.

use http::{Response, StatusCode};
use trireme_api::field_error::{FieldError, Path};
use trireme_api::kinds::{Context, Kind};
use trireme_api::types::meta::object_meta;
use trireme_api::{Object, Value};

use super::storage::{self, Current, Extra, Outcome, Write};
use super::write::{Expected, WriteOptions, decode};
use super::{Resource, create, delete, managed, meta, sub};
use crate::admission::{self, Operation, Request};
use crate::filters::Call;
use crate::negotiate;
use crate::present::{self, Subject};
use crate::server::Body;
use crate::status::{ApiError, Result, quote};
use crate::{clock, limits, wire};

/// `update` of an object, or of its status and the like.
pub(super) async fn update(call: &Call, resource: &Resource) -> Result<Response<Body>> {
    let target = negotiate::target(call)?;
    let options = WriteOptions::parse(call, "UpdateOptions", false)?;
    let bytes = call.body().await?;
    let mut sent = decode(call, Expected::of(resource), &bytes, options.field_validation)?;
    check_name(call, resource, &mut sent)?;
    wire::default_and_normalize(resource.row, resource.served, &mut sent);
    let part = Part::of(resource);
    let done = run(call, resource, &options, part, Missing::AsKindSays, &mut |old| {
        let mut value = sent.clone();
        managed::update(resource, old, &mut value, &options.field_manager, part.name(), &clock::now());
        wire::to_hub(resource.row, resource.served, &mut value);
        if let Some(old) = old {
            sub::keep(part, &mut value, old);
        }
        Ok(value)
    })
    .await?;
    let code = if done.created { StatusCode::CREATED } else { StatusCode::OK };
    present::one(call, resource, target, code, Subject::Hub(&done.value))
}

/// The body's name must be the path's, and its namespace too.
pub(super) fn check_name(call: &Call, resource: &Resource, value: &mut Value) -> Result<()> {
    let sent = value["metadata"]["name"].str_or_empty();
    if sent.is_empty() {
        value.make(&["metadata"]).set("name", call.info.name.as_str());
    } else if sent != call.info.name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({sent}) does not match the name on the URL ({})",
            call.info.name
        )));
    }
    create::check_namespace(call, resource, value)
}

/// Which part of an object a path changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Main,
    Status,
    /// A namespace's `finalize`.
    Finalize,
    /// A subresource that changes the object in a way of its own: the change itself keeps what
    /// must stay, and the rules of an update apply.
    Other(&'static str),
}

impl Part {
    pub(crate) fn of(resource: &Resource) -> Part {
        match resource.sub.map(|s| s.name) {
            None => Part::Main,
            Some("status") => Part::Status,
            Some("finalize") => Part::Finalize,
            Some(other) => Part::Other(other),
        }
    }
    pub(crate) fn name(self) -> &'static str {
        match self {
            Part::Main => "",
            Part::Status => "status",
            Part::Finalize => "finalize",
            Part::Other(name) => name,
        }
    }
}

/// A change that was made.
pub(crate) struct Done {
    pub(crate) value: Value,
    pub(crate) created: bool,
}

/// Makes the change again and again until it meets the object it was made for. `change` gives the
/// new object (storage version, with field owners) from the old one; `missing` tells whether an
/// object that does not exist may be made.
pub(crate) async fn run(
    call: &Call,
    resource: &Resource,
    options: &WriteOptions,
    part: Part,
    missing: Missing,
    change: &mut Change<'_>,
) -> Result<Done> {
    let work = Work { call, resource, options, part, name: &call.info.name };
    work.run(missing, change).await
}

/// The same for an object that the path does not name.
pub(crate) async fn run_named(
    call: &Call,
    resource: &Resource,
    options: &WriteOptions,
    part: Part,
    name: &str,
    change: &mut Change<'_>,
) -> Result<Done> {
    Work { call, resource, options, part, name }.run(Missing::Refuse, change).await
}

/// What becomes of a change of an object that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Refuse,
    /// PUT makes objects of some kinds.
    AsKindSays,
    /// Server-side apply makes objects of every kind.
    Create,
}

impl Missing {
    fn creates(self, row: &Kind) -> bool {
        match self {
            Missing::Refuse => false,
            Missing::AsKindSays => row.create_on_update,
            Missing::Create => true,
        }
    }
}

/// The new object from the old.
pub(crate) type Change<'a> = dyn FnMut(Option<&Object>) -> Result<Value> + Send + 'a;

struct Work<'a> {
    call: &'a Call,
    resource: &'a Resource,
    options: &'a WriteOptions,
    part: Part,
    name: &'a str,
}

impl Work<'_> {
    async fn run(&self, missing: Missing, change: &mut Change<'_>) -> Result<Done> {
        let Work { call, resource, options, part, name } = *self;
        let (row, core) = (resource.row, &call.core);
        let namespace = if row.namespaced { call.info.namespace.as_str() } else { "" };
        let mut current = storage::cached(core, row, namespace, name);
        for _ in 0..limits::UPDATE_ATTEMPTS_MAX {
            let fresh = current.as_ref().is_some_and(|c| c.fresh);
            let Some(old) = current.clone() else {
                match storage::newest(core, row, namespace, name).await? {
                    Some(found) => {
                        current = Some(found);
                        continue;
                    }
                    None if part == Part::Main && missing.creates(row) => {
                        return create_by_update(call, resource, options, change).await;
                    }
                    None => return Err(ApiError::not_found(resource.qualified(), name)),
                }
            };
            let result = self.attempt(change, &old).await;
            match result {
                Ok(Attempt::Done(value)) => return Ok(Done { value, created: false }),
                // It may have been done: done again, it would be refused, or doubled.
                Ok(Attempt::Failed(error)) => return Err(error),
                // Nothing to change, or a refusal, was decided on what the cache had: look at the
                // newest before it is given as the answer.
                Ok(Attempt::Unchanged(_)) | Err(_) if !fresh => {
                    current = storage::newest(core, row, namespace, name).await?;
                    match (&current, result) {
                        (Some(found), Ok(Attempt::Unchanged(value))) if found.revision == old.revision => {
                            return Ok(Done { value, created: false });
                        }
                        (Some(found), Err(error)) if found.revision == old.revision => return Err(error),
                        _ => {}
                    }
                }
                Ok(Attempt::Unchanged(value)) => return Ok(Done { value, created: false }),
                Err(error) => return Err(error),
                Ok(Attempt::Lost(found)) => current = found,
                Ok(Attempt::Refused) => {
                    core.cache.barrier().await?;
                }
            }
        }
        Err(ApiError::modified(resource.qualified(), name))
    }

    /// One try on one state of the object.
    async fn attempt(&self, change: &mut Change<'_>, old: &Current) -> Result<Attempt> {
        let Work { call, resource, options, part, name } = *self;
        let (row, core) = (resource.row, &call.core);
        let now = clock::now();
        let mut new = change(Some(&old.object))?;
        self.check_preconditions(&new, old)?;
        meta::keep_on_update(&mut new, &old.object);

        let mut request = Request::new(call, resource, Operation::Update);
        name.clone_into(&mut request.name);
        admission::mutate(&request, &mut new, Some(&old.object)).await?;

        let context = Context { now: &now, user: &call.user.name, dry_run: options.dry_run };
        match part {
            Part::Status => (row.rules.prepare_status)(&mut new, &old.object, &context),
            Part::Main => (row.rules.prepare_update)(&mut new, &old.object, &context),
            Part::Finalize | Part::Other(_) => {}
        }
        wire::set_resource_version(&mut new, old.revision);
        wire::normalize(row.hub(), &mut new);
        let mut errors = Vec::new();
        object_meta::validate_update_of_any(&new["metadata"], &old.object["metadata"], &mut errors);
        errors.extend(match part {
            Part::Status => (row.rules.validate_status)(&new, &old.object),
            Part::Main => (row.rules.validate_update)(&new, &old.object),
            Part::Finalize | Part::Other(_) => {
                row.through(part.name()).map_or_else(Vec::new, |rules| (rules.validate)(&new, &old.object))
            }
        });
        if !errors.is_empty() {
            return Err(ApiError::invalid(resource.hub_kind(), name, &errors));
        }
        for warning in (row.rules.warnings)(&new, Some(&old.object)) {
            call.warn(warning);
        }
        admission::validate(&request, Some(&new), Some(&old.object)).await?;
        let allocation =
            crate::services::allocate(core, resource, &mut new, Some(&old.object), options.dry_run).await?;
        managed::settle(&mut new, &old.object);

        let removes = delete::is_finished(row, &new) && old.object.deletion_timestamp().is_some();
        if new == old.object.0 && !removes {
            return Ok(Attempt::Unchanged(new));
        }
        if options.dry_run {
            return Ok(Attempt::Done(new));
        }
        let namespace = if row.namespaced { call.info.namespace.as_str() } else { "" };
        let mut extra = Extra { compare: allocation.extra.compare, ops: allocation.extra.ops };
        if removes {
            extra.ops.extend(crate::services::release_ops(resource, &old.object));
        }
        let write = Write {
            row,
            namespace,
            name,
            expected: old.revision,
            old: Some(&old.object),
            new: (!removes).then_some(&new),
            extra,
            fences: &call.fences,
        };
        let outcome = match storage::commit(core, write).await {
            Ok(outcome) => outcome,
            Err(error) => return Ok(Attempt::Failed(error)),
        };
        Ok(match outcome {
            Outcome::Done(revision) => {
                if !removes {
                    wire::set_resource_version(&mut new, revision);
                }
                Attempt::Done(new)
            }
            Outcome::Lost(found) => Attempt::Lost(found),
            Outcome::Refused => Attempt::Refused,
        })
    }

    /// The identity and revision that the body names must be the object's.
    fn check_preconditions(&self, new: &Value, old: &Current) -> Result<()> {
        let Work { call, resource, part, name, .. } = *self;
        let metadata = &new["metadata"];
        let uid = metadata["uid"].str_or_empty();
        // Only a PUT names the object it is meant for; to others it is a field that cannot change.
        if call.info.verb == "update" && !uid.is_empty() && uid != old.object.uid() {
            return Err(uid_mismatch(resource, call, uid, old.object.uid()));
        }
        let version = metadata["resourceVersion"].str_or_empty();
        match version {
            "" | "0" => {
                if !resource.row.unconditional_update && call.info.verb == "update" && part != Part::Finalize
                {
                    let path = Path::new("metadata");
                    let e = FieldError::invalid(
                        &path.child("resourceVersion"),
                        0i64,
                        "must be specified for an update",
                    );
                    return Err(ApiError::invalid(resource.qualified(), name, &[e]));
                }
                Ok(())
            }
            text => match text.parse::<u64>() {
                Err(_) => Err(ApiError::plain(format!(
                    "strconv.ParseUint: parsing {}: invalid syntax",
                    quote(text)
                ))),
                Ok(n) if i64::try_from(n) != Ok(old.revision) => {
                    Err(ApiError::modified(resource.qualified(), name))
                }
                Ok(_) => Ok(()),
            },
        }
    }
}

async fn create_by_update(
    call: &Call,
    resource: &Resource,
    options: &WriteOptions,
    change: &mut Change<'_>,
) -> Result<Done> {
    let mut value = change(None)?;
    let uid = value["metadata"]["uid"].str_or_empty();
    if !uid.is_empty() {
        return Err(uid_mismatch(resource, call, uid, ""));
    }
    crate::authz::require(
        &call.core,
        &call.user,
        &crate::authz::Attributes { verb: "create".into(), ..crate::authz::Attributes::from(&call.info) },
    )?;
    meta::strip_for_create(&mut value);
    let value = create::run(call, resource, options, value).await?;
    Ok(Done { value, created: true })
}

enum Attempt {
    Done(Value),
    /// The object is already what it should become.
    Unchanged(Value),
    Lost(Option<Current>),
    Refused,
    /// The store did not take it, or did not say what became of it.
    Failed(ApiError),
}

fn uid_mismatch(resource: &Resource, call: &Call, wanted: &str, found: &str) -> ApiError {
    let namespace = if resource.row.namespaced { call.info.namespace.as_str() } else { "" };
    ApiError::conflict(
        resource.qualified(),
        &call.info.name,
        format!(
            "StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: Precondition \
             failed: UID in precondition: {wanted}, UID in object meta: {found}",
            resource.key(namespace, &call.info.name)
        ),
    )
}
