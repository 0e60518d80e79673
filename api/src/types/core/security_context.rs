//! `core/v1.SecurityContext` of a container and `core/v1.PodSecurityContext` of a pod.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::tree::Value;
use crate::types::core::volume::validate_descending_path;
use crate::types::fields::{Fields, invalid_each, one_of, required_one_of, struct_shown};
use crate::types::format;

const SYSCTL_NAME_MAX: usize = 253;
const APP_ARMOR_PROFILE_MAX: usize = 4095;
const GMSA_SPEC_BYTES_MAX: usize = 64 * 1024;
const PROFILE_TYPES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];

fn unix_id(v: &Value, field: &'static str, path: &Path<'_>, errs: &mut ErrorList) {
    if let Some(id) = v.opt_int(field) {
        errs.extend(format::unix_id(id).into_iter().map(|m| FieldError::invalid(&path.child(field), id, m)));
    }
}

/// A container's. `host_users`: the pod shares the host's user namespace.
pub fn validate_container(sc: &Value, host_users: bool, path: &Path<'_>, errs: &mut ErrorList) {
    if sc.is_null() {
        return;
    }
    unix_id(sc, "runAsUser", path, errs);
    unix_id(sc, "runAsGroup", path, errs);
    if let Some(mount) = sc.opt_text("procMount") {
        let at = path.child("procMount");
        one_of(errs, &at, mount, &["Default", "Unmasked"]);
        if host_users && mount == "Unmasked" {
            errs.push(FieldError::invalid(&at, mount, "`hostUsers` must be false to use `Unmasked`"));
        }
    }
    validate_seccomp(&sc["seccompProfile"], &path.child("seccompProfile"), errs);
    if sc.opt_flag("allowPrivilegeEscalation") == Some(false) {
        if sc.flag("privileged") {
            errs.push(FieldError::invalid(
                path,
                shown(sc),
                "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
            ));
        }
        for _ in sc["capabilities"].list("add").iter().filter(|c| **c == "CAP_SYS_ADMIN") {
            errs.push(FieldError::invalid(
                path,
                shown(sc),
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
            ));
        }
    }
    validate_windows_options(&sc["windowsOptions"], &path.child("windowsOptions"), errs);
    validate_app_armor(&sc["appArmorProfile"], &path.child("appArmorProfile"), errs);
}

fn shown(sc: &Value) -> Value {
    let capabilities = match sc.opt("capabilities") {
        Some(c) => struct_shown([("Add", c["add"].clone()), ("Drop", c["drop"].clone())]),
        None => Value::Null,
    };
    let profile = |field: &str| match sc.opt(field) {
        Some(p) => struct_shown([
            ("Type", p.text("type").into()),
            ("LocalhostProfile", p["localhostProfile"].clone()),
        ]),
        None => Value::Null,
    };
    struct_shown([
        ("Capabilities", capabilities),
        ("Privileged", sc["privileged"].clone()),
        ("SELinuxOptions", sc["seLinuxOptions"].clone()),
        ("WindowsOptions", sc["windowsOptions"].clone()),
        ("RunAsUser", sc["runAsUser"].clone()),
        ("RunAsGroup", sc["runAsGroup"].clone()),
        ("RunAsNonRoot", sc["runAsNonRoot"].clone()),
        ("ReadOnlyRootFilesystem", sc["readOnlyRootFilesystem"].clone()),
        ("AllowPrivilegeEscalation", sc["allowPrivilegeEscalation"].clone()),
        ("ProcMount", sc["procMount"].clone()),
        ("SeccompProfile", profile("seccompProfile")),
        ("AppArmorProfile", profile("appArmorProfile")),
    ])
}

