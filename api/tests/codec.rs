//! Objects with every field filled, as upstream writes them in JSON and in protobuf: each decoded
//! and encoded as the other, in both directions.

use std::path::PathBuf;

use trireme_api::Value;
use trireme_api::codec::{json, protobuf};
use trireme_api::normal::normalize;
use trireme_api::schema::{MessageId, builtin};

/// The folder of reference data: `$TRIREME_SHARED`, or beside the workspace.
fn shared(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("TRIREME_SHARED")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"));
    let path = root.join(path);
    path.exists().then_some(path)
}

fn message(api_version: &str, kind: &str) -> MessageId {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    builtin().find_kind(group, version, kind).unwrap_or_else(|| panic!("no message {api_version} {kind}"))
}

/// The first differences, for the message of a failure.
fn differences(path: &str, a: &Value, b: &Value, out: &mut Vec<String>) {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            for (k, v) in x {
                differences(&format!("{path}.{k}"), v, &b[&**k], out);
            }
            for (k, v) in y.iter().filter(|(k, _)| !x.contains_key(k)) {
                out.push(format!("{path}.{k}: missing, expected {v}"));
            }
        }
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
            for (i, (v, w)) in x.iter().zip(y).enumerate() {
                differences(&format!("{path}[{i}]"), v, w, out);
            }
        }
        _ if a == b => {}
        _ => out.push(format!("{path}: {a}, expected {b}")),
    }
}

#[test]
fn json_and_protobuf_are_the_same_objects() {
    let Some(folder) = shared("reference/codec-1.36") else {
        // Past the capture of what tests that pass print.
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("skipped: json_and_protobuf_are_the_same_objects: no reference data\n"),
        );
        return;
    };
    let schema = builtin();
    let mut failures = Vec::new();
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let mut count = 0;
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "json")) {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read(file).unwrap();
        let wire = std::fs::read(file.with_extension("pb")).unwrap();
        let envelope = protobuf::open(&wire).unwrap();
        let (api_version, kind) = (envelope.api_version, envelope.kind);
        // A WatchEvent alone does not name its kind.
        let id = if kind.is_empty() { message("v1", "WatchEvent") } else { message(api_version, kind) };
        let named = schema.message(id).field("kind").is_some();
        if named {
            assert_eq!(json::type_meta(&text).unwrap(), (api_version.to_owned(), kind.to_owned()), "{name}");
        }

        let decoded = json::decode(schema, id, &text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut from_json = decoded.value;
        if !decoded.strict.is_empty() {
            failures.push(format!("{name}: {:?}", decoded.strict));
        }
        let plain: Value = serde_json::from_slice(&text).unwrap();
        normalize(schema, id, &mut from_json);
        let mut wrong = Vec::new();
        differences("", &from_json, &plain, &mut wrong);
        failures.extend(wrong.iter().take(3).map(|w| format!("{name}: JSON: {w}")));

        let mut from_wire =
            protobuf::decode(schema, id, envelope.raw).unwrap_or_else(|e| panic!("{name}: {e}"));
        if named {
            from_wire.as_object_mut().unwrap().set("kind", kind);
            from_wire.as_object_mut().unwrap().set("apiVersion", api_version);
        }
        normalize(schema, id, &mut from_wire);
        let mut wrong = Vec::new();
        differences("", &from_wire, &from_json, &mut wrong);
        failures.extend(wrong.iter().take(3).map(|w| format!("{name}: protobuf: {w}")));

        let sealed = protobuf::seal(api_version, kind, &protobuf::encode(schema, id, &from_json).unwrap());
        if sealed != wire {
            let at =
                sealed.iter().zip(&wire).position(|(a, b)| a != b).unwrap_or(sealed.len().min(wire.len()));
            failures.push(format!(
                "{name}: encoded protobuf differs at byte {at} of {}: {:?} for {:?}",
                wire.len(),
                &sealed[at.saturating_sub(12)..(at + 12).min(sealed.len())],
                &wire[at.saturating_sub(12)..(at + 12).min(wire.len())]
            ));
        }
        let order = |v: &Value| String::from_utf8(json::encode(v)).unwrap();
        let compact = order(&plain);
        if order(&from_json) != compact {
            let ours = order(&from_json);
            let at = ours.bytes().zip(compact.bytes()).position(|(a, b)| a != b).unwrap_or(0);
            let near = |s: &str| s.chars().skip(at.saturating_sub(20)).take(60).collect::<String>();
            failures.push(format!("{name}: order: {} expected {}", near(&ours), near(&compact)));
        }
        count += 1;
    }
    assert!(count > 100, "only {count} objects");
    assert!(
        failures.is_empty(),
        "{} failures\n{}",
        failures.len(),
        failures.iter().take(60).cloned().collect::<Vec<_>>().join("\n")
    );
}
