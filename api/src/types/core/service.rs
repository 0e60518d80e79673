//! `core/v1.Service`. Allocating cluster IPs and node ports is the API server's; what it needs to
//! know of a service is here.

use std::collections::BTreeSet;

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::core::container::PROTOCOLS;
use crate::types::core::probe::validate_port;
use crate::types::core::service_ips;
use crate::types::fields::{Fields, Fill, invalid_each, one_of, required_one_of, struct_shown};
use crate::types::format;
use crate::types::meta::label_selector::{validate_label_name, validate_labels};
use crate::types::meta::object_meta::{self, Scope};

const AFFINITY_SECONDS: i64 = 10_800;
const AFFINITY_SECONDS_MAX: i64 = 86_400;
const ONLY_LOAD_BALANCER: &str = "may only be used when `type` is 'LoadBalancer'";
const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";
const TOPOLOGY_HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

pub fn default(service: &mut Value) {
    let spec = service.message("spec");
    spec.fill_zero("sessionAffinity", "None");
    match spec.text("sessionAffinity") {
        "None" => {
            spec.drop_field("sessionAffinityConfig");
        }
        "ClientIP" if !spec["sessionAffinityConfig"]["clientIP"].has("timeoutSeconds") => {
            spec.put("sessionAffinityConfig", crate::value!({"clientIP": {"timeoutSeconds": AFFINITY_SECONDS}}));
        }
        _ => {}
    }
    spec.fill_zero("type", "ClusterIP");
    spec.each("ports", |p| {
        p.fill_zero("protocol", "TCP");
        let port = p.int("port");
        p.fill_zero("targetPort", port);
    });
    let kind = spec.text("type").to_owned();
    if is_external(spec) {
        spec.fill_zero("externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
        spec.fill_absent("internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        spec.fill_absent("allocateLoadBalancerNodePorts", true);
        service.within("status", |status| {
            status.within("loadBalancer", |lb| {
                lb.each("ingress", |i| {
                    if !i.text("ip").is_empty() {
                        i.fill_absent("ipMode", "VIP");
                    }
                });
            });
        });
    }
}

/// Reachable from outside: a node port, a load balancer, or external IPs.
pub fn is_external(spec: &Value) -> bool {
    match spec.text("type") {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => !spec.list("externalIPs").is_empty(),
        _ => false,
    }
}

/// A load balancer that keeps traffic on its node asks each node for its health.
pub fn needs_health_check(spec: &Value) -> bool {
    spec.text("type") == "LoadBalancer" && spec.text("externalTrafficPolicy") == "Local"
}

/// The type takes cluster IPs.
pub fn needs_cluster_ip(spec: &Value) -> bool {
    matches!(spec.text("type"), "ClusterIP" | "NodePort" | "LoadBalancer")
}

/// The type takes node ports.
pub fn needs_node_ports(spec: &Value) -> bool {
    match spec.text("type") {
        "NodePort" => true,
        "LoadBalancer" => spec.opt_flag("allocateLoadBalancerNodePorts").unwrap_or(true),
        _ => false,
    }
}

/// `clusterIP: None`.
pub fn is_headless(spec: &Value) -> bool {
    matches!(spec.list("clusterIPs"), [only] if *only == "None")
}

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
    if needs_cluster_ip(before) && needs_cluster_ip(spec)
        && spec.text("clusterIP").is_empty() && spec.list("clusterIPs").is_empty() {
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
                o.int("port") == p.int("port") && o.text("protocol") == p.text("protocol") && o.int("nodePort") != 0
            });
            if let Some(o) = same_port.filter(|o| !given.contains(&(o.int("nodePort"), o.text("protocol").to_owned()))) {
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
    if spec.text("type") == "ExternalName" && before.text("type") != "ExternalName" && unchanged(spec, "internalTrafficPolicy") {
        spec.drop_field("internalTrafficPolicy");
    }
    if before.text("type") == "ExternalName" && spec.text("type") != "ExternalName" && unchanged(spec, "externalName") {
        spec.drop_field("externalName");
    }
    if is_external(before) && !is_external(spec) && unchanged(spec, "externalTrafficPolicy") {
        spec.drop_field("externalTrafficPolicy");
    }
}

pub fn validate(service: &Value, errs: &mut ErrorList) {
    object_meta::validate(&service["metadata"], Scope::Namespaced, NameRule::Dns1035Label, errs);
    let (spec, path) = (&service["spec"], Path::new("spec"));
    let annotations = &service["metadata"]["annotations"];
    if let (Some(mode), Some(hints)) = (annotations.opt_text(TOPOLOGY_MODE), annotations.opt_text(TOPOLOGY_HINTS))
        && mode != hints {
            let metadata = Path::new("metadata");
            errs.push(FieldError::invalid(
                &metadata.child("annotations").key(TOPOLOGY_MODE),
                mode,
                format!("must match annotations[{TOPOLOGY_HINTS}] when both are specified"),
            ));
        }
    let kind = spec.text("type");
    if spec.list("ports").is_empty() && !is_headless(spec) && kind != "ExternalName" {
        errs.push(FieldError::required(&path.child("ports"), ""));
    }
    match kind {
        "LoadBalancer" | "NodePort" if is_headless(spec) => errs.push(FieldError::invalid(
            &path.child("clusterIPs").index(0),
            "None",
            format!("may not be set to 'None' for {kind} services"),
        )),
        "ExternalName" => validate_external_name(spec, &path, errs),
        _ => {}
    }
    let ports = path.child("ports");
    let mut names = BTreeSet::new();
    for (i, p) in spec.list("ports").iter().enumerate() {
        validate_service_port(p, spec.list("ports").len() > 1, &mut names, &ports.index(i), errs);
    }
    validate_labels(&spec["selector"], &path.child("selector"), errs);
    validate_affinity(spec, &path, errs);
    service_ips::validate(spec, &path, errs);
    let at = path.child("externalIPs");
    for (i, ip) in spec.list("externalIPs").iter().enumerate() {
        let ip = ip.str_or_empty();
        let messages = format::ip(ip);
        let messages = if messages.is_empty() { format::non_special_ip(ip) } else { messages };
        invalid_each(errs, &at.index(i), ip, messages);
    }
    required_one_of(errs, &path.child("type"), kind, TYPES);
    validate_ports_together(spec, &ports, errs);
    validate_source_ranges(service, &path, errs);
    validate_load_balancer_fields(spec, &path, errs);
    validate_traffic(spec, &path, errs);
}

fn validate_external_name(spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    const NOT_HERE: &str = "may not be set for ExternalName services";
    for field in ["clusterIPs", "ipFamilies"] {
        if !spec.list(field).is_empty() {
            errs.push(FieldError::forbidden(&path.child(field), NOT_HERE));
        }
    }
    if spec.has("ipFamilyPolicy") {
        errs.push(FieldError::forbidden(&path.child("ipFamilyPolicy"), NOT_HERE));
    }
    let name = spec.text("externalName");
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        errs.push(FieldError::required(&path.child("externalName"), ""));
    } else {
        invalid_each(errs, &path.child("externalName"), name, format::dns_subdomain(name));
    }
}

