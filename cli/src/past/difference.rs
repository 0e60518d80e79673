//! `trireme diff`: what differs between two moments.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::Args;
use indicatif::ProgressBar;
use trireme_api::{Value, value};

use super::changes::{self, Change};
use super::history::document_of;
use super::kinds::{Kinds, ObjectId, Row};
use super::moment::{At, When, parse};
use super::open::{Source, State};
use super::source::{kinds_at, values};
use super::{Output, now_ms, unified};
use crate::exit::ConfigContext;
use crate::progress::count;

/// Left out unless asked for: they change all the time and say little of what anyone did.
const NOISE: &[&str] = &["events", "leases.coordination.k8s.io"];

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Only these: a kind (deployments), or an object (deployment/web)
    #[arg(value_name = "KIND[/NAME]")]
    targets: Vec<String>,
    /// The earlier moment: 2026-11-20T10:42:00Z, -2h, "10m ago", revision:N
    #[arg(long, value_parser = parse, allow_hyphen_values = true, value_name = "MOMENT")]
    at: When,
    /// The later moment
    #[arg(long, value_parser = parse, allow_hyphen_values = true, default_value = "now", value_name = "MOMENT")]
    to: When,
    /// Only objects of this namespace
    #[arg(short, long, conflicts_with = "all_namespaces")]
    namespace: Option<String>,
    /// Objects of every namespace and of none; so it is without --namespace
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Also objects of which nothing but the status changed
    #[arg(long)]
    with_status: bool,
    /// Also Events and Leases, and changes of status
    #[arg(long)]
    all: bool,
    /// Show each change line by line
    #[arg(long)]
    full: bool,
    /// The whole of it, with the objects where --full is given
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Output>,
    #[command(flatten)]
    source: Source,
}

/// Which objects are looked at.
pub(super) enum Scope {
    /// Objects of a kind, in a namespace or all.
    Kind(Row, Option<String>),
    Object(Row, ObjectId),
}

/// An object that differs.
struct Difference {
    id: ObjectId,
    from: Option<Value>,
    to: Option<Value>,
    changes: Vec<Change>,
}

pub(super) async fn run(options: Options) -> Result<()> {
    let pasts = options.source.open()?;
    let now = now_ms();
    let (at, to) = (options.at.from(now), options.to.from(now));
    let then = pasts.at(at).await?;
    let later = if to == At::Time(now) { pasts.now().await? } else { pasts.at(to).await? };
    if then.foreign == later.foreign && then.revision > later.revision {
        let order = anyhow::anyhow!("--at is after --to: revision {} and {}", then.revision, later.revision);
        return Err(order).config();
    }
    let mut kinds = Kinds::built_in();
    for state in [&later, &then] {
        kinds_at(&*state.past, state.revision, &mut kinds).await?;
    }
    let scopes = scopes(&kinds, &options).config()?;
    let mut found = Vec::new();
    for pair in read(&scopes, &then, &later).await? {
        let difference = pair?;
        let noise = difference.changes.iter().all(Change::is_status)
            && difference.from.is_some()
            && difference.to.is_some();
        if !noise || options.with_status || options.all {
            found.push(difference);
        }
    }
    show(&options, &then, &later, &found)
}

fn scopes(kinds: &Kinds, options: &Options) -> Result<Vec<Scope>> {
    if options.targets.is_empty() {
        let wanted = |row: &&Row| {
            (options.all || !NOISE.contains(&row.resource().as_str()))
                && (row.namespaced || options.namespace.is_none())
        };
        let rows = kinds.rows().iter().filter(wanted);
        return Ok(rows.map(|row| Scope::Kind(row.clone(), options.namespace.clone())).collect());
    }
    let one = |target: &String| {
        if target.contains('/') {
            let namespace = options.namespace.as_deref().unwrap_or("default");
            return kinds.object(target, namespace).map(|(row, id)| Scope::Object(row.clone(), id));
        }
        kinds.find(target).map(|row| Scope::Kind(row.clone(), options.namespace.clone()))
    };
    options.targets.iter().map(one).collect::<Result<_, _>>().map_err(anyhow::Error::msg)
}

/// What lies in `scopes` in a state: key to kind, place and the revision of its last change.
async fn listed(scopes: &[Scope], state: &State) -> Result<BTreeMap<String, (Row, ObjectId, i64)>> {
    let mut found = BTreeMap::new();
    for scope in scopes {
        let (row, prefix) = match scope {
            Scope::Kind(row, namespace) => (row, row.prefix_in(namespace.as_deref())),
            Scope::Object(row, id) => (row, row.key(&id.namespace, &id.name)),
        };
        for kv in state.past.keys(&prefix, state.revision).await? {
            let Some(id) = row.place(&kv.key) else { continue };
            if matches!(scope, Scope::Object(_, wanted) if *wanted != id) {
                continue;
            }
            let key = String::from_utf8_lossy(&kv.key).into_owned();
            found.insert(key, (row.clone(), id, kv.mod_revision.0));
        }
    }
    Ok(found)
}

