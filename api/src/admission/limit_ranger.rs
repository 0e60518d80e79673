//! LimitRanger: containers without requests or limits get the namespace's defaults, and all stay
//! within its bounds.

use super::Refused;
use crate::quantity::Quantity;
use crate::tree::{Key, Value};
use crate::types::core::resources::{Amounts, aggregate, amounts, quantity};
use crate::types::fields::{Fields, Fill};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// Fills in the defaults of the namespace's LimitRanges, and notes in an annotation what it set.
pub fn default<'a>(pod: &mut Value, ranges: impl IntoIterator<Item = &'a Value>) {
    let (mut requests, mut limits) = (Amounts::new(), Amounts::new());
    for range in ranges {
        for item in range["spec"].list("limits").iter().filter(|i| i.text("type") == "Container") {
            for (name, amount) in amounts(&item["defaultRequest"]) {
                requests.insert(name, amount);
            }
            for (name, amount) in amounts(&item["default"]) {
                limits.insert(name, amount);
            }
        }
    }
    if requests.is_empty() && limits.is_empty() {
        return;
    }
    let mut notes = Vec::new();
    let spec = pod.message("spec");
    for (field, label) in [("containers", "container"), ("initContainers", "init container")] {
        spec.each(field, |c| {
            let name = c.text("name").to_owned();
            for (list, defaults, what) in [("requests", &requests, "request"), ("limits", &limits, "limit")] {
                let set = fill(c.message("resources"), list, defaults);
                if !set.is_empty() {
                    notes.push(format!("{} {what} for {label} {name}", set.join(", ")));
                }
            }
        });
    }
    if !notes.is_empty() {
        let text = format!("LimitRanger plugin set: {}", notes.join("; "));
        pod.make(&["metadata", "annotations"]).insert(Key::Static(ANNOTATION), text);
    }
}

fn fill(resources: &mut Value, list: &'static str, defaults: &Amounts) -> Vec<String> {
    let missing: Vec<_> = defaults.iter().filter(|(name, _)| resources[list].get(name).is_none()).collect();
    for (name, amount) in &missing {
        resources.message(list).make(&[]).insert(Key::from(name.as_str()), amount.to_string());
    }
    missing.into_iter().map(|(name, _)| name.clone()).collect()
}

/// Checks a pod against the namespace's LimitRanges.
///
/// # Errors
/// Every bound that is not kept, in one message.
pub fn validate_pod<'a>(pod: &Value, ranges: impl IntoIterator<Item = &'a Value>) -> Result<(), Refused> {
    let mut wrong = Vec::new();
    for item in ranges.into_iter().flat_map(|r| r["spec"].list("limits")) {
        match item.text("type") {
            "Container" => {
                for field in ["containers", "initContainers"] {
                    for c in pod["spec"].list(field) {
                        let r = &c["resources"];
                        check(
                            item,
                            "Container",
                            &amounts(&r["requests"]),
                            &amounts(&r["limits"]),
                            &mut wrong,
                        );
                    }
                }
            }
            "Pod" => {
                let (requests, limits) =
                    (aggregate(&pod["spec"], "requests"), aggregate(&pod["spec"], "limits"));
                check(item, "Pod", &requests, &limits, &mut wrong);
            }
            _ => {}
        }
    }
    joined(wrong)
}

/// Checks a PersistentVolumeClaim's storage request.
///
/// # Errors
/// As [`validate_pod`].
pub fn validate_claim<'a>(claim: &Value, ranges: impl IntoIterator<Item = &'a Value>) -> Result<(), Refused> {
    let mut wrong = Vec::new();
    let storage = claim["spec"]["resources"]["requests"].get("storage").map(quantity).unwrap_or_default();
    let requests = Amounts::from([("storage".to_owned(), storage)]);
    for item in ranges.into_iter().flat_map(|r| r["spec"].list("limits")) {
        if item.text("type") == "PersistentVolumeClaim" {
            // A claim has no limits; its maximum binds the request.
            check(item, "PersistentVolumeClaim", &requests, &requests, &mut wrong);
        }
    }
    joined(wrong)
}

fn joined(mut wrong: Vec<String>) -> Result<(), Refused> {
    wrong.dedup();
    match wrong.len() {
        0 => Ok(()),
        1 => Err(Refused(wrong.remove(0))),
        _ => Err(Refused(format!("[{}]", wrong.join(", ")))),
    }
}

fn check(item: &Value, kind: &str, requests: &Amounts, limits: &Amounts, wrong: &mut Vec<String>) {
    let claim = kind == "PersistentVolumeClaim";
    for (name, min) in amounts(&item["min"]) {
        match (requests.get(&name), limits.get(&name)) {
            (None, _) => {
                wrong.push(format!("minimum {name} usage per {kind} is {min}.  No request is specified"))
            }
            (Some(r), _) if *r < min => {
                wrong.push(format!("minimum {name} usage per {kind} is {min}, but request is {r}"));
            }
            (_, Some(l)) if *l < min && !claim => {
                wrong.push(format!("minimum {name} usage per {kind} is {min}, but limit is {l}"));
            }
            _ => {}
        }
    }
    for (name, max) in amounts(&item["max"]) {
        match (requests.get(&name), limits.get(&name)) {
            (_, None) => {
                wrong.push(format!("maximum {name} usage per {kind} is {max}.  No limit is specified"))
            }
            (Some(r), _) if claim && *r > max => {
                wrong.push(format!("maximum {name} usage per {kind} is {max}, but request is {r}"));
            }
            (_, Some(l)) if *l > max => {
                wrong.push(format!("maximum {name} usage per {kind} is {max}, but limit is {l}"));
            }
            (Some(r), _) if *r > max => {
                wrong.push(format!("maximum {name} usage per {kind} is {max}, but request is {r}"));
            }
            _ => {}
        }
    }
    for (name, ratio) in amounts(&item["maxLimitRequestRatio"]) {
        check_ratio(&name, &ratio, kind, requests.get(&name), limits.get(&name), wrong);
    }
}

fn check_ratio(
    name: &str,
    ratio: &Quantity,
    kind: &str,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
    wrong: &mut Vec<String>,
) {
    let head = format!("{name} max limit to request ratio per {kind} is {ratio}, but ");
    match (request.filter(|r| r.sign() > 0), limit.filter(|l| l.sign() > 0)) {
        (None, _) => wrong.push(format!("{head}no request is specified or request is 0")),
        (_, None) => wrong.push(format!("{head}no limit is specified or limit is 0")),
        (Some(request), Some(limit)) => {
            let own = limit.as_f64() / request.as_f64();
            if own > ratio.as_f64() {
                wrong.push(format!("{head}provided ratio is {own:.6}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn defaults_are_noted_and_bounds_kept() {
        let range = value!({"spec": {"limits": [
            {"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "500m"}, "max": {"cpu": "2"}},
        ]}});
        let mut pod = value!({"spec": {"containers": [{"name": "c"}]}});
        default(&mut pod, [&range]);
        assert_eq!(
            pod["metadata"]["annotations"][ANNOTATION],
            value!("LimitRanger plugin set: cpu request for container c; cpu limit for container c")
        );
        assert_eq!(validate_pod(&pod, [&range]), Ok(()));
        let big = value!({"spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "3"}, "requests": {"cpu": "1"}}}]}});
        assert_eq!(
            validate_pod(&big, [&range]),
            Err(Refused("maximum cpu usage per Container is 2, but limit is 3".to_owned()))
        );
    }
}
