//! `trireme history`: what an object went through.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use trireme_api::{Key, Value, value};
use trireme_store::{Event, EventKind, KeyRange, KeyValue, Revision};

use super::changes::{self, Change};
use super::kinds::{Kinds, ObjectId, Row};
use super::moment::{At, When, parse, show};
use super::open::{Pasts, Source};
use super::source::{Bounds, Past, kinds_at};
use super::stamps::{self, Span};
use super::{Output, now_ms, unified};
use crate::exit::ConfigContext;

/// Versions of one object that are read at most.
const VERSIONS_MAX: usize = 100_000;
/// Stretches of history put together from a backup at most; each is as long as compaction lets it
/// be.
const WINDOWS_MAX: usize = 48;
/// The oldest version in a stretch of history: when and by whom it was written is not in it.
const WAS_SO: &str = "was so";

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The object, as kubectl takes it: deployment/web, deploy/web, deployments.apps/web
    #[arg(value_name = "KIND/NAME")]
    target: String,
    /// Its namespace
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Only what happened from then on: 2026-11-20T10:42:00Z, 2h, revision:N
    #[arg(long, value_parser = parse, allow_hyphen_values = true, value_name = "MOMENT")]
    since: Option<When>,
    /// Show each change line by line
    #[arg(long)]
    full: bool,
    /// The whole of it, with the objects where --full is given
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Output>,
    #[command(flatten)]
    source: Source,
}

/// One version of an object, or its end.
struct Version {
    revision: Revision,
    /// When its own fields say that it was written.
    own_ms: Option<i64>,
    span: Span,
    /// `None`: deleted.
    object: Option<Value>,
    before: Option<Value>,
    event: &'static str,
    /// Who wrote it: manager, operation, subresource.
    who: Vec<(String, String, String)>,
    changes: Vec<Change>,
}

pub(super) async fn run(options: Options) -> Result<()> {
    let pasts = options.source.open()?;
    let since = options.since.map(|since| since.from(now_ms()));
    let mut kinds = Kinds::built_in();
    let windows = windows(&pasts, since, &mut kinds).await?;
    let found = kinds.object(&options.target, &options.namespace).map_err(anyhow::Error::msg);
    let (row, id) = found.config()?;
    // Where two stretches meet, both have the version; the later one does not know what it changed.
    let mut merged: BTreeMap<Revision, Version> = BTreeMap::new();
    for window in &windows {
        for version in versions(&*window.past, row, &id, window.bounds, &window.times).await? {
            match merged.get(&version.revision) {
                Some(known) if known.event != WAS_SO => {}
                _ => drop(merged.insert(version.revision, version)),
            }
        }
    }
    let mut versions: Vec<Version> = merged.into_values().collect();
    let (Some(newest), Some(oldest)) = (windows.first(), windows.last()) else {
        anyhow::bail!("there is no history");
    };
    let begin = format!("{}{}", oldest.bounds.oldest, begin(&oldest.times, oldest.bounds.oldest));
    if versions.is_empty() {
        anyhow::bail!("{id} was not there from revision {begin} to {}", newest.bounds.newest);
    }
    if let Some(at) = since {
        versions.retain(|version| version.is_since(at));
    }
    if let Some(output) = options.output {
        let shown: Vec<Value> = versions.iter().map(|version| version.document(options.full)).collect();
        return output.print(&value!({
            "kind": row.kind, "resource": id.resource, "namespace": id.namespace, "name": id.name, "versions": shown,
        }));
    }
    eprintln!("history begins with revision {begin}");
    print(&versions, &id, options.full);
    Ok(())
}

/// A stretch of history without a hole.
struct Window {
    past: Arc<dyn Past>,
    bounds: Bounds,
    times: Vec<(i64, Revision)>,
}

/// Stretches of history, the newest first: the store's own, or a backup's where one was named, and
/// from the backup what came before, as far as `since` asks for it and the backup has it.
async fn windows(pasts: &Pasts, since: Option<At>, kinds: &mut Kinds) -> Result<Vec<Window>> {
    let mut backup = None;
    let mut state = if pasts.is_backup_named() {
        backup = pasts.backup().await?;
        match &backup {
            Some(backup) => backup.newest().await?,
            None => pasts.now().await?,
        }
    } else {
        pasts.now().await?
    };
    let mut windows = Vec::new();
    loop {
        let bounds = state.past.bounds().await?;
        let bounds = Bounds { newest: bounds.newest.min(state.revision).max(bounds.oldest), ..bounds };
        for revision in [bounds.newest, bounds.oldest] {
            kinds_at(&*state.past, revision, kinds).await?;
        }
        let times = state.past.times().await?;
        let begins = stamps::span(&times, bounds.oldest).not_before;
        windows.push(Window { past: state.past.clone(), bounds, times });
        let wants_more = match since {
            None => false,
            Some(At::Revision(revision)) => revision < bounds.oldest.0,
            Some(At::Time(ms)) => begins.is_some_and(|begins| ms < begins),
        };
        if !wants_more || bounds.oldest.0 <= 1 || windows.len() >= WINDOWS_MAX {
            return Ok(windows);
        }
        if backup.is_none() {
            backup = pasts.backup().await?;
        }
        let Some(from) = &backup else { return Ok(windows) };
        match from.at(At::Revision(bounds.oldest.0)).await {
            Ok(earlier) => state = earlier,
            Err(error) => {
                eprintln!("{error:#}");
                return Ok(windows);
            }
        }
    }
}

