//! All rows, and the ways to find one.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::{Kind, Served};

/// Groups in the order of discovery. `extensions` has no rows of its own and comes last.
static GROUPS: &[&[&Kind]] = &[
    super::core::KINDS,
    super::apiregistration::KINDS,
    super::apps::KINDS,
    super::authentication::KINDS,
    super::authorization::KINDS,
    super::autoscaling::KINDS,
    super::batch::KINDS,
    super::certificates::KINDS,
    super::networking::KINDS,
    super::policy::KINDS,
    super::rbac::KINDS,
    super::storage::KINDS,
    super::admissionregistration::KINDS,
    super::apiextensions::KINDS,
    super::scheduling::KINDS,
    super::coordination::KINDS,
    super::node::KINDS,
    super::discovery::KINDS,
    super::resource::KINDS,
    super::flowcontrol::KINDS,
];

/// Names of groups in the order of discovery.
const GROUP_ORDER: &[&str] = &[
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "extensions",
];

/// Every built-in row, grouped as discovery lists them.
pub fn all() -> &'static [&'static Kind] {
    static ALL: OnceLock<Vec<&'static Kind>> = OnceLock::new();
    ALL.get_or_init(|| GROUPS.iter().flat_map(|g| g.iter().copied()).collect())
}

type Index = HashMap<(&'static str, &'static str, &'static str), (&'static Kind, &'static Served)>;

fn index(name: fn(&'static Kind) -> &'static str) -> Index {
    let mut out = Index::new();
    for kind in all() {
        for served in kind.versions {
            out.insert((served.group, served.version, name(kind)), (*kind, served));
        }
    }
    out
}

/// The row and version of a path's group, version and plural.
pub fn find(group: &str, version: &str, plural: &str) -> Option<(&'static Kind, &'static Served)> {
    static INDEX: OnceLock<Index> = OnceLock::new();
    INDEX.get_or_init(|| index(|k| k.plural)).get(&(group, version, plural)).copied()
}

/// The row and version of a body's `apiVersion` and `kind`.
pub fn by_kind(group: &str, version: &str, kind: &str) -> Option<(&'static Kind, &'static Served)> {
    static INDEX: OnceLock<Index> = OnceLock::new();
    INDEX.get_or_init(|| index(|k| k.kind)).get(&(group, version, kind)).copied()
}

/// A served group and version with what it serves, in discovery's order of groups; within a group
/// the preferred version first.
#[derive(Debug)]
pub struct GroupVersion {
    pub group: &'static str,
    pub version: &'static str,
    pub kinds: Vec<(&'static Kind, &'static Served)>,
}

pub fn group_versions() -> &'static [GroupVersion] {
    static ALL: OnceLock<Vec<GroupVersion>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut out: Vec<GroupVersion> = Vec::new();
        for kind in all() {
            for served in kind.versions {
                let (group, version) = (served.group, served.version);
                let at = out.iter().position(|g| g.group == group && g.version == version);
                let at = at.unwrap_or_else(|| {
                    out.push(GroupVersion { group, version, kinds: Vec::new() });
                    out.len() - 1
                });
                out[at].kinds.push((kind, served));
            }
        }
        let place = |g: &GroupVersion| {
            let group = GROUP_ORDER.iter().position(|name| *name == g.group).unwrap_or(GROUP_ORDER.len());
            (group, version_order(g.version))
        };
        out.sort_by_key(place);
        out
    })
}

/// Kubernetes' order of versions: GA before beta before alpha, then the higher number first.
fn version_order(version: &str) -> (u8, std::cmp::Reverse<u32>, std::cmp::Reverse<u32>) {
    let digits = |s: &str| s.chars().take_while(char::is_ascii_digit).collect::<String>();
    let rest = version.strip_prefix('v').unwrap_or(version);
    let major = digits(rest);
    let (stage, suffix) = match &rest[major.len()..] {
        "" => (0, ""),
        s if s.starts_with("beta") => (1, &s[4..]),
        s if s.starts_with("alpha") => (2, &s[5..]),
        _ => (3, ""),
    };
    let number = |s: &str| std::cmp::Reverse(s.parse().unwrap_or(0));
    (stage, number(&major), number(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    #[test]
    fn every_row_names_messages_that_exist() {
        for kind in all() {
            for served in kind.versions {
                assert!(schema::builtin().find(served.message).is_some(), "{}", served.message);
            }
            assert_eq!(kind.virtual_kind, kind.storage_prefix.is_empty(), "{}", kind.kind);
        }
    }

    #[test]
    fn rows_are_found_by_path_and_by_kind() {
        let (pod, served) = find("", "v1", "pods").unwrap();
        assert_eq!((pod.kind, served.message), ("Pod", "core/v1.Pod"));
        let (deployment, served) = by_kind("extensions", "v1beta1", "Deployment").unwrap();
        assert_eq!((deployment.plural, served.message), ("deployments", "extensions/v1beta1.Deployment"));
        assert!(find("extensions", "v1beta1", "ingresses").is_none());
        assert!(std::ptr::eq(
            find("events.k8s.io", "v1", "events").unwrap().0,
            find("", "v1", "events").unwrap().0
        ));
    }

    #[test]
    fn versions_are_in_order() {
        let batch: Vec<_> =
            group_versions().iter().filter(|g| g.group == "batch").map(|g| g.version).collect();
        assert_eq!(batch, ["v1", "v1beta1", "v2alpha1"]);
        let autoscaling: Vec<_> =
            group_versions().iter().filter(|g| g.group == "autoscaling").map(|g| g.version).collect();
        assert_eq!(autoscaling, ["v2", "v1"]);
        assert_eq!(group_versions().last().unwrap().group, "extensions");
    }
}
