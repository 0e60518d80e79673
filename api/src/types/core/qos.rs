//! The quality-of-service class of a pod, from its requests and limits of cpu and memory.

use crate::tree::Value;
use crate::types::core::resources::{Amounts, amounts};
use crate::types::fields::Fields;

const COUNTED: [&str; 2] = ["cpu", "memory"];

/// `BestEffort`, `Burstable` or `Guaranteed`.
pub fn class(spec: &Value) -> &'static str {
    let (mut requests, mut limits) = (Amounts::new(), Amounts::new());
    let mut guaranteed = true;
    let mut take = |requirements: &Value| {
        for (list, total) in [("requests", &mut requests), ("limits", &mut limits)] {
            for (name, amount) in amounts(&requirements[list]) {
                if COUNTED.contains(&name.as_str()) && amount.sign() > 0 {
                    total.entry(name).or_default().add(&amount);
                }
            }
        }
        let own = amounts(&requirements["limits"]);
        guaranteed &= COUNTED.iter().all(|name| own.get(*name).is_some_and(|a| a.sign() > 0));
    };
    if spec["resources"].has("requests") || spec["resources"].has("limits") {
        take(&spec["resources"]);
    } else {
        spec.list("containers").iter().chain(spec.list("initContainers")).for_each(|c| take(&c["resources"]));
    }
    if requests.is_empty() && limits.is_empty() {
        "BestEffort"
    } else if guaranteed
        && requests.len() == limits.len()
        && requests.iter().all(|(name, amount)| limits.get(name).is_some_and(|l| l == amount))
    {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn classes() {
        let pod = |resources: Value| {
            let mut spec = value!({"containers": [{"name": "c"}]});
            spec.get_mut("containers").unwrap().items_mut()[0].make(&[]).insert("resources", resources);
            class(&spec)
        };
        assert_eq!(pod(value!({})), "BestEffort");
        assert_eq!(pod(value!({"requests": {"cpu": "1"}})), "Burstable");
        let full = value!({"cpu": "1", "memory": "1Gi"});
        let mut both = value!({});
        both.make(&[]).insert("limits", full.clone());
        both.make(&[]).insert("requests", value!({"cpu": "1000m", "memory": "1024Mi"}));
        assert_eq!(pod(both), "Guaranteed");
    }
}
