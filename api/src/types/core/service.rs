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
            spec.put(
                "sessionAffinityConfig",
                crate::value!({"clientIP": {"timeoutSeconds": AFFINITY_SECONDS}}),
            );
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

pub fn validate(service: &Value, errs: &mut ErrorList) {
    object_meta::validate(&service["metadata"], Scope::Namespaced, NameRule::Dns1035Label, errs);
    let (spec, path) = (&service["spec"], Path::new("spec"));
    let annotations = &service["metadata"]["annotations"];
    if let (Some(mode), Some(hints)) =
        (annotations.opt_text(TOPOLOGY_MODE), annotations.opt_text(TOPOLOGY_HINTS))
        && mode != hints
    {
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
    errs.extend(
        format::port_number(port).into_iter().map(|m| FieldError::invalid(&path.child("port"), port, m)),
    );
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
            errs.push(FieldError::forbidden(
                &path.child("allocateLoadBalancerNodePorts"),
                ONLY_LOAD_BALANCER,
            ));
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
        None if needs_cluster_ip(spec) => {
            errs.push(FieldError::required(&path.child("internalTrafficPolicy"), ""))
        }
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
