//! `core/v1.PodSpec`, in a pod or in a template.

use std::collections::BTreeSet;

use crate::field_error::{ErrorList, FieldError, Path};
use crate::tree::Value;
use crate::types::core::container::{self, Surroundings};
use crate::types::core::resources::{self, Level};
use crate::types::core::{affinity, security_context, toleration, topology_spread, volume, windows};
use crate::types::fields::{Fields, Fill, invalid_each, one_of, required_one_of, struct_shown};
use crate::types::format;
use crate::types::meta::label_selector::{validate_label_name, validate_labels};

pub const GRACE_SECONDS: i64 = 30;
pub const DEFAULT_SCHEDULER: &str = "default-scheduler";
const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCHES_CHARACTERS_MAX: usize = 2048;
const RESTART_POLICIES: &[&str] = &["Always", "OnFailure", "Never"];
const HOSTNAME_OVERRIDE_MAX: usize = 64;

/// The defaults of every pod spec, in a template too. What only a pod gets is in
/// [`crate::types::core::pod::default`].
pub fn default(spec: &mut Value) {
    spec.fill_zero("dnsPolicy", "ClusterFirst");
    spec.fill_zero("restartPolicy", "Always");
    spec.fill_absent("securityContext", Value::object());
    spec.fill_absent("terminationGracePeriodSeconds", GRACE_SECONDS);
    spec.fill_zero("schedulerName", DEFAULT_SCHEDULER);
    default_service_account(spec);
    spec.each("volumes", volume::default);
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        spec.each(field, container::default);
    }
    spec.within("overhead", resources::default_list);
    spec.within("resources", resources::default_requirements);
}

/// `serviceAccount` is the old name of `serviceAccountName`: the new one wins where both are set,
/// and both are always written.
fn default_service_account(spec: &mut Value) {
    let name = match spec.text("serviceAccountName") {
        "" => spec.text("serviceAccount"),
        name => name,
    }
    .to_owned();
    if !name.is_empty() {
        spec.put("serviceAccountName", name.as_str());
        spec.put("serviceAccount", name);
    }
}

/// Where the spec stands: some rules hold for pods alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// In a pod of this name.
    Pod(&'a str),
    Template,
}

pub fn validate(spec: &Value, place: Place<'_>, path: &Path<'_>, errs: &mut ErrorList) {
    if !spec.has("terminationGracePeriodSeconds") {
        errs.push(FieldError::required(&path.child("terminationGracePeriodSeconds"), ""));
    }
    let pod_name = match place {
        Place::Pod(name) => name,
        Place::Template => "",
    };
    let volumes = volume::validate_all(spec.list("volumes"), pod_name, &path.child("volumes"), errs);
    let claims: BTreeSet<&str> =
        spec.list("resourceClaims").iter().map(|c| c.text("name")).filter(|n| !n.is_empty()).collect();
    validate_resource_claims(spec.list("resourceClaims"), &path.child("resourceClaims"), errs);
    let around = Surroundings { spec, volumes: &volumes, claims: &claims };
    container::validate_regular(spec.list("containers"), &around, &path.child("containers"), errs);
    container::validate_init(spec.list("initContainers"), &around, &path.child("initContainers"), errs);
    container::validate_ephemeral(
        spec.list("ephemeralContainers"),
        &around,
        &path.child("ephemeralContainers"),
        errs,
    );
    validate_pod_resources(spec, &claims, &path.child("resources"), errs);
    validate_host_network_ports(spec, place, path, errs);
    required_one_of(errs, &path.child("restartPolicy"), spec.text("restartPolicy"), RESTART_POLICIES);
    required_one_of(
        errs,
        &path.child("dnsPolicy"),
        spec.text("dnsPolicy"),
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
    );
    validate_labels(&spec["nodeSelector"], &path.child("nodeSelector"), errs);
    security_context::validate_pod(spec, &path.child("securityContext"), errs);
    affinity::validate(&spec["affinity"], &path.child("affinity"), errs);
    validate_dns_config(spec, &path.child("dnsConfig"), errs);
    validate_gates(spec, path, errs);
    topology_spread::validate(
        spec.list("topologySpreadConstraints"),
        &path.child("topologySpreadConstraints"),
        errs,
    );
    windows::validate_host_process(spec, path, errs);
    validate_host_users(spec, path, errs);
    validate_names(spec, path, errs);
    toleration::validate_tolerations(spec.list("tolerations"), &path.child("tolerations"), errs);
    validate_host_aliases(spec.list("hostAliases"), &path.child("hostAliases"), errs);
    validate_classes(spec, path, errs);
    if let Some(overhead) = spec.opt("overhead") {
        let mut requirements = Value::object();
        requirements.put("limits", overhead.clone());
        resources::validate_requirements(
            &requirements,
            Level::Container,
            &BTreeSet::new(),
            &path.child("overhead"),
            errs,
        );
    }
    windows::validate_os(spec, path, errs);
}

