//! `clusterIP`, `clusterIPs`, `ipFamilies` and `ipFamilyPolicy` of a Service.

use std::collections::BTreeSet;

use crate::field_error::{ErrorList, FieldError, Path};
use crate::tree::Value;
use crate::types::core::service::is_headless;
use crate::types::fields::{Fields, Fill, invalid_each, one_of};
use crate::types::format;

const NOT_ONCE_SET: &str = "may not change once set";
const ONE_PER_FAMILY: &str = "may specify no more than one IP for each IP family";

fn is_v6(ip: &str) -> bool {
    format::parse_ip(ip).is_some_and(|ip| ip.is_ipv6())
}

pub fn validate(spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    if spec.text("type") == "ExternalName" {
        return;
    }
    let (ips, families) = (spec.list("clusterIPs"), spec.list("ipFamilies"));
    let (at, at_families) = (path.child("clusterIPs"), path.child("ipFamilies"));
    let ip = spec.text("clusterIP");
    match (ip.is_empty(), ips.first().map(Value::str_or_empty)) {
        (false, None) => errs.push(FieldError::required(&at, "")),
        (false, Some(first)) if first != ip => {
            errs.push(FieldError::invalid(
                &at,
                spec["clusterIPs"].clone(),
                "first value must match `clusterIP`",
            ));
        }
        (true, Some(_)) => errs.push(FieldError::invalid(
            &at,
            spec["clusterIPs"].clone(),
            "must be empty when `clusterIP` is not specified",
        )),
        _ => {}
    }
    let mut seen = BTreeSet::new();
    for (i, family) in families.iter().enumerate() {
        let family = family.str_or_empty();
        one_of(errs, &at_families.index(i), family, &["IPv4", "IPv6"]);
        if !seen.insert(family) {
            errs.push(FieldError::duplicate(&at_families.index(i), family));
        }
    }
    if let Some(policy) = spec.opt_text("ipFamilyPolicy") {
        one_of(
            errs,
            &path.child("ipFamilyPolicy"),
            policy,
            &["PreferDualStack", "RequireDualStack", "SingleStack"],
        );
    }
    if !validate_each_ip(spec, &at, errs) {
        return;
    }
    if ips.len() > 1 {
        let v6 = ips.iter().filter(|ip| is_v6(ip.str_or_empty())).count();
        if v6 == 0 || v6 == ips.len() {
            errs.push(FieldError::invalid(&at, spec["clusterIPs"].clone(), ONE_PER_FAMILY));
        }
    }
    if !is_headless(spec) {
        for (i, (ip, family)) in ips.iter().zip(families).enumerate() {
            let ip = ip.str_or_empty();
            let expected = family.str_or_empty();
            if matches!(expected, "IPv4" | "IPv6") && (expected == "IPv6") != is_v6(ip) {
                errs.push(FieldError::invalid(
                    &at.index(i),
                    ip,
                    format!("expected an {expected} value as indicated by `ipFamilies[{i}]`"),
                ));
            }
        }
    }
}

/// False where an address cannot be read, which would skew what is checked next.
fn validate_each_ip(spec: &Value, at: &Path<'_>, errs: &mut ErrorList) -> bool {
    let ips = spec.list("clusterIPs");
    let mut good = true;
    for (i, ip) in ips.iter().enumerate() {
        let ip = ip.str_or_empty();
        if i == 0 && ip == "None" {
            if ips.len() > 1 {
                good = false;
                errs.push(FieldError::invalid(
                    at,
                    spec["clusterIPs"].clone(),
                    "'None' must be the first and only value",
                ));
            }
            continue;
        }
        let messages = format::ip(ip);
        good &= messages.is_empty();
        invalid_each(errs, &at.index(i), ip, messages);
    }
    if ips.len() > 2 {
        errs.push(FieldError::invalid(at, spec["clusterIPs"].clone(), "may only hold up to 2 values"));
    }
    good
}

/// A second address or family comes and goes; the first stays once set.
pub fn validate_update(now: &Value, before: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    if now.text("type") == "ExternalName" || before.text("type") == "ExternalName" {
        return;
    }
    if !(is_headless(now) && is_headless(before)) {
        validate_list_update(now, before, "clusterIPs", "clusterIP", path, errs);
    }
    if !is_headless(now) && !is_headless(before) {
        validate_list_update(now, before, "ipFamilies", "ipFamily", path, errs);
    }
}

fn validate_list_update(
    now: &Value,
    before: &Value,
    field: &'static str,
    one: &str,
    path: &Path<'_>,
    errs: &mut ErrorList,
) {
    let (new, old, at) = (now.list(field), before.list(field), path.child(field));
    if new.len() == old.len() {
        for (i, _) in old.iter().enumerate().filter(|(i, v)| new[*i] != **v) {
            let at = at.index(if field == "ipFamilies" { 0 } else { i });
            errs.push(FieldError::invalid(&at, now[field].clone(), NOT_ONCE_SET));
        }
        return;
    }
    if new.len() < old.len() && new.is_empty() {
        errs.push(FieldError::invalid(
            &at.index(0),
            now[field].clone(),
            format!("primary {one} can not be unset"),
        ));
    }
    if let (Some(n), Some(o)) = (new.first(), old.first())
        && n != o
    {
        errs.push(FieldError::invalid(&at.index(0), now["clusterIPs"].clone(), NOT_ONCE_SET));
    }
    if new.len() < old.len() && new.len() == 1 && now.text("ipFamilyPolicy") != "SingleStack" {
        errs.push(FieldError::invalid(
            &path.child("ipFamilyPolicy"),
            now["ipFamilyPolicy"].clone(),
            format!("must be set to 'SingleStack' when releasing the secondary {one}"),
        ));
    }
}

