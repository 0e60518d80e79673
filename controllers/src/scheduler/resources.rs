//! Amounts of resources: what a pod asks for, what a node offers.
//!
//! Integers in the unit that upstream's scheduler counts in: CPU in thousandths of a core,
//! everything else in whole units (bytes, devices).

use trireme_api::Value;
use trireme_api::quantity::Quantity;

/// CPU of a container that asks for none, when nodes are compared (never when fit is decided).
const CPU_MILLI_UNSTATED: i64 = 100;
/// Memory of a container that asks for none, when nodes are compared.
const MEMORY_BYTES_UNSTATED: i64 = 200 * 1024 * 1024;

/// Amounts by resource name. `cpu` and `memory` are always at hand, others are few.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Resources {
    pub(super) cpu_milli: i64,
    pub(super) memory_bytes: i64,
    /// Sorted by name; amounts are not zero.
    pub(super) others: Vec<(Box<str>, i64)>,
}

impl Resources {
    /// Reads a `ResourceList` (`{"cpu": "100m", …}`). Amounts that do not parse were refused by
    /// validation, so they count as nothing here.
    pub(super) fn from_list(list: &Value) -> Resources {
        let mut out = Resources::default();
        for (name, amount) in list.members() {
            let Ok(quantity) = Quantity::from_value(amount) else { continue };
            match &**name {
                "cpu" => out.cpu_milli = quantity.milli_value(),
                "memory" => out.memory_bytes = quantity.value(),
                other => out.set(other, quantity.value()),
            }
        }
        out
    }

    pub(super) fn get(&self, name: &str) -> i64 {
        match name {
            "cpu" => self.cpu_milli,
            "memory" => self.memory_bytes,
            other => self.others.binary_search_by(|(n, _)| (**n).cmp(other)).map_or(0, |i| self.others[i].1),
        }
    }

    fn set(&mut self, name: &str, amount: i64) {
        match self.others.binary_search_by(|(n, _)| (**n).cmp(name)) {
            Ok(i) => self.others[i].1 = amount,
            Err(i) => self.others.insert(i, (name.into(), amount)),
        }
    }

    pub(super) fn add(&mut self, other: &Resources) {
        self.change(other, 1);
    }

    pub(super) fn subtract(&mut self, other: &Resources) {
        self.change(other, -1);
    }

    fn change(&mut self, other: &Resources, sign: i64) {
        self.cpu_milli += sign * other.cpu_milli;
        self.memory_bytes += sign * other.memory_bytes;
        for (name, amount) in &other.others {
            let now = self.get(name) + sign * amount;
            self.set(name, now);
        }
    }

    fn max(&mut self, other: &Resources) {
        self.cpu_milli = self.cpu_milli.max(other.cpu_milli);
        self.memory_bytes = self.memory_bytes.max(other.memory_bytes);
        for (name, amount) in &other.others {
            let now = self.get(name).max(*amount);
            self.set(name, now);
        }
    }
}

/// What `spec` asks a node for: the larger of "all containers and sidecars at once" and "the
/// hungriest init container beside the sidecars started before it", plus overhead. Pod-level
/// requests, where given, replace the sum. (Upstream: the resource helpers of `component-helpers`.)
pub(super) fn requests_of(spec: &Value) -> Resources {
    requests(spec, |container| Resources::from_list(&container["resources"]["requests"]))
}

/// The same with a nominal amount for containers that state none, so that pods without requests
/// still spread.
pub(super) fn comparable_requests_of(spec: &Value) -> Resources {
    requests(spec, |container| {
        let list = &container["resources"]["requests"];
        let mut r = Resources::from_list(list);
        if list.get("cpu").is_none() {
            r.cpu_milli = CPU_MILLI_UNSTATED;
        }
        if list.get("memory").is_none() {
            r.memory_bytes = MEMORY_BYTES_UNSTATED;
        }
        r
    })
}

fn requests(spec: &Value, of: impl Fn(&Value) -> Resources) -> Resources {
    let mut running = Resources::default();
    for container in spec["containers"].items() {
        running.add(&of(container));
    }
    let mut sidecars = Resources::default();
    let mut starting = Resources::default();
    for container in spec["initContainers"].items() {
        let own = of(container);
        let mut at_this_step = sidecars.clone();
        at_this_step.add(&own);
        starting.max(&at_this_step);
        if container["restartPolicy"] == "Always" {
            sidecars.add(&own);
        }
    }
    running.add(&sidecars);
    running.max(&starting);
    let pod_level = &spec["resources"]["requests"];
    if pod_level.is_object() {
        let stated = Resources::from_list(pod_level);
        if pod_level.get("cpu").is_some() {
            running.cpu_milli = stated.cpu_milli;
        }
        if pod_level.get("memory").is_some() {
            running.memory_bytes = stated.memory_bytes;
        }
    }
    running.add(&Resources::from_list(&spec["overhead"]));
    running
}

#[cfg(test)]
mod tests {
    use trireme_api::value;

    use super::*;

    #[test]
    fn init_containers_count_by_their_peak_and_sidecars_stay() {
        let spec = value!({
            "containers": [{"resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}],
            "initContainers": [
                {"restartPolicy": "Always", "resources": {"requests": {"cpu": "50m"}}},
                {"resources": {"requests": {"cpu": "300m", "nvidia.com/gpu": "1"}}}
            ],
            "overhead": {"memory": "1Mi"}
        });
        let r = requests_of(&spec);
        assert_eq!(r.cpu_milli, 350);
        assert_eq!(r.memory_bytes, 65 << 20);
        assert_eq!(r.get("nvidia.com/gpu"), 1);
    }

    #[test]
    fn what_is_added_can_be_taken_away() {
        let a = Resources::from_list(&value!({"cpu": "1", "memory": "1Gi", "x/y": "3"}));
        let mut sum = a.clone();
        sum.add(&a);
        assert_eq!(sum.get("x/y"), 6);
        sum.subtract(&a);
        assert_eq!(sum, a);
    }
}