/// ` (of about TIME)` for a revision.
fn begin(times: &[(i64, Revision)], oldest: Revision) -> String {
    let span = stamps::span(times, oldest);
    span.not_after.or(span.not_before).map_or_else(String::new, |ms| format!(" (of about {})", show(ms)))
}

async fn versions(
    past: &dyn Past,
    row: &Row,
    id: &ObjectId,
    bounds: Bounds,
    times: &[(i64, Revision)],
) -> Result<Vec<Version>> {
    let key = row.key(&id.namespace, &id.name);
    let first = past.get(&key, bounds.oldest).await?;
    let after = past.changes(KeyRange::key(key), bounds.oldest, bounds.newest, VERSIONS_MAX).await?;
    let Some(after) = after else { anyhow::bail!("{id} has more than {VERSIONS_MAX} versions") };
    let decode = |kv: &KeyValue| row.decode(&kv.value).map_err(|error| anyhow::anyhow!("{id}: {error}"));
    let mut versions = Vec::new();
    let mut before: Option<Value> = None;
    if let Some(kv) = first {
        let object = decode(&kv)?;
        let mut version = Version::new(kv.mod_revision, times, None, Some(object.clone()));
        if kv.version > 1 {
            version.event = WAS_SO;
        }
        versions.push(version);
        before = Some(object);
    }
    for Event { kind, kv, .. } in after {
        let object = match kind {
            EventKind::Put => Some(decode(&kv)?),
            EventKind::Delete => None,
        };
        versions.push(Version::new(kv.mod_revision, times, before.take(), object.clone()));
        before = object;
    }
    Ok(versions)
}

impl Version {
    fn new(
        revision: Revision,
        times: &[(i64, Revision)],
        before: Option<Value>,
        object: Option<Value>,
    ) -> Self {
        let own_ms = object.as_ref().and_then(|object| stamps::written_ms(object, before.as_ref()));
        let event = match (&before, &object) {
            (None, _) => "created",
            (Some(_), None) => "deleted",
            (Some(old), Some(new)) if is_ending(new) && !is_ending(old) => "deletion began",
            (Some(_), Some(_)) => "changed",
        };
        let who = object.as_ref().map(|object| writers(object, before.as_ref())).unwrap_or_default();
        let mut shown = (before.clone(), object.clone());
        unified::hide_secrets([shown.0.as_mut(), shown.1.as_mut()]);
        let changes = match &shown {
            (Some(old), Some(new)) => changes::between(old, new),
            _ => Vec::new(),
        };
        let span = stamps::span(times, revision);
        Self { revision, own_ms, span, object: shown.1, before: shown.0, event, who, changes }
    }

    fn is_since(&self, at: At) -> bool {
        match at {
            At::Revision(revision) => self.revision.0 >= revision,
            At::Time(ms) => self.own_ms.or(self.span.not_after).is_none_or(|own| own >= ms),
        }
    }

    fn time(&self) -> String {
        match (self.own_ms, self.span.not_before, self.span.not_after) {
            (Some(own), ..) => show(own),
            (None, Some(from), Some(to)) => format!("{}…{}", show(from), seconds_after(from, to)),
            (None, Some(from), None) => format!("after {}", show(from)),
            (None, None, Some(to)) => format!("until {}", show(to)),
            (None, None, None) => "?".to_owned(),
        }
    }

    fn summary(&self) -> String {
        match self.event {
            "changed" => changes::summary(&self.changes),
            other => other.to_owned(),
        }
    }

    fn writers(&self) -> String {
        let one = |(manager, operation, part): &(String, String, String)| {
            let part = if part.is_empty() { String::new() } else { format!(" /{part}") };
            if operation == "Apply" { format!("{manager} (apply){part}") } else { format!("{manager}{part}") }
        };
        if self.who.is_empty() {
            "-".to_owned()
        } else {
            self.who.iter().map(one).collect::<Vec<_>>().join(", ")
        }
    }

