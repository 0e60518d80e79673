//! `Resource`: what a path of the REST API is made of, and the built-in ones our own clients use.

use std::borrow::Cow;
use std::fmt::Write;

/// A collection of the API: group ("" for core), version and plural name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Resource {
    pub group: Cow<'static, str>,
    pub version: Cow<'static, str>,
    pub plural: Cow<'static, str>,
    pub namespaced: bool,
}

impl Resource {
    pub const fn new(
        group: &'static str,
        version: &'static str,
        plural: &'static str,
        namespaced: bool,
    ) -> Resource {
        Resource {
            group: Cow::Borrowed(group),
            version: Cow::Borrowed(version),
            plural: Cow::Borrowed(plural),
            namespaced,
        }
    }

    /// From discovery: `group_version` is `v1` or `apps/v1`.
    pub fn discovered(group_version: &str, plural: &str, namespaced: bool) -> Resource {
        let (group, version) = group_version.split_once('/').unwrap_or(("", group_version));
        Resource {
            group: Cow::Owned(group.to_owned()),
            version: Cow::Owned(version.to_owned()),
            plural: Cow::Owned(plural.to_owned()),
            namespaced,
        }
    }

    /// `v1` or `apps/v1`, as `apiVersion` has it.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The path of the collection: in `namespace`, or across all of them.
    pub fn collection(&self, namespace: Option<&str>) -> String {
        let mut path = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        if let (true, Some(ns)) = (self.namespaced, namespace.filter(|ns| !ns.is_empty())) {
            path.push_str("/namespaces/");
            escape_into(ns, &mut path);
        }
        path.push('/');
        path.push_str(&self.plural);
        path
    }

    /// The path of one object. `namespace` is not looked at for a resource without namespaces.
    pub fn object(&self, namespace: &str, name: &str) -> String {
        let mut path = self.collection(Some(namespace));
        path.push('/');
        escape_into(name, &mut path);
        path
    }
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.plural)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        Ok(())
    }
}

/// Percent-encodes what a path segment or a query value may not hold.
pub(crate) fn escape_into(text: &str, out: &mut String) {
    for b in text.bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b':' | b'@' => {
                out.push(b as char);
            }
            other => {
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
}

macro_rules! resources {
    ($($name:ident = $group:literal $version:literal $plural:literal $namespaced:literal;)+) => {$(
        pub const $name: Resource = Resource::new($group, $version, $plural, $namespaced);
    )+};
}

resources! {
    NAMESPACES = "" "v1" "namespaces" false;
    NODES = "" "v1" "nodes" false;
    PODS = "" "v1" "pods" true;
    SERVICES = "" "v1" "services" true;
    ENDPOINTS = "" "v1" "endpoints" true;
    CONFIG_MAPS = "" "v1" "configmaps" true;
    SECRETS = "" "v1" "secrets" true;
    SERVICE_ACCOUNTS = "" "v1" "serviceaccounts" true;
    CORE_EVENTS = "" "v1" "events" true;
    PERSISTENT_VOLUME_CLAIMS = "" "v1" "persistentvolumeclaims" true;
    PERSISTENT_VOLUMES = "" "v1" "persistentvolumes" false;
    VOLUME_ATTRIBUTES_CLASSES = "storage.k8s.io" "v1" "volumeattributesclasses" false;
    REPLICATION_CONTROLLERS = "" "v1" "replicationcontrollers" true;
    REPLICA_SETS = "apps" "v1" "replicasets" true;
    DEPLOYMENTS = "apps" "v1" "deployments" true;
    DAEMON_SETS = "apps" "v1" "daemonsets" true;
    STATEFUL_SETS = "apps" "v1" "statefulsets" true;
    CONTROLLER_REVISIONS = "apps" "v1" "controllerrevisions" true;
    JOBS = "batch" "v1" "jobs" true;
    CRON_JOBS = "batch" "v1" "cronjobs" true;
    ENDPOINT_SLICES = "discovery.k8s.io" "v1" "endpointslices" true;
    LEASES = "coordination.k8s.io" "v1" "leases" true;
    EVENTS = "events.k8s.io" "v1" "events" true;
    PRIORITY_CLASSES = "scheduling.k8s.io" "v1" "priorityclasses" false;
    POD_DISRUPTION_BUDGETS = "policy" "v1" "poddisruptionbudgets" true;
    CUSTOM_RESOURCE_DEFINITIONS = "apiextensions.k8s.io" "v1" "customresourcedefinitions" false;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let check = |got: String, want: &str| assert_eq!(got, want);
        check(PODS.collection(None), "/api/v1/pods");
        check(PODS.collection(Some("")), "/api/v1/pods");
        check(PODS.collection(Some("a")), "/api/v1/namespaces/a/pods");
        check(PODS.object("a", "b"), "/api/v1/namespaces/a/pods/b");
        check(NODES.object("ignored", "n1"), "/api/v1/nodes/n1");
        check(REPLICA_SETS.object("a", "x/y z"), "/apis/apps/v1/namespaces/a/replicasets/x%2Fy%20z");
        let roles = Resource::discovered("rbac.authorization.k8s.io/v1", "clusterroles", false);
        check(roles.object("", "system:node"), "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node");
    }
}
