//! What the legacy versions of Deployment and DaemonSet have and apps/v1 has not travels in
//! annotations, under upstream's names.

use super::{set_annotation, take_annotation};
use crate::tree::Value;

const ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// `spec.rollbackTo.revision`.
pub fn rollback_to_hub(deployment: &mut Value) {
    let Some(spec) = deployment.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if let Some(rollback) = spec.remove("rollbackTo").filter(|r| !r.is_null()) {
        let revision = rollback["revision"].as_i64().unwrap_or(0);
        set_annotation(deployment, ROLLBACK_TO, revision.to_string());
    }
}

pub fn rollback_from_hub(deployment: &mut Value) {
    let revision = take_annotation(deployment, ROLLBACK_TO).and_then(|v| v.as_str()?.parse::<i64>().ok());
    if let Some(revision) = revision {
        deployment.make(&["spec", "rollbackTo"]).set("revision", revision);
    }
}

/// `spec.templateGeneration`.
pub fn template_generation_to_hub(set: &mut Value) {
    let Some(spec) = set.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if let Some(generation) = spec.remove("templateGeneration").and_then(|v| v.as_i64()) {
        set_annotation(set, TEMPLATE_GENERATION, generation.to_string());
    }
}

pub fn template_generation_from_hub(set: &mut Value) {
    let generation = take_annotation(set, TEMPLATE_GENERATION).and_then(|v| v.as_str()?.parse::<i64>().ok());
    if let Some(generation) = generation {
        set.make(&["spec"]).set("templateGeneration", generation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn what_v1_lacks_comes_back() {
        let old = value!({"metadata": {"name": "a"}, "spec": {"rollbackTo": {"revision": 3}}});
        let mut v = old.clone();
        rollback_to_hub(&mut v);
        assert_eq!(v, value!({"metadata": {"name": "a", "annotations": {ROLLBACK_TO: "3"}}, "spec": {}}));
        rollback_from_hub(&mut v);
        assert_eq!(v, old);
    }
}