/// A pod's, with the pod's own host settings beside it.
pub fn validate_pod(spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let sc = &spec["securityContext"];
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        unix_id(sc, field, path, errs);
    }
    let groups = path.child("supplementalGroups");
    for (i, group) in sc.list("supplementalGroups").iter().enumerate() {
        let id = group.as_i64().unwrap_or(0);
        errs.extend(format::unix_id(id).into_iter().map(|m| FieldError::invalid(&groups.index(i), id, m)));
    }
    if spec.flag("shareProcessNamespace") && spec.flag("hostPID") {
        errs.push(FieldError::invalid(
            &path.child("shareProcessNamespace"),
            true,
            "ShareProcessNamespace and HostPID cannot both be enabled",
        ));
    }
    validate_sysctls(spec, &path.child("sysctls"), errs);
    if let Some(policy) = sc.opt_text("fsGroupChangePolicy") {
        one_of(errs, &path.child("fsGroupChangePolicy"), policy, &["Always", "OnRootMismatch"]);
    }
    validate_seccomp(&sc["seccompProfile"], &path.child("seccompProfile"), errs);
    validate_windows_options(&sc["windowsOptions"], &path.child("windowsOptions"), errs);
    validate_app_armor(&sc["appArmorProfile"], &path.child("appArmorProfile"), errs);
    if let Some(policy) = sc.opt_text("supplementalGroupsPolicy") {
        one_of(errs, &path.child("supplementalGroupsPolicy"), policy, &["Merge", "Strict"]);
    }
    if let Some(policy) = sc.opt_text("seLinuxChangePolicy") {
        one_of(errs, &path.child("seLinuxChangePolicy"), policy, &["MountOption", "Recursive"]);
    }
}

fn is_sysctl_name(name: &str) -> bool {
    let segment = |s: &str| {
        let b = s.as_bytes();
        let edge = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        !b.is_empty()
            && edge(b[0])
            && edge(b[b.len() - 1])
            && b.iter().all(|&c| edge(c) || c == b'-' || c == b'_')
    };
    name.len() <= SYSCTL_NAME_MAX && name.split(['.', '/']).all(segment)
}

fn validate_sysctls(spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let mut names: Vec<&str> = Vec::new();
    for (i, s) in spec["securityContext"].list("sysctls").iter().enumerate() {
        let (name, at_index) = (s.text("name"), path.index(i));
        let at = at_index.child("name");
        if name.is_empty() {
            errs.push(FieldError::required(&at, ""));
        } else if !is_sysctl_name(name) {
            errs.push(FieldError::invalid(&at, name, r"must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"));
        } else if names.contains(&name) {
            errs.push(FieldError::duplicate(&at, name));
        }
        let dotted = name.replace('/', ".");
        let ipc = matches!(dotted.as_str(), "kernel.sem")
            || dotted.starts_with("kernel.shm")
            || dotted.starts_with("kernel.msg")
            || dotted.starts_with("fs.mqueue.");
        if spec.flag("hostNetwork") && dotted.starts_with("net.") {
            errs.push(FieldError::invalid(&at, name, "may not be specified when 'hostNetwork' is true"));
        } else if spec.flag("hostIPC") && ipc {
            errs.push(FieldError::invalid(&at, name, "may not be specified when 'hostIPC' is true"));
        }
        names.push(name);
    }
}

fn validate_seccomp(profile: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    if profile.is_null() {
        return;
    }
    let kind = profile.text("type");
    if kind.is_empty() {
        errs.push(FieldError::required(&path.child("type"), "type is required when seccompProfile is set"));
    } else {
        one_of(errs, &path.child("type"), kind, PROFILE_TYPES);
    }
    let at = path.child("localhostProfile");
    match (kind, profile.opt_text("localhostProfile")) {
        ("Localhost", None) => {
            errs.push(FieldError::required(&at, "must be set when seccomp type is Localhost"));
        }
        ("Localhost", Some(file)) => validate_descending_path(file, &at, errs),
        (_, Some(file)) => {
            let shown = struct_shown([("Type", kind.into()), ("LocalhostProfile", file.into())]);
            errs.push(FieldError::invalid(&at, shown, "can only be set when seccomp type is Localhost"));
        }
        (_, None) => {}
    }
}

