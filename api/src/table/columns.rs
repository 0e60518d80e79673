//! The columns of each kind, and where their descriptions come from.

use crate::tree::{Map, Value};

/// A column of a Table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    /// `string`, `integer`, `boolean`, `date`
    pub ty: &'static str,
    /// `name` for the column that names the object.
    pub format: &'static str,
    /// 0: always shown; 1: only in wide output.
    pub priority: i64,
    pub description: Description,
}

/// What a column says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Description {
    /// What the schema's documentation says of a field: message and JSON name.
    Field(&'static str, &'static str),
    Text(&'static str),
}

/// Looks up the documentation of a field: message and JSON name.
pub type Describe<'a> = &'a dyn Fn(&str, &str) -> Option<&'a str>;

impl Column {
    const fn wide(mut self) -> Column {
        self.priority = 1;
        self
    }
    const fn naming(mut self) -> Column {
        self.format = "name";
        self
    }
    /// The entry in `columnDefinitions`.
    pub fn definition(&self, describe: Describe<'_>) -> Value {
        let description = match self.description {
            Description::Field(message, field) => describe(message, field).unwrap_or_default(),
            Description::Text(text) => text,
        };
        let mut map = Map::with_capacity(5);
        map.set("name", self.name);
        map.set("type", self.ty);
        map.set("format", self.format);
        map.set("description", description);
        map.set("priority", self.priority);
        Value::Object(map)
    }
}

const fn column(name: &'static str, ty: &'static str, description: Description) -> Column {
    Column { name, ty, format: "", priority: 0, description }
}
const fn s(name: &'static str, message: &'static str, field: &'static str) -> Column {
    column(name, "string", Description::Field(message, field))
}
const fn i(name: &'static str, message: &'static str, field: &'static str) -> Column {
    column(name, "integer", Description::Field(message, field))
}
const fn b(name: &'static str, message: &'static str, field: &'static str) -> Column {
    column(name, "boolean", Description::Field(message, field))
}
const fn t(name: &'static str, text: &'static str) -> Column {
    column(name, "string", Description::Text(text))
}
const fn n(name: &'static str, text: &'static str) -> Column {
    column(name, "integer", Description::Text(text))
}

const META: &str = "meta/v1.ObjectMeta";
const PLAIN_NAME: Column = s("Name", META, "name");
const NAME: Column = PLAIN_NAME.naming();
const AGE: Column = s("Age", META, "creationTimestamp");
const CONTAINERS: Column = t("Containers", "Container names.").wide();
const IMAGES: Column = t("Images", "Container images.").wide();
const CREATED: Column = column("Created At", "date", Description::Field(META, "creationTimestamp"));

/// Kinds without columns of their own.
pub(super) const GENERIC: &[Column] = &[NAME, CREATED];

/// The columns of a built-in kind; `None` where it has none of its own.
pub(super) fn of(kind: &str) -> Option<&'static [Column]> {
    workloads(kind)
        .or_else(|| cluster(kind))
        .or_else(|| network(kind))
        .or_else(|| storage(kind))
        .or_else(|| other(kind))
}