fn validate_service_port<'a>(
    p: &'a Value,
    name_required: bool,
    names: &mut BTreeSet<&'a str>,
    path: &Path<'_>,
    errs: &mut ErrorList,
) {
    let name = p.text("name");
    if name.is_empty() {
        if name_required {
            errs.push(FieldError::required(&path.child("name"), ""));
        }
    } else {
        invalid_each(errs, &path.child("name"), name, format::dns_label(name));
        if !names.insert(name) {
            errs.push(FieldError::duplicate(&path.child("name"), name));
        }
    }
    let port = p.int("port");
    errs.extend(format::port_number(port).into_iter().map(|m| FieldError::invalid(&path.child("port"), port, m)));
    required_one_of(errs, &path.child("protocol"), p.text("protocol"), PROTOCOLS);
    validate_port(&p["targetPort"], &path.child("targetPort"), errs);
    if let Some(protocol) = p.opt_text("appProtocol") {
        validate_label_name(protocol, &path.child("appProtocol"), errs);
    }
}

fn validate_affinity(spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let affinity = spec.text("sessionAffinity");
    required_one_of(errs, &path.child("sessionAffinity"), affinity, &["ClientIP", "None"]);
    let at = path.child("sessionAffinityConfig");
    match affinity {
        "ClientIP" => {
            const NEEDED: &str = "when session affinity type is ClientIP";
            let config = &spec["sessionAffinityConfig"];
            let client = at.child("clientIP");
            let timeout = client.child("timeoutSeconds");
            if config.is_null() {
                errs.push(FieldError::required(&at, NEEDED));
            } else if !config.has("clientIP") {
                errs.push(FieldError::required(&client, NEEDED));
            } else if let Some(seconds) = config["clientIP"].opt_int("timeoutSeconds") {
                if seconds <= 0 || seconds > AFFINITY_SECONDS_MAX {
                    errs.push(FieldError::invalid(
                        &timeout,
                        seconds,
                        format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}"),
                    ));
                }
            } else {
                errs.push(FieldError::required(&timeout, NEEDED));
            }
        }
        "None" if spec.has("sessionAffinityConfig") => {
            errs.push(FieldError::forbidden(&at, "must not be set when session affinity is None"));
        }
        _ => {}
    }
}