    fn document(&self, full: bool) -> Value {
        let mut document = value!({
            "revision": self.revision.0, "event": self.event, "summary": self.summary(),
        });
        let map = document.make(&[]);
        for (name, ms) in
            [("time", self.own_ms), ("notBefore", self.span.not_before), ("notAfter", self.span.not_after)]
        {
            if let Some(ms) = ms {
                map.set(name, show(ms));
            }
        }
        let who = self.who.iter().map(|(manager, operation, part)| {
            value!({"manager": manager, "operation": operation, "subresource": part})
        });
        map.set("who", who.collect::<Vec<Value>>());
        map.set("changes", self.changes.iter().map(document_of).collect::<Vec<_>>());
        if full && let Some(object) = &self.object {
            map.set("object", object.clone());
        }
        document
    }
}

/// A change as a document.
pub(super) fn document_of(change: &Change) -> Value {
    let mut document = value!({"path": change.path});
    for (name, value) in [("from", &change.from), ("to", &change.to)] {
        if let Some(value) = value {
            document.make(&[]).insert(Key::Static(name), value.clone());
        }
    }
    document
}

/// The later time, as short as it can be said after the earlier.
fn seconds_after(from: i64, to: i64) -> String {
    let (from, to) = (show(from), show(to));
    let same_day = from.split('T').next() == to.split('T').next();
    to.split_once('T').filter(|_| same_day).map_or(to.clone(), |(_, time)| time.to_owned())
}

fn is_ending(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

/// The entries of field owners that are new or changed: who wrote this version.
fn writers(object: &Value, before: Option<&Value>) -> Vec<(String, String, String)> {
    let old = before.map_or(&[][..], |before| before["metadata"]["managedFields"].items());
    let entries = object["metadata"]["managedFields"].items().iter();
    let text = |value: &Value| value.str_or_empty().to_owned();
    entries
        .filter(|entry| !old.contains(entry))
        .map(|entry| (text(&entry["manager"]), text(&entry["operation"]), text(&entry["subresource"])))
        .collect()
}

fn print(versions: &[Version], id: &ObjectId, full: bool) {
    let rows: Vec<[String; 4]> = versions
        .iter()
        .map(|version| [version.revision.to_string(), version.time(), version.writers(), version.summary()])
        .collect();
    let width = |column: usize, title: &str| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(title.len())
    };
    let widths = [width(0, "REVISION"), width(1, "TIME"), width(2, "WHO")];
    let line = |cells: [&str; 4]| {
        let [a, b, c] = widths;
        println!("{:<a$}  {:<b$}  {:<c$}  {}", cells[0], cells[1], cells[2], cells[3]);
    };
    line(["REVISION", "TIME", "WHO", "WHAT"]);
    for (version, row) in versions.iter().zip(&rows) {
        line([&row[0], &row[1], &row[2], &row[3]]);
        if full {
            let names = (format!("{id} before"), format!("{id} at revision {}", version.revision));
            let shown = unified::diff((&names.0, &names.1), version.before.as_ref(), version.object.as_ref());
            shown.lines().for_each(|line| println!("    {line}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(replicas: i64, managers: &[(&str, &str)]) -> Value {
        let managed: Vec<Value> = managers
            .iter()
            .map(|(manager, time)| value!({"manager": manager, "operation": "Update", "time": time}))
            .collect();
        let mut object = value!({"metadata": {"name": "web"}, "spec": {"replicas": replicas}});
        object.make(&["metadata"]).set("managedFields", managed);
        object
    }

    #[test]
    fn versions_tell_who_when_and_what() {
        let times = [(1_000, Revision(5)), (11_000, Revision(9))];
        let first = deployment(3, &[("kubectl-create", "1970-01-01T00:00:02Z")]);
        let second =
            deployment(5, &[("kubectl-create", "1970-01-01T00:00:02Z"), ("kubectl", "1970-01-01T00:00:04Z")]);
        let created = Version::new(Revision(6), &times, None, Some(first.clone()));
        assert_eq!((created.summary().as_str(), created.writers().as_str()), ("created", "kubectl-create"));
        let scaled = Version::new(Revision(7), &times, Some(first), Some(second.clone()));
        assert_eq!(scaled.summary(), "spec.replicas 3 → 5");
        assert_eq!((scaled.writers().as_str(), scaled.time().as_str()), ("kubectl", "1970-01-01T00:00:04Z"));
        assert!(scaled.is_since(At::Time(4_000)) && !scaled.is_since(At::Time(4_001)));
        let deleted = Version::new(Revision(8), &times, Some(second), None);
        assert_eq!((deleted.summary().as_str(), deleted.writers().as_str()), ("deleted", "-"));
        assert_eq!(deleted.time(), "1970-01-01T00:00:01Z…00:00:11Z");
        assert!(deleted.is_since(At::Revision(8)) && !deleted.is_since(At::Revision(9)));
        let document = scaled.document(false);
        assert_eq!(document["changes"][0]["path"], *"spec.replicas");
        assert!(document.get("object").is_none() && scaled.document(true).get("object").is_some());
    }
}
