//! What an update of a Service keeps, drops and may change.

use std::collections::BTreeSet;

use crate::field_error::{ErrorList, FieldError, Path};
use crate::tree::Value;
use crate::types::core::service::{
    is_external, needs_cluster_ip, needs_health_check, needs_node_ports, validate,
};
use crate::types::core::service_ips;
use crate::types::fields::{Fields, Fill, invalid_each, one_of};
use crate::types::format;
use crate::types::meta::object_meta;

/// Old clients write `clusterIP` alone: `clusterIPs` follows it on create, and on an update where
/// only the one that changed was sent.
pub fn sync_cluster_ips(new: &mut Value, old: Option<&Value>) {
    let spec = new.message("spec");
    let ip = spec.text("clusterIP").to_owned();
    let Some(before) = old.map(|o| &o["spec"]) else {
        if !ip.is_empty() && spec.list("clusterIPs").is_empty() {
            spec.put("clusterIPs", vec![ip]);
        }
        return;
    };
    let list_unchanged = spec["clusterIPs"] == before["clusterIPs"]
        || (spec.list("clusterIPs").is_empty() && before.list("clusterIPs").is_empty());
    if ip != before.text("clusterIP") {
        if ip.is_empty() && list_unchanged {
            spec.drop_field("clusterIPs");
        } else if list_unchanged {
            spec.put("clusterIPs", vec![ip]);
        }
    }
}

/// What an update leaves out is kept where the type still has it, and what the new type does not
/// have is dropped: addresses, node ports, health check port.
pub fn patch_allocated(new: &mut Value, old: &Value) {
    let before = &old["spec"];
    let spec = new.message("spec");
    if needs_cluster_ip(before)
        && needs_cluster_ip(spec)
        && spec.text("clusterIP").is_empty()
        && spec.list("clusterIPs").is_empty()
    {
        for field in ["clusterIP", "clusterIPs"] {
            if let Some(v) = before.opt(field) {
                spec.put(field, v.clone());
            }
        }
    }
    if needs_node_ports(before) && needs_node_ports(spec) {
        let given: BTreeSet<(i64, String)> = spec
            .list("ports")
            .iter()
            .filter(|p| p.int("nodePort") != 0)
            .map(|p| (p.int("nodePort"), p.text("protocol").to_owned()))
            .collect();
        spec.each("ports", |p| {
            if p.int("nodePort") != 0 {
                return;
            }
            let same_port = before.list("ports").iter().find(|o| {
                o.int("port") == p.int("port")
                    && o.text("protocol") == p.text("protocol")
                    && o.int("nodePort") != 0
            });
            if let Some(o) =
                same_port.filter(|o| !given.contains(&(o.int("nodePort"), o.text("protocol").to_owned())))
            {
                p.put("nodePort", o.int("nodePort"));
            }
        });
    }
    if needs_health_check(before) && needs_health_check(spec) && spec.int("healthCheckNodePort") == 0 {
        spec.put("healthCheckNodePort", before.int("healthCheckNodePort"));
    }
}

/// Fields that belong to another type than the service now has, where the client left them as
/// they were.
pub fn drop_other_types(new: &mut Value, old: &Value) {
    let before = &old["spec"];
    let spec = new.message("spec");
    let unchanged = |spec: &Value, field: &str| crate::types::fields::same(&spec[field], &before[field]);
    if needs_cluster_ip(before) && !needs_cluster_ip(spec) {
        if unchanged(spec, "clusterIP") && unchanged(spec, "clusterIPs") {
            for field in ["clusterIP", "clusterIPs"] {
                spec.drop_field(field);
            }
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if unchanged(spec, field) {
                spec.drop_field(field);
            }
        }
    }
    if needs_node_ports(before) && !needs_node_ports(spec) && spec.text("type") != "LoadBalancer" {
        let kept: BTreeSet<i64> = before.list("ports").iter().map(|p| p.int("nodePort")).collect();
        spec.each("ports", |p| {
            if kept.contains(&p.int("nodePort")) {
                p.drop_field("nodePort");
            }
        });
    }
    if needs_health_check(before) && !needs_health_check(spec) && unchanged(spec, "healthCheckNodePort") {
        spec.drop_field("healthCheckNodePort");
    }
    if before.text("type") == "LoadBalancer" && spec.text("type") != "LoadBalancer" {
        for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if unchanged(spec, field) {
                spec.drop_field(field);
            }
        }
    }
    if spec.text("type") == "ExternalName"
        && before.text("type") != "ExternalName"
        && unchanged(spec, "internalTrafficPolicy")
    {
        spec.drop_field("internalTrafficPolicy");
    }
    if before.text("type") == "ExternalName"
        && spec.text("type") != "ExternalName"
        && unchanged(spec, "externalName")
    {
        spec.drop_field("externalName");
    }
    if is_external(before) && !is_external(spec) && unchanged(spec, "externalTrafficPolicy") {
        spec.drop_field("externalTrafficPolicy");
    }
}

pub fn validate_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    let path = Path::new("spec");
    let (now, before) = (&new["spec"], &old["spec"]);
    service_ips::validate_update(now, before, &path, errs);
    let both_lb = now.text("type") == "LoadBalancer" && before.text("type") == "LoadBalancer";
    if both_lb && now["loadBalancerClass"] != before["loadBalancerClass"] {
        errs.push(FieldError::invalid(
            &path.child("loadBalancerClass"),
            now["loadBalancerClass"].clone(),
            "may not change once set",
        ));
    }
    if needs_health_check(before)
        && needs_health_check(now)
        && now.int("healthCheckNodePort") != before.int("healthCheckNodePort")
    {
        errs.push(FieldError::forbidden(&path.child("healthCheckNodePort"), "field is immutable"));
    }
    validate(new, errs);
}

pub fn validate_status(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    let status = Path::new("status");
    let balancer = status.child("loadBalancer");
    let path = balancer.child("ingress");
    let ingress = new["status"]["loadBalancer"].list("ingress");
    if new["spec"].text("type") != "LoadBalancer" && !ingress.is_empty() {
        errs.push(FieldError::forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'"));
        return;
    }
    for (i, entry) in ingress.iter().enumerate() {
        let at = path.index(i);
        let (ip, mode, host) = (entry.text("ip"), entry.opt_text("ipMode"), entry.text("hostname"));
        if !ip.is_empty() {
            invalid_each(errs, &at.child("ip"), ip, format::ip(ip));
        }
        match (mode, ip.is_empty()) {
            (None, false) => {
                errs.push(FieldError::required(&at.child("ipMode"), "must be specified when `ip` is set"));
            }
            (Some(_), true) => {
                errs.push(FieldError::forbidden(
                    &at.child("ipMode"),
                    "may not be specified when `ip` is not set",
                ));
            }
            (Some(mode), false) => one_of(errs, &at.child("ipMode"), mode, &["Proxy", "VIP"]),
            (None, true) => {}
        }
        if !host.is_empty() {
            invalid_each(errs, &at.child("hostname"), host, format::dns_subdomain(host));
            if format::parse_ip(host).is_some() {
                errs.push(FieldError::invalid(
                    &at.child("hostname"),
                    host,
                    "must be a DNS name, not an IP address",
                ));
            }
        }
    }
}
