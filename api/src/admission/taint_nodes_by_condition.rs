//! TaintNodesByCondition: a new node takes no pods until it is ready.

use crate::tree::Value;
use crate::types::fields::{Fields, Fill};
use crate::value;

const NOT_READY: &str = "node.kubernetes.io/not-ready";

pub fn admit(node: &mut Value) {
    let spec = node.message("spec");
    let mut taints = spec.list("taints").to_vec();
    if taints.iter().any(|t| t.text("key") == NOT_READY && t.text("effect") == "NoSchedule") {
        return;
    }
    taints.push(value!({"key": NOT_READY, "effect": "NoSchedule"}));
    spec.put("taints", Value::Array(taints));
}