/// Node ports by type, and pairs of protocol and port that occur once.
fn validate_ports_together(spec: &Value, ports: &Path<'_>, errs: &mut ErrorList) {
    if spec.text("type") == "ClusterIP" {
        for (i, _) in spec.list("ports").iter().enumerate().filter(|(_, p)| p.int("nodePort") != 0) {
            errs.push(FieldError::forbidden(
                &ports.index(i).child("nodePort"),
                "may not be used when `type` is 'ClusterIP'",
            ));
        }
    }
    let mut seen = BTreeSet::new();
    for (i, p) in spec.list("ports").iter().enumerate() {
        let port = p.int("nodePort");
        if port != 0 && !seen.insert((p.text("protocol"), port)) {
            errs.push(FieldError::duplicate(&ports.index(i).child("nodePort"), port));
        }
    }
    let mut seen = BTreeSet::new();
    for (i, p) in spec.list("ports").iter().enumerate() {
        let (protocol, port) = (p.text("protocol"), p.int("port"));
        if !seen.insert((protocol, port)) {
            let key = struct_shown([
                ("Name", "".into()),
                ("Protocol", protocol.into()),
                ("AppProtocol", Value::Null),
                ("Port", port.into()),
                ("TargetPort", 0.into()),
                ("NodePort", 0.into()),
            ]);
            errs.push(FieldError::duplicate(&ports.index(i), key));
        }
    }
}

fn validate_source_ranges(service: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let spec = &service["spec"];
    let is_lb = spec.text("type") == "LoadBalancer";
    let ranges = spec.list("loadBalancerSourceRanges");
    if !ranges.is_empty() {
        // Upstream's path has the capital letter.
        let at = path.child("LoadBalancerSourceRanges");
        if !is_lb {
            errs.push(FieldError::forbidden(&at, ONLY_LOAD_BALANCER));
        }
        for (i, range) in ranges.iter().enumerate() {
            let range = range.str_or_empty().trim();
            invalid_each(errs, &at.index(i), range, format::cidr(range));
        }
    } else if let Some(list) = service["metadata"]["annotations"].opt_text(SOURCE_RANGES) {
        let metadata = Path::new("metadata");
        let annotations = metadata.child("annotations");
        let at = annotations.key(SOURCE_RANGES);
        if !is_lb {
            errs.push(FieldError::forbidden(&at, ONLY_LOAD_BALANCER));
        }
        for range in list.trim().split(',').map(str::trim).filter(|_| !list.trim().is_empty()) {
            invalid_each(errs, &at, range, format::cidr(range));
        }
    }
}

fn validate_load_balancer_fields(spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let is_lb = spec.text("type") == "LoadBalancer";
    match (is_lb, spec.has("allocateLoadBalancerNodePorts")) {
        (false, true) => {
            errs.push(FieldError::forbidden(&path.child("allocateLoadBalancerNodePorts"), ONLY_LOAD_BALANCER));
        }
        (true, false) => errs.push(FieldError::required(&Path::new("allocateLoadBalancerNodePorts"), "")),
        _ => {}
    }
    if let Some(class) = spec.opt_text("loadBalancerClass") {
        let at = path.child("loadBalancerClass");
        if is_lb {
            validate_label_name(class, &at, errs);
        } else {
            errs.push(FieldError::forbidden(&at, ONLY_LOAD_BALANCER));
        }
    }
}

fn validate_traffic(spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let external = spec.text("externalTrafficPolicy");
    let at = path.child("externalTrafficPolicy");
    if is_external(spec) {
        required_one_of(errs, &at, external, &["Cluster", "Local"]);
    } else if !external.is_empty() {
        errs.push(FieldError::invalid(&at, external, "may only be set for externally-accessible services"));
    }
    let port = spec.int("healthCheckNodePort");
    let at = path.child("healthCheckNodePort");
    if !needs_health_check(spec) {
        if port != 0 {
            errs.push(FieldError::invalid(
                &at,
                port,
                "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
            ));
        }
    } else if port != 0 {
        // Absent is right here: the API server allocates one after this check.
        errs.extend(format::port_number(port).into_iter().map(|m| FieldError::invalid(&at, port, m)));
    }
    match spec.opt_text("internalTrafficPolicy") {
        None if needs_cluster_ip(spec) => errs.push(FieldError::required(&path.child("internalTrafficPolicy"), "")),
        None => {}
        Some(policy) => one_of(errs, &path.child("internalTrafficPolicy"), policy, &["Cluster", "Local"]),
    }
    if let Some(distribution) = spec.opt_text("trafficDistribution") {
        one_of(
            errs,
            &path.child("trafficDistribution"),
            distribution,
            &["PreferClose", "PreferSameNode", "PreferSameZone"],
        );
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
                errs.push(FieldError::forbidden(&at.child("ipMode"), "may not be specified when `ip` is not set"));
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
