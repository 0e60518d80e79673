//! Writes of the server itself: no admission, since what admission asks for is being made here.

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use trireme_api::Value;

use crate::registry::storage::{self, Extra, Outcome, Write};
use crate::registry::{Resource, managed};
use crate::server::{Core, row};
use crate::status::{ApiError, Result};
use crate::{clock, limits, wire};

/// Who owns the fields of what the server makes.
const FIELD_MANAGER: &str = "kube-apiserver";
/// Objects made at a time: they share the store's appends.
const AT_A_TIME: usize = 64;

/// Makes sure that an object is as `wanted` says: given what is there, it gives what should be
/// there, or `None` when all is well.
pub(super) async fn ensure(
    core: &Core,
    group: &str,
    plural: &str,
    namespace: &str,
    name: &str,
    wanted: impl Fn(Option<&Value>) -> Option<Value>,
) -> Result<()> {
    ensure_with(core, group, plural, namespace, name, Extra::default(), wanted).await
}

/// The same with conditions and operations that go along when the object is made.
pub(super) async fn ensure_with(
    core: &Core,
    group: &str,
    plural: &str,
    namespace: &str,
    name: &str,
    extra: Extra,
    wanted: impl Fn(Option<&Value>) -> Option<Value>,
) -> Result<()> {
    let row = row(group, plural)
        .ok_or_else(|| ApiError::internal(format!("{plural} of {group:?} is not built in")))?;
    for _ in 0..limits::UPDATE_ATTEMPTS_MAX {
        let old = storage::newest(core, row, namespace, name).await?;
        let Some(mut new) = wanted(old.as_ref().map(|o| &o.object.0)) else { return Ok(()) };
        let metadata = new.make(&["metadata"]);
        metadata.set("name", name);
        if !namespace.is_empty() {
            metadata.set("namespace", namespace);
        }
        if old.is_none() {
            metadata.set("uid", uuid::Uuid::new_v4().to_string());
            metadata.set("creationTimestamp", clock::now());
        }
        wire::to_hub(row, row.hub(), &mut new);
        if old.is_none() {
            let resource = Resource { row, served: row.hub(), sub: None };
            managed::update(&resource, None, &mut new, FIELD_MANAGER, "", &clock::now());
        }
        let write = Write {
            row,
            namespace,
            name,
            expected: old.as_ref().map_or(0, |o| o.revision),
            old: old.as_ref().map(|o| &o.object.0),
            new: Some(&new),
            extra: if old.is_none() { extra.clone() } else { Extra::default() },
            fences: &[],
        };
        match storage::commit(core, write).await? {
            Outcome::Done(_) => return Ok(()),
            Outcome::Refused => {
                return Err(ApiError::internal(format!("{plural} {name}: a condition does not hold")));
            }
            Outcome::Lost(_) => {}
        }
    }
    Err(ApiError::internal(format!("{plural} {name}: too many others write at the same time")))
}

/// Makes the objects that are not there; those that are stay as they are.
pub(super) async fn create_missing(
    core: &Core,
    objects: Vec<(&'static str, &'static str, Value)>,
) -> Result<()> {
    let jobs =
        objects.into_iter().map(|(group, plural, object)| create_one(core, group, plural, object).boxed());
    all(jobs.collect()).await
}

async fn create_one(core: &Core, group: &str, plural: &str, object: Value) -> Result<()> {
    let metadata = &object["metadata"];
    let (namespace, name) = (metadata["namespace"].str_or_empty(), metadata["name"].str_or_empty());
    ensure(core, group, plural, namespace, name, |old| old.is_none().then(|| object.clone())).await
}

/// Runs jobs, some at a time, to the end of all; the first error is the result.
pub(super) async fn all(jobs: Vec<BoxFuture<'_, Result<()>>>) -> Result<()> {
    let results: Vec<Result<()>> = stream::iter(jobs).buffer_unordered(AT_A_TIME).collect().await;
    results.into_iter().collect()
}
