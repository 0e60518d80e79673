//! Pod.

use crate::kinds::{Context, Through, generic};
use crate::kinds::{Kind, Rules, Served, Subresource, selectable};
use crate::tree::Value;
use crate::types::core::pod;
use crate::types::core::pod_warnings;
use crate::types::core::{pod_resize, pod_status, pod_update};
use crate::types::errors;
use crate::types::fields::{Fields, Fill};

const RULES: Rules = Rules {
    prepare_create: |new, context| pod::prepare_create(new, context.now),
    prepare_status: status,
    validate: |o| errors(|e| pod::validate_create(o, e)),
    validate_update: |new, old| errors(|e| pod_update::validate_update(new, old, e)),
    validate_status: |new, old| errors(|e| pod_status::validate_status(new, old, e)),
    warnings: pod_warnings::pod,
    ..Rules::generic(true, true)
};

pub(in crate::kinds) const RESIZE: Through = Through {
    prepare: |new, old, context| {
        pod_resize::prepare_resize(new, old);
        generic::count_generation(new, old, context);
    },
    validate: |new, old| errors(|e| pod_resize::validate_resize(new, old, e)),
};

pub(in crate::kinds) const EPHEMERAL_CONTAINERS: Through = Through {
    prepare: |new, old, context| {
        pod_update::prepare_ephemeral(new, old);
        generic::count_generation(new, old, context);
    },
    validate: |new, old| errors(|e| pod_update::validate_ephemeral_update(new, old, e)),
};

pub static KIND: Kind = Kind {
    group: "",
    kind: "Pod",
    plural: "pods",
    singular: "pod",
    short_names: &["po"],
    categories: &["all"],
    storage_prefix: "/registry/pods",
    versions: &[Served {
        group: "",
        version: "v1",
        message: "core/v1.Pod",
        default: pod::default,
        ..Served::HUB
    }],
    subresources: &[
        Subresource {
            name: "attach",
            kind: "PodAttachOptions",
            group_version: None,
            verbs: &["create", "get"],
        },
        Subresource { name: "binding", kind: "Binding", group_version: None, verbs: &["create"] },
        Subresource {
            name: "ephemeralcontainers",
            kind: "Pod",
            group_version: None,
            verbs: &["get", "patch", "update"],
        },
        Subresource {
            name: "eviction",
            kind: "Eviction",
            group_version: Some(("policy", "v1")),
            verbs: &["create"],
        },
        Subresource { name: "exec", kind: "PodExecOptions", group_version: None, verbs: &["create", "get"] },
        Subresource { name: "log", kind: "Pod", group_version: None, verbs: &["get"] },
        Subresource {
            name: "portforward",
            kind: "PodPortForwardOptions",
            group_version: None,
            verbs: &["create", "get"],
        },
        Subresource {
            name: "proxy",
            kind: "PodProxyOptions",
            group_version: None,
            verbs: &["create", "delete", "get", "patch", "update"],
        },
        Subresource { name: "resize", kind: "Pod", group_version: None, verbs: &["get", "patch", "update"] },
        Subresource::status("Pod"),
    ],
    selectable: &[
        ("spec.nodeName", |o| selectable::text(o, &["spec", "nodeName"])),
        ("spec.restartPolicy", |o| selectable::text(o, &["spec", "restartPolicy"])),
        ("spec.schedulerName", |o| selectable::text(o, &["spec", "schedulerName"])),
        ("spec.serviceAccountName", |o| selectable::text(o, &["spec", "serviceAccountName"])),
        ("spec.hostNetwork", |o| selectable::flag(o, &["spec", "hostNetwork"])),
        ("status.phase", |o| selectable::text(o, &["status", "phase"])),
        ("status.podIP", |o| selectable::text(o, &["status", "podIP"])),
        ("status.nominatedNodeName", |o| selectable::text(o, &["status", "nominatedNodeName"])),
    ],
    has_generation: true,
    rules: RULES,
    returns_deleted: true,
    ..Kind::ROW
};

/// The kubelet writes status: owners and the class stay as they are.
fn status(new: &mut Value, old: &Value, context: &Context<'_>) {
    let owners = old["metadata"]["ownerReferences"].clone();
    generic::only_status(new, old, context);
    let metadata = new.message("metadata");
    if owners.is_null() {
        metadata.drop_field("ownerReferences");
    } else {
        metadata.put("ownerReferences", owners);
    }
    let class = old["status"].text("qosClass").to_owned();
    if !class.is_empty() {
        new.message("status").fill_zero("qosClass", class);
    }
}
