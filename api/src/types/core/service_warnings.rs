//! What a Service's author is warned of.

use crate::tree::Value;
use crate::types::fields::Fields;

pub fn warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let mut out = Vec::new();
    let ips = &new["spec"]["externalIPs"];
    if !ips.items().is_empty() && old.is_none_or(|o| o["spec"]["externalIPs"] != *ips) {
        out.push(
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned(),
        );
    }
    let headless = new["spec"].text("clusterIP") == "None";
    if headless && !new["spec"].text("loadBalancerIP").is_empty() {
        out.push("spec.loadBalancerIP is ignored when spec.clusterIP is \"None\"".to_owned());
    }
    if headless
        && !new["spec"].text("sessionAffinity").is_empty()
        && new["spec"].text("sessionAffinity") != "None"
    {
        out.push("spec.SessionAffinity is ignored for headless services".to_owned());
    }
    out
}
