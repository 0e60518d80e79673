//! As much of an API server as the rules need around them.

use std::collections::HashMap;

use serde_json::Value as Json;
use trireme_api::admission;
use trireme_api::codec::json;
use trireme_api::field_error::ErrorList;
use trireme_api::kinds::{self, Context, Kind, Served};
use trireme_api::patch;
use trireme_api::tree::Value;
use trireme_api::types::core::service_ips;
use trireme_api::types::meta::object_meta;
use trireme_api::{normal, schema, value};

use super::Outcome;
use super::compare::{self, CLUSTER_IP, NAMESPACE, NOW, SUFFIX, TOKEN_VOLUME, UID};

const CONTEXT: Context<'static> = Context { now: NOW, user: "admin", dry_run: false };

/// Objects made so far, in their hub version, by path.
pub(super) struct Server {
    /// JSON pointers that the recording does not compare.
    ignored: Vec<String>,
    stored: HashMap<String, Value>,
}

/// A request path of a resource.
struct Target {
    kind: &'static Kind,
    served: &'static Served,
    namespace: Option<String>,
    name: Option<String>,
    subresource: Option<&'static str>,
}

impl Target {
    fn key(&self) -> String {
        format!("{}/{}", self.kind.plural, self.name.as_deref().unwrap_or(""))
    }
}

fn target(path: &str) -> Option<Target> {
    let path = path.split('?').next()?.replace("{{ns}}", NAMESPACE);
    let mut parts = path.trim_start_matches('/').split('/');
    let (group, version) = match parts.next()? {
        "api" => (String::new(), parts.next()?.to_owned()),
        "apis" => (parts.next()?.to_owned(), parts.next()?.to_owned()),
        _ => return None,
    };
    let mut rest: Vec<&str> = parts.collect();
    let mut namespace = None;
    if rest.first() == Some(&"namespaces") && rest.len() > 2 {
        namespace = Some(rest[1].to_owned());
        rest.drain(..2);
    }
    let (kind, served) = kinds::find(&group, &version, rest.first()?)?;
    let subresource = match rest.get(2) {
        None => None,
        Some(sub) => Some(
            *["status", "resize", "ephemeralcontainers", "finalize", "approval"]
                .iter()
                .find(|s| *s == sub)?,
        ),
    };
    if kind.virtual_kind {
        return None;
    }
    Some(Target { kind, served, namespace, name: rest.get(1).map(|s| (*s).to_owned()), subresource })
}

impl Server {
    pub(super) fn new(scenario: &Json) -> Server {
        let ignored = scenario["ignore"].as_array().map_or(&[][..], Vec::as_slice);
        let ignored = ignored.iter().filter_map(|p| Some(p.as_str()?.to_owned())).collect();
        Server { ignored, stored: HashMap::new() }
    }

    pub(super) fn step(&mut self, step: &Json) -> Outcome {
        let status = step["expect"]["status"].as_u64().unwrap_or(0);
        let path = step["path"].as_str().unwrap_or("");
        let options = ["fieldValidation=", "dryRun=Some"];
        let Some(target) =
            target(path).filter(|_| step["body"].is_object() && !options.iter().any(|o| path.contains(o)))
        else {
            self.stored.clear();
            return Outcome::NeedsServer;
        };
        match (step["method"].as_str(), status) {
            (Some("POST"), 201 | 422) => self.create(&target, step),
            (Some("PATCH"), 200 | 422) => self.patch(&target, step),
            (Some("PUT"), 200 | 201 | 422) => self.put(&target, step),
            (Some("GET"), _) => Outcome::NeedsServer,
            _ => {
                self.stored.clear();
                Outcome::NeedsServer
            }
        }
    }

    /// Replaces an object, or creates it where its kind allows that.
    fn put(&mut self, target: &Target, step: &Json) -> Outcome {
        let key = target.key();
        let Some(old) = self.stored.remove(&key) else {
            let created = step["expect"]["status"] == 201 && target.kind.create_on_update;
            return if created { self.create(target, step) } else { Outcome::NeedsServer };
        };
        let text = step["body"].to_string().replace("{{ns}}", NAMESPACE);
        // Whether a version must be given is decided before any rule.
        let unversioned =
            !target.kind.unconditional_update && step["body"]["metadata"]["resourceVersion"].is_null();
        if unversioned {
            return Outcome::NeedsServer;
        }
        let served_elsewhere =
            target.served.from_hub.is_some() || text.contains("{{") || text.contains("managedFields");
        let builtin = schema::builtin();
        let message = builtin.find(target.served.message).expect("a message of the schema");
        match json::decode(builtin, message, text.as_bytes()) {
            Ok(decoded) if !served_elsewhere => self.update(target, step, decoded.value, &old),
            _ => Outcome::NeedsServer,
        }
    }

