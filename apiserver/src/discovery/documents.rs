//! The documents of discovery.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use trireme_api::kinds::{self, GroupVersion, Kind, Served};
use trireme_api::tree::Map;
use trireme_api::{Value, value};

fn api_version(gv: &GroupVersion) -> String {
    if gv.group.is_empty() { gv.version.to_owned() } else { format!("{}/{}", gv.group, gv.version) }
}

pub(super) fn api_versions(advertise: SocketAddr) -> Value {
    value!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": advertise.to_string()}],
    })
}

/// Names of groups but core, in order.
fn group_names() -> Vec<&'static str> {
    let mut out: Vec<&str> = Vec::new();
    for gv in kinds::group_versions() {
        if !gv.group.is_empty() && !out.contains(&gv.group) {
            out.push(gv.group);
        }
    }
    out
}

fn group_body(name: &str) -> Option<Map> {
    let versions: Vec<Value> = kinds::group_versions()
        .iter()
        .filter(|gv| gv.group == name && !name.is_empty())
        .map(|gv| value!({"groupVersion": api_version(gv), "version": gv.version}))
        .collect();
    let preferred = versions.first()?.clone();
    let mut out = Map::new();
    out.set("name", name);
    out.set("versions", versions);
    out.set("preferredVersion", preferred);
    Some(out)
}

pub(super) fn group(name: &str) -> Option<Value> {
    let body = group_body(name)?;
    let mut out = Map::new();
    out.set("kind", "APIGroup");
    out.set("apiVersion", "v1");
    for (key, value) in body {
        out.insert(key, value);
    }
    Some(Value::Object(out))
}

pub(super) fn group_list() -> Value {
    let groups: Vec<Value> = group_names().into_iter().filter_map(group_body).map(Value::Object).collect();
    let mut out = Map::new();
    out.set("kind", "APIGroupList");
    out.set("apiVersion", "v1");
    out.set("groups", groups);
    Value::Object(out)
}

/// Short names and categories; legacy versions have none, or clients would take them for another
/// resource of the same name.
fn names(kind: &'static Kind, served: &Served, out: &mut Map) {
    if served.is_legacy() {
        return;
    }
    if !kind.short_names.is_empty() {
        out.set("shortNames", kind.short_names.to_vec());
    }
    if !kind.categories.is_empty() {
        out.set("categories", kind.categories.to_vec());
    }
}

pub(super) fn resource_list(group: &str, version: &str) -> Option<Value> {
    let gv = kinds::group_versions().iter().find(|gv| gv.group == group && gv.version == version)?;
    let mut resources: Vec<Value> = Vec::new();
    for (kind, served) in &gv.kinds {
        let mut main = Map::new();
        main.set("name", kind.plural);
        main.set("singularName", kind.singular);
        main.set("namespaced", kind.namespaced);
        main.set("kind", kind.kind);
        main.set("verbs", kind.verbs.to_vec());
        names(kind, served, &mut main);
        if !kind.virtual_kind {
            main.set("storageVersionHash", storage_hash(kind));
        }
        resources.push(Value::Object(main));
        for sub in kind.subresources {
            let mut out = Map::new();
            out.set("name", format!("{}/{}", kind.plural, sub.name));
            out.set("singularName", "");
            out.set("namespaced", kind.namespaced);
            if let Some((group, version)) = sub.group_version {
                out.set("group", group);
                out.set("version", version);
            }
            out.set("kind", sub.kind);
            out.set("verbs", sub.verbs.to_vec());
            resources.push(Value::Object(out));
        }
    }
    resources.sort_by(|a, b| a["name"].str_or_empty().cmp(b["name"].str_or_empty()));
    let mut out = Map::new();
    out.set("kind", "APIResourceList");
    if !group.is_empty() {
        out.set("apiVersion", "v1");
    }
    out.set("groupVersion", api_version(gv));
    out.set("resources", resources);
    Some(Value::Object(out))
}

fn storage_hash(kind: &Kind) -> String {
    let hub = kind.hub();
    let digest = Sha256::digest(format!("{}/{}/{}", hub.group, hub.version, kind.kind));
    STANDARD.encode(&digest[..8])
}

/// All of `/api` (core), or all of `/apis`.
pub(super) fn aggregated(core: bool, version: &str) -> Value {
    let groups = if core { vec![""] } else { group_names() };
    let items: Vec<Value> = groups
        .into_iter()
        .map(|group| {
            let mut metadata = Map::new();
            if !group.is_empty() {
                metadata.set("name", group);
            }
            let versions: Vec<Value> =
                kinds::group_versions().iter().filter(|gv| gv.group == group).map(version_entry).collect();
            let mut item = Map::new();
            item.set("metadata", metadata);
            item.set("versions", versions);
            Value::Object(item)
        })
        .collect();
    let mut out = Map::new();
    out.set("kind", "APIGroupDiscoveryList");
    out.set("apiVersion", format!("apidiscovery.k8s.io/{version}"));
    out.set("metadata", Map::new());
    out.set("items", items);
    Value::Object(out)
}

fn version_entry(gv: &GroupVersion) -> Value {
    let mut resources: Vec<Value> =
        gv.kinds.iter().map(|(kind, served)| resource_entry(kind, served)).collect();
    resources.sort_by(|a, b| a["resource"].str_or_empty().cmp(b["resource"].str_or_empty()));
    let mut out = Map::new();
    out.set("version", gv.version);
    out.set("resources", resources);
    out.set("freshness", "Current");
    Value::Object(out)
}

fn response_kind(group: &str, version: &str, kind: &str) -> Value {
    let mut out = Map::new();
    out.set("group", group);
    out.set("version", version);
    out.set("kind", kind);
    Value::Object(out)
}

fn resource_entry(kind: &'static Kind, served: &Served) -> Value {
    let mut out = Map::new();
    out.set("resource", kind.plural);
    out.set("responseKind", response_kind("", "", kind.kind));
    out.set("scope", if kind.namespaced { "Namespaced" } else { "Cluster" });
    out.set("singularResource", kind.singular);
    out.set("verbs", kind.verbs.to_vec());
    names(kind, served, &mut out);
    if !kind.subresources.is_empty() {
        let mut subs: Vec<Value> = kind
            .subresources
            .iter()
            .map(|sub| {
                let (group, version) = sub.group_version.unwrap_or(("", ""));
                let mut out = Map::new();
                out.set("subresource", sub.name);
                out.set("responseKind", response_kind(group, version, sub.kind));
                out.set("verbs", sub.verbs.to_vec());
                Value::Object(out)
            })
            .collect();
        subs.sort_by(|a, b| a["subresource"].str_or_empty().cmp(b["subresource"].str_or_empty()));
        out.set("subresources", subs);
    }
    Value::Object(out)
}
