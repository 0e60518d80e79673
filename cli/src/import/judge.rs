//! What becomes of a key of the source.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::OnceLock;

use trireme_api::kinds::{self, Kind};
use trireme_api::{Value, load, schema};

use super::PREFIX;
use super::convert;

/// An object to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// `deployments.apps`
    pub resource: String,
    pub key: String,
    pub value: Vec<u8>,
    /// Every cluster makes one of that name by itself: the target's stays where there is one.
    pub made_everywhere: bool,
    /// Other keys that our servers keep beside it.
    pub beside: Vec<(String, Vec<u8>)>,
}

pub(super) enum Verdict {
    Take(Box<Taken>),
    /// On purpose: it means nothing in another cluster, or that cluster makes its own.
    LeaveOut {
        resource: String,
        why: &'static str,
    },
    Refuse {
        resource: String,
        why: String,
    },
}

/// What is known of both clusters before the first object.
#[derive(Default)]
pub(super) struct Rules {
    /// CustomResourceDefinitions of the source: `plurals.group`.
    pub custom: HashSet<String>,
    /// IPAddresses of the source.
    pub addresses: HashSet<String>,
    /// Where the target's Services have their addresses; `None`: not known.
    pub range: Option<ServiceRange>,
}

/// A range of IPv4 addresses.
#[derive(Clone, Debug)]
pub(super) struct ServiceRange {
    text: String,
    base: u32,
    mask: u32,
}

impl ServiceRange {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (base, bits) = text.split_once('/')?;
        let base: Ipv4Addr = base.parse().ok()?;
        let bits: u32 = bits.parse().ok().filter(|bits| *bits <= 32)?;
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
        Some(Self { text: text.to_owned(), base: u32::from(base) & mask, mask })
    }

    fn holds(&self, address: &str) -> bool {
        address.parse::<Ipv4Addr>().is_ok_and(|address| u32::from(address) & self.mask == self.base)
    }
}

/// Whole folders of keys, by what follows the prefix.
const FOLDERS: &[(&str, &str)] = &[
    ("events", "events end by themselves within the hour"),
    ("leases", "who holds a lease takes it anew: nodes, controllers, servers"),
    ("masterleases", "it names API servers of the other cluster"),
    ("peerserverleases", "it names API servers of the other cluster"),
    ("ranges", "addresses and ports that are given out are written down anew from the Services"),
];

const OTHER_AUTHORITY: &str = "it has the other cluster's authorities; the target has its own";
const OWN: &str = "every cluster makes and keeps its own";

/// What the API server encrypts values with at rest begins so.
const ENCRYPTED: &[u8] = b"k8s:enc:";

impl Rules {
    /// `suffix` is the key without the source's prefix.
    pub(super) fn judge(&self, suffix: &str, stored: &[u8]) -> Verdict {
        let folder = suffix.split('/').next().unwrap_or_default();
        if let Some((_, why)) = FOLDERS.iter().find(|(name, _)| *name == folder) {
            return Verdict::LeaveOut { resource: folder.to_owned(), why };
        }
        let Some((row, rest)) = locate(suffix) else { return self.custom(suffix, stored) };
        let resource = resource(row);
        let refuse = |why: String| Verdict::Refuse { resource: resource.clone(), why };
        if stored.starts_with(ENCRYPTED) {
            return refuse("it is encrypted at rest: have the source write it unencrypted first".into());
        }
        let (namespace, name) = match (row.namespaced, rest.split_once('/')) {
            (true, Some((namespace, name))) if !name.contains('/') => (namespace, name),
            (false, None) => ("", rest),
            _ => return refuse("its key does not name an object of this kind".into()),
        };
        let object = match load::decode_stored(schema::builtin(), row, stored) {
            Ok(object) => object,
            Err(error) => return refuse(error.to_string()),
        };
        let metadata = &object["metadata"];
        if metadata["name"] != *name || metadata["namespace"].str_or_empty() != namespace {
            return refuse(format!(
                "the object in it is {}/{}",
                metadata["namespace"].str_or_empty(),
                metadata["name"].str_or_empty()
            ));
        }
        if let Some(why) = own(row, namespace, name, &object) {
            return Verdict::LeaveOut { resource, why };
        }
        let mut beside = Vec::new();
        if row.plural == "services" && row.group.is_empty() {
            if let Some(why) = self.unreachable(&object) {
                return refuse(why);
            }
            beside = convert::beside_service(&object, &self.addresses);
        }
        Verdict::Take(Box::new(Taken {
            key: format!("{PREFIX}{suffix}"),
            value: load::store_bytes(&object),
            made_everywhere: made_everywhere(row, namespace, name),
            resource,
            beside,
        }))
    }

