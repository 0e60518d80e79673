//! Reads what a plan is made from: the objects of a scope as they were and as they are.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use trireme_api::Value;

use super::super::kinds::{Kinds, ObjectId, Row};
use super::super::open::State;
use super::super::source::{kinds_at, names, values};
use super::keep::PASSING;
use super::owners;
use super::plan::{Observed, Stored};

const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// What is to become again what it was.
#[derive(Clone, Debug)]
pub(super) enum Scope {
    Namespace(String),
    /// `KIND/NAME`, and the namespace it is in.
    Object(String, String),
}

/// A namespace that is not there, or is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    Missing,
    Ending,
}

/// All that is known before planning.
pub(super) struct World {
    pub kinds: Kinds,
    pub observed: Observed,
    pub namespace: Option<(String, Option<Absent>)>,
}

pub(super) async fn observe(scope: &Scope, then: &State, now: &State) -> Result<World> {
    let mut kinds = Kinds::built_in();
    for state in [now, then] {
        kinds_at(&*state.past, state.revision, &mut kinds).await?;
    }
    let mut observed = Observed::default();
    let namespace = match scope {
        Scope::Namespace(namespace) => {
            let rows = kinds.rows().iter();
            let rows = rows.filter(|row| row.namespaced && !PASSING.contains(&row.resource().as_str()));
            for row in rows {
                let prefix = row.prefix_in(Some(namespace));
                read(row, &prefix, then, &mut observed.then).await?;
                read(row, &prefix, now, &mut observed.now).await?;
            }
            Some(namespace.clone())
        }
        Scope::Object(target, namespace) => {
            let (row, id) = kinds.object(target, namespace).map_err(anyhow::Error::msg)?;
            let Some(stored) = one(row, &id, then).await? else {
                bail!("{id} was not there at revision {}", then.revision);
            };
            observed.then.insert(id.clone(), stored);
            if let Some(stored) = one(row, &id, now).await? {
                observed.now.insert(id.clone(), stored);
            }
            row.namespaced.then(|| id.namespace.clone())
        }
    };
    let namespace = match namespace {
        Some(name) => {
            let absent = read_namespace(&kinds, scope, &name, then, now, &mut observed).await?;
            Some((name, absent))
        }
        None => None,
    };
    read_definitions(&kinds, then, now, &mut observed).await?;
    read_volumes(&kinds, then, now, &mut observed).await?;
    read_owners(&kinds, now, &mut observed).await?;
    read_addresses(&kinds, now, &mut observed).await?;
    Ok(World { kinds, observed, namespace })
}

/// The newest version of one object.
pub(super) async fn one(row: &Row, id: &ObjectId, state: &State) -> Result<Option<Stored>> {
    let found = state.past.get(&row.key(&id.namespace, &id.name), state.revision).await?;
    found.map(|kv| stored(row, id, &kv, state)).transpose()
}

fn stored(row: &Row, id: &ObjectId, kv: &trireme_store::KeyValue, state: &State) -> Result<Stored> {
    let object = row.decode(&kv.value).map_err(|error| anyhow::anyhow!("{id}: {error}"))?;
    // Another cluster's revisions are never the same version as this one's.
    Ok(Stored { object, revision: if state.foreign { 0 } else { kv.mod_revision.0 } })
}

async fn read(row: &Row, prefix: &str, state: &State, into: &mut BTreeMap<ObjectId, Stored>) -> Result<()> {
    let keys = names(&state.past.keys(prefix, state.revision).await?);
    for (key, kv) in values(&*state.past, keys, state.revision).await? {
        if let Some(id) = row.place(key.as_bytes()) {
            let stored = stored(row, &id, &kv, state)?;
            into.insert(id, stored);
        }
    }
    Ok(())
}

