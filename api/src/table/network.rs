//! Services and what is behind and in front of them.

use super::age::{Now, labels, number, some_of, text_or};
use super::workloads::{name, selector};
use crate::tree::Value;

/// Addresses and hosts past which a cell only counts.
const SHOWN: usize = 3;

fn strings(list: &Value) -> Vec<String> {
    list.items().iter().map(|v| v.str_or_empty().to_owned()).collect()
}

/// Addresses of a load balancer, sorted.
fn load_balancer(status: &Value) -> Vec<String> {
    let mut list: Vec<String> = status["loadBalancer"]["ingress"]
        .items()
        .iter()
        .map(|i| text_or(&i["ip"], i["hostname"].str_or_empty()).to_owned())
        .filter(|a| !a.is_empty())
        .collect();
    list.sort();
    list.dedup();
    list
}

fn external_ip(o: &Value) -> String {
    let external = strings(&o["spec"]["externalIPs"]);
    let or = |list: Vec<String>, none: &str| if list.is_empty() { none.to_owned() } else { list.join(",") };
    match o["spec"]["type"].str_or_empty() {
        "ClusterIP" | "NodePort" => or(external, "<none>"),
        "LoadBalancer" => or(load_balancer(&o["status"]).into_iter().chain(external).collect(), "<pending>"),
        "ExternalName" => o["spec"]["externalName"].str_or_empty().to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

pub(super) fn service(o: &Value, now: Now) -> Vec<Value> {
    let spec = &o["spec"];
    let ports: Vec<String> = spec["ports"]
        .items()
        .iter()
        .map(|p| {
            let (port, protocol) = (number(&p["port"]), p["protocol"].str_or_empty());
            match number(&p["nodePort"]) {
                0 => format!("{port}/{protocol}"),
                node_port => format!("{port}:{node_port}/{protocol}"),
            }
        })
        .collect();
    vec![
        name(o),
        spec["type"].str_or_empty().into(),
        spec["clusterIPs"][0].as_str().unwrap_or("<none>").into(),
        external_ip(o).into(),
        if ports.is_empty() { "<none>".to_owned() } else { ports.join(",") }.into(),
        now.age(o),
        labels(&spec["selector"]).into(),
    ]
}

/// `10.0.0.1:80`, `[fd00::1]:80`
fn host_port(ip: &str, port: i64) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

pub(super) fn endpoints(o: &Value, now: Now) -> Vec<Value> {
    let subsets = o["subsets"].items();
    let mut list = Vec::new();
    for subset in subsets {
        let ips = || subset["addresses"].items().iter().map(|a| a["ip"].str_or_empty());
        let ports = subset["ports"].items();
        if ports.is_empty() {
            list.extend(ips().map(str::to_owned));
        }
        for port in ports {
            list.extend(ips().map(|ip| host_port(ip, number(&port["port"]))));
        }
    }
    let text = if subsets.is_empty() { "<none>".to_owned() } else { some_of(&list, SHOWN, ",") };
    vec![name(o), text.into(), now.age(o)]
}

fn some_or_unset(list: &[String]) -> Value {
    if list.is_empty() { "<unset>".to_owned() } else { some_of(list, SHOWN, ",") }.into()
}

pub(super) fn endpoint_slice(o: &Value, now: Now) -> Vec<Value> {
    let ports: Vec<String> = o["ports"]
        .items()
        .iter()
        .map(|p| match p["port"].as_i64() {
            Some(port) => port.to_string(),
            None => p["name"].as_str().unwrap_or("*").to_owned(),
        })
        .collect();
    let addresses: Vec<String> =
        o["endpoints"].items().iter().flat_map(|e| strings(&e["addresses"])).collect();
    vec![
        name(o),
        o["addressType"].str_or_empty().into(),
        some_or_unset(&ports),
        some_or_unset(&addresses),
        now.age(o),
    ]
}

pub(super) fn ingress(o: &Value, now: Now) -> Vec<Value> {
    let spec = &o["spec"];
    let rules = spec["rules"].items();
    let mut hosts: Vec<&str> = Vec::new();
    let mut more = false;
    for rule in rules {
        more |= hosts.len() == SHOWN;
        let host = rule["host"].str_or_empty();
        if !more && !host.is_empty() {
            hosts.push(host);
        }
    }
    let hosts = match (hosts.as_slice(), more) {
        ([], _) => "*".to_owned(),
        (list, false) => list.join(","),
        // Counted are the rules, with or without a host.
        (list, true) => format!("{} + {} more...", list.join(","), rules.len() - SHOWN),
    };
    vec![
        name(o),
        spec["ingressClassName"].as_str().unwrap_or("<none>").into(),
        hosts.into(),
        load_balancer(&o["status"]).join(",").into(),
        if spec["tls"].items().is_empty() { "80" } else { "80, 443" }.into(),
        now.age(o),
    ]
}

pub(super) fn ingress_class(o: &Value, now: Now) -> Vec<Value> {
    let parameters = match &o["spec"]["parameters"] {
        Value::Null => "<none>".to_owned(),
        p => {
            let group = p["apiGroup"].as_str().map(|g| format!(".{g}")).unwrap_or_default();
            format!("{}{group}/{}", p["kind"].str_or_empty(), p["name"].str_or_empty())
        }
    };
    vec![name(o), o["spec"]["controller"].str_or_empty().into(), parameters.into(), now.age(o)]
}

pub(super) fn network_policy(o: &Value, now: Now) -> Vec<Value> {
    let pods = match &o["spec"]["podSelector"] {
        Value::Null => "<none>".to_owned(),
        object => selector(object),
    };
    vec![name(o), pods.into(), now.age(o)]
}

pub(super) fn service_cidr(o: &Value, now: Now) -> Vec<Value> {
    vec![name(o), strings(&o["spec"]["cidrs"]).join(",").into(), now.age(o)]
}

pub(super) fn ip_address(o: &Value, _: Now) -> Vec<Value> {
    let parent = match &o["spec"]["parentRef"] {
        Value::Null => "<none>".to_owned(),
        p => {
            let text = |field: &str| p[field].str_or_empty();
            let dot = if text("group").is_empty() { "" } else { "." };
            let resource = format!("{}{dot}{}", text("resource"), text("group")).to_lowercase();
            let parts = [resource.as_str(), text("namespace"), text("name")];
            parts.into_iter().filter(|p| !p.is_empty()).collect::<Vec<_>>().join("/")
        }
    };
    vec![name(o), parent.into()]
}
