//! Tables (`meta.k8s.io` Table) and PartialObjectMetadata: what kubectl shows of objects.
//!
//! Cells are functions of an object in its hub version and of the time; a row holds the object
//! besides, whole or its metadata or not at all, in the version asked for.

mod admission;
mod age;
mod cluster;
mod columns;
mod network;
mod pod;
mod storage;
mod workloads;

#[cfg(test)]
mod table_test;

pub use age::{Now, human_duration};
pub use columns::{Column, Describe, Description};

use crate::tree::{Map, Value};

/// The cells of an object (in its hub version), one for each column.
pub type Cells = fn(&Value, Now) -> Vec<Value>;

/// How a built-in kind is shown.
#[derive(Clone, Copy, Debug)]
pub struct Printer {
    pub columns: &'static [Column],
    pub cells: Cells,
    conditions: Option<fn(&Value) -> Option<Value>>,
}

/// What a row holds besides its cells (`includeObject`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IncludeObject {
    None,
    #[default]
    Metadata,
    Object,
}

impl std::str::FromStr for IncludeObject {
    type Err = ();
    /// The query parameter; empty is the default.
    fn from_str(s: &str) -> Result<IncludeObject, ()> {
        match s {
            "None" => Ok(IncludeObject::None),
            "" | "Metadata" => Ok(IncludeObject::Metadata),
            "Object" => Ok(IncludeObject::Object),
            _ => Err(()),
        }
    }
}

/// The printer of a built-in kind; kinds without columns of their own show name and creation time.
/// Not for custom resources: their kinds may bear the same names.
pub fn printer(kind: &str) -> Printer {
    match (columns::of(kind), cells(kind)) {
        (Some(columns), Some(cells)) => {
            let conditions: Option<fn(&Value) -> Option<Value>> =
                if kind == "Pod" { Some(pod::conditions) } else { None };
            Printer { columns, cells, conditions }
        }
        _ => Printer { columns: columns::GENERIC, cells: generic, conditions: None },
    }
}

fn generic(o: &Value, _: Now) -> Vec<Value> {
    let created = o["metadata"]["creationTimestamp"].as_str().unwrap_or("<unknown>");
    vec![workloads::name(o), created.into()]
}

fn cells(kind: &str) -> Option<Cells> {
    Some(match kind {
        "Pod" => pod::cells,
        "PodTemplate" => workloads::pod_template,
        "ReplicationController" => workloads::replication_controller,
        "ReplicaSet" => workloads::replica_set,
        "Deployment" => workloads::deployment,
        "StatefulSet" => workloads::stateful_set,
        "DaemonSet" => workloads::daemon_set,
        "Job" => workloads::job,
        "CronJob" => workloads::cron_job,
        "ControllerRevision" => workloads::controller_revision,
        "HorizontalPodAutoscaler" => workloads::horizontal_pod_autoscaler,
        "PodDisruptionBudget" => workloads::pod_disruption_budget,
        "Scale" => workloads::scale,
        "PodGroup" => workloads::pod_group,
        "ServiceAccount" | "Workload" | "DeviceClass" | "ResourceClaimTemplate" => cluster::name_and_age,
        "Node" => cluster::node,
        "Event" => cluster::event,
        "Namespace" => cluster::namespace,
        "Secret" => cluster::secret,
        "ConfigMap" => cluster::config_map,
        "ComponentStatus" => cluster::component_status,
        "ResourceQuota" => cluster::resource_quota,
        "RoleBinding" | "ClusterRoleBinding" => cluster::role_binding,
        "Lease" => cluster::lease,
        "LeaseCandidate" => cluster::lease_candidate,
        "PriorityClass" => cluster::priority_class,
        "RuntimeClass" => cluster::runtime_class,
        "Status" => cluster::status,
        "CertificateSigningRequest" => cluster::certificate_signing_request,
        "ClusterTrustBundle" => cluster::cluster_trust_bundle,
        "PodCertificateRequest" => cluster::pod_certificate_request,
        "APIService" => cluster::api_service,
        "Service" => network::service,
        "Endpoints" => network::endpoints,
        "EndpointSlice" => network::endpoint_slice,
        "Ingress" => network::ingress,
        "IngressClass" => network::ingress_class,
        "NetworkPolicy" => network::network_policy,
        "ServiceCIDR" => network::service_cidr,
        "IPAddress" => network::ip_address,
        "PersistentVolume" => storage::persistent_volume,
        "PersistentVolumeClaim" => storage::persistent_volume_claim,
        "StorageClass" => storage::storage_class,
        "VolumeAttributesClass" => storage::volume_attributes_class,
        "VolumeAttachment" => storage::volume_attachment,
        "CSINode" => storage::csi_node,
        "CSIDriver" => storage::csi_driver,
        "CSIStorageCapacity" => storage::csi_storage_capacity,
        "ResourceClaim" => storage::resource_claim,
        "ResourceSlice" => storage::resource_slice,
        "DeviceTaintRule" => storage::device_taint_rule,
        "ResourcePoolStatusRequest" => storage::resource_pool_status_request,
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => admission::webhooks,
        "ValidatingAdmissionPolicy" => admission::validating_policy,
        "MutatingAdmissionPolicy" => admission::mutating_policy,
        "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding" => admission::policy_binding,
        "FlowSchema" => admission::flow_schema,
        "PriorityLevelConfiguration" => admission::priority_level,
        "StorageVersion" => admission::storage_version,
        "StorageVersionMigration" => admission::storage_version_migration,
        _ => return None,
    })
}

