//! Compares with the documents upstream serves, where the reference data is present.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::kinds::discovery_test::shared;
use crate::tree::Value;

/// Differences from upstream that are known; the count may only go down.
const SCHEMA_DIFFERENCES_MAX: usize = 0;
const OPERATION_DIFFERENCES_MAX: usize = 0;

fn upstream() -> Option<BTreeMap<String, Value>> {
    let folder = shared("reference/upstream-1.36/openapi-v3")?;
    let mut out = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().replace("__", "/");
        out.insert(name, serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap());
    }
    // Served by the service account issuer, not by the table.
    out.retain(|name, _| !name.starts_with("openid") && !name.starts_with(".well-known"));
    Some(out)
}

/// Without descriptions; a single `allOf` is the reference in it.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut out = crate::Map::new();
            for (k, v) in map {
                if &**k == "description" && v.is_string() {
                    continue;
                }
                if &**k == "allOf" && v.items().len() == 1 {
                    out.set("$ref", v[0]["$ref"].clone());
                    continue;
                }
                out.insert(k.clone(), plain(v));
            }
            Value::Object(out)
        }
        Value::Array(list) => Value::Array(list.iter().map(plain).collect()),
        other => other.clone(),
    }
}

fn compare(path: &str, ours: &Value, theirs: &Value, out: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&str> = a.keys().chain(b.keys()).map(|k| &**k).collect();
            for key in keys {
                match (a.get(key), b.get(key)) {
                    (Some(x), Some(y)) => compare(&format!("{path}.{key}"), x, y, out),
                    (Some(x), None) => out.push(format!("{path}.{key}: ours alone: {x}")),
                    (None, Some(y)) => out.push(format!("{path}.{key}: theirs alone: {y}")),
                    (None, None) => {}
                }
            }
        }
        _ if ours == theirs => {}
        _ => out.push(format!("{path}: {ours}, theirs {theirs}")),
    }
}

fn report(what: &str, differences: &[String], max: usize) {
    let shown: Vec<String> = differences.iter().take(40).map(|d| d.chars().take(300).collect()).collect();
    assert!(
        differences.len() <= max,
        "{} differences of {what}, {max} are known\n{}",
        differences.len(),
        shown.join("\n")
    );
}

#[test]
fn documents_are_upstreams() {
    let Some(upstream) = upstream() else {
        // Past the capture of what tests that pass print.
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("skipped: documents_are_upstreams: no reference data\n"),
        );
        return;
    };
    let (mut schemas, mut operations) = (Vec::new(), Vec::new());
    for (name, theirs) in &upstream {
        let Some(ours) = v3(name) else {
            schemas.push(format!("no document {name}"));
            continue;
        };
        compare(
            name,
            &plain(&ours["components"]["schemas"]),
            &plain(&theirs["components"]["schemas"]),
            &mut schemas,
        );
        compare(name, &plain(&ours["paths"]), &plain(&theirs["paths"]), &mut operations);
    }
    report("schemas", &schemas, SCHEMA_DIFFERENCES_MAX);
    report("operations", &operations, OPERATION_DIFFERENCES_MAX);
    let names: BTreeSet<String> = v3_index().into_iter().collect();
    assert!(upstream.keys().all(|n| names.contains(n)), "every document is in the index");
}

#[test]
fn v2_has_what_old_clients_look_up() {
    let document = v2();
    let deployment = &document["definitions"]["io.k8s.api.apps.v1.Deployment"];
    assert_eq!(
        deployment["x-kubernetes-group-version-kind"],
        crate::value!([{"group": "apps", "kind": "Deployment", "version": "v1"}])
    );
    assert_eq!(deployment["properties"]["spec"]["$ref"], *"#/definitions/io.k8s.api.apps.v1.DeploymentSpec");
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    let names: Vec<&str> = patch["parameters"].items().iter().map(|p| p["name"].str_or_empty()).collect();
    assert_eq!(names, ["body", "dryRun", "fieldManager", "fieldValidation", "force"]);
    let legacy =
        &document["definitions"]["io.k8s.api.batch.v1beta1.CronJob"]["x-kubernetes-group-version-kind"];
    assert_eq!(legacy.items().len(), 2, "v1beta1 and v2alpha1 share it");
    let bytes = v2_protobuf(&document);
    assert!(bytes.starts_with(b"\x0a\x032.0"));
    assert!(bytes.len() > 500_000);
}
