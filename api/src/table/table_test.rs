use super::*;
use crate::value;
use std::path::PathBuf;

const NOW: Now = Now(1_000_000_000);

fn describe<'a>(_: &str, _: &str) -> Option<&'a str> {
    None
}

/// The shared reference data; `None`, with a word about it, where it is absent.
fn reference(test: &str, file: &str) -> Option<String> {
    let root = std::env::var_os("TRIREME_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let path = root.join("reference").join(file);
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        // Past the capture of what tests that pass print.
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("skipped: {test}: {} is not here\n", path.display()),
        );
    }
    text
}

/// Kinds whose columns the reference names by something else than the kind.
fn reference_name(kind: &str) -> &str {
    match kind {
        "MutatingWebhook" => "MutatingWebhookConfiguration",
        "ValidatingWebhook" => "ValidatingWebhookConfiguration",
        "DeviceTaint" => "DeviceTaintRule",
        other => other,
    }
}

#[test]
fn columns_are_upstreams() {
    let Some(text) = reference("columns_are_upstreams", "columns-1.36.tsv") else { return };
    let mut kinds: Vec<(&str, Vec<Vec<&str>>)> = Vec::new();
    for line in text.lines().skip(1) {
        let cells: Vec<&str> = line.split('\t').collect();
        match kinds.last_mut() {
            Some((kind, columns)) if *kind == cells[0] => columns.push(cells),
            _ => kinds.push((cells[0], vec![cells])),
        }
    }
    assert!(kinds.len() > 60, "{} kinds", kinds.len());
    for (kind, expected) in kinds {
        let printer = printer(reference_name(kind));
        // The reference has the first columns of CSIDriver only: the others are added in code.
        let ours = printer.columns.iter().take(if kind == "CSIDriver" { expected.len() } else { usize::MAX });
        let ours: Vec<[String; 4]> = ours
            .map(|c| [c.name.to_owned(), c.ty.to_owned(), c.format.to_owned(), c.priority.to_string()])
            .collect();
        let expected: Vec<[String; 4]> =
            expected.iter().map(|c| [c[1], c[2], c[3], c[4]].map(str::to_owned)).collect();
        assert_eq!(ours, expected, "{kind}");
        let cells = (printer.cells)(&Value::object(), NOW);
        assert_eq!(cells.len(), printer.columns.len(), "cells of {kind}");
    }
}

/// Rows that upstream printed, from objects made here as the recording made them.
#[test]
fn recorded_rows_are_printed() {
    let Some(text) = reference("recorded_rows_are_printed", "recorded/reads.json") else { return };
    let scenarios: Vec<Value> = serde_json::from_str(&text).expect("the recording is JSON");
    let mut compared = 0;
    for scenario in scenarios.iter().filter(|s| s["name"].str_or_empty().starts_with("reads/table-")) {
        let steps = scenario["steps"].items();
        let Some(created) = steps.iter().find(|s| s["method"] == "POST").map(|s| &s["body"]) else {
            continue;
        };
        let kind = created["kind"].str_or_empty();
        let printer = printer(kind);
        for step in steps {
            let table = &step["expect"]["body"];
            let names = |v: &Value| -> Vec<String> {
                v.items().iter().map(|c| c["name"].str_or_empty().to_owned()).collect()
            };
            if table["kind"] != "Table" {
                continue;
            }
            assert_eq!(names(&printer.definitions(&describe)), names(&table["columnDefinitions"]), "{kind}");
            let ours = (printer.cells)(&defaulted(created), NOW);
            for (ours, theirs) in ours.iter().zip(table["rows"][0]["cells"].items()) {
                let masked = theirs.str_or_empty().starts_with('<') && theirs.str_or_empty() != "<none>";
                if !masked || matches!(theirs.str_or_empty(), "<unset>" | "<unknown>") {
                    assert_eq!(ours, theirs, "{kind} of {}", scenario["name"]);
                }
            }
            compared += 1;
        }
    }
    assert!(compared > 20, "{compared} Tables");
}

