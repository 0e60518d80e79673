//! Every object that upstream answered is in the normal form already: normalizing changes nothing,
//! not even the order of fields.

use std::collections::BTreeMap;
use std::path::PathBuf;

use trireme_api::Value;
use trireme_api::kinds;
use trireme_api::load::split_api_version;
use trireme_api::normal::normalize;
use trireme_api::schema::builtin;

/// The folder of reference data: `$TRIREME_SHARED`, or beside the workspace.
fn shared(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("TRIREME_SHARED")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"));
    let path = root.join(path);
    path.exists().then_some(path)
}

/// Objects of built-in kinds anywhere in a document that are whole: with metadata that was stored.
fn objects<'a>(value: &'a Value, out: &mut Vec<&'a Value>) {
    match value {
        Value::Object(map) => {
            if value["kind"].is_string() && value["metadata"]["uid"].is_string() {
                out.push(value);
            } else {
                map.values().for_each(|v| objects(v, out));
            }
        }
        Value::Array(list) => list.iter().for_each(|v| objects(v, out)),
        _ => {}
    }
}

#[test]
fn upstreams_answers_are_normal() {
    let mut files = Vec::new();
    for folder in ["reference/recorded", "reference/upstream-1.36"] {
        let Some(folder) = shared(folder) else {
            // Past the capture of what tests that pass print.
            let _ = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("skipped: upstreams_answers_are_normal: no reference data\n"),
            );
            return;
        };
        files.extend(std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()));
    }
    files.sort();
    let schema = builtin();
    let mut failures: BTreeMap<String, String> = BTreeMap::new();
    let mut count = 0;
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "json")) {
        let document: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let mut steps = Vec::new();
        let mut found = Vec::new();
        for scenario in document.items() {
            steps.extend(scenario["steps"].items().iter().map(|s| &s["expect"]));
        }
        if document.is_object() {
            steps.push(&document);
        }
        steps.iter().for_each(|s| objects(s, &mut found));
        for object in found {
            let (group, version) = split_api_version(object["apiVersion"].str_or_empty());
            let Some((_, served)) = kinds::by_kind(group, version, object["kind"].str_or_empty()) else {
                continue;
            };
            let mut ours = object.clone();
            normalize(schema, schema.find(served.message).unwrap(), &mut ours);
            count += 1;
            if object["status"].is_null() {
                // The recorder leaves out a status that controllers change.
                ours.as_object_mut().unwrap().remove("status");
            }
            // Lists that kubectl printed have their keys sorted.
            let is_sorted = file.file_name().unwrap().to_string_lossy().starts_with("obj-");
            let same = ours == *object;
            let (ours, theirs) = (ours.to_string(), object.to_string());
            if !(same && is_sorted) && ours != theirs {
                let at = ours
                    .bytes()
                    .zip(theirs.bytes())
                    .position(|(a, b)| a != b)
                    .unwrap_or(0)
                    .saturating_sub(60);
                let near = |s: &str| s.chars().skip(at).take(160).collect::<String>();
                let key = format!("{} {}", file.file_name().unwrap().to_string_lossy(), served.message);
                failures
                    .entry(key)
                    .or_insert_with(|| format!("\n  ours   {}\n  theirs {}", near(&ours), near(&theirs)));
            }
        }
    }
    assert!(count > 300, "only {count} objects");
    let text: String = failures.iter().map(|(k, v)| format!("{k}{v}\n")).collect();
    assert!(failures.is_empty(), "{} of {count} objects\n{text}", failures.len());
}
