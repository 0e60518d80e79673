//! Patches that upstream answered, applied to what it answered before.

use super::*;
use crate::Value;
use crate::schema::builtin;

/// Upstream refuses or changes these after the patch has applied.
const DECIDED_LATER: &[&str] = &[
    "merge-kind-change",
    "merge-metadata",
    "json-malformed",
    "content-type",
    "smp-root-delete",
    "smp-imagepullsecrets",
    "smp-ownerrefs",
    "smp-missing-key",
    "smp-retainkeys",
    "deploy-smp",
    "deploy-status-vs-spec",
    "service-type-change",
    "unknown-subresource",
    "fieldmanager",
];

#[test]
fn recorded_patches_apply() {
    let root = std::env::var_os("TRIREME_SHARED").map_or_else(
        || std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        std::path::PathBuf::from,
    );
    let path = root.join("reference/recorded/patches.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        // Past the capture of what tests that pass print.
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("skipped: recorded_patches_apply: {} is not here\n", path.display()),
        );
        return;
    };
    let scenarios: Vec<Value> = serde_json::from_str(&text).expect("the recording is JSON");
    let mut compared = 0;
    for scenario in &scenarios {
        let name = scenario["name"].str_or_empty();
        if !DECIDED_LATER.iter().any(|n| name.starts_with(&format!("patches/{n}"))) {
            compared += check_scenario(name, scenario["steps"].items());
        }
    }
    assert!(compared > 20, "{compared} patches");
}

fn check_scenario(name: &str, steps: &[Value]) -> usize {
    let mut live = Value::Null;
    let mut compared = 0;
    for step in steps {
        let (sent, expected) = (&step["body"], &step["expect"]);
        if step["method"] == "POST" {
            live = sent.clone();
        }
        if step["method"] != "PATCH" || live.is_null() || sent.is_null() {
            continue;
        }
        let result = apply(step["headers"]["Content-Type"].str_or_empty(), live.clone(), sent.clone());
        match (result, expected["status"].as_i64().unwrap_or(0)) {
            (Ok(patched), 200) => {
                live = expected["body"].clone();
                assert_holds(name, &live, &patched);
            }
            (Err(PatchError::Internal(message)), 500) => {
                assert_eq!(expected["body"]["message"], *message, "{name}")
            }
            (Err(PatchError::BadRequest(message)), 400) => {
                assert_eq!(expected["body"]["message"], *message, "{name}")
            }
            (Err(PatchError::Unprocessable(_)), 422) => {}
            (result, status) => panic!("{name}: {status} recorded, here {result:?}"),
        }
        compared += 1;
    }
    compared
}

fn apply(content_type: &str, live: Value, patch: Value) -> Result<Value, PatchError> {
    if content_type.contains("json-patch") {
        return json_patch(live, &patch);
    }
    if content_type.contains("merge-patch") && !content_type.contains("strategic") {
        return merge_patch(live, patch);
    }
    let api_version = live["apiVersion"].str_or_empty();
    let (group, version) = api_version.split_once('/').unwrap_or(("core", api_version));
    let message = format!("{group}/{version}.{}", live["kind"].str_or_empty());
    let id = builtin().find(&message).unwrap_or_else(|| panic!("no message {message}"));
    strategic_merge(builtin(), id, live, patch)
}

/// Upstream's answer has all that the patched object has (and defaults besides).
fn assert_holds(name: &str, answer: &Value, patched: &Value) {
    match (answer, patched) {
        (_, Value::Null) => {}
        (Value::Object(answer), Value::Object(patched)) => {
            for (key, value) in
                patched.iter().filter(|(k, _)| !matches!(&***k, "managedFields" | "generation"))
            {
                match answer.get(key) {
                    Some(answer) => assert_holds(name, answer, value),
                    None => assert!(value.is_null(), "{name}: {key} is not in the answer"),
                }
            }
        }
        (Value::Array(answer), Value::Array(patched)) => {
            assert_eq!(answer.len(), patched.len(), "{name}: {patched:?}");
            answer.iter().zip(patched).for_each(|(a, p)| assert_holds(name, a, p));
        }
        (answer, patched) => assert_eq!(answer, patched, "{name}"),
    }
}
