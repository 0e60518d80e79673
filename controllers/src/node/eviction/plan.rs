//! How long a pod may stay on a tainted node.

use jiff::Timestamp;
use trireme_api::{Object, Value};

use crate::runtime::parse_time;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Stays,
    /// Look again in so many seconds.
    After(u64),
    Goes,
}

pub(super) fn plan(pod: &Object, node: &Object, now: Timestamp) -> Verdict {
    if pod.deletion_timestamp().is_some() || crate::pods::is_terminal(pod) {
        return Verdict::Stays;
    }
    let mut earliest: Option<i64> = None;
    for taint in node.spec()["taints"].items().iter().filter(|t| t["effect"] == "NoExecute") {
        let mut tolerated = false;
        let mut seconds: Option<i64> = None;
        for toleration in pod.spec()["tolerations"].items().iter().filter(|t| tolerates(t, taint)) {
            tolerated = true;
            if let Some(s) = toleration["tolerationSeconds"].as_i64() {
                seconds = Some(seconds.map_or(s, |known| known.min(s)));
            }
        }
        let left = match (tolerated, seconds) {
            (false, _) => 0,
            (true, None) => continue,
            (true, Some(s)) => {
                let since = parse_time(taint["timeAdded"].str_or_empty())
                    .map_or(now.as_second(), Timestamp::as_second);
                since.saturating_add(s.max(0)) - now.as_second()
            }
        };
        earliest = Some(earliest.map_or(left, |e| e.min(left)));
    }
    match earliest {
        None => Verdict::Stays,
        Some(left) if left <= 0 => Verdict::Goes,
        Some(left) => Verdict::After(left.unsigned_abs()),
    }
}

fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let (key, effect) = (toleration["key"].str_or_empty(), toleration["effect"].str_or_empty());
    if !effect.is_empty() && taint["effect"] != *effect {
        return false;
    }
    if !key.is_empty() && taint["key"] != *key {
        return false;
    }
    match toleration["operator"].str_or_empty() {
        "Exists" => true,
        // An empty key tolerates everything only with Exists.
        "" | "Equal" => {
            !key.is_empty() && toleration["value"].str_or_empty() == taint["value"].str_or_empty()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_api::value;

    #[test]
    fn tolerations_say_how_long() {
        let now: Timestamp = "2024-01-01T00:01:40Z".parse().unwrap();
        let node = Object(value!({"spec": {"taints": [
            {"key": "other", "effect": "NoSchedule"},
            {"key": "down", "effect": "NoExecute", "value": "v", "timeAdded": "2024-01-01T00:00:00Z"},
        ]}}));
        let check = |tolerations: Value, want: Verdict| {
            let pod = Object(value!({"spec": {"tolerations": tolerations}}));
            assert_eq!(plan(&pod, &node, now), want, "{pod:?}");
        };
        check(Value::Null, Verdict::Goes);
        check(value!([{"operator": "Exists"}]), Verdict::Stays);
        check(
            value!([{"key": "down", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]),
            Verdict::After(200),
        );
        check(value!([{"key": "down", "operator": "Exists", "tolerationSeconds": 100}]), Verdict::Goes);
        check(value!([{"key": "down", "value": "v"}]), Verdict::Stays);
        check(value!([{"key": "down", "value": "w"}]), Verdict::Goes);
        check(value!([{"operator": "Exists", "effect": "NoSchedule"}]), Verdict::Goes);
        check(
            value!([{"key": "down", "operator": "Exists", "tolerationSeconds": 300}, {"operator": "Exists", "tolerationSeconds": 150}]),
            Verdict::After(50),
        );
    }
}