/// What an update leaves out follows from what the Service has: the policy stays, and the families
/// are those of the addresses. Leaving them out is no wish to unset them.
pub fn infer_on_update(now: &mut Value, before: &Value) {
    if now.text("type") == "ExternalName" {
        return;
    }
    if !now.has("ipFamilyPolicy")
        && let Some(policy) = before.opt("ipFamilyPolicy")
    {
        now.put("ipFamilyPolicy", policy.clone());
    }
    if is_headless(now) {
        return;
    }
    let families = now.list("ipFamilies");
    let missing = now.list("clusterIPs").iter().skip(families.len());
    let inferred: Vec<Value> =
        missing.map(|ip| if is_v6(ip.str_or_empty()) { "IPv6" } else { "IPv4" }.into()).collect();
    if !inferred.is_empty() {
        now.put("ipFamilies", [families, &inferred].concat());
    }
}

/// Fills in `ipFamilyPolicy` and `ipFamilies` for a cluster that has these families, the primary
/// one first, before addresses are allocated. What the cluster cannot give is an error.
pub fn init_families(service: &mut Value, cluster: &[&'static str]) -> ErrorList {
    let path = Path::new("spec");
    let mut errs = ErrorList::new();
    let spec = service.message("spec");
    if spec.text("type") == "ExternalName" {
        return errs;
    }
    validate(spec, &path, &mut errs);
    if !errs.is_empty() {
        return errs;
    }
    let headless = is_headless(spec);
    // Without a selector the addresses are of others, who may well have both families.
    let selectorless = headless && spec.pairs("selector").is_empty();
    let dual = cluster.len() > 1;
    if spec.text("ipFamilyPolicy") == "RequireDualStack" && !dual && !selectorless {
        errs.push(FieldError::invalid(
            &path.child("ipFamilyPolicy"),
            "RequireDualStack",
            "this cluster is not configured for dual-stack services",
        ));
    }
    let at = path.child("ipFamilies");
    for (i, family) in spec.list("ipFamilies").iter().enumerate() {
        if !selectorless && !cluster.contains(&family.str_or_empty()) {
            errs.push(FieldError::invalid(
                &at.index(i),
                family.str_or_empty(),
                "not configured on this cluster",
            ));
        }
    }
    let at = path.child("clusterIPs");
    let mut families: Vec<String> =
        spec.list("ipFamilies").iter().map(|f| f.str_or_empty().to_owned()).collect();
    for (i, ip) in spec.list("clusterIPs").iter().enumerate().filter(|(_, ip)| **ip != "None") {
        let ip = ip.str_or_empty();
        let family = if is_v6(ip) { "IPv6" } else { "IPv4" };
        if !cluster.contains(&family) {
            errs.push(FieldError::invalid(
                &at.index(i),
                ip,
                format!("{family} is not configured on this cluster"),
            ));
        }
        if families.len() <= i {
            families.push(family.to_owned());
        }
    }
    if !errs.is_empty() {
        return errs;
    }
    let both = spec.list("clusterIPs").len() == 2 || families.len() == 2;
    let policy = match spec.text("ipFamilyPolicy") {
        "" if selectorless || both => "RequireDualStack",
        "" => "SingleStack",
        policy => policy,
    }
    .to_owned();
    if families.is_empty() {
        families.extend(cluster.first().map(|f| (*f).to_owned()));
    }
    if families.len() == 1 && policy != "SingleStack" && (dual || selectorless) {
        families.push(if families[0] == "IPv4" { "IPv6" } else { "IPv4" }.to_owned());
    }
    spec.put("ipFamilyPolicy", policy);
    spec.put("ipFamilies", families);
    errs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn an_update_may_leave_families_out() {
        let before = value!({
            "type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
        });
        let check = |mut now: Value| {
            infer_on_update(&mut now, &before);
            let mut errs = ErrorList::new();
            validate_update(&now, &before, &Path::new("spec"), &mut errs);
            assert!(errs.is_empty(), "{errs:?}");
            (now["ipFamilies"].clone(), now["ipFamilyPolicy"].clone())
        };
        let kept = (value!(["IPv4"]), value!("SingleStack"));
        let addressed = value!({"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]});
        assert_eq!(check(addressed), kept);
        assert_eq!(check(before.clone()), kept);
        assert_eq!(check(value!({"type": "ExternalName"})), (Value::Null, Value::Null));
    }

    #[test]
    fn a_single_stack_cluster_gives_its_family() {
        let mut service = value!({"spec": {"type": "ClusterIP", "selector": {"a": "b"}}});
        assert!(init_families(&mut service, &["IPv4"]).is_empty());
        assert_eq!(service["spec"]["ipFamilies"], value!(["IPv4"]));
        assert_eq!(service["spec"]["ipFamilyPolicy"], value!("SingleStack"));
        let mut service = value!({"spec": {"type": "ClusterIP", "selector": {"a": "b"}, "ipFamilies": ["IPv6"], "ipFamilyPolicy": "RequireDualStack"}});
        let errs = init_families(&mut service, &["IPv4"]);
        let text: Vec<String> = errs.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
                "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
            ]
        );
    }
}