fn validate_resource_claims(list: &[Value], path: &Path<'_>, errs: &mut ErrorList) {
    let mut names = BTreeSet::new();
    for (i, claim) in list.iter().enumerate() {
        let at = path.index(i);
        let name = claim.text("name");
        if name.is_empty() {
            errs.push(FieldError::required(&at.child("name"), ""));
        } else if !names.insert(name) {
            errs.push(FieldError::duplicate(&at.child("name"), name));
        } else {
            invalid_each(errs, &at.child("name"), name, format::dns_label(name));
        }
        let message = match (claim.has("resourceClaimName"), claim.has("resourceClaimTemplateName")) {
            (true, true) => {
                Some("at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified")
            }
            (false, false) => Some("must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"),
            _ => None,
        };
        if let Some(message) = message {
            let shown = struct_shown([
                ("Name", name.into()),
                ("ResourceClaimName", claim["resourceClaimName"].clone()),
                ("ResourceClaimTemplateName", claim["resourceClaimTemplateName"].clone()),
            ]);
            errs.push(FieldError::invalid(&at, shown, message));
        }
        for field in ["resourceClaimName", "resourceClaimTemplateName"] {
            if let Some(target) = claim.opt_text(field) {
                invalid_each(errs, &at.child(field), target, format::dns_subdomain(target));
            }
        }
    }
}

/// Resources of the pod as a whole, against those of its containers.
fn validate_pod_resources(spec: &Value, claims: &BTreeSet<&str>, path: &Path<'_>, errs: &mut ErrorList) {
    let Some(own) = spec.opt("resources") else { return };
    if own.has("claims") {
        errs.push(FieldError::forbidden(
            &path.child("claims"),
            "claims cannot be set for Resources at pod-level",
        ));
    }
    resources::validate_requirements(own, Level::Pod, claims, path, errs);
    let requests = path.child("requests");
    for (name, amount) in resources::aggregate(spec, "requests") {
        let own = resources::quantity(&own["requests"][name.as_str()]);
        if amount > own && resources::is_pod_level(&name) {
            errs.push(FieldError::invalid(
                &requests.key(&name),
                own.to_string(),
                format!("must be greater than or equal to aggregate container requests of {amount}"),
            ));
        }
    }
    let at = path.child("containers");
    for (i, c) in spec.list("containers").iter().enumerate() {
        for (name, amount) in resources::amounts(&c["resources"]["limits"]) {
            let Some(limit) = own["limits"].get(&name).map(resources::quantity) else { continue };
            if amount > limit {
                errs.push(FieldError::invalid(
                    &at.index(i).key(&name).child("limits"),
                    amount.to_string(),
                    format!("must be less than or equal to pod limits of {limit}"),
                ));
            }
        }
    }
}

/// On the host's network a container's port is the host's. Templates may leave the host port out.
fn validate_host_network_ports(spec: &Value, place: Place<'_>, path: &Path<'_>, errs: &mut ErrorList) {
    if !spec.flag("hostNetwork") {
        return;
    }
    let containers = path.child("containers");
    for (i, c) in spec.list("containers").iter().enumerate() {
        let at = containers.index(i);
        let ports = at.child("ports");
        for (j, p) in c.list("ports").iter().enumerate() {
            let (host, port) = (p.int("hostPort"), p.int("containerPort"));
            if host != port && (host != 0 || matches!(place, Place::Pod(_))) {
                errs.push(FieldError::invalid(
                    &ports.index(j).child("hostPort"),
                    host,
                    "must match `containerPort` when `hostNetwork` is true",
                ));
            }
        }
    }
}

fn validate_dns_config(spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let config = spec.opt("dnsConfig");
    if spec.text("dnsPolicy") == "None" {
        match config {
            None => {
                errs.push(FieldError::required(path, "must provide `dnsConfig` when `dnsPolicy` is None"));
                return;
            }
            Some(c) if c.list("nameservers").is_empty() => {
                errs.push(FieldError::required(
                    &path.child("nameservers"),
                    "must provide at least one DNS nameserver when `dnsPolicy` is None",
                ));
                return;
            }
            Some(_) => {}
        }
    }
    let Some(config) = config else { return };
    let (servers, at) = (config.list("nameservers"), path.child("nameservers"));
    if servers.len() > NAMESERVERS_MAX {
        errs.push(FieldError::invalid(
            &at,
            config["nameservers"].clone(),
            format!("must not have more than {NAMESERVERS_MAX} nameservers"),
        ));
    }
    for (i, s) in servers.iter().enumerate() {
        invalid_each(errs, &at.index(i), s.str_or_empty(), format::ip(s.str_or_empty()));
    }
    let (searches, at) = (config.list("searches"), path.child("searches"));
    if searches.len() > SEARCHES_MAX {
        errs.push(FieldError::invalid(
            &at,
            config["searches"].clone(),
            format!("must not have more than {SEARCHES_MAX} search paths"),
        ));
    }
    let characters: usize = searches.iter().map(|s| s.str_or_empty().len() + 1).sum();
    if characters > SEARCHES_CHARACTERS_MAX + 1 {
        errs.push(FieldError::invalid(
            &at,
            config["searches"].clone(),
            format!("must not have more than {SEARCHES_CHARACTERS_MAX} characters (including spaces) in the search list"),
        ));
    }
    for (i, s) in searches.iter().enumerate() {
        let search = s.str_or_empty();
        if search != "." {
            let search = search.strip_suffix('.').unwrap_or(search);
            invalid_each(errs, &at.index(i), search, format::dns_subdomain_underscore(search));
        }
    }
    let at = path.child("options");
    for (i, option) in config.list("options").iter().enumerate() {
        if option.text("name").is_empty() {
            errs.push(FieldError::required(&at.index(i), "must not be empty"));
        }
    }
}