    /// A key of no kind that is built in.
    fn custom(&self, suffix: &str, stored: &[u8]) -> Verdict {
        let mut parts = suffix.splitn(3, '/');
        let (first, second) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let resource = format!("{second}.{first}");
        if parts.next().is_none() || !self.custom.contains(&resource) {
            let resource = if first.contains('.') { resource } else { first.to_owned() };
            return Verdict::Refuse { resource, why: "it is of no kind that is known here".into() };
        }
        if !stored.starts_with(b"{") {
            return Verdict::Refuse { resource, why: "a custom resource that is not JSON".into() };
        }
        Verdict::Take(Box::new(Taken {
            key: format!("{PREFIX}{suffix}"),
            value: stored.to_vec(),
            made_everywhere: false,
            resource,
            beside: Vec::new(),
        }))
    }

    /// Why a Service's addresses cannot be used in the target.
    fn unreachable(&self, service: &Value) -> Option<String> {
        let range = self.range.as_ref()?;
        let address = convert::addresses(service).into_iter().find(|address| !range.holds(address))?;
        Some(format!(
            "its address {address} is not in {}, the target's range: start the target's servers with the \
             source's --service-cidr",
            range.text
        ))
    }
}

/// The kind that a key is of, and what follows the kind's prefix.
fn locate(suffix: &str) -> Option<(&'static Kind, &str)> {
    static ROWS: OnceLock<HashMap<&'static str, &'static Kind>> = OnceLock::new();
    let rows = ROWS.get_or_init(|| {
        let stored = kinds::all().iter().filter(|row| !row.virtual_kind);
        stored.filter_map(|row| Some((row.storage_prefix.strip_prefix(PREFIX)?, *row))).collect()
    });
    let mut ends = suffix.match_indices('/').map(|(i, _)| i);
    let (first, second) = (ends.next()?, ends.next());
    let row = |end: usize| Some((*rows.get(&suffix[..end])?, &suffix[end + 1..]));
    second.and_then(row).or_else(|| row(first))
}

fn resource(row: &Kind) -> String {
    if row.group.is_empty() { row.plural.to_owned() } else { format!("{}.{}", row.plural, row.group) }
}

/// Why an object is left to the target's own.
fn own(row: &Kind, namespace: &str, name: &str, object: &Value) -> Option<&'static str> {
    let label = |name: &str| object["metadata"]["labels"][name].str_or_empty();
    let annotation = |name: &str| object["metadata"]["annotations"][name].str_or_empty();
    let kubernetes = namespace == "default" && name == "kubernetes";
    let parent = &object["spec"]["parentRef"];
    match row.plural {
        "namespaces" if matches!(name, "default" | "kube-system" | "kube-public" | "kube-node-lease") => {
            Some(OWN)
        }
        "configmaps" => match (namespace, name) {
            (_, "kube-root-ca.crt")
            | ("kube-system", "extension-apiserver-authentication")
            | ("kube-public", "cluster-info") => Some(OTHER_AUTHORITY),
            ("kube-system", "kube-apiserver-legacy-service-account-token-tracking") => Some(OWN),
            _ => None,
        },
        "services" | "endpoints" | "endpointslices" if kubernetes => Some(OWN),
        "servicecidrs" if name == "kubernetes" => Some(OWN),
        "ipaddresses" if parent["namespace"] == *"default" && parent["name"] == *"kubernetes" => Some(OWN),
        "apiservices" if !label("kube-aggregator.kubernetes.io/automanaged").is_empty() => Some(OWN),
        "priorityclasses" if name.starts_with("system-") => Some(OWN),
        "flowschemas" | "prioritylevelconfigurations"
            if annotation("apf.kubernetes.io/autoupdate-spec") == "true" =>
        {
            Some(OWN)
        }
        "clusterroles" | "clusterrolebindings" | "roles" | "rolebindings"
            if label("kubernetes.io/bootstrapping") == "rbac-defaults" =>
        {
            Some(OWN)
        }
        _ => None,
    }
}

fn made_everywhere(row: &Kind, namespace: &str, name: &str) -> bool {
    row.plural == "serviceaccounts" && (name == "default" || namespace == "kube-system")
}

#[cfg(test)]
#[path = "judge_test.rs"]
mod tests;