    fn create(&mut self, target: &Target, step: &Json) -> Outcome {
        let text = step["body"].to_string().replace("{{ns}}", NAMESPACE);
        let builtin = schema::builtin();
        let message = builtin.find(target.served.message).expect("a message of the schema");
        let Ok(decoded) = json::decode(builtin, message, text.as_bytes()) else {
            return Outcome::NeedsServer;
        };
        let mut object = decoded.value;
        stamp(&mut object, target);
        to_hub(&mut object, target);
        if let Err(refusal) = admit(target.kind, &mut object) {
            return Outcome::Differs(format!("admission: {refusal}"));
        }
        (target.kind.hub().default)(&mut object);
        (target.kind.rules.prepare_create)(&mut object, &CONTEXT);
        let mut errors = allocate(target.kind, &mut object);
        if errors.is_empty() {
            errors = (target.kind.rules.validate)(&object);
        }
        self.answer(target, step, object, &errors)
    }

    /// Every kind of patch but apply, whose field ownership is the server's.
    fn patch(&mut self, target: &Target, step: &Json) -> Outcome {
        let content_type = step["headers"]["Content-Type"].as_str().unwrap_or("");
        let key = target.key();
        // What cannot be replayed leaves an object that later steps cannot start from.
        let Some(old) = self.stored.remove(&key) else { return Outcome::NeedsServer };
        let text = step["body"].to_string().replace("{{ns}}", NAMESPACE);
        let owned_by_server =
            ["managedFields", "fieldManager=", "force=", "resourceVersion", "\"kind\"", "\"apiVersion\":\"v"];
        let path = step["path"].as_str().unwrap_or("");
        if target.served.from_hub.is_some()
            || owned_by_server.iter().any(|t| text.contains(t) || path.contains(t))
        {
            return Outcome::NeedsServer;
        }
        let body: Value = serde_json::from_str(&text).expect("JSON");
        let builtin = schema::builtin();
        let message = builtin.find(target.served.message).expect("a message of the schema");
        let patched = match content_type {
            "application/merge-patch+json" => patch::merge_patch(old.clone(), body),
            "application/strategic-merge-patch+json" => {
                patch::strategic_merge(builtin, message, old.clone(), body)
            }
            _ => return Outcome::NeedsServer,
        };
        let Ok(decoded) = patched.map_err(|e| e.to_string()).and_then(|p| {
            json::decode(builtin, message, p.to_string().as_bytes()).map_err(|e| e.to_string())
        }) else {
            return Outcome::NeedsServer;
        };
        self.update(target, step, decoded.value, &old)
    }

    /// What a server does with the new form of an object, however it came.
    fn update(&mut self, target: &Target, step: &Json, mut new: Value, old: &Value) -> Outcome {
        (target.kind.hub().default)(&mut new);
        for field in ["uid", "creationTimestamp", "resourceVersion", "name", "namespace"] {
            let kept = old["metadata"][field].str_or_empty().to_owned();
            if !kept.is_empty() {
                new.make(&["metadata"]).insert(field, kept);
            }
        }
        let rules = &target.kind.rules;
        let through = target.subresource.and_then(|s| target.kind.through(s));
        let (prepare, validate) = match (target.subresource, through) {
            (None, _) => (rules.prepare_update, rules.validate_update),
            (Some(_), Some(through)) => (through.prepare, through.validate),
            (Some(_), None) => (rules.prepare_status, rules.validate_status),
        };
        prepare(&mut new, old, &CONTEXT);
        // The metadata of every update is checked before, and again by, the kind's own rules.
        let mut errors =
            if target.subresource.is_some() { ErrorList::new() } else { allocate(target.kind, &mut new) };
        object_meta::validate_update_of_any(&new["metadata"], &old["metadata"], &mut errors);
        errors.extend(validate(&new, old));
        self.answer(target, step, new, &errors)
    }

