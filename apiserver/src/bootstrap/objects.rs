//! Namespaces, priority classes, flow control, API services, the service range.

use std::sync::Arc;

use trireme_api::{Value, kinds, value};

use super::write::create_missing;
use crate::server::Core;
use crate::server::listener::Phase;
use crate::status::{ApiError, Result};
use crate::{clock, limits};

/// Namespaces every cluster has.
const NAMESPACES: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", "default"];

pub(super) async fn namespaces(core: &Core) -> Result<()> {
    let objects = NAMESPACES.map(|name| {
        let namespace = value!({
            "kind": "Namespace", "apiVersion": "v1",
            "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
            "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"},
        });
        ("", "namespaces", namespace)
    });
    create_missing(core, objects.into()).await
}

/// Makes system namespaces again that were deleted: without `kube-node-lease` no node could say
/// that it lives. The cache is asked, so looking often costs nothing.
pub(super) async fn keep_namespaces(core: Arc<Core>) {
    let mut phase = core.phase.subscribe();
    loop {
        tokio::select! {
            () = tokio::time::sleep(limits::SYSTEM_NAMESPACES_INTERVAL) => {}
            _ = phase.wait_for(|p| *p >= Phase::Draining) => return,
        }
        let missing = NAMESPACES.iter().any(|name| core.cached("", "namespaces", "", name).is_none());
        if missing && let Err(error) = namespaces(&core).await {
            tracing::warn!(error = error.message, "making the system namespaces failed; trying again");
        }
    }
}

pub(super) async fn priority_classes(core: &Core) -> Result<()> {
    let class = |name: &str, priority: i64, description: &str| {
        let class = value!({
            "kind": "PriorityClass", "apiVersion": "scheduling.k8s.io/v1",
            "metadata": {"name": name, "generation": 1},
            "value": priority, "preemptionPolicy": "PreemptLowerPriority", "description": description,
        });
        ("scheduling.k8s.io", "priorityclasses", class)
    };
    let objects = vec![
        class("system-node-critical", 2_000_001_000, "For pods that their node cannot do without."),
        class(
            "system-cluster-critical",
            2_000_000_000,
            "For pods that the cluster cannot do without, on whatever node.",
        ),
    ];
    create_missing(core, objects).await
}

/// Flow schemas and priority levels, one JSON document a line.
const FLOW_CONTROL: &str = include_str!("flow_control.jsonl");

pub(super) async fn flow_control(core: &Core) -> Result<()> {
    let objects = FLOW_CONTROL
        .lines()
        .map(|line| {
            let object: Value = serde_json::from_str(line)
                .map_err(|e| ApiError::internal(format!("built-in flow control: {e}")))?;
            let plural =
                if object["kind"] == *"FlowSchema" { "flowschemas" } else { "prioritylevelconfigurations" };
            Ok(("flowcontrol.apiserver.k8s.io", plural, object))
        })
        .collect::<Result<Vec<_>>>()?;
    create_missing(core, objects).await
}

/// Every served group and version as an APIService that this server itself answers, and the range
/// of Service addresses.
pub(super) async fn api_services(core: &Core) -> Result<()> {
    let mut objects: Vec<(&'static str, &'static str, Value)> = Vec::new();
    // Legacy versions are no API services: they are kept for old manifests, not offered.
    let served = kinds::group_versions().iter().filter(|gv| gv.kinds.iter().any(|(_, s)| !s.is_legacy()));
    for (i, gv) in served.enumerate() {
        let mut spec = value!({
            "groupPriorityMinimum": 18_000 - 100 * i64::try_from(i).unwrap_or(0),
            "version": gv.version,
            "versionPriority": if gv.version == "v1" { 15 } else { 30 },
        });
        if !gv.group.is_empty() {
            spec.make(&[]).set("group", gv.group);
        }
        let service = value!({
            "kind": "APIService", "apiVersion": "apiregistration.k8s.io/v1",
            "metadata": {
                "name": format!("{}.{}", gv.version, gv.group),
                "labels": {"kube-aggregator.kubernetes.io/automanaged": "onstart"},
            },
            "spec": null,
            "status": {"conditions": [{
                "type": "Available", "status": "True", "reason": "Local", "lastTransitionTime": clock::now(),
                "message": "Served by the API server itself",
            }]},
        });
        let mut service = service;
        service.make(&[]).set("spec", spec);
        objects.push(("apiregistration.k8s.io", "apiservices", service));
    }
    let range = value!({
        "kind": "ServiceCIDR", "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": "kubernetes", "finalizers": ["networking.k8s.io/service-cidr-finalizer"]},
        "spec": {"cidrs": [core.service_range.cidr()]},
        "status": {"conditions": [{
            "type": "Ready", "status": "True", "reason": "", "lastTransitionTime": clock::now(),
            "message": "Addresses are given out from this range",
        }]},
    });
    objects.push(("networking.k8s.io", "servicecidrs", range));
    create_missing(core, objects).await
}
