//! Resource names, `core/v1.ResourceList` and `core/v1.ResourceRequirements`.

use std::collections::{BTreeMap, BTreeSet};

use crate::field_error::{ErrorList, FieldError, Path};
use crate::quantity::Quantity;
use crate::tree::{Key, Value};
use crate::types::fields::{Fields, Fill, IS_NEGATIVE, invalid_each};
use crate::types::format;

const HUGE_PAGES: &str = "hugepages-";
const STANDARD: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "requests.storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];
/// Counts of objects, in quotas.
const COUNTED: &[&str] = &[
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

pub fn is_huge_pages(name: &str) -> bool {
    name.starts_with(HUGE_PAGES)
}
/// A name of Kubernetes' own: without a domain, or with one of `kubernetes.io`.
pub fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}
/// A device or other resource that a vendor counts.
pub fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && format::label_key(&format!("requests.{name}")).is_empty()
}
/// Requests may be below limits.
pub fn is_overcommit_allowed(name: &str) -> bool {
    is_native(name) && !is_huge_pages(name)
}
fn is_standard(name: &str) -> bool {
    STANDARD.contains(&name)
        || COUNTED.contains(&name)
        || is_huge_pages(name)
        || name.starts_with("requests.hugepages-")
}
fn is_integer(name: &str) -> bool {
    COUNTED.contains(&name) || is_extended(name)
}
pub fn is_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || is_huge_pages(name)
}

/// What is not a quantity counts as zero: decoding has refused it before.
pub fn quantity(value: &Value) -> Quantity {
    Quantity::from_value(value).unwrap_or_default()
}

/// Amounts are kept to a thousandth: finer ones are rounded up.
pub fn default_list(list: &mut Value) {
    let Value::Object(map) = list else { return };
    for amount in map.values_mut() {
        let q = quantity(amount);
        let milli = Quantity::milli(q.milli_value(), q.format);
        if milli != q {
            *amount = milli.to_string().into();
        }
    }
}

/// `limits` and `requests` of a ResourceRequirements.
pub fn default_requirements(requirements: &mut Value) {
    requirements.within("limits", default_list);
    requirements.within("requests", default_list);
}

/// Copies each limit that has no request.
pub fn requests_from_limits(requirements: &mut Value) {
    let limits: Vec<(Key, Value)> = requirements.pairs("limits").to_vec();
    if !requirements.has("limits") {
        return;
    }
    let requests = requirements.message("requests");
    for (name, amount) in limits {
        if requests.get(&name).is_none() {
            requests.make(&[]).insert(name, amount);
        }
    }
}

pub fn validate_name(name: &str, path: &Path<'_>, errs: &mut ErrorList) {
    let messages = format::label_key(name);
    if messages.is_empty() && !name.contains('/') && !is_standard(name) {
        errs.push(FieldError::invalid(path, name, "must be a standard resource type or fully qualified"));
    }
    invalid_each(errs, path, name, messages);
}

pub fn validate_container_name(name: &str, path: &Path<'_>, errs: &mut ErrorList) {
    validate_name(name, path, errs);
    if !name.contains('/') {
        if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !is_huge_pages(name) {
            errs.push(FieldError::invalid(path, name, "must be a standard resource for containers"));
        }
    } else if !is_native(name) && !is_extended(name) {
        errs.push(FieldError::invalid(path, name, "doesn't follow extended resource name standard"));
    }
}

fn validate_pod_level_name(name: &str, path: &Path<'_>, errs: &mut ErrorList) {
    let before = errs.len();
    validate_name(name, path, errs);
    if errs.len() == before && !is_pod_level(name) {
        errs.push(FieldError::not_supported(path, name, &["cpu", "hugepages-", "memory"]));
    }
}

/// Names a ResourceQuota may limit.
pub fn validate_quota_name(name: &str, path: &Path<'_>, errs: &mut ErrorList) {
    validate_name(name, path, errs);
    let quota = STANDARD.contains(&name) && name != "storage"
        || COUNTED.contains(&name)
        || is_huge_pages(name)
        || name.starts_with("requests.hugepages-");
    if !name.contains('/') && !quota {
        errs.push(FieldError::invalid(path, name, "must be a standard resource for quota"));
    }
}

/// Not negative, and whole where the resource is counted.
pub fn validate_amount(name: &str, amount: &Quantity, path: &Path<'_>, errs: &mut ErrorList) {
    if amount.sign() < 0 {
        errs.push(FieldError::invalid(path, amount.to_string(), IS_NEGATIVE));
    }
    if is_integer(name) && amount.milli_value() % 1000 != 0 {
        errs.push(FieldError::invalid(path, amount.to_string(), "must be an integer"));
    }
}

fn validate_huge_pages(name: &str, amount: &Quantity, path: &Path<'_>, errs: &mut ErrorList) {
    let size: Quantity = name[HUGE_PAGES.len()..].parse().unwrap_or_default();
    let divisible = size.sign() > 0 && size.milli_value() % 1000 == 0 && amount.value() % size.value() == 0;
    if !divisible {
        errs.push(FieldError::invalid(
            path,
            amount.to_string(),
            format!("{amount} is not positive integer multiple of {name}"),
        ));
    }
}

