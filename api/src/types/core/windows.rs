//! Rules of pods by operating system: Windows host processes, and what each system cannot have.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::tree::Value;
use crate::types::core::pod_spec::each_container;
use crate::types::fields::{Fields, is_zero, one_of};

const NOT_ON_WINDOWS: &str = "cannot be set for a windows pod";
const NOT_ON_LINUX: &str = "windows options cannot be set for a linux pod";

/// All containers are host processes or none is, and they use the host's network.
pub fn validate_host_process(spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let of = |holder: &Value| holder["securityContext"]["windowsOptions"].opt_flag("hostProcess");
    let pod = of(spec);
    let (mut all, mut host) = (0, 0);
    each_container(spec, path, |c, at| {
        all += 1;
        let own = of(c);
        if let (Some(pod), Some(own)) = (pod, own)
            && pod != own
        {
            errs.push(FieldError::invalid(
                &at.child("securityContext").child("windowsOptions").child("hostProcess"),
                own,
                format!("pod hostProcess value must be identical if both are specified, was {pod}"),
            ));
        }
        host += usize::from(own.or(pod).unwrap_or(false));
    });
    if host == 0 {
        return;
    }
    if host != all {
        errs.push(FieldError::invalid(
            path,
            "",
            "If pod contains any hostProcess containers then all containers must be HostProcess containers",
        ));
    }
    if !spec.flag("hostNetwork") {
        errs.push(FieldError::invalid(
            &path.child("hostNetwork"),
            false,
            "hostNetwork must be true if pod contains any hostProcess containers",
        ));
    }
}

pub fn validate_os(spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let Some(os) = spec.opt("os") else { return };
    match os.text("name") {
        "" => errs.push(FieldError::required(&path.child("os").child("name"), "cannot be empty")),
        "linux" => validate_linux(spec, path, errs),
        "windows" => validate_windows(spec, path, errs),
        other => one_of(errs, &path.child("os"), other, &["linux", "windows"]),
    }
}

fn validate_linux(spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    if spec["securityContext"].has("windowsOptions") {
        errs.push(FieldError::forbidden(
            &path.child("securityContext").child("windowsOptions"),
            NOT_ON_LINUX,
        ));
    }
    each_container(spec, path, |c, at| {
        if c["securityContext"].has("windowsOptions") {
            errs.push(FieldError::forbidden(
                &at.child("securityContext").child("windowsOptions"),
                NOT_ON_LINUX,
            ));
        }
    });
}

fn validate_windows(spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let sc_path = path.child("securityContext");
    let sc = &spec["securityContext"];
    let own = |field: &str, errs: &mut ErrorList| {
        if !is_zero(&sc[field]) {
            errs.push(FieldError::forbidden(&sc_path.child(field), NOT_ON_WINDOWS));
        }
    };
    let pod = |field: &str, errs: &mut ErrorList| {
        let set = match field {
            "hostUsers" | "shareProcessNamespace" => spec.has(field),
            _ => spec.flag(field),
        };
        if set {
            errs.push(FieldError::forbidden(&path.child(field), NOT_ON_WINDOWS));
        }
    };
    for field in ["appArmorProfile", "seLinuxOptions"] {
        own(field, errs);
    }
    for field in ["hostUsers", "hostPID", "hostIPC"] {
        pod(field, errs);
    }
    for field in ["seccompProfile", "fsGroup", "fsGroupChangePolicy", "sysctls"] {
        own(field, errs);
    }
    pod("shareProcessNamespace", errs);
    for field in
        ["runAsUser", "runAsGroup", "supplementalGroups", "supplementalGroupsPolicy", "seLinuxChangePolicy"]
    {
        own(field, errs);
    }
    each_container(spec, path, |c, at| {
        let at = at.child("securityContext");
        for field in [
            "appArmorProfile",
            "seLinuxOptions",
            "seccompProfile",
            "capabilities",
            "readOnlyRootFilesystem",
            "privileged",
            "allowPrivilegeEscalation",
            "procMount",
            "runAsUser",
            "runAsGroup",
        ] {
            if c["securityContext"].has(field) {
                errs.push(FieldError::forbidden(&at.child(field), NOT_ON_WINDOWS));
            }
        }
    });
}