fn workloads(kind: &str) -> Option<&'static [Column]> {
    Some(match kind {
        "Pod" => {
            const {
                &[
                    NAME,
                    t("Ready", "Ready containers of all containers."),
                    t("Status", "What the pod is doing, or why it is not."),
                    t("Restarts", "Restarts of the containers, and how long ago the last one was."),
                    AGE,
                    s("IP", "core/v1.PodStatus", "podIP").wide(),
                    s("Node", "core/v1.PodSpec", "nodeName").wide(),
                    s("Nominated Node", "core/v1.PodStatus", "nominatedNodeName").wide(),
                    s("Readiness Gates", "core/v1.PodSpec", "readinessGates").wide(),
                ]
            }
        }
        "PodTemplate" => {
            const {
                &[
                    NAME,
                    t("Containers", "Container names."),
                    t("Images", "Container images."),
                    t("Pod Labels", "Labels of the template."),
                ]
            }
        }
        "ReplicationController" => {
            const {
                &[
                    NAME,
                    i("Desired", "core/v1.ReplicationControllerSpec", "replicas"),
                    i("Current", "core/v1.ReplicationControllerStatus", "replicas"),
                    i("Ready", "core/v1.ReplicationControllerStatus", "readyReplicas"),
                    AGE,
                    CONTAINERS,
                    IMAGES,
                    s("Selector", "core/v1.ReplicationControllerSpec", "selector").wide(),
                ]
            }
        }
        "ReplicaSet" => {
            const {
                &[
                    NAME,
                    i("Desired", "apps/v1.ReplicaSetSpec", "replicas"),
                    i("Current", "apps/v1.ReplicaSetStatus", "replicas"),
                    i("Ready", "apps/v1.ReplicaSetStatus", "readyReplicas"),
                    AGE,
                    CONTAINERS,
                    IMAGES,
                    s("Selector", "apps/v1.ReplicaSetSpec", "selector").wide(),
                ]
            }
        }
        "Deployment" => {
            const {
                &[
                    NAME,
                    t("Ready", "Ready pods of the wanted ones."),
                    s("Up-to-date", "apps/v1.DeploymentStatus", "updatedReplicas"),
                    s("Available", "apps/v1.DeploymentStatus", "availableReplicas"),
                    AGE,
                    CONTAINERS,
                    IMAGES,
                    s("Selector", "apps/v1.DeploymentSpec", "selector").wide(),
                ]
            }
        }
        "StatefulSet" => {
            const { &[NAME, t("Ready", "Ready pods of the wanted ones."), AGE, CONTAINERS, IMAGES] }
        }
        "DaemonSet" => {
            const {
                &[
                    NAME,
                    i("Desired", "apps/v1.DaemonSetStatus", "desiredNumberScheduled"),
                    i("Current", "apps/v1.DaemonSetStatus", "currentNumberScheduled"),
                    i("Ready", "apps/v1.DaemonSetStatus", "numberReady"),
                    i("Up-to-date", "apps/v1.DaemonSetStatus", "updatedNumberScheduled"),
                    i("Available", "apps/v1.DaemonSetStatus", "numberAvailable"),
                    s("Node Selector", "core/v1.PodSpec", "nodeSelector"),
                    AGE,
                    CONTAINERS,
                    IMAGES,
                    s("Selector", "apps/v1.DaemonSetSpec", "selector").wide(),
                ]
            }
        }
        "Job" => {
            const {
                &[
                    NAME,
                    t("Status", "How the job stands."),
                    s("Completions", "batch/v1.JobStatus", "succeeded"),
                    t("Duration", "How long the job took, or has been running."),
                    AGE,
                    CONTAINERS,
                    IMAGES,
                    s("Selector", "batch/v1.JobSpec", "selector").wide(),
                ]
            }
        }
        "CronJob" => {
            const {
                &[
                    NAME,
                    s("Schedule", "batch/v1.CronJobSpec", "schedule"),
                    s("Timezone", "batch/v1.CronJobSpec", "timeZone"),
                    b("Suspend", "batch/v1.CronJobSpec", "suspend"),
                    i("Active", "batch/v1.CronJobStatus", "active"),
                    s("Last Schedule", "batch/v1.CronJobStatus", "lastScheduleTime"),
                    AGE,
                    CONTAINERS,
                    IMAGES,
                    s("Selector", "batch/v1.JobSpec", "selector").wide(),
                ]
            }
        }
        "ControllerRevision" => {
            const {
                &[
                    NAME,
                    t("Controller", "The object this revision belongs to."),
                    s("Revision", "apps/v1.ControllerRevision", "revision"),
                    AGE,
                ]
            }
        }
        "HorizontalPodAutoscaler" => {
            const {
                &[
                    NAME,
                    s("Reference", "autoscaling/v2.HorizontalPodAutoscalerSpec", "scaleTargetRef"),
                    s("Targets", "autoscaling/v2.HorizontalPodAutoscalerSpec", "metrics"),
                    s("MinPods", "autoscaling/v2.HorizontalPodAutoscalerSpec", "minReplicas"),
                    s("MaxPods", "autoscaling/v2.HorizontalPodAutoscalerSpec", "maxReplicas"),
                    s("Replicas", "autoscaling/v2.HorizontalPodAutoscalerStatus", "currentReplicas"),
                    AGE,
                ]
            }
        }
        "PodDisruptionBudget" => {
            const {
                &[
                    NAME,
                    t("Min Available", "How many pods must stay."),
                    t("Max Unavailable", "How many pods may be missing."),
                    n("Allowed Disruptions", "How many pods may be evicted now."),
                    AGE,
                ]
            }
        }
        "Scale" => {
            const {
                &[
                    PLAIN_NAME,
                    i("Desired", "autoscaling/v1.ScaleSpec", "replicas"),
                    i("Available", "autoscaling/v1.ScaleStatus", "replicas"),
                    AGE,
                ]
            }
        }
        "Workload" => const { &[NAME, AGE] },
        "PodGroup" => {
            const {
                &[
                    NAME,
                    t("Policy", "How the group's pods are scheduled."),
                    t("Workload", "The workload the group belongs to."),
                    t("Status", "Whether the group is scheduled."),
                    AGE,
                ]
            }
        }
        _ => return None,
    })
}

