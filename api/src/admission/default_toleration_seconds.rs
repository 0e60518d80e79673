//! DefaultTolerationSeconds: pods leave a node that is gone after five minutes, unless they say.

use crate::tree::Value;
use crate::types::fields::{Fields, Fill};
use crate::value;

const SECONDS: i64 = 300;
const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

pub fn admit(pod: &mut Value) {
    let spec = pod.message("spec");
    let mut list = spec.list("tolerations").to_vec();
    let given = list.clone();
    for taint in TAINTS {
        let tolerated = given.iter().any(|t| {
            (t.text("key") == taint || t.text("key").is_empty())
                && (t.text("effect") == "NoExecute" || t.text("effect").is_empty())
        });
        if !tolerated {
            list.push(value!({
                "key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS,
            }));
        }
    }
    if list.len() > given.len() {
        spec.put("tolerations", Value::Array(list));
    }
}
