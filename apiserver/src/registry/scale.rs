//! The `scale` subresource: replicas of a kind, in one shape for all.

use trireme_api::Value;
use trireme_api::selector::LabelSelector;
use trireme_api::tree::Map;

use super::Resource;

/// The Scale of an object (in the storage version's shape).
pub(super) fn scale_of(resource: &Resource, object: &Value) -> Value {
    let metadata = &object["metadata"];
    let mut out = Map::new();
    out.set("kind", "Scale");
    out.set("apiVersion", "autoscaling/v1");
    let mut shown = Map::new();
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if !metadata[key].is_null() {
            shown.set(key, metadata[key].clone());
        }
    }
    out.set("metadata", shown);
    let mut spec = Map::new();
    let replicas = object["spec"]["replicas"].as_i64().unwrap_or(0);
    if replicas != 0 {
        spec.set("replicas", replicas);
    }
    out.set("spec", spec);
    let mut status = Map::new();
    status.set("replicas", object["status"]["replicas"].as_i64().unwrap_or(0));
    let selector = selector_text(resource, &object["spec"]["selector"]);
    if !selector.is_empty() {
        status.set("selector", selector);
    }
    out.set("status", status);
    Value::Object(out)
}

fn selector_text(resource: &Resource, selector: &Value) -> String {
    if resource.row.plural == "replicationcontrollers" {
        let pairs = selector.members().iter().map(|(k, v)| (&**k, v.str_or_empty()));
        return LabelSelector::from_pairs(pairs).to_string();
    }
    LabelSelector::from_object(selector).map(|s| s.to_string()).unwrap_or_default()
}