fn cluster(kind: &str) -> Option<&'static [Column]> {
    Some(match kind {
        "Node" => {
            const {
                &[
                    NAME,
                    t("Status", "Whether the node is ready, and schedulable."),
                    t("Roles", "Roles, from the node's labels."),
                    AGE,
                    s("Version", "core/v1.NodeSystemInfo", "kubeletVersion"),
                    s("Internal-IP", "core/v1.NodeStatus", "addresses").wide(),
                    s("External-IP", "core/v1.NodeStatus", "addresses").wide(),
                    s("OS-Image", "core/v1.NodeSystemInfo", "osImage").wide(),
                    s("Kernel-Version", "core/v1.NodeSystemInfo", "kernelVersion").wide(),
                    s("Container-Runtime", "core/v1.NodeSystemInfo", "containerRuntimeVersion").wide(),
                ]
            }
        }
        "Event" => {
            const {
                &[
                    s("Last Seen", "core/v1.Event", "lastTimestamp"),
                    s("Type", "core/v1.Event", "type"),
                    s("Reason", "core/v1.Event", "reason"),
                    s("Object", "core/v1.Event", "involvedObject"),
                    s("Subobject", "core/v1.ObjectReference", "fieldPath").wide(),
                    s("Source", "core/v1.Event", "source").wide(),
                    s("Message", "core/v1.Event", "message"),
                    s("First Seen", "core/v1.Event", "firstTimestamp").wide(),
                    s("Count", "core/v1.Event", "count").wide(),
                    PLAIN_NAME.wide(),
                ]
            }
        }
        "Namespace" => const { &[NAME, t("Status", "The phase of the namespace."), AGE] },
        "Secret" => {
            const { &[NAME, s("Type", "core/v1.Secret", "type"), s("Data", "core/v1.Secret", "data"), AGE] }
        }
        "ConfigMap" => const { &[NAME, s("Data", "core/v1.ConfigMap", "data"), AGE] },
        "ServiceAccount" => const { &[NAME, AGE] },
        "ComponentStatus" => {
            const {
                &[
                    NAME,
                    t("Status", "Whether the component is healthy."),
                    t("Message", "What the component says."),
                    t("Error", "What is wrong with the component."),
                ]
            }
        }
        "ResourceQuota" => {
            const {
                &[
                    NAME,
                    t("Request", "Used and allowed, for requests and counts."),
                    t("Limit", "Used and allowed, for limits."),
                    AGE,
                ]
            }
        }
        "RoleBinding" | "ClusterRoleBinding" => {
            const {
                &[
                    NAME,
                    s("Role", "rbac/v1.RoleBinding", "roleRef"),
                    AGE,
                    t("Users", "Users it is granted to.").wide(),
                    t("Groups", "Groups it is granted to.").wide(),
                    t("ServiceAccounts", "Service accounts it is granted to.").wide(),
                ]
            }
        }
        "Lease" => const { &[NAME, s("Holder", "coordination/v1.LeaseSpec", "holderIdentity"), AGE] },
        "LeaseCandidate" => {
            const {
                &[
                    NAME,
                    s("LeaseName", "coordination/v1beta1.LeaseCandidateSpec", "leaseName"),
                    s("BinaryVersion", "coordination/v1beta1.LeaseCandidateSpec", "binaryVersion"),
                    s("EmulationVersion", "coordination/v1beta1.LeaseCandidateSpec", "emulationVersion"),
                    AGE,
                ]
            }
        }
        "PriorityClass" => {
            const {
                &[
                    NAME,
                    i("Value", "scheduling/v1.PriorityClass", "value"),
                    b("Global-Default", "scheduling/v1.PriorityClass", "globalDefault"),
                    AGE,
                    s("PreemptionPolicy", "scheduling/v1.PriorityClass", "preemptionPolicy"),
                ]
            }
        }
        "RuntimeClass" => const { &[NAME, s("Handler", "node/v1.RuntimeClass", "handler"), AGE] },
        "Status" => {
            const {
                &[
                    s("Status", "meta/v1.Status", "status"),
                    s("Reason", "meta/v1.Status", "reason"),
                    s("Message", "meta/v1.Status", "message"),
                ]
            }
        }
        _ => return None,
    })
}

