//! How long the steps take that every object goes through, on a pod of about 4 KB:
//! `cargo run --release -p trireme-api --example hot_path`.

use std::hint::black_box;
use std::time::Instant;

use trireme_api::codec::{json, protobuf};
use trireme_api::load;
use trireme_api::normal::normalize;
use trireme_api::schema::builtin;
use trireme_api::{Value, kinds};

const ROUNDS: u32 = 2_000;

fn pod() -> Value {
    let env: Vec<Value> = (0..12)
        .map(|i| trireme_api::value!({"name": format!("SETTING_{i}"), "value": format!("some value number {i}")}))
        .collect();
    let container = trireme_api::value!({
        "name": "app", "image": "registry.example.com/team/app:v1.2.3",
        "ports": [{"containerPort": 8080, "protocol": "TCP", "name": "http"}],
        "resources": {"limits": {"cpu": "500m", "memory": "512Mi"}, "requests": {"cpu": "250m", "memory": "256Mi"}},
        "volumeMounts": [{"name": "kube-api-access-abcde", "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http", "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "imagePullPolicy": "IfNotPresent",
    });
    let mut pod = trireme_api::value!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "name": "app-6d4cf56db6-abcde", "generateName": "app-6d4cf56db6-", "namespace": "production",
            "uid": "0e3c1f0e-2b8e-4c58-9f43-2d4a6a3b4f11", "generation": 1, "creationTimestamp": "2026-01-02T03:04:05Z",
            "labels": {"app": "app", "pod-template-hash": "6d4cf56db6", "team": "platform"},
            "annotations": {"example.com/checksum": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "app-6d4cf56db6", "uid": "6a3b4f11-2b8e-4c58-9f43-0e3c1f0e2d4a", "controller": true, "blockOwnerDeletion": true}],
            "managedFields": [{"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1", "time": "2026-01-02T03:04:05Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:generateName": {}, "f:labels": {".": {}, "f:app": {}, "f:team": {}}}, "f:spec": {"f:containers": {"k:{\"name\":\"app\"}": {".": {}, "f:image": {}, "f:name": {}, "f:resources": {".": {}, "f:limits": {".": {}, "f:cpu": {}}}}}}}}],
        },
        "spec": {
            "volumes": [{"name": "kube-api-access-abcde", "projected": {"sources": [{"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}], "defaultMode": 420}}],
            "containers": [container.to_string().parse_json()],
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
            "serviceAccountName": "default", "serviceAccount": "default", "nodeName": "node-17", "securityContext": {},
            "schedulerName": "default-scheduler", "priority": 0, "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority",
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}, {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
        },
        "status": {
            "phase": "Running", "hostIP": "10.0.0.17", "podIP": "10.244.3.7", "podIPs": [{"ip": "10.244.3.7"}], "startTime": "2026-01-02T03:04:06Z", "qosClass": "Burstable",
            "conditions": [{"type": "Ready", "status": "True", "lastProbeTime": null, "lastTransitionTime": "2026-01-02T03:04:09Z"}, {"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": "2026-01-02T03:04:05Z"}],
            "containerStatuses": [{"name": "app", "state": {"running": {"startedAt": "2026-01-02T03:04:08Z"}}, "lastState": {}, "ready": true, "restartCount": 0, "image": "registry.example.com/team/app:v1.2.3", "imageID": "sha256:0123456789abcdef", "containerID": "containerd://0123456789abcdef", "started": true}],
        },
    });
    pod.at_mut(&["spec", "containers"]).unwrap().items_mut()[0].as_object_mut().unwrap().set("env", env);
    pod
}

trait ParseJson {
    fn parse_json(&self) -> serde_json::Value;
}
impl ParseJson for String {
    fn parse_json(&self) -> serde_json::Value {
        serde_json::from_str(self).expect("made by this program")
    }
}

fn time<T>(what: &str, mut run: impl FnMut() -> T) {
    for _ in 0..ROUNDS / 10 {
        black_box(run());
    }
    let start = Instant::now();
    for _ in 0..ROUNDS {
        black_box(run());
    }
    println!("{what:28} {:8.1} µs", start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS));
}

fn main() {
    let start = Instant::now();
    let schema = builtin();
    println!("{:28} {:8.1} µs", "read the schema table", start.elapsed().as_secs_f64() * 1e6);
    let (kind, served) = kinds::find("", "v1", "pods").expect("pods are built in");
    let id = schema.find(served.message).expect("rows name messages");
    let stored = load::store_bytes(&pod());
    let decoded = json::decode(schema, id, &stored).expect("a pod").value;
    let mut normal = decoded.clone();
    load::to_hub(kind, served, &mut normal);
    normalize(schema, id, &mut normal);
    let wire = protobuf::encode(schema, id, &normal).expect("a pod");
    println!("{:28} {:8} bytes, {} as protobuf", "the pod", stored.len(), wire.len());
    time("decode JSON", || json::decode(schema, id, &stored));
    time("decode JSON without facts", || json::parse(&stored));
    time("default", || {
        let mut v = decoded.clone();
        load::to_hub(kind, served, &mut v);
        v
    });
    time("clone", || decoded.clone());
    time("normalize (and clone)", || {
        let mut v = normal.clone();
        normalize(schema, id, &mut v);
        v
    });
    time("encode JSON", || json::encode(&normal));
    time("encode protobuf", || protobuf::encode(schema, id, &normal));
    time("decode protobuf", || protobuf::decode(schema, id, &wire));
    time("load", || load::load(schema, kind, &stored, 42));
}
