//! Our answer beside upstream's: identities, times and addresses masked as in the recordings.

use serde_json::Value as Json;
use trireme_api::field_error::FieldError;

pub(super) const UID: &str = "0a0a0a0a-0000-4000-8000-000000000001";
pub(super) const NOW: &str = "2026-01-02T03:04:05Z";
pub(super) const NAMESPACE: &str = "ns-under-test";
pub(super) const CLUSTER_IP: &str = "10.96.7.8";
pub(super) const TOKEN_VOLUME: &str = "kube-api-access-abcde";
pub(super) const SUFFIX: &str = "x7k2p";

/// Fields that the recordings do not fix.
const UNFIXED: [&str; 5] = ["uid", "resourceVersion", "creationTimestamp", "managedFields", "selfLink"];

fn mask_text(text: &str) -> String {
    text.replace(UID, "<uid>")
        .replace(NOW, "<time>")
        .replace(NAMESPACE, "{{ns}}")
        .replace(TOKEN_VOLUME, "kube-api-access-<gen>")
        .replace(CLUSTER_IP, "<ip>")
        .replace(SUFFIX, "<gen>")
}

/// `value` as a recording would hold it.
pub(super) fn masked(value: &Json, key: &str) -> Json {
    match value {
        Json::String(s) => Json::String(mask_text(s)),
        Json::Number(_) if matches!(key, "nodePort" | "healthCheckNodePort") => Json::from("<port>"),
        Json::Array(list) => Json::Array(list.iter().map(|v| masked(v, key)).collect()),
        Json::Object(map) => map
            .iter()
            .filter(|(k, _)| key != "metadata" || !UNFIXED.contains(&k.as_str()))
            .map(|(k, v)| (mask_text(k), masked(v, k)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

/// Takes away what lies at a JSON pointer.
pub(super) fn remove(value: &mut Json, pointer: &str) {
    let Some((parent, key)) = pointer.rsplit_once('/') else { return };
    if let Some(map) = value.pointer_mut(parent).and_then(Json::as_object_mut) {
        map.remove(key);
    }
}

/// The first place where two documents differ.
pub(super) fn difference(ours: &Json, theirs: &Json, path: &str) -> Option<String> {
    match (ours, theirs) {
        (Json::Object(a), Json::Object(b)) => {
            let keys = b.keys().chain(a.keys().filter(|k| !b.contains_key(*k)));
            for key in keys {
                let at = format!("{path}/{key}");
                match (a.get(key), b.get(key)) {
                    (Some(x), Some(y)) => {
                        if let Some(found) = difference(x, y, &at) {
                            return Some(found);
                        }
                    }
                    (Some(x), None) => return Some(format!("{at}: ours has {x}")),
                    (None, Some(y)) => return Some(format!("{at}: ours lacks {y}")),
                    (None, None) => {}
                }
            }
            None
        }
        (Json::Array(a), Json::Array(b)) => {
            if a.len() != b.len() {
                return Some(format!("{path}: ours {ours}, theirs {theirs}"));
            }
            a.iter().zip(b).enumerate().find_map(|(i, (x, y))| difference(x, y, &format!("{path}[{i}]")))
        }
        _ => (ours != theirs).then(|| format!("{path}: ours {ours}, theirs {theirs}")),
    }
}

/// Errors as the causes of a Status; those of maps come in any order upstream.
pub(super) fn causes_differ(errors: &[FieldError], status: &Json) -> Option<String> {
    let ours: Vec<String> =
        errors.iter().map(|e| mask_text(&format!("{} | {} | {}", e.reason(), e.field, e.body()))).collect();
    let empty = Vec::new();
    let theirs: Vec<String> = status["details"]["causes"]
        .as_array()
        .unwrap_or(&empty)
        .iter()
        .map(|c| {
            let text = |k: &str| c[k].as_str().unwrap_or("").to_owned();
            format!("{} | {} | {}", text("reason"), text("field"), text("message"))
        })
        .collect();
    if ours == theirs {
        return None;
    }
    let keyed = |list: &[String]| {
        list.iter().any(|c| c.split(" | ").nth(1).is_some_and(|f| f.ends_with(']') || f.ends_with("labels")))
    };
    let (mut a, mut b) = (ours.clone(), theirs.clone());
    a.sort();
    b.sort();
    if a == b && keyed(&b) {
        return None;
    }
    Some(format!(
        "causes\n    ours:   {}\n    theirs: {}",
        ours.join("\n            "),
        theirs.join("\n            ")
    ))
}