fn network(kind: &str) -> Option<&'static [Column]> {
    Some(match kind {
        "Service" => {
            const {
                &[
                    NAME,
                    s("Type", "core/v1.ServiceSpec", "type"),
                    s("Cluster-IP", "core/v1.ServiceSpec", "clusterIP"),
                    s("External-IP", "core/v1.ServiceSpec", "externalIPs"),
                    s("Port(s)", "core/v1.ServiceSpec", "ports"),
                    AGE,
                    s("Selector", "core/v1.ServiceSpec", "selector").wide(),
                ]
            }
        }
        "Endpoints" => const { &[NAME, s("Endpoints", "core/v1.Endpoints", "subsets"), AGE] },
        "EndpointSlice" => {
            const {
                &[
                    NAME,
                    s("AddressType", "discovery/v1.EndpointSlice", "addressType"),
                    s("Ports", "discovery/v1.EndpointSlice", "ports"),
                    s("Endpoints", "discovery/v1.EndpointSlice", "endpoints"),
                    AGE,
                ]
            }
        }
        "Ingress" => {
            const {
                &[
                    NAME,
                    t("Class", "The class that implements it."),
                    t("Hosts", "Hosts of its rules."),
                    t("Address", "Where traffic enters."),
                    t("Ports", "80, and 443 with TLS."),
                    AGE,
                ]
            }
        }
        "IngressClass" => {
            const {
                &[
                    NAME,
                    t("Controller", "What implements the class."),
                    t("Parameters", "Where its parameters are."),
                    AGE,
                ]
            }
        }
        "NetworkPolicy" => {
            const { &[NAME, s("Pod-Selector", "networking/v1.NetworkPolicySpec", "podSelector"), AGE] }
        }
        "ServiceCIDR" => const { &[NAME, s("CIDRs", "networking/v1.ServiceCIDRSpec", "cidrs"), AGE] },
        "IPAddress" => const { &[NAME, s("ParentRef", "networking/v1.IPAddressSpec", "parentRef")] },
        _ => return None,
    })
}