/// Objects that are not the same version in both states. Those that are are not read.
async fn read(
    scopes: &[Scope],
    then: &State,
    later: &State,
) -> Result<impl Iterator<Item = Result<Difference>> + use<>> {
    let (old, new) = (listed(scopes, then).await?, listed(scopes, later).await?);
    let one_cluster = then.foreign == later.foreign;
    let same = |key: &String| one_cluster && old.get(key).map(|o| o.2) == new.get(key).map(|n| n.2);
    let keys = |of: &BTreeMap<String, (Row, ObjectId, i64)>| {
        of.keys().filter(|key| !same(key)).cloned().collect::<Vec<String>>()
    };
    let (old_keys, new_keys) = (keys(&old), keys(&new));
    let bar = ProgressBar::new_spinner();
    bar.set_message(format!("reading {}", count(old_keys.len() + new_keys.len(), "object")));
    let mut before: BTreeMap<_, _> =
        values(&*then.past, old_keys, then.revision).await?.into_iter().collect();
    let mut after: BTreeMap<_, _> =
        values(&*later.past, new_keys, later.revision).await?.into_iter().collect();
    bar.finish_and_clear();
    let mut places: BTreeMap<String, (Row, ObjectId, i64)> = old;
    places.extend(new);
    places.retain(|key, _| before.contains_key(key) || after.contains_key(key));
    Ok(places.into_iter().map(move |(key, (row, id, _))| {
        let decode = |stored: Option<trireme_store::KeyValue>| {
            stored.map(|kv| row.decode(&kv.value).map_err(|e| anyhow::anyhow!("{id}: {e}"))).transpose()
        };
        let (mut from, mut to) = (decode(before.remove(&key))?, decode(after.remove(&key))?);
        unified::hide_secrets([from.as_mut(), to.as_mut()]);
        let changes = match (&from, &to) {
            (Some(from), Some(to)) => changes::between(from, to),
            _ => Vec::new(),
        };
        Ok(Difference { id, from, to, changes })
    }))
}

impl Difference {
    fn what(&self) -> &'static str {
        match (&self.from, &self.to) {
            (None, _) => "created",
            (_, None) => "deleted",
            // The same name, another object.
            (Some(from), Some(to)) if from["metadata"]["uid"] != to["metadata"]["uid"] => "replaced",
            _ => "changed",
        }
    }

    fn line(&self) -> String {
        let (sign, more) = match self.what() {
            "created" => ("+", String::new()),
            "deleted" => ("-", String::new()),
            "replaced" => ("±", format!(": deleted and created anew, {}", changes::summary(&self.changes))),
            _ => ("~", format!(": {}", changes::summary(&self.changes))),
        };
        format!("{sign} {}{more}", self.id)
    }
}

fn show(options: &Options, then: &State, later: &State, found: &[Difference]) -> Result<()> {
    let count = |what: &str| found.iter().filter(|difference| difference.what() == what).count();
    if let Some(output) = options.output {
        let objects = found.iter().map(|difference| {
            let mut document = value!({
                "resource": difference.id.resource, "namespace": difference.id.namespace,
                "name": difference.id.name, "what": difference.what(),
            });
            let map = document.make(&[]);
            map.set("changes", difference.changes.iter().map(document_of).collect::<Vec<_>>());
            for (name, object) in [("from", &difference.from), ("to", &difference.to)] {
                if let Some(object) = object.as_ref().filter(|_| options.full) {
                    map.set(name, object.clone());
                }
            }
            document
        });
        return output.print(&value!({
            "from": then.revision.0, "to": later.revision.0, "objects": objects.collect::<Vec<Value>>(),
        }));
    }
    for difference in found {
        println!("{}", difference.line());
        if options.full {
            let names = (
                format!("{} at revision {}", difference.id, then.revision),
                format!("{} at revision {}", difference.id, later.revision),
            );
            print!(
                "{}",
                unified::diff((&names.0, &names.1), difference.from.as_ref(), difference.to.as_ref())
            );
        }
    }
    println!(
        "revision {} to {}: {} created, {} changed, {} replaced, {} deleted",
        then.revision,
        later.revision,
        count("created"),
        count("changed"),
        count("replaced"),
        count("deleted")
    );
    Ok(())
}