/// What the server adds to the recorded bodies and the cells show.
fn defaulted(object: &Value) -> Value {
    let mut object = object.clone();
    match object["kind"].str_or_empty().to_owned().as_str() {
        "Pod" => object.make(&["status"]).set("phase", "Pending"),
        "CSIDriver" => object.make(&["spec"]).set("volumeLifecycleModes", value!(["Persistent"])),
        "ReplicationController" => object.make(&["spec"]).set("selector", value!({"app": "a"})),
        "Secret" => {
            let data = object["stringData"].clone();
            object.make(&[]).set("type", "Opaque");
            object.make(&[]).set("data", data);
        }
        "HorizontalPodAutoscaler" => {
            let spec = object.make(&["spec"]);
            spec.set("minReplicas", 1i64);
            spec.set("metrics", value!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]));
        }
        _ => {}
    }
    object
}

fn cells_of(kind: &str, object: Value) -> Value {
    Value::Array((printer(kind).cells)(&object, NOW))
}

#[test]
fn cells_say_what_counts() {
    for (kind, object, expected) in [
        (
            "Deployment",
            value!({"metadata": {"name": "d"}, "spec": {"replicas": 3, "selector": {"matchLabels": {"a": "b"}},
                "template": {"spec": {"containers": [{"name": "x", "image": "i"}, {"name": "y", "image": "j"}]}}},
                "status": {"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1}}),
            value!(["d", "1/3", 2, 1, "<unknown>", "x,y", "i,j", "a=b"]),
        ),
        (
            "Service",
            value!({"metadata": {"name": "s"}, "spec": {"type": "LoadBalancer", "clusterIPs": ["10.0.0.1"],
                "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}, {"port": 53, "protocol": "UDP"}]},
                "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}}),
            value!([
                "s",
                "LoadBalancer",
                "10.0.0.1",
                "1.2.3.4",
                "80:30080/TCP,53/UDP",
                "<unknown>",
                "<none>"
            ]),
        ),
        (
            "Service",
            value!({"metadata": {"name": "s"}, "spec": {"type": "LoadBalancer", "clusterIPs": ["10.0.0.1"]}}),
            value!(["s", "LoadBalancer", "10.0.0.1", "<pending>", "<none>", "<unknown>", "<none>"]),
        ),
        (
            "Endpoints",
            value!({"metadata": {"name": "e"}, "subsets": [{"addresses": [{"ip": "1.1.1.1"}, {"ip": "fd00::1"}], "ports": [{"port": 80}, {"port": 81}]}]}),
            value!(["e", "1.1.1.1:80,[fd00::1]:80,1.1.1.1:81 + 1 more...", "<unknown>"]),
        ),
        (
            "Node",
            value!({"metadata": {"name": "n", "labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "x"}},
                "spec": {"unschedulable": true},
                "status": {"conditions": [{"type": "Ready", "status": "Unknown"}], "addresses": [{"type": "InternalIP", "address": "10.1.0.1"}],
                    "nodeInfo": {"kubeletVersion": "v1.36.2", "osImage": "Debian"}}}),
            value!([
                "n",
                "NotReady,SchedulingDisabled",
                "control-plane,x",
                "<unknown>",
                "v1.36.2",
                "10.1.0.1",
                "<none>",
                "Debian",
                "<unknown>",
                "<unknown>"
            ]),
        ),
        (
            "Event",
            value!({"metadata": {"name": "e"}, "type": "Warning", "reason": "R", "message": " m ", "count": 4,
                "firstTimestamp": "2001-09-09T01:40:00Z", "lastTimestamp": "2001-09-09T01:46:00Z",
                "involvedObject": {"kind": "Pod", "name": "p"}, "source": {"component": "kubelet", "host": "n"}}),
            value!(["40s", "Warning", "R", "pod/p", "", "kubelet, n", "m", "6m40s", 4, "e"]),
        ),
        (
            "Job",
            value!({"metadata": {"name": "j"}, "spec": {"completions": 2}, "status": {"succeeded": 2,
                "startTime": "2001-09-09T01:40:00Z", "completionTime": "2001-09-09T01:41:00Z",
                "conditions": [{"type": "Complete", "status": "True"}]}}),
            value!(["j", "Complete", "2/2", "60s", "<unknown>", "", "", "<none>"]),
        ),
        (
            "PersistentVolume",
            value!({"metadata": {"name": "v"}, "spec": {"capacity": {"storage": "1024Mi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain", "claimRef": {"namespace": "n", "name": "c"}}, "status": {"phase": "Bound"}}),
            value!([
                "v",
                "1Gi",
                "RWO,RWX",
                "Retain",
                "Bound",
                "n/c",
                "",
                "<unset>",
                "",
                "<unknown>",
                "<unset>"
            ]),
        ),
        (
            "ResourceQuota",
            value!({"metadata": {"name": "q"}, "status": {"hard": {"limits.cpu": "2", "pods": "10"}, "used": {"pods": "3", "limits.cpu": "500m"}}}),
            value!(["q", "pods: 3/10", "limits.cpu: 500m/2", "<unknown>"]),
        ),
        (
            "LimitRange",
            value!({"metadata": {"name": "l", "creationTimestamp": "2001-09-09T01:46:00Z"}}),
            value!(["l", "2001-09-09T01:46:00Z"]),
        ),
        (
            "ControllerRevision",
            value!({"metadata": {"name": "r", "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "controller": true}]}, "revision": 2}),
            value!(["r", "daemonset.apps/d", 2, "<unknown>"]),
        ),
    ] {
        assert_eq!(cells_of(kind, object), expected, "{kind}");
    }
}

#[test]
fn tables_hold_what_is_asked_for() {
    let pod = value!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "resourceVersion": "7"}, "status": {"phase": "Succeeded"}});
    let printer = printer("Pod");
    let row = |include| printer.row(&pod, &pod, include, "v1", NOW);
    assert_eq!(row(IncludeObject::None)["object"], Value::Null);
    assert_eq!(row(IncludeObject::Object)["object"], pod);
    assert_eq!(
        row(IncludeObject::Metadata)["object"],
        value!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "p", "resourceVersion": "7"},
        })
    );
    assert_eq!(row(IncludeObject::None)["conditions"][0]["reason"], "Succeeded");
    let columns = printer.definitions(&|message, field| {
        (message == "meta/v1.ObjectMeta" && field == "name").then_some("its name")
    });
    let table = table("v1beta1", metadata_of_one(&pod), columns, vec![row(IncludeObject::None)]);
    assert_eq!(table["apiVersion"], "meta.k8s.io/v1beta1");
    assert_eq!(table["metadata"], value!({"resourceVersion": "7"}));
    assert_eq!(
        table["columnDefinitions"][0],
        value!({"name": "Name", "type": "string", "format": "name", "description": "its name", "priority": 0})
    );
    assert_eq!("Object".parse(), Ok(IncludeObject::Object));
    assert!("object".parse::<IncludeObject>().is_err());
}

/// A description that names a field names one that exists.
#[test]
fn described_fields_exist() {
    let schema = crate::schema::builtin();
    let kinds = [
        "Pod",
        "ReplicaSet",
        "Deployment",
        "DaemonSet",
        "CronJob",
        "HorizontalPodAutoscaler",
        "Node",
        "Event",
        "RoleBinding",
        "Lease",
        "LeaseCandidate",
        "Service",
        "EndpointSlice",
        "NetworkPolicy",
        "ServiceCIDR",
        "IPAddress",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "StorageClass",
        "VolumeAttributesClass",
        "VolumeAttachment",
        "CSIDriver",
        "CSIStorageCapacity",
        "ResourceSlice",
        "CertificateSigningRequest",
        "ClusterTrustBundle",
        "PodCertificateRequest",
        "FlowSchema",
        "PriorityLevelConfiguration",
        "StorageVersion",
        "PriorityClass",
        "RuntimeClass",
        "Job",
        "Scale",
        "ReplicationController",
        "Secret",
        "ConfigMap",
        "Endpoints",
        "ControllerRevision",
    ];
    for kind in kinds {
        for column in printer(kind).columns {
            if let Description::Field(message, field) = column.description {
                let id = schema.find(message).unwrap_or_else(|| panic!("{kind}: no message {message}"));
                assert!(schema.message(id).field(field).is_some(), "{kind}: no field {field} in {message}");
            }
        }
    }
}