fn validate_app_armor(profile: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    if profile.is_null() {
        return;
    }
    const NEEDED: &str = "must be set when AppArmor type is Localhost";
    let at = path.child("localhostProfile");
    match (profile.text("type"), profile.opt_text("localhostProfile")) {
        ("Localhost", None) => errs.push(FieldError::required(&at, NEEDED)),
        ("Localhost", Some(name)) => {
            if name.trim() != name {
                errs.push(FieldError::invalid(&at, name, "must not be padded with whitespace"));
            } else if name.is_empty() {
                errs.push(FieldError::required(&at, NEEDED));
            }
            if name.len() > APP_ARMOR_PROFILE_MAX {
                errs.push(FieldError::too_long(&at, APP_ARMOR_PROFILE_MAX));
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(name)) => {
            errs.push(FieldError::invalid(&at, name, "can only be set when AppArmor type is Localhost"));
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("", _) => errs
            .push(FieldError::required(&path.child("type"), "type is required when appArmorProfile is set")),
        (other, _) => required_one_of(errs, &path.child("type"), other, PROFILE_TYPES),
    }
}

fn validate_windows_options(options: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    if let Some(name) = options.opt_text("gmsaCredentialSpecName") {
        invalid_each(errs, &path.child("gmsaCredentialSpecName"), name, format::dns_subdomain(name));
    }
    if let Some(spec) = options.opt_text("gmsaCredentialSpec") {
        let at = path.child("gmsaCredentialSpec");
        if spec.is_empty() {
            errs.push(FieldError::invalid(&at, spec, "gmsaCredentialSpec cannot be an empty string"));
        } else if spec.len() > GMSA_SPEC_BYTES_MAX {
            errs.push(FieldError::invalid(&at, spec, "gmsaCredentialSpec size must be under 64 KiB"));
        }
    }
    if let Some(name) = options.opt_text("runAsUserName") {
        let messages = windows_user(name).into_iter().map(|m| format!("runAsUserName{m}"));
        invalid_each(errs, &path.child("runAsUserName"), name, messages);
    }
}

/// What is wrong with `DOMAIN\user`.
fn windows_user(name: &str) -> Vec<&'static str> {
    if name.is_empty() {
        return vec![" cannot be an empty string"];
    }
    if name.chars().any(|c| c.is_ascii_control()) {
        return vec![" cannot contain control characters"];
    }
    if name.matches('\\').count() > 1 {
        return vec![" cannot contain more than one backslash"];
    }
    let (domain, user) = name.split_once('\\').map_or((None, name), |(d, u)| (Some(d), u));
    let mut out = Vec::new();
    if let Some(domain) = domain {
        if domain.len() >= 256 {
            out.push("'s Domain length must be under 256 characters");
        }
        let net_bios = (1..=15).contains(&domain.chars().count())
            && !domain.starts_with('.')
            && !domain.contains(['\\', '/', ':', '*', '?', '"', '<', '>', '|']);
        let label = |l: &str| {
            !l.is_empty()
                && l.len() <= 63
                && l.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
                && !l.starts_with('-')
                && !l.ends_with('-')
        };
        if !net_bios && !domain.split('.').all(label) {
            out.push("'s Domain doesn't match the NetBios nor the DNS format");
        }
    }
    if user.is_empty() {
        out.push("'s User cannot be empty");
    } else if user.len() > 104 {
        out.push("'s User length must not be longer than 104 characters");
    }
    if !user.is_empty() && user.chars().all(|c| c == '.' || c == ' ') {
        out.push("'s User cannot contain only periods or spaces");
    }
    if user.contains(['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']']) {
        out.push("'s User cannot contain the following characters: \"/\\:;|=,+*?<>@[]");
    }
    out
}
