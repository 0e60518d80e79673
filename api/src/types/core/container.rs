//! `core/v1.Container`, as a regular, init or ephemeral container.

use std::collections::BTreeSet;

use crate::field_error::{ErrorList, FieldError, Path};
use crate::tree::Value;
use crate::types::core::resources::{self, Level};
use crate::types::core::volume::Volumes;
use crate::types::core::{env, probe, security_context, volume_mount};
use crate::types::fields::{Fields, Fill, invalid_each, is_zero, one_of, required_one_of};
use crate::types::format;

pub const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const INIT_ONLY_ALWAYS: &str = "may not be set for init containers without restartPolicy=Always";
const NOT_EPHEMERAL: &str = "cannot be set for an Ephemeral Container";

/// `Always` for the tag `latest` (or none), else `IfNotPresent`.
pub fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').map_or((image, None), |(n, d)| (n, Some(d)));
    let tag = name.rsplit('/').next().and_then(|last| last.split_once(':')).map(|(_, tag)| tag);
    match (tag, digest) {
        (None, Some(_)) => "IfNotPresent",
        (None, None) if parses_as_image(name) => "Always",
        (Some("latest"), _) if parses_as_image(name) => "Always",
        _ => "IfNotPresent",
    }
}

/// Upstream takes no tag from a text that is not an image reference (`" x "`, ``).
fn parses_as_image(name: &str) -> bool {
    let path = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(name, |(p, _)| p);
    let part = |p: &str| {
        let b = p.as_bytes();
        let edge = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        !b.is_empty()
            && edge(b[0])
            && edge(b[b.len() - 1])
            && b.iter().all(|&c| edge(c) || b"._-".contains(&c))
    };
    let (domain, rest) = match path.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.chars().any(|c| c.is_ascii_uppercase()) =>
        {
            (Some(first), rest)
        }
        _ => (None, path),
    };
    domain.is_none_or(|d| d.bytes().all(|c| c.is_ascii_alphanumeric() || b".:-[]".contains(&c)))
        && rest.split('/').all(part)
}

/// For every kind of container.
pub fn default(container: &mut Value) {
    let policy = pull_policy(container.text("image"));
    container.fill_zero("imagePullPolicy", policy);
    container.fill_zero("terminationMessagePath", "/dev/termination-log");
    container.fill_zero("terminationMessagePolicy", "File");
    container.each("ports", |p| p.fill_zero("protocol", "TCP"));
    env::default_env(container);
    container.within("resources", resources::default_requirements);
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        container.within(field, probe::default_probe);
    }
    container.within("lifecycle", probe::default_lifecycle);
}

/// What the containers of one pod are checked against.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    pub spec: &'a Value,
    pub volumes: &'a Volumes<'a>,
    pub claims: &'a BTreeSet<&'a str>,
}

impl Surroundings<'_> {
    fn grace(&self) -> Option<i64> {
        self.spec.opt_int("terminationGracePeriodSeconds")
    }
    fn host_users(&self) -> bool {
        self.spec.opt_flag("hostUsers").unwrap_or(true)
    }
}

pub fn validate_pull_policy(policy: &str, path: &Path<'_>, errs: &mut ErrorList) {
    required_one_of(errs, path, policy, &["Always", "IfNotPresent", "Never"]);
}

fn validate_common(c: &Value, around: &Surroundings<'_>, path: &Path<'_>, errs: &mut ErrorList) {
    let name = c.text("name");
    if name.is_empty() {
        errs.push(FieldError::required(&path.child("name"), ""));
    } else {
        invalid_each(errs, &path.child("name"), name, format::dns_label(name));
    }
    if c.text("image").is_empty() {
        errs.push(FieldError::required(&path.child("image"), ""));
    }
    required_one_of(
        errs,
        &path.child("terminationMessagePolicy"),
        c.text("terminationMessagePolicy"),
        &["File", "FallbackToLogsOnError"],
    );
    validate_ports(c.list("ports"), &path.child("ports"), errs);
    env::validate_env(c.list("env"), &path.child("env"), errs);
    env::validate_env_from(c.list("envFrom"), &path.child("envFrom"), errs);
    volume_mount::validate(c, around.volumes, path, errs);
    validate_pull_policy(c.text("imagePullPolicy"), &path.child("imagePullPolicy"), errs);
    resources::validate_requirements(
        &c["resources"],
        Level::Container,
        around.claims,
        &path.child("resources"),
        errs,
    );
    validate_resize_policy(
        c.list("resizePolicy"),
        around.spec.text("restartPolicy"),
        &path.child("resizePolicy"),
        errs,
    );
    security_context::validate_container(
        &c["securityContext"],
        around.host_users(),
        &path.child("securityContext"),
        errs,
    );
}

