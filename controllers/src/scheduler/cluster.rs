//! What the scheduler knows of the cluster: nodes with the pods on them, bindings on their way
//! included ("assumed" pods), so that the next decision does not spend the same room twice.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use trireme_api::{Object, Value};

use super::affinity::{Namespaces, PodTerms};
use super::resources::{Resources, comparable_requests_of, requests_of};

/// A pod, read once.
#[derive(Debug)]
pub(super) struct Pod {
    pub(super) object: Arc<Object>,
    pub(super) requests: Resources,
    pub(super) comparable: Resources,
    pub(super) ports: Vec<HostPort>,
    pub(super) terms: PodTerms,
}

/// A port of the host that a container asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct HostPort {
    pub(super) port: i64,
    pub(super) protocol: Box<str>,
    /// "0.0.0.0" stands for every address.
    pub(super) ip: Box<str>,
}

impl HostPort {
    fn clashes(&self, other: &HostPort) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || &*self.ip == "0.0.0.0" || &*other.ip == "0.0.0.0")
    }
}

impl Pod {
    pub(super) fn new(object: Arc<Object>) -> Pod {
        let spec = object.spec();
        let host_network = spec["hostNetwork"] == Value::Bool(true);
        let mut ports = Vec::new();
        let sidecars = spec["initContainers"].items().iter().filter(|c| c["restartPolicy"] == "Always");
        for container in spec["containers"].items().iter().chain(sidecars) {
            for port in container["ports"].items() {
                let host = port["hostPort"].as_i64().unwrap_or(0);
                let number = if host == 0 && host_network {
                    port["containerPort"].as_i64().unwrap_or(0)
                } else {
                    host
                };
                if number > 0 {
                    ports.push(HostPort {
                        port: number,
                        protocol: port["protocol"].as_str().unwrap_or("TCP").into(),
                        ip: port["hostIP"].as_str().filter(|ip| !ip.is_empty()).unwrap_or("0.0.0.0").into(),
                    });
                }
            }
        }
        Pod {
            requests: requests_of(spec),
            comparable: comparable_requests_of(spec),
            ports,
            terms: PodTerms::of(&object),
            object,
        }
    }
}

/// A node and what is on it.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) object: Arc<Object>,
    pub(super) allocatable: Resources,
    pub(super) requested: Resources,
    pub(super) compared: Resources,
    pub(super) pods: HashMap<Box<str>, Arc<Pod>>,
}

impl Node {
    pub(super) fn name(&self) -> &str {
        self.object.name()
    }
    pub(super) fn label(&self, key: &str) -> Option<&str> {
        self.object.label(key)
    }
    pub(super) fn port_is_taken(&self, wanted: &HostPort) -> bool {
        self.pods.values().any(|pod| pod.ports.iter().any(|p| p.clashes(wanted)))
    }

    fn put(&mut self, uid: &str, pod: Arc<Pod>) {
        self.take(uid);
        self.requested.add(&pod.requests);
        self.compared.add(&pod.comparable);
        self.pods.insert(uid.into(), pod);
    }
    fn take(&mut self, uid: &str) {
        if let Some(pod) = self.pods.remove(uid) {
            self.requested.subtract(&pod.requests);
            self.compared.subtract(&pod.comparable);
        }
    }
}

/// Nodes by name, pods by uid.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    nodes: BTreeMap<Box<str>, Node>,
    /// Node of each pod that holds room.
    placed: HashMap<Box<str>, Box<str>>,
    /// Pods whose node has not been seen yet.
    homeless: HashMap<Box<str>, Arc<Pod>>,
    pub(super) namespaces: Namespaces,
    /// Pods on nodes that have rules about pods placed beside them.
    pub(super) pods_with_anti_affinity: usize,
}

impl Cluster {
    pub(super) fn nodes(&self) -> impl ExactSizeIterator<Item = &Node> {
        self.nodes.values()
    }
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn set_node(&mut self, object: Arc<Object>) {
        let allocatable = Resources::from_list(&object.status()["allocatable"]);
        let name: Box<str> = object.name().into();
        match self.nodes.get_mut(&name) {
            Some(node) => {
                node.allocatable = allocatable;
                node.object = object;
            }
            None => {
                let mut node = Node {
                    object,
                    allocatable,
                    requested: Resources::default(),
                    compared: Resources::default(),
                    pods: HashMap::new(),
                };
                let waiting: Vec<Box<str>> = self
                    .homeless
                    .iter()
                    .filter(|(uid, _)| self.placed.get(*uid) == Some(&name))
                    .map(|(uid, _)| uid.clone())
                    .collect();
                for uid in waiting {
                    if let Some(pod) = self.homeless.remove(&uid) {
                        node.put(&uid, pod);
                    }
                }
                self.nodes.insert(name, node);
            }
        }
    }

    pub(super) fn remove_node(&mut self, name: &str) {
        if let Some(node) = self.nodes.remove(name) {
            self.homeless.extend(node.pods);
        }
    }

    /// Puts a pod on `node`: one seen bound, or one whose binding is on its way.
    pub(super) fn place(&mut self, pod: Arc<Pod>, node: &str) {
        let uid: Box<str> = pod.object.uid().into();
        self.displace(&uid);
        self.pods_with_anti_affinity += usize::from(!pod.terms.anti_affinity.is_empty());
        self.placed.insert(uid.clone(), node.into());
        match self.nodes.get_mut(node) {
            Some(n) => n.put(&uid, pod),
            None => {
                self.homeless.insert(uid, pod);
            }
        }
    }

    /// Gives back the room of a pod that is gone, has ended, or could not be bound.
    pub(super) fn displace(&mut self, uid: &str) {
        let Some(node) = self.placed.remove(uid) else { return };
        let pod = match self.nodes.get_mut(&node) {
            Some(n) => {
                let pod = n.pods.get(uid).cloned();
                n.take(uid);
                pod
            }
            None => self.homeless.remove(uid),
        };
        if pod.is_some_and(|p| !p.terms.anti_affinity.is_empty()) {
            self.pods_with_anti_affinity -= 1;
        }
    }
}
