//! Eviction: a deletion that asks the disruption budgets first.

use http::{Response, StatusCode};
use trireme_api::selector::LabelSelector;
use trireme_api::{Object, Value};

use super::delete::{self, DeleteOptions};
use super::storage::{self, Extra, Outcome, Write};
use super::write::{Expected, WriteOptions, decode};
use super::{Resource, disruption, resource::store_key};
use crate::cache::Filter;
use crate::filters::Call;
use crate::present;
use crate::server::{Body, row};
use crate::status::{ApiError, Result, created, qualified, quote};
use crate::{clock, limits, wire};

const EVICTION: Expected<'static> =
    Expected { kind: "Eviction", group: "policy", version: "v1", message: "policy/v1.Eviction" };

/// POST to `pods/<name>/eviction`.
pub(super) async fn create(call: &Call, resource: &Resource) -> Result<Response<Body>> {
    let options = WriteOptions::parse(call, "CreateOptions", false)?;
    let bytes = call.body().await?;
    let eviction = decode(call, EVICTION, &bytes, options.field_validation)?;
    let name = &call.info.name;
    let sent = eviction["metadata"]["name"].str_or_empty();
    if !sent.is_empty() && sent != *name {
        return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut errors = Vec::new();
    let mut delete = DeleteOptions::from_value(&eviction["deleteOptions"], &mut errors);
    if !errors.is_empty() {
        return Err(ApiError::invalid_options("DeleteOptions", &errors));
    }
    delete.dry_run |= options.dry_run;
    let parent = Resource { sub: None, ..*resource };
    let pods = resource.row;
    let pod = storage::newest(&call.core, pods, &call.info.namespace, name)
        .await?
        .ok_or_else(|| ApiError::not_found(qualified("", "pods"), name))?;
    if !ignores_budgets(&pod.object) {
        take_from_budget(call, &pod.object, delete.dry_run).await?;
        // What was allowed is this pod as it was, not one of the same name made since.
        delete.uid.get_or_insert_with(|| pod.object.uid().to_owned());
    }
    delete::run(call, &parent, &call.info.namespace, name, &delete).await?;
    Ok(present::status(call, StatusCode::CREATED, &created()))
}

/// Pods that are over, were never started or are going anyway disturb no budget.
fn ignores_budgets(pod: &Object) -> bool {
    matches!(pod.status()["phase"].str_or_empty(), "Succeeded" | "Failed" | "Pending")
        || pod.deletion_timestamp().is_some()
}

async fn take_from_budget(call: &Call, pod: &Object, dry_run: bool) -> Result<()> {
    let budgets = row("policy", "poddisruptionbudgets").expect("disruption budgets are built in");
    call.core.cache.barrier().await?;
    let matching: Vec<String> = call
        .core
        .cache
        .kind(budgets)
        .select(&Filter::namespace(pod.namespace()))
        .iter()
        .filter(|e| {
            LabelSelector::from_object(&e.object().spec()["selector"])
                .is_ok_and(|s| s.matches_labels(&pod.metadata()["labels"]))
        })
        .map(|e| e.name().to_owned())
        .collect();
    let name = match matching.as_slice() {
        [] => return Ok(()),
        [one] => one,
        _ => {
            return Err(ApiError::internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
    };
    for _ in 0..limits::UPDATE_ATTEMPTS_MAX {
        let Some(budget) = storage::newest(&call.core, budgets, pod.namespace(), name).await? else {
            return Ok(());
        };
        let mut new = budget.object.0.clone();
        if new["status"]["observedGeneration"].as_i64().unwrap_or(0) == 0 {
            disruption::observe(&call.core, &mut new, pod.namespace());
        } else if let Some(refusal) = still_processed(&new) {
            return Err(refusal);
        }
        decrement(&mut new, pod)?;
        if dry_run {
            return Ok(());
        }
        wire::normalize(budgets.hub(), &mut new);
        let write = Write {
            row: budgets,
            namespace: pod.namespace(),
            name,
            expected: budget.revision,
            old: Some(&budget.object),
            new: Some(&new),
            extra: Extra::default(),
            fences: &call.fences,
        };
        if let Outcome::Done(_) = storage::commit(&call.core, write).await? {
            return Ok(());
        }
    }
    Err(ApiError::conflict(
        qualified("policy", "poddisruptionbudgets"),
        name,
        format!("the budget at {} changes too quickly", store_key(budgets, pod.namespace(), name)),
    ))
}

const VIOLATES: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// The status is of an older spec: whoever fills it is at it.
fn still_processed(budget: &Value) -> Option<ApiError> {
    let generation = budget["metadata"]["generation"].as_i64().unwrap_or(0);
    (budget["status"]["observedGeneration"].as_i64().unwrap_or(0) < generation).then(|| {
        let name = budget["metadata"]["name"].str_or_empty();
        let cause = format!("The disruption budget {name} is still being processed by the server.");
        ApiError::disruption_budget(VIOLATES, cause, 10)
    })
}

/// Takes one disruption from the budget's status, or says why there is none.
fn decrement(budget: &mut Value, pod: &Object) -> Result<()> {
    let name = budget["metadata"]["name"].str_or_empty().to_owned();
    let status = &budget["status"];
    let allowed = status["disruptionsAllowed"].as_i64().unwrap_or(0);
    if allowed < 0 {
        return Err(ApiError::forbidden(
            qualified("policy", "poddisruptionbudgets"),
            &name,
            format!("pdb disruptions allowed is negative for {}", quote(&name)),
        ));
    }
    if allowed == 0 {
        let healthy = status["currentHealthy"].as_i64().unwrap_or(0);
        let desired = status["desiredHealthy"].as_i64().unwrap_or(0);
        let cause =
            format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently");
        return Err(ApiError::disruption_budget(VIOLATES, cause, 0));
    }
    let status = budget.make(&["status"]);
    status.set("disruptionsAllowed", allowed - 1);
    status.object_mut("disruptedPods").insert(pod.name(), clock::now());
    Ok(())
}