fn storage(kind: &str) -> Option<&'static [Column]> {
    Some(match kind {
        "PersistentVolume" => {
            const {
                &[
                    NAME,
                    s("Capacity", "core/v1.PersistentVolumeSpec", "capacity"),
                    s("Access Modes", "core/v1.PersistentVolumeSpec", "accessModes"),
                    s("Reclaim Policy", "core/v1.PersistentVolumeSpec", "persistentVolumeReclaimPolicy"),
                    s("Status", "core/v1.PersistentVolumeStatus", "phase"),
                    s("Claim", "core/v1.PersistentVolumeSpec", "claimRef"),
                    t("StorageClass", "The class of the volume."),
                    s("VolumeAttributesClass", "core/v1.PersistentVolumeSpec", "volumeAttributesClassName"),
                    s("Reason", "core/v1.PersistentVolumeStatus", "reason"),
                    AGE,
                    s("VolumeMode", "core/v1.PersistentVolumeSpec", "volumeMode").wide(),
                ]
            }
        }
        "PersistentVolumeClaim" => {
            const {
                &[
                    NAME,
                    s("Status", "core/v1.PersistentVolumeClaimStatus", "phase"),
                    s("Volume", "core/v1.PersistentVolumeClaimSpec", "volumeName"),
                    s("Capacity", "core/v1.PersistentVolumeClaimStatus", "capacity"),
                    s("Access Modes", "core/v1.PersistentVolumeClaimStatus", "accessModes"),
                    t("StorageClass", "The class of the claim."),
                    s(
                        "VolumeAttributesClass",
                        "core/v1.PersistentVolumeClaimSpec",
                        "volumeAttributesClassName",
                    ),
                    AGE,
                    s("VolumeMode", "core/v1.PersistentVolumeClaimSpec", "volumeMode").wide(),
                ]
            }
        }
        "StorageClass" => {
            const {
                &[
                    NAME,
                    s("Provisioner", "storage/v1.StorageClass", "provisioner"),
                    s("ReclaimPolicy", "storage/v1.StorageClass", "reclaimPolicy"),
                    s("VolumeBindingMode", "storage/v1.StorageClass", "volumeBindingMode"),
                    s("AllowVolumeExpansion", "storage/v1.StorageClass", "allowVolumeExpansion"),
                    AGE,
                ]
            }
        }
        "VolumeAttributesClass" => {
            const { &[NAME, s("DriverName", "storage/v1.VolumeAttributesClass", "driverName"), AGE] }
        }
        "VolumeAttachment" => {
            const {
                &[
                    NAME,
                    s("Attacher", "storage/v1.VolumeAttachmentSpec", "attacher").naming(),
                    s("PV", "storage/v1.VolumeAttachmentSource", "persistentVolumeName"),
                    s("Node", "storage/v1.VolumeAttachmentSpec", "nodeName"),
                    b("Attached", "storage/v1.VolumeAttachmentStatus", "attached"),
                    AGE,
                ]
            }
        }
        "CSINode" => const { &[NAME, n("Drivers", "Drivers on the node."), AGE] },
        "CSIDriver" => {
            const {
                &[
                    NAME,
                    b("AttachRequired", "storage/v1.CSIDriverSpec", "attachRequired"),
                    b("PodInfoOnMount", "storage/v1.CSIDriverSpec", "podInfoOnMount"),
                    b("StorageCapacity", "storage/v1.CSIDriverSpec", "storageCapacity"),
                    s("TokenRequests", "storage/v1.CSIDriverSpec", "tokenRequests"),
                    b("RequiresRepublish", "storage/v1.CSIDriverSpec", "requiresRepublish"),
                    s("Modes", "storage/v1.CSIDriverSpec", "volumeLifecycleModes"),
                    AGE,
                ]
            }
        }
        "CSIStorageCapacity" => {
            const {
                &[
                    NAME,
                    s("StorageClassName", "storage/v1.CSIStorageCapacity", "storageClassName"),
                    s("Capacity", "storage/v1.CSIStorageCapacity", "capacity"),
                ]
            }
        }
        "DeviceClass" | "ResourceClaimTemplate" => const { &[NAME, AGE] },
        "ResourceClaim" => const { &[NAME, t("State", "Whether devices are allocated and reserved."), AGE] },
        "ResourceSlice" => {
            const {
                &[
                    NAME,
                    s("Node", "resource/v1.ResourceSliceSpec", "nodeName"),
                    s("Driver", "resource/v1.ResourceSliceSpec", "driver"),
                    s("Pool", "resource/v1.ResourcePool", "name"),
                    AGE,
                ]
            }
        }
        _ => return None,
    })
}

