//! DELETE of a collection: each object that is selected, some at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, stream};
use http::{Response, StatusCode};
use trireme_api::Value;
use trireme_api::tree::Map;

use super::Resource;
use super::delete::{self, DeleteOptions};
use super::list;
use super::options::ListOptions;
use crate::cache::Entry;
use crate::filters::Call;
use crate::limits;
use crate::negotiate::{self, respond};
use crate::present;
use crate::server::Body;
use crate::status::Result;
use crate::wire;

/// `deletecollection`: answers with the objects as they were.
pub(super) async fn delete_collection(call: &Call, resource: &Resource) -> Result<Response<Body>> {
    let target = negotiate::target(call)?;
    let bytes = call.body().await?;
    let options = DeleteOptions::parse(call, &bytes)?;
    let selection = ListOptions::parse(call, resource, false)?;
    let page = list::select(&call.core, resource, &selection).await?;
    let mut jobs =
        stream::iter(page.entries.into_iter().enumerate().map(|(i, entry): (usize, Arc<Entry>)| {
            let options: DeleteOptions = options.clone();
            async move {
                match delete::run(call, resource, entry.namespace(), entry.name(), &options).await {
                    Ok(deleted) => Ok(Some((i, deleted.value))),
                    // Somebody else was faster.
                    Err(error) if error.code == 404 => Ok(None),
                    Err(error) => Err(error),
                }
            }
        }))
        .buffer_unordered(limits::DELETE_COLLECTION_WORKERS);
    let mut deleted = BTreeMap::new();
    while let Some(done) = jobs.next().await {
        if let Some((i, value)) = done? {
            deleted.insert(i, value);
        }
    }
    let items: Vec<Value> = deleted
        .into_values()
        .map(|mut value| {
            present::to_version(resource, &mut value);
            if let Some(map) = value.as_object_mut() {
                map.remove("kind");
                map.remove("apiVersion");
            }
            value
        })
        .collect();
    let mut metadata = Map::new();
    metadata.set("resourceVersion", page.revision.to_string());
    let mut out = Map::new();
    out.set("kind", format!("{}List", resource.row.kind));
    out.set("apiVersion", resource.served.api_version());
    out.set("metadata", metadata);
    out.set("items", items);
    let message = format!("{}List", resource.served.message);
    let bytes = wire::encode(&Value::Object(out), target.format, target.pretty, Some(&message));
    Ok(respond(StatusCode::OK, target.format, bytes))
}
