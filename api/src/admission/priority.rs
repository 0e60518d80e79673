//! Priority: the class of a pod gives its priority and whether it preempts.

use super::Refused;
use crate::tree::Value;
use crate::types::fields::{Fields, Fill};

const PREEMPT: &str = "PreemptLowerPriority";

/// The class to look up; "" for the default one.
pub fn class_name(pod: &Value) -> &str {
    pod["spec"].text("priorityClassName")
}

/// Admits a new pod. `class` is the PriorityClass of [`class_name`], or where that is "" the one
/// with `globalDefault`; `None` where there is none.
///
/// # Errors
/// The named class does not exist, or the pod claims another priority than its class gives.
pub fn admit_pod(pod: &mut Value, class: Option<&Value>) -> Result<(), Refused> {
    let name = class_name(pod).to_owned();
    let class = match class {
        None if !name.is_empty() => {
            return Err(Refused(format!("no PriorityClass with name {name} was found")));
        }
        class => class,
    };
    let spec = pod.message("spec");
    let priority = class.map_or(0, |c| c.int("value"));
    let policy = class.and_then(|c| c.opt_text("preemptionPolicy")).unwrap_or(PREEMPT);
    if let (true, Some(class)) = (name.is_empty(), class) {
        spec.put("priorityClassName", class["metadata"].text("name"));
    }
    if let Some(claimed) = spec.opt_int("priority").filter(|p| *p != priority) {
        return Err(Refused(format!(
            "the integer value of priority ({claimed}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name"
        )));
    }
    if let Some(claimed) = spec.opt_text("preemptionPolicy").filter(|p| *p != policy) {
        return Err(Refused(format!(
            "the string value of PreemptionPolicy ({claimed}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        )));
    }
    spec.put("priority", priority);
    spec.put("preemptionPolicy", policy);
    Ok(())
}