fn validate_ports(ports: &[Value], path: &Path<'_>, errs: &mut ErrorList) {
    let mut names = BTreeSet::new();
    let number = |value: i64, at: &Path<'_>, errs: &mut ErrorList| {
        errs.extend(format::port_number(value).into_iter().map(|m| FieldError::invalid(at, value, m)));
    };
    for (i, p) in ports.iter().enumerate() {
        let at = path.index(i);
        let name = p.text("name");
        if !name.is_empty() {
            let messages = format::port_name(name);
            if messages.is_empty() && !names.insert(name) {
                errs.push(FieldError::duplicate(&at.child("name"), name));
            }
            invalid_each(errs, &at.child("name"), name, messages);
        }
        match p.int("containerPort") {
            0 => errs.push(FieldError::required(&at.child("containerPort"), "")),
            port => number(port, &at.child("containerPort"), errs),
        }
        if p.int("hostPort") != 0 {
            number(p.int("hostPort"), &at.child("hostPort"), errs);
        }
        required_one_of(errs, &at.child("protocol"), p.text("protocol"), PROTOCOLS);
    }
}

fn validate_resize_policy(list: &[Value], pod_restart: &str, path: &Path<'_>, errs: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (i, p) in list.iter().enumerate() {
        let (name, policy) = (p.text("resourceName"), p.text("restartPolicy"));
        if !seen.insert(name) {
            errs.push(FieldError::duplicate(&path.index(i), name));
        }
        required_one_of(errs, path, name, &["cpu", "memory"]);
        required_one_of(errs, path, policy, &["NotRequired", "RestartContainer"]);
        if pod_restart == "Never" && policy != "NotRequired" {
            errs.push(FieldError::invalid(
                path,
                policy,
                "must be 'NotRequired' when `restartPolicy` is 'Never'",
            ));
        }
    }
}

fn validate_hooks(c: &Value, around: &Surroundings<'_>, path: &Path<'_>, errs: &mut ErrorList) {
    let grace = around.grace();
    probe::validate_lifecycle(&c["lifecycle"], grace, &path.child("lifecycle"), errs);
    for (field, kind) in [
        ("livenessProbe", probe::Kind::Liveness),
        ("readinessProbe", probe::Kind::Readiness),
        ("startupProbe", probe::Kind::Startup),
    ] {
        probe::validate_probe(&c[field], kind, grace, &path.child(field), errs);
    }
}

/// Host ports are used once among the given containers. Paths count from `first`.
fn validate_host_ports(list: &[Value], path: &Path<'_>, errs: &mut ErrorList) {
    let mut taken = BTreeSet::new();
    for (i, c) in list.iter().enumerate() {
        let at = path.index(i);
        let ports = at.child("ports");
        for (j, p) in c.list("ports").iter().enumerate() {
            let port = p.int("hostPort");
            if port == 0 {
                continue;
            }
            let key = format!("{}/{}/{port}", p.text("protocol"), p.text("hostIP"));
            if taken.contains(&key) {
                errs.push(FieldError::duplicate(&ports.index(j).child("hostPort"), key));
            } else {
                taken.insert(key);
            }
        }
    }
}

/// Restart rules of a container (`restartPolicyRules` with a policy of its own).
fn validate_restart_rules(c: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let rules = c.list("restartPolicyRules");
    let at = path.child("restartPolicyRules");
    if !rules.is_empty() && !c.has("restartPolicy") {
        errs.push(FieldError::required(
            &path.child("restartPolicy"),
            "must specify restartPolicy when restart rules are used",
        ));
    }
    for (i, rule) in rules.iter().enumerate() {
        let at = at.index(i);
        required_one_of(errs, &at.child("action"), rule.text("action"), &["Restart", "RestartAllContainers"]);
        match rule.opt("exitCodes") {
            None => errs.push(FieldError::required(&at.child("exitCodes"), "must be specified")),
            Some(codes) => {
                let at = at.child("exitCodes");
                required_one_of(errs, &at.child("operator"), codes.text("operator"), &["In", "NotIn"]);
            }
        }
    }
}

