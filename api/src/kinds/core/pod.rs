//! Pod.

use crate::kinds::{selectable, Kind, Rules, Served, Subresource};

const RULES: Rules = Rules::generic(true, true);

pub static KIND: Kind = Kind {
    group: "",
    kind: "Pod",
    plural: "pods",
    singular: "pod",
    short_names: &["po"],
    categories: &["all"],
    storage_prefix: "/registry/pods",
    versions: &[Served { group: "", version: "v1", message: "core/v1.Pod", ..Served::HUB }],
    subresources: &[
        Subresource {
            name: "attach",
            kind: "PodAttachOptions",
            group_version: None,
            verbs: &["create", "get"],
        },
        Subresource {
            name: "binding",
            kind: "Binding",
            group_version: None,
            verbs: &["create"],
        },
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
        Subresource {
            name: "exec",
            kind: "PodExecOptions",
            group_version: None,
            verbs: &["create", "get"],
        },
        Subresource {
            name: "log",
            kind: "Pod",
            group_version: None,
            verbs: &["get"],
        },
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
        Subresource {
            name: "resize",
            kind: "Pod",
            group_version: None,
            verbs: &["get", "patch", "update"],
        },
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
    ..Kind::ROW
};