    fn answer(&mut self, target: &Target, step: &Json, mut object: Value, errors: &ErrorList) -> Outcome {
        let expected = &step["expect"]["body"];
        let refused = step["expect"]["status"] == 422;
        if !errors.is_empty() || refused {
            if !refused {
                let first = errors.first().map(ToString::to_string).unwrap_or_default();
                return Outcome::Differs(format!("refused: {first}"));
            }
            return match compare::causes_differ(errors, expected) {
                Some(what) => Outcome::Differs(what),
                None => Outcome::Agrees,
            };
        }
        let builtin = schema::builtin();
        let name = object["metadata"]["name"].str_or_empty().to_owned();
        let hub = builtin.find(target.kind.hub().message).expect("a message of the schema");
        normal::normalize(builtin, hub, &mut object);
        self.stored.insert(format!("{}/{name}", target.kind.plural), object.clone());
        if let Some(convert) = target.served.from_hub {
            convert(&mut object);
        }
        object.make(&[]).set("apiVersion", target.served.api_version());
        let message = builtin.find(target.served.message).expect("a message of the schema");
        normal::normalize(builtin, message, &mut object);
        if expected.is_null() {
            return Outcome::NeedsServer;
        }
        let mut ours: Json = serde_json::from_str(&object.to_string()).expect("JSON");
        let mut theirs = expected.clone();
        let own: Vec<String> = step["ignore"]
            .as_array()
            .map_or(&[][..], Vec::as_slice)
            .iter()
            .filter_map(|p| Some(p.as_str()?.to_owned()))
            .collect();
        for pointer in self.ignored.iter().chain(&own) {
            compare::remove(&mut ours, pointer);
            compare::remove(&mut theirs, pointer);
        }
        match compare::difference(&compare::masked(&ours, ""), &compare::masked(&theirs, ""), "") {
            Some(what) => Outcome::Differs(what),
            None => Outcome::Agrees,
        }
    }
}

fn stamp(object: &mut Value, target: &Target) {
    let metadata = object.make(&["metadata"]);
    if let Some(namespace) = target.namespace.as_deref().filter(|_| target.kind.namespaced) {
        metadata.set("namespace", namespace);
    }
    let generated = metadata.get("generateName").map(|p| format!("{}{SUFFIX}", p.str_or_empty()));
    if let Some(name) = generated.filter(|_| metadata.get("name").is_none()) {
        metadata.set("name", name);
    }
    metadata.set("uid", UID);
    metadata.set("creationTimestamp", NOW);
    metadata.set("resourceVersion", "1");
}

fn to_hub(object: &mut Value, target: &Target) {
    (target.served.default)(object);
    if let Some(convert) = target.served.to_hub {
        convert(object);
    }
    object.make(&[]).set("apiVersion", target.kind.hub().api_version());
    (target.kind.hub().default)(object);
}

/// The default admission plugins on a fresh cluster.
fn admit(kind: &Kind, object: &mut Value) -> Result<(), String> {
    match (kind.group, kind.kind) {
        ("", "Pod") => {
            let account = value!({"metadata": {"name": "default", "namespace": NAMESPACE}});
            let name = admission::service_account::account_name(object).to_owned();
            let found = (name == "default").then_some(&account);
            admission::service_account::admit(object, found, TOKEN_VOLUME).map_err(|e| e.to_string())?;
            admission::default_toleration_seconds::admit(object);
            let system = value!({"metadata": {"name": "system-cluster-critical"}, "value": 2_000_000_000});
            let class =
                (admission::priority::class_name(object) == "system-cluster-critical").then_some(&system);
            admission::priority::admit_pod(object, class).map_err(|e| e.to_string())
        }
        ("", "Node") => {
            admission::taint_nodes_by_condition::admit(object);
            Ok(())
        }
        ("", "PersistentVolumeClaim" | "PersistentVolume") | ("storage.k8s.io", "VolumeAttributesClass") => {
            admission::storage_object_in_use_protection::admit(kind.kind, object);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Addresses and ports, from a cluster of one family.
fn allocate(kind: &Kind, object: &mut Value) -> ErrorList {
    if (kind.group, kind.kind) != ("", "Service") {
        return ErrorList::new();
    }
    use trireme_api::types::core::service;
    let errors = service_ips::init_families(object, &["IPv4"]);
    if !errors.is_empty() {
        return errors;
    }
    let spec = object["spec"].clone();
    let mut out = spec.clone();
    if service::needs_cluster_ip(&spec) && spec["clusterIP"].str_or_empty().is_empty() {
        out.make(&[]).set("clusterIP", CLUSTER_IP);
        out.make(&[]).set("clusterIPs", vec![CLUSTER_IP]);
    }
    if service::needs_node_ports(&spec) {
        for (port, number) in out
            .make(&[])
            .get_mut("ports")
            .map(Value::items_mut)
            .unwrap_or_default()
            .iter_mut()
            .zip(30_000i64..)
        {
            if port["nodePort"].as_i64().unwrap_or(0) == 0 {
                port.make(&[]).set("nodePort", number);
            }
        }
    }
    if service::needs_health_check(&spec) && spec["healthCheckNodePort"].as_i64().unwrap_or(0) == 0 {
        out.make(&[]).set("healthCheckNodePort", 31_000i64);
    }
    object.make(&[]).set("spec", out);
    ErrorList::new()
}
