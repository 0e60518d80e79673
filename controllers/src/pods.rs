//! What several controllers ask of pods, and how they make them.

use jiff::Timestamp;
use trireme_api::{Object, Value, value};

use crate::runtime::parse_time;

/// `<namespace>/<name>`.
pub(crate) fn key(pod: &Object) -> String {
    trireme_client::informer::key_of(pod)
}

pub(crate) fn phase(pod: &Object) -> &str {
    pod.status()["phase"].str_or_empty()
}

/// All containers have ended and will not be started again.
pub(crate) fn is_terminal(pod: &Object) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Counts as a replica: neither ended nor being deleted.
pub(crate) fn is_active(pod: &Object) -> bool {
    !is_terminal(pod) && pod.deletion_timestamp().is_none()
}

pub(crate) fn condition<'a>(object: &'a Object, kind: &str) -> Option<&'a Value> {
    object.status()["conditions"].items().iter().find(|c| c["type"] == *kind)
}

pub(crate) fn is_ready(pod: &Object) -> bool {
    condition(pod, "Ready").is_some_and(|c| c["status"] == "True")
}

/// Since when the pod is ready.
pub(crate) fn ready_since(pod: &Object) -> Option<Timestamp> {
    condition(pod, "Ready")
        .filter(|c| c["status"] == "True")
        .and_then(|c| parse_time(c["lastTransitionTime"].str_or_empty()))
}

/// Whether the pod has been ready for `min_ready_seconds`, and if not, in how many it will be.
pub(crate) fn availability(pod: &Object, min_ready_seconds: i64, now: Timestamp) -> Result<(), Option<i64>> {
    if !is_ready(pod) {
        return Err(None);
    }
    if min_ready_seconds == 0 {
        return Ok(());
    }
    let Some(since) = ready_since(pod) else { return Err(None) };
    let left = since.as_second() + min_ready_seconds - now.as_second();
    if left <= 0 { Ok(()) } else { Err(Some(left)) }
}

/// The pod that a template of `owner` asks for. The name has `suffix` after the owner's, cut so
/// that it stays a label.
pub(crate) fn from_template(
    template: &Value,
    owner: &Object,
    owner_reference: Value,
    suffix: &str,
) -> Object {
    const NAME_MAX: usize = 63;
    let prefix = format!("{}-", owner.name());
    let cut = prefix.len().min(NAME_MAX - suffix.len());
    let mut pod = value!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": prefix.as_str(),
            "name": format!("{}{suffix}", &prefix[..cut]),
            "namespace": owner.namespace(),
        },
    });
    let metadata = pod.make(&["metadata"]);
    for field in ["labels", "annotations", "finalizers"] {
        if let Some(v) = template["metadata"].get(field) {
            metadata.insert(field, v.clone());
        }
    }
    metadata.set("ownerReferences", Value::Array(vec![owner_reference]));
    pod.make(&[]).set("spec", template["spec"].clone());
    Object(pod)
}

/// Characters of generated names: no vowels, nothing that is mistaken for another.
const SUFFIX_CHARACTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

pub(crate) fn random_suffix() -> String {
    (0..5).map(|_| SUFFIX_CHARACTERS[rand::random_range(0..SUFFIX_CHARACTERS.len())] as char).collect()
}

/// Decimal digits in those characters: the form of `pod-template-hash`.
pub(crate) fn safe_encode(text: &str) -> String {
    text.bytes().map(|b| SUFFIX_CHARACTERS[b as usize % SUFFIX_CHARACTERS.len()] as char).collect()
}
