//! Messages as upstream's internal Go types print them: errors about a whole struct quote it with
//! Go's field names, every field there, absent ones as null or zero.

use crate::schema::{self, Message, MessageId, Type};
use crate::tree::{Key, Map, Value};
use crate::types::fields::{Fields, sorted};

/// Go names that are not the JSON name with a capital first letter.
const NAMES: &[(&str, &str)] = &[
    ("apiGroup", "APIGroup"),
    ("apiGroups", "APIGroups"),
    ("apiVersion", "APIVersion"),
    ("awsElasticBlockStore", "AWSElasticBlockStore"),
    ("cephfs", "CephFS"),
    ("csi", "CSI"),
    ("diskURI", "DataDiskURI"),
    ("dnsConfig", "DNSConfig"),
    ("dnsPolicy", "DNSPolicy"),
    ("fc", "FC"),
    ("fsGroup", "FSGroup"),
    ("fsGroupChangePolicy", "FSGroupChangePolicy"),
    ("fsType", "FSType"),
    ("gcePersistentDisk", "GCEPersistentDisk"),
    ("grpc", "GRPC"),
    ("httpGet", "HTTPGet"),
    ("httpHeaders", "HTTPHeaders"),
    ("ip", "IP"),
    ("iscsi", "ISCSI"),
    ("nfs", "NFS"),
    ("os", "OS"),
    ("pdName", "PDName"),
    ("rbd", "RBD"),
    ("seLinuxChangePolicy", "SELinuxChangePolicy"),
    ("seLinuxOptions", "SELinuxOptions"),
    ("storageos", "StorageOS"),
    ("tcpSocket", "TCPSocket"),
    ("tty", "TTY"),
    ("uid", "UID"),
];
/// Fields of a pod spec that the internal type keeps in its security context, in this order, first.
const HOST_FIELDS: &[&str] = &["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"];
/// The internal order of a pod spec where it is not that of v1.
const POD_SPEC: &[&str] = &[
    "volumes",
    "initContainers",
    "containers",
    "ephemeralContainers",
    "restartPolicy",
    "terminationGracePeriodSeconds",
    "activeDeadlineSeconds",
    "dnsPolicy",
    "nodeSelector",
    "serviceAccountName",
    "automountServiceAccountToken",
    "nodeName",
    "securityContext",
    "imagePullSecrets",
    "hostname",
    "subdomain",
    "setHostnameAsFQDN",
    "affinity",
    "schedulerName",
    "tolerations",
    "hostAliases",
    "priorityClassName",
    "priority",
    "preemptionPolicy",
    "dnsConfig",
    "readinessGates",
    "runtimeClassName",
    "overhead",
    "enableServiceLinks",
    "topologySpreadConstraints",
    "os",
    "schedulingGates",
    "resourceClaims",
    "resources",
    "hostnameOverride",
    "schedulingGroup",
];
const POD_SECURITY_CONTEXT: &[&str] = &[
    "seLinuxOptions",
    "windowsOptions",
    "runAsUser",
    "runAsGroup",
    "runAsNonRoot",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "seccompProfile",
    "appArmorProfile",
    "seLinuxChangePolicy",
];

fn go_name(json: &str) -> String {
    if let Some((_, name)) = NAMES.iter().find(|(n, _)| *n == json) {
        return (*name).to_owned();
    }
    let mut chars = json.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// `value` as the message `name` of the schema; unchanged where the schema does not know it.
pub fn shown(name: &str, value: &Value) -> Value {
    match schema::builtin().find(name) {
        Some(id) => message(id, value),
        None => value.clone(),
    }
}

fn message(id: MessageId, value: &Value) -> Value {
    let m = schema::builtin().message(id);
    let mut out = Map::new();
    let order: Vec<&str> = match m.name.as_str() {
        "core/v1.PodSpec" => POD_SPEC.to_vec(),
        "core/v1.PodSecurityContext" => POD_SECURITY_CONTEXT.to_vec(),
        _ => m.fields.iter().map(|f| f.json).collect(),
    };
    for json in order {
        let mut shown = field(m, json, value);
        if m.name == "core/v1.PodSpec" && json == "securityContext" && shown.is_object() {
            shown = with_host_fields(m, value, shown);
        }
        out.insert(go_name(json), shown);
    }
    Value::Object(out)
}

fn with_host_fields(pod_spec: &Message, value: &Value, context: Value) -> Value {
    let mut out = Map::new();
    for json in HOST_FIELDS {
        out.insert(go_name(json), field(pod_spec, json, value));
    }
    for (name, v) in context.members() {
        out.insert(Key::from(&**name), v.clone());
    }
    Value::Object(out)
}

fn field(m: &Message, json: &str, holder: &Value) -> Value {
    let Some(f) = m.field(json) else { return Value::Null };
    match holder.opt(json) {
        Some(v) => typed(&f.ty, v),
        None if f.pointer => Value::Null,
        None => zero(&f.ty),
    }
}

fn zero(ty: &Type) -> Value {
    match ty {
        Type::Bool => false.into(),
        Type::Int32 | Type::Int64 | Type::Float | Type::IntOrString => 0.into(),
        Type::String => "".into(),
        Type::Quantity => "0".into(),
        Type::Message(id) => message(*id, &Value::Null),
        _ => Value::Null,
    }
}

fn typed(ty: &Type, value: &Value) -> Value {
    match ty {
        Type::Message(id) => message(*id, value),
        Type::List(of) => Value::Array(value.items().iter().map(|v| typed(of, v)).collect()),
        Type::Map(of) => match sorted(value) {
            Value::Object(map) => Value::Object(map.into_iter().map(|(k, v)| (k, typed(of, &v))).collect()),
            other => other,
        },
        Type::Quantity => crate::types::core::resources::quantity(value).to_string().into(),
        _ => value.clone(),
    }
}