impl Printer {
    /// `columnDefinitions`.
    pub fn definitions(&self, describe: Describe<'_>) -> Value {
        Value::Array(self.columns.iter().map(|c| c.definition(describe)).collect())
    }

    /// One row: the cells of `hub` and, as asked, of `object` (the same in the request's version).
    pub fn row(
        &self,
        hub: &Value,
        object: &Value,
        include: IncludeObject,
        meta_version: &str,
        now: Now,
    ) -> Value {
        let conditions = self.conditions.and_then(|conditions| conditions(hub));
        row((self.cells)(hub, now), conditions, object, include, meta_version)
    }
}

/// A row of a Table from its cells: for custom resources too. `meta_version` is `v1` or `v1beta1`.
pub fn row(
    cells: Vec<Value>,
    conditions: Option<Value>,
    object: &Value,
    include: IncludeObject,
    meta_version: &str,
) -> Value {
    let mut row = Map::with_capacity(3);
    row.set("cells", Value::Array(cells));
    if let Some(conditions) = conditions {
        row.set("conditions", conditions);
    }
    let object = match include {
        IncludeObject::None => Value::Null,
        IncludeObject::Metadata => partial_object_metadata(object, meta_version),
        IncludeObject::Object => object.clone(),
    };
    row.set("object", object);
    Value::Object(row)
}

/// `meta.k8s.io/<meta_version>` of a kind, with this metadata.
fn envelope(kind: &'static str, meta_version: &str, metadata: Value) -> Map {
    let mut map = Map::with_capacity(5);
    map.set("kind", kind);
    map.set("apiVersion", format!("meta.k8s.io/{meta_version}"));
    map.set("metadata", metadata);
    map
}

/// A Table. `columns` are the definitions, null for all but the first event of a watch;
/// `metadata` is the list's, or holds the `resourceVersion` of a single object.
pub fn table(meta_version: &str, metadata: Value, columns: Value, rows: Vec<Value>) -> Value {
    let mut map = envelope("Table", meta_version, metadata);
    map.set("columnDefinitions", columns);
    map.set("rows", Value::Array(rows));
    Value::Object(map)
}

/// The metadata a Table of one object has.
pub fn metadata_of_one(object: &Value) -> Value {
    let mut map = Map::new();
    if let Some(version) = object["metadata"]["resourceVersion"].as_str() {
        map.set("resourceVersion", version);
    }
    Value::Object(map)
}

/// The object without anything but its metadata.
pub fn partial_object_metadata(object: &Value, meta_version: &str) -> Value {
    let metadata = match &object["metadata"] {
        Value::Null => Value::object(),
        metadata => metadata.clone(),
    };
    Value::Object(envelope("PartialObjectMetadata", meta_version, metadata))
}

/// A list of such objects; `metadata` is the list's.
pub fn partial_object_metadata_list(meta_version: &str, metadata: Value, items: Vec<Value>) -> Value {
    let mut map = envelope("PartialObjectMetadataList", meta_version, metadata);
    map.set("items", Value::Array(items));
    Value::Object(map)
}
