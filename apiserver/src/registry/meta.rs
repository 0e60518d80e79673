//! The metadata that belongs to the server.

use trireme_api::Value;
use trireme_api::tree::Map;

/// Drops what a client may not set on a new object.
pub(crate) fn strip_for_create(value: &mut Value) {
    let metadata = value.make(&["metadata"]);
    for key in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "resourceVersion",
    ] {
        metadata.remove(key);
    }
}

/// Gives a new object its identity.
pub(crate) fn stamp(value: &mut Value, now: &str) {
    let metadata = value.make(&["metadata"]);
    metadata.set("uid", uuid::Uuid::new_v4().to_string());
    metadata.set("creationTimestamp", now);
}

/// Keeps on an update what a client may not change.
pub(crate) fn keep_on_update(new: &mut Value, old: &Value) {
    let old = &old["metadata"];
    let metadata = new.make(&["metadata"]);
    if metadata.get("uid").is_none_or(|uid| uid.str_or_empty().is_empty()) {
        keep(metadata, old, "uid");
    }
    for key in ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        keep(metadata, old, key);
    }
    for key in ["name", "namespace", "generateName"] {
        if !old[key].is_null() {
            keep(metadata, old, key);
        }
    }
    metadata.remove("selfLink");
}

fn keep(metadata: &mut Map, old: &Value, key: &'static str) {
    match &old[key] {
        Value::Null => {
            metadata.remove(key);
        }
        value => metadata.set(key, value.clone()),
    }
}

/// The finalizers of an object.
pub(crate) fn finalizers(value: &Value) -> Vec<String> {
    value["metadata"]["finalizers"].items().iter().filter_map(|f| f.as_str().map(str::to_owned)).collect()
}

pub(crate) fn set_finalizers(value: &mut Value, finalizers: &[String]) {
    let metadata = value.make(&["metadata"]);
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.set("finalizers", finalizers.to_vec());
    }
}

/// Five characters that cannot be taken for others, as upstream appends to `generateName`.
pub(crate) fn name_suffix() -> String {
    use rand::RngExt;
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut rng = rand::rng();
    (0..5).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
}

/// Characters of a base that leave room for the suffix in a 63-character label.
const GENERATED_BASE_MAX: usize = 58;

/// A name from `generateName`.
pub(crate) fn generate_name(base: &str) -> String {
    let cut = base.char_indices().nth(GENERATED_BASE_MAX).map_or(base.len(), |(i, _)| i);
    format!("{}{}", &base[..cut], name_suffix())
}