/// The Namespace that the objects are in: it is restored with all that is in it, and for a single
/// object where it is gone.
async fn read_namespace(
    kinds: &Kinds,
    scope: &Scope,
    name: &str,
    then: &State,
    now: &State,
    observed: &mut Observed,
) -> Result<Option<Absent>> {
    let row = kinds.find("namespaces").map_err(anyhow::Error::msg)?;
    let id = ObjectId::new("namespaces", "", name);
    let is = one(row, &id, now).await?;
    let absent = match &is {
        None => Some(Absent::Missing),
        Some(is) if is.is_ending() => Some(Absent::Ending),
        Some(_) => None,
    };
    if matches!(scope, Scope::Namespace(_)) || absent.is_some() {
        let Some(was) = one(row, &id, then).await? else {
            bail!("the namespace {name:?} was not there at revision {}", then.revision);
        };
        observed.then.insert(id.clone(), was);
        if absent.is_some() {
            // Whatever is still in it goes with it.
            observed.now.clear();
        }
        if let Some(is) = is {
            observed.now.insert(id, is);
        }
    }
    Ok(absent)
}

/// Definitions of the custom kinds that are restored, where they are gone.
async fn read_definitions(kinds: &Kinds, then: &State, now: &State, observed: &mut Observed) -> Result<()> {
    let Some(definitions) = kinds.get(DEFINITIONS) else { return Ok(()) };
    let mut custom: Vec<String> = observed.then.keys().map(|id| id.resource.clone()).collect();
    custom.retain(|resource| kinds.get(resource).is_some_and(|row| row.built_in.is_none()));
    custom.dedup();
    for resource in custom {
        let id = ObjectId::new(DEFINITIONS, "", &resource);
        if one(definitions, &id, now).await?.is_none()
            && let Some(was) = one(definitions, &id, then).await?
        {
            observed.then.insert(id, was);
        }
    }
    Ok(())
}

/// The volumes of the claims that are restored.
async fn read_volumes(kinds: &Kinds, then: &State, now: &State, observed: &mut Observed) -> Result<()> {
    let Some(row) = kinds.get("persistentvolumes") else { return Ok(()) };
    let claims = observed.then.iter().filter(|(id, _)| id.resource == "persistentvolumeclaims");
    let volumes: Vec<String> = claims
        .map(|(_, claim)| claim.object["spec"]["volumeName"].str_or_empty().to_owned())
        .filter(|name| !name.is_empty())
        .collect();
    for name in volumes {
        let id = ObjectId::new("persistentvolumes", "", &name);
        if observed.then.contains_key(&id) {
            continue;
        }
        if let Some(is) = one(row, &id, now).await? {
            observed.now.insert(id.clone(), is);
        }
        match one(row, &id, then).await? {
            Some(was) => {
                observed.then.insert(id.clone(), was);
                observed.volumes.insert(id);
            }
            // Without a past of its own it is looked at and not touched.
            None => {
                if let Some(is) = observed.now.remove(&id) {
                    observed.elsewhere.insert(id, is);
                }
            }
        }
    }
    Ok(())
}

/// Owners that are not restored themselves.
async fn read_owners(kinds: &Kinds, now: &State, observed: &mut Observed) -> Result<()> {
    let mut wanted = std::collections::BTreeSet::new();
    for (id, stored) in &observed.then {
        let references = stored.object["metadata"]["ownerReferences"].items().iter();
        wanted.extend(references.filter_map(|reference| owners::owner(kinds, id, reference)));
    }
    for owner in wanted {
        if observed.now.contains_key(&owner) {
            continue;
        }
        let Some(row) = kinds.get(&owner.resource) else { continue };
        if let Some(is) = one(row, &owner, now).await? {
            observed.elsewhere.insert(owner, is);
        }
    }
    Ok(())
}

/// Who has which address and node port, where a Service is restored.
async fn read_addresses(kinds: &Kinds, now: &State, observed: &mut Observed) -> Result<()> {
    let Some(row) = kinds.get("services") else { return Ok(()) };
    if !observed.then.keys().any(|id| id.resource == "services") {
        return Ok(());
    }
    let mut services = BTreeMap::new();
    read(row, &row.prefix_in(None), now, &mut services).await?;
    for (id, service) in services {
        let spec = &service.object["spec"];
        let listed = spec["clusterIPs"].items().iter().chain([&spec["clusterIP"]]);
        let addresses = listed.filter_map(Value::as_str).filter(|ip| !matches!(*ip, "" | "None"));
        for address in addresses {
            observed.addresses.insert(address.to_owned(), id.clone());
        }
        for port in spec["ports"].items().iter().filter_map(|port| port["nodePort"].as_i64()) {
            observed.node_ports.insert(port, id.clone());
        }
    }
    Ok(())
}