fn other(kind: &str) -> Option<&'static [Column]> {
    Some(match kind {
        "CertificateSigningRequest" => {
            const {
                &[
                    NAME,
                    AGE,
                    s("SignerName", "certificates/v1.CertificateSigningRequestSpec", "signerName"),
                    s("Requestor", "certificates/v1.CertificateSigningRequestSpec", "request"),
                    s(
                        "RequestedDuration",
                        "certificates/v1.CertificateSigningRequestSpec",
                        "expirationSeconds",
                    ),
                    s("Condition", "certificates/v1.CertificateSigningRequestStatus", "conditions"),
                ]
            }
        }
        "ClusterTrustBundle" => {
            const { &[NAME, s("SignerName", "certificates/v1beta1.ClusterTrustBundleSpec", "signerName")] }
        }
        "PodCertificateRequest" => {
            const {
                &[
                    NAME,
                    s("PodName", "certificates/v1beta1.PodCertificateRequestSpec", "podName"),
                    s(
                        "ServiceAccountName",
                        "certificates/v1beta1.PodCertificateRequestSpec",
                        "serviceAccountName",
                    ),
                    s("NodeName", "certificates/v1beta1.PodCertificateRequestSpec", "nodeName"),
                    s("SignerName", "certificates/v1beta1.PodCertificateRequestSpec", "signerName"),
                    t("State", "Whether the certificate was issued."),
                    s(
                        "UnverifiedUserAnnotations",
                        "certificates/v1beta1.PodCertificateRequestSpec",
                        "unverifiedUserAnnotations",
                    ),
                ]
            }
        }
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
            const { &[NAME, n("Webhooks", "Number of webhooks."), AGE] }
        }
        "ValidatingAdmissionPolicy" => {
            const {
                &[
                    NAME,
                    n("Validations", "Number of validations."),
                    t("ParamKind", "The kind of its parameters."),
                    AGE,
                ]
            }
        }
        "MutatingAdmissionPolicy" => {
            const {
                &[
                    NAME,
                    n("Mutations", "Number of mutations."),
                    t("ParamKind", "The kind of its parameters."),
                    AGE,
                ]
            }
        }
        "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding" => {
            const {
                &[
                    NAME,
                    t("PolicyName", "The policy that is bound."),
                    t("ParamRef", "The parameters it is bound with."),
                    AGE,
                ]
            }
        }
        "FlowSchema" => {
            const {
                &[
                    NAME,
                    s("PriorityLevel", "flowcontrol/v1.PriorityLevelConfigurationReference", "name"),
                    s("MatchingPrecedence", "flowcontrol/v1.FlowSchemaSpec", "matchingPrecedence"),
                    s("DistinguisherMethod", "flowcontrol/v1.FlowSchemaSpec", "distinguisherMethod"),
                    AGE,
                    t("MissingPL", "Whether its priority level is missing."),
                ]
            }
        }
        "PriorityLevelConfiguration" => {
            const {
                &[
                    NAME,
                    s("Type", "flowcontrol/v1.PriorityLevelConfigurationSpec", "type"),
                    s(
                        "NominalConcurrencyShares",
                        "flowcontrol/v1.LimitedPriorityLevelConfiguration",
                        "nominalConcurrencyShares",
                    ),
                    s("Queues", "flowcontrol/v1.QueuingConfiguration", "queues"),
                    s("HandSize", "flowcontrol/v1.QueuingConfiguration", "handSize"),
                    s("QueueLengthLimit", "flowcontrol/v1.QueuingConfiguration", "queueLengthLimit"),
                    AGE,
                ]
            }
        }
        "StorageVersion" => {
            const {
                &[
                    NAME,
                    s(
                        "CommonEncodingVersion",
                        "apiserverinternal/v1alpha1.StorageVersionStatus",
                        "commonEncodingVersion",
                    ),
                    s(
                        "StorageVersions",
                        "apiserverinternal/v1alpha1.StorageVersionStatus",
                        "storageVersions",
                    ),
                    AGE,
                ]
            }
        }
        "StorageVersionMigration" => {
            const {
                &[
                    PLAIN_NAME,
                    t("Resource", "The resource whose objects are rewritten."),
                    t("Status", "How far the migration is."),
                ]
            }
        }
        "DeviceTaintRule" => {
            const {
                &[
                    NAME,
                    t("Key", "The taint's key."),
                    t("Value", "The taint's value."),
                    t("Effect", "What the taint does."),
                    t("TimeAdded", "When the taint was added."),
                    AGE,
                ]
            }
        }
        "ResourcePoolStatusRequest" => {
            const {
                &[
                    NAME,
                    t("Driver", "The driver asked about."),
                    t("Total", "Devices of the pools."),
                    t("Available", "Devices that are free."),
                    t("Allocated", "Devices in use."),
                    t("Unavailable", "Devices that cannot be used."),
                    t("Errors", "Pools that could not be read."),
                    n("Pools", "Number of pools."),
                    t("Status", "Whether the answer is there."),
                    t("Completed", "When the answer was given."),
                ]
            }
        }
        "APIService" => {
            const {
                &[
                    NAME,
                    t("Service", "The service behind the API, or Local."),
                    t("Available", "Whether the API answers."),
                    AGE,
                ]
            }
        }
        _ => return None,
    })
}