fn validate_gates(spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let at = path.child("readinessGates");
    for (i, gate) in spec.list("readinessGates").iter().enumerate() {
        validate_label_name(gate.text("conditionType"), &at.index(i).child("conditionType"), errs);
    }
    let at = path.child("schedulingGates");
    let mut seen = BTreeSet::new();
    for (i, gate) in spec.list("schedulingGates").iter().enumerate() {
        validate_label_name(gate.text("name"), &at.index(i), errs);
        if !seen.insert(gate.text("name")) {
            errs.push(FieldError::duplicate(&at.index(i), gate.text("name")));
        }
    }
}

/// A pod with a user namespace of its own shares no other namespace with the host.
fn validate_host_users(spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    if spec.opt_flag("hostUsers").unwrap_or(true) {
        return;
    }
    for (field, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec.flag(field) {
            errs.push(FieldError::forbidden(&path.child(shown), "when `pod.Spec.HostUsers` is false"));
        }
    }
}

fn validate_names(spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let mut name = |field: &'static str, check: fn(&str) -> format::Messages| {
        let text = spec.text(field);
        if !text.is_empty() {
            invalid_each(errs, &path.child(field), text, check(text));
        }
    };
    name("serviceAccountName", format::dns_subdomain);
    name("nodeName", format::dns_subdomain);
    if let Some(seconds) = spec.opt_int("activeDeadlineSeconds")
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        errs.push(FieldError::invalid(
            &path.child("activeDeadlineSeconds"),
            seconds,
            format::between(1, i32::MAX.into()),
        ));
    }
    let mut name = |field: &'static str, check: fn(&str) -> format::Messages| {
        let text = spec.text(field);
        if !text.is_empty() {
            invalid_each(errs, &path.child(field), text, check(text));
        }
    };
    name("hostname", format::dns_label);
    name("subdomain", format::dns_label);
    validate_hostname_override(spec, path, errs);
}

fn validate_hostname_override(spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let Some(name) = spec.opt_text("hostnameOverride") else { return };
    let at = path.child("hostnameOverride");
    if spec.flag("setHostnameAsFQDN") {
        errs.push(FieldError::forbidden(&at, "may not be specified when `setHostnameAsFQDN` is true"));
    }
    if spec.flag("hostNetwork") {
        errs.push(FieldError::forbidden(&at, "may not be specified when `hostNetwork` is true"));
    }
    if name.len() > HOSTNAME_OVERRIDE_MAX {
        errs.push(FieldError::too_long(&at, HOSTNAME_OVERRIDE_MAX));
    }
    invalid_each(errs, &at, name, format::dns_subdomain(name));
}

fn validate_host_aliases(list: &[Value], path: &Path<'_>, errs: &mut ErrorList) {
    for (i, alias) in list.iter().enumerate() {
        let at = path.index(i);
        invalid_each(errs, &at.child("ip"), alias.text("ip"), format::ip(alias.text("ip")));
        let names = at.child("hostnames");
        for (j, name) in alias.list("hostnames").iter().enumerate() {
            invalid_each(
                errs,
                &names.index(j),
                name.str_or_empty(),
                format::dns_subdomain(name.str_or_empty()),
            );
        }
    }
}

fn validate_classes(spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let class = spec.text("priorityClassName");
    if !class.is_empty() {
        invalid_each(errs, &path.child("priorityClassName"), class, format::dns_subdomain(class));
    }
    if let Some(class) = spec.opt_text("runtimeClassName") {
        invalid_each(errs, &path.child("runtimeClassName"), class, format::dns_subdomain(class));
    }
    if let Some(policy) = spec.opt_text("preemptionPolicy") {
        let at = path.child("preemptionPolicy");
        if policy.is_empty() {
            errs.push(FieldError::required(&at, ""));
        } else {
            one_of(errs, &at, policy, &["PreemptLowerPriority", "Never"]);
        }
    }
}

/// The containers of a spec with their paths, ephemeral ones included.
pub fn each_container(spec: &Value, path: &Path<'_>, mut f: impl FnMut(&Value, &Path<'_>)) {
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        let at = path.child(field);
        for (i, c) in spec.list(field).iter().enumerate() {
            f(c, &at.index(i));
        }
    }
}