/// Where the requirements stand: at a container (or as overhead), or at the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Container,
    Pod,
}

/// `claims` are the names in `spec.resourceClaims`.
pub fn validate_requirements(
    requirements: &Value,
    level: Level,
    claims: &BTreeSet<&str>,
    path: &Path<'_>,
    errs: &mut ErrorList,
) {
    let name_rule = match level {
        Level::Container => validate_container_name,
        Level::Pod => validate_pod_level_name,
    };
    let (limits_path, requests_path) = (path.child("limits"), path.child("requests"));
    let (mut cpu_or_memory, mut huge) = (false, false);
    for (list, at) in [("limits", &limits_path), ("requests", &requests_path)] {
        for (name, value) in requirements.pairs(list) {
            let (amount, at_name) = (quantity(value), at.key(name));
            name_rule(name, &at_name, errs);
            validate_amount(name, &amount, &at_name, errs);
            if list == "requests" {
                validate_against_limit(
                    name,
                    &amount,
                    requirements["limits"].get(name),
                    at,
                    &limits_path,
                    errs,
                );
            }
            if is_huge_pages(name) {
                huge = true;
                validate_huge_pages(name, &amount, &at_name, errs);
            }
            cpu_or_memory |= matches!(&**name, "cpu" | "memory");
        }
    }
    if huge && !cpu_or_memory {
        errs.push(FieldError::forbidden(path, "HugePages require cpu or memory"));
    }
    validate_claims(requirements.list("claims"), claims, &path.child("claims"), errs);
}

fn validate_against_limit(
    name: &str,
    amount: &Quantity,
    limit: Option<&Value>,
    requests: &Path<'_>,
    limits: &Path<'_>,
    errs: &mut ErrorList,
) {
    let Some(limit) = limit.map(quantity) else {
        if !is_overcommit_allowed(name) {
            errs.push(FieldError::required(limits, "Limit must be set for non overcommitable resources"));
        }
        return;
    };
    let relation = if *amount != limit && !is_overcommit_allowed(name) {
        "equal to"
    } else if *amount > limit {
        "less than or equal to"
    } else {
        return;
    };
    errs.push(FieldError::invalid(
        requests,
        amount.to_string(),
        format!("must be {relation} {name} limit of {limit}"),
    ));
}

fn validate_claims(claims: &[Value], known: &BTreeSet<&str>, path: &Path<'_>, errs: &mut ErrorList) {
    let mut names: BTreeSet<String> = BTreeSet::new();
    for (i, claim) in claims.iter().enumerate() {
        let at = path.index(i);
        let (name, request) = (claim.text("name"), claim.text("request"));
        if name.is_empty() {
            errs.push(FieldError::required(&at, ""));
            continue;
        }
        if names.contains(name) {
            errs.push(FieldError::duplicate(&at, name));
        } else {
            let mut key = name.to_owned();
            if !request.is_empty() {
                invalid_each(errs, &at.child("request"), request, format::dns_label(request));
                key = format!("{name}/{request}");
            }
            if names.contains(&key) {
                errs.push(FieldError::duplicate(&at, key.as_str()));
            } else if request.is_empty() {
                for _ in names.iter().filter(|k| k.split_once('/').is_some_and(|(n, _)| n == name)) {
                    errs.push(FieldError::duplicate(&at, name));
                }
            }
            names.insert(key);
        }
        if !known.contains(name) {
            let list: Vec<&str> = known.iter().copied().collect();
            let detail = if list.is_empty() {
                "must be one of the names in pod.spec.resourceClaims which is empty".to_owned()
            } else {
                format!("must be one of the names in pod.spec.resourceClaims: {}", list.join(", "))
            };
            errs.push(FieldError::not_found(&at, name).with_detail(detail));
        }
    }
}

/// Amounts by resource name.
pub type Amounts = BTreeMap<String, Quantity>;

pub fn amounts(list: &Value) -> Amounts {
    list.members().iter().map(|(name, value)| (name.to_string(), quantity(value))).collect()
}

fn add(to: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        to.entry(name.clone()).or_default().add(amount);
    }
}
fn raise(to: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let at = to.entry(name.clone()).or_default();
        if *amount > *at {
            *at = amount.clone();
        }
    }
}

/// What the containers of a pod ask for together (`list`: `requests` or `limits`): the sum of all
/// that run at once, or the largest init container where that is more. Sidecars run from their
/// place among the init containers on.
pub fn aggregate(pod_spec: &Value, list: &str) -> Amounts {
    let mut running = Amounts::new();
    for c in pod_spec.list("containers") {
        add(&mut running, &amounts(&c["resources"][list]));
    }
    let (mut sidecars, mut init) = (Amounts::new(), Amounts::new());
    for c in pod_spec.list("initContainers") {
        let mut own = amounts(&c["resources"][list]);
        if c["restartPolicy"] == "Always" {
            add(&mut running, &own);
            add(&mut sidecars, &own);
            own = sidecars.clone();
        } else {
            add(&mut own, &sidecars);
        }
        raise(&mut init, &own);
    }
    raise(&mut running, &init);
    running
}