pub fn validate_regular(list: &[Value], around: &Surroundings<'_>, path: &Path<'_>, errs: &mut ErrorList) {
    if list.is_empty() {
        errs.push(FieldError::required(path, ""));
        return;
    }
    let mut names = BTreeSet::new();
    for (i, c) in list.iter().enumerate() {
        let at = path.index(i);
        validate_common(c, around, &at, errs);
        if !names.insert(c.text("name")) {
            errs.push(FieldError::duplicate(&at.child("name"), c.text("name")));
        }
        validate_hooks(c, around, &at, errs);
        if let Some(policy) = c.opt_text("restartPolicy") {
            one_of(errs, &at.child("restartPolicy"), policy, &["Always", "Never", "OnFailure"]);
        }
        validate_restart_rules(c, &at, errs);
    }
    validate_host_ports(list, path, errs);
}

pub fn validate_init(list: &[Value], around: &Surroundings<'_>, path: &Path<'_>, errs: &mut ErrorList) {
    let mut names: BTreeSet<&str> = around.spec.list("containers").iter().map(|c| c.text("name")).collect();
    for (i, c) in list.iter().enumerate() {
        let at = path.index(i);
        validate_common(c, around, &at, errs);
        let restart = c.opt_text("restartPolicy");
        if let Some(policy) = restart {
            one_of(errs, &at.child("restartPolicy"), policy, &["Always", "Never", "OnFailure"]);
        }
        validate_restart_rules(c, &at, errs);
        let name = c.text("name");
        if names.contains(name) {
            errs.push(FieldError::duplicate(&at.child("name"), name));
        } else if !name.is_empty() {
            names.insert(name);
        }
        // Init containers run one by one: each has the host's ports to itself.
        validate_host_ports(std::slice::from_ref(c), path, errs);
        if restart == Some("Always") {
            validate_hooks(c, around, &at, errs);
        } else {
            for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                if c.has(field) {
                    errs.push(FieldError::forbidden(&at.child(field), INIT_ONLY_ALWAYS));
                }
            }
        }
    }
}

pub fn validate_ephemeral(list: &[Value], around: &Surroundings<'_>, path: &Path<'_>, errs: &mut ErrorList) {
    let others: BTreeSet<&str> = ["containers", "initContainers"]
        .iter()
        .flat_map(|field| around.spec.list(field))
        .map(|c| c.text("name"))
        .collect();
    let mut names = others.clone();
    for (i, c) in list.iter().enumerate() {
        let at = path.index(i);
        validate_common(c, around, &at, errs);
        validate_in_pod(c, &at, errs);
        if !names.insert(c.text("name")) {
            errs.push(FieldError::duplicate(&at.child("name"), c.text("name")));
        }
        let target = c.text("targetContainerName");
        if !target.is_empty() && !others.contains(target) {
            errs.push(FieldError::not_found(&at.child("targetContainerName"), target));
        }
        let forbidden = [
            "ports",
            "resources",
            "resizePolicy",
            "restartPolicy",
            "restartPolicyRules",
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
            "lifecycle",
        ];
        for field in forbidden.into_iter().filter(|f| !is_zero(&c[*f])) {
            errs.push(FieldError::forbidden(&at.child(field), NOT_EPHEMERAL));
        }
        let mounts = at.child("volumeMounts");
        for (j, m) in c.list("volumeMounts").iter().enumerate() {
            for field in ["subPath", "subPathExpr"] {
                if !m.text(field).is_empty() {
                    errs.push(FieldError::forbidden(&mounts.index(j).child(field), NOT_EPHEMERAL));
                }
            }
        }
    }
}

/// What is asked of a container in a pod but, for compatibility, not in a template.
pub fn validate_in_pod(c: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let image = c.text("image");
    if image.trim().len() != image.len() {
        errs.push(FieldError::invalid(
            &path.child("image"),
            image,
            "must not have leading or trailing whitespace",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pull_policies() {
        for (image, policy) in [
            ("img", "Always"),
            ("img:1", "IfNotPresent"),
            ("reg:5000/img:latest", "Always"),
            ("reg:5000/img", "Always"),
            ("img@sha256:aa", "IfNotPresent"),
            (" x ", "IfNotPresent"),
            ("", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }
}
