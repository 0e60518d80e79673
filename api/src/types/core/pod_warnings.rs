//! What the author of a pod or a pod template is warned of: what does not work as it reads.

use std::collections::{BTreeMap, BTreeSet};

use crate::field_error::Path;
use crate::tree::Value;
use crate::types::core::pod_spec::each_container;
use crate::types::core::resources::quantity;
use crate::types::fields::{Fields, same};

/// Old label, its successor, and since when.
const OLD_NODE_LABELS: &[(&str, &str)] = &[
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
];
const OLD_ANNOTATIONS: &[(&str, &str)] = &[
    (
        "seccomp.security.alpha.kubernetes.io/pod",
        "non-functional in v1.27+; use the \"seccompProfile\" field instead",
    ),
    (
        "container.seccomp.security.alpha.kubernetes.io/",
        "non-functional in v1.27+; use the \"seccompProfile\" field instead",
    ),
    (
        "container.apparmor.security.beta.kubernetes.io/",
        "deprecated since v1.30; use the \"appArmorProfile\" field instead",
    ),
];
const OLD_VOLUMES: &[(&str, &str)] = &[
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// A new pod, or one whose spec changed.
pub fn pod(new: &Value, old: Option<&Value>) -> Vec<String> {
    if old.is_some_and(|o| same(&o["spec"], &new["spec"]) && same(&o["metadata"], &new["metadata"])) {
        return Vec::new();
    }
    of(&new["metadata"], &new["spec"], &Path::new("metadata"), &Path::new("spec"))
}

/// The template of a workload at `path`, where it is new or changed.
pub fn template(new: &Value, old: Option<&Value>, path: &[&'static str]) -> Vec<String> {
    let at = |o: &Value| path.iter().fold(o, |v, field| v.field(field)).clone();
    let template = at(new);
    if template.is_null() || old.is_some_and(|o| same(&at(o), &template)) {
        return Vec::new();
    }
    let name = path.join(".");
    let root = Path::new(&name);
    of(&template["metadata"], &template["spec"], &root.child("metadata"), &root.child("spec"))
}

fn of(meta: &Value, spec: &Value, at_meta: &Path<'_>, path: &Path<'_>) -> Vec<String> {
    let mut out = Vec::new();
    labels(spec, path, &mut out);
    let annotations = at_meta.child("annotations");
    for (key, _) in meta.pairs("annotations") {
        if let Some((_, why)) = OLD_ANNOTATIONS.iter().find(|(old, _)| key.starts_with(old)) {
            out.push(format!("{}: {why}", annotations.key(key)));
        }
    }
    volumes(spec, path, &mut out);
    pull_secrets(spec, path, &mut out);
    each_container(spec, path, |c, at| container(c, at, &mut out));
    repeated_host_aliases(spec, path, &mut out);
    if spec.int("terminationGracePeriodSeconds") < 0 {
        out.push(format!(
            "{}: must be >= 0; negative values are invalid and will be treated as 1",
            path.child("terminationGracePeriodSeconds")
        ));
    }
    out
}

fn old_label(key: &str) -> Option<&'static str> {
    OLD_NODE_LABELS.iter().find(|(old, _)| *old == key).map(|(_, why)| *why)
}

fn labels(spec: &Value, path: &Path<'_>, out: &mut Vec<String>) {
    let selector = path.child("nodeSelector");
    for (key, _) in spec.pairs("nodeSelector") {
        if let Some(why) = old_label(key) {
            out.push(format!("{}: {why}", selector.key(key)));
        }
    }
    let spread = path.child("topologySpreadConstraints");
    for (i, c) in spec.list("topologySpreadConstraints").iter().enumerate() {
        if let Some(why) = old_label(c.text("topologyKey")) {
            out.push(format!("{}: {} is {why}", spread.index(i).child("topologyKey"), c.text("topologyKey")));
        }
    }
}

fn volumes(spec: &Value, path: &Path<'_>, out: &mut Vec<String>) {
    let at = path.child("volumes");
    for (i, v) in spec.list("volumes").iter().enumerate() {
        for (source, why) in OLD_VOLUMES.iter().filter(|(source, _)| v.has(source)) {
            out.push(format!("{}: {why}", at.index(i).child(source)));
        }
        if let Some(limit) = v["emptyDir"].opt("sizeLimit") {
            fractional(limit, &at.index(i).child("emptyDir").child("sizeLimit"), out);
        }
    }
}

/// Bytes come whole.
fn fractional(amount: &Value, path: &Path<'_>, out: &mut Vec<String>) {
    let amount = quantity(amount);
    if amount.milli_value() % 1000 != 0 {
        out.push(format!("{path}: fractional byte value \"{amount}\" is invalid, must be an integer"));
    }
}

fn pull_secrets(spec: &Value, path: &Path<'_>, out: &mut Vec<String>) {
    let at = path.child("imagePullSecrets");
    let mut seen = BTreeSet::new();
    for (i, s) in spec.list("imagePullSecrets").iter().enumerate() {
        let name = s.text("name");
        if name.is_empty() {
            out.push(format!("{}: invalid empty name {name:?}", at.index(i).child("name")));
        } else if !seen.insert(name) {
            out.push(format!("{}: duplicate name {name:?}", at.index(i).child("name")));
        }
    }
}

fn container(c: &Value, path: &Path<'_>, out: &mut Vec<String>) {
    for list in ["limits", "requests"] {
        let resources = path.child("resources");
        let at = resources.child(list);
        for name in ["memory", "ephemeral-storage"] {
            if let Some(amount) = c["resources"][list].get(name) {
                fractional(amount, &at.key(name), out);
            }
        }
    }
    let at = path.child("env");
    let mut seen: BTreeMap<&str, &Value> = BTreeMap::new();
    for (i, e) in c.list("env").iter().enumerate() {
        if seen.insert(e.text("name"), e).is_some() {
            out.push(format!(
                "{}: hides previous definition of {:?}, which may be dropped when using apply",
                at.index(i),
                e.text("name")
            ));
        }
    }
    let at = path.child("ports");
    let mut seen: BTreeMap<(i64, &str), usize> = BTreeMap::new();
    for (i, p) in c.list("ports").iter().enumerate() {
        // Ports of the host are another matter: those may not be taken twice.
        if p.int("hostPort") != 0 || p.int("containerPort") == 0 {
            continue;
        }
        match seen.get(&(p.int("containerPort"), p.text("protocol"))) {
            Some(first) => {
                out.push(format!("{}: duplicate port definition with {}", at.index(i), at.index(*first)))
            }
            None => {
                seen.insert((p.int("containerPort"), p.text("protocol")), i);
            }
        }
    }
}

/// The kubelet writes one line for each address.
fn repeated_host_aliases(spec: &Value, path: &Path<'_>, out: &mut Vec<String>) {
    let at = path.child("hostAliases");
    let mut seen = BTreeSet::new();
    for (i, alias) in spec.list("hostAliases").iter().enumerate() {
        if !seen.insert(alias.text("ip")) {
            out.push(format!("{}: duplicate ip {:?}", at.index(i).child("ip"), alias.text("ip")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn what_hides_or_does_not_work() {
        let spec = value!({
            "nodeSelector": {"beta.kubernetes.io/os": "linux"},
            "containers": [{
                "name": "c",
                "env": [{"name": "A"}, {"name": "A"}],
                "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "TCP"}],
                "resources": {"limits": {"memory": "100m"}},
            }],
        });
        let mut deployment = value!({"spec": {}});
        deployment.make(&["spec", "template"]).set("spec", spec);
        assert_eq!(
            template(&deployment, None, &["spec", "template"]),
            [
                "spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
                "spec.template.spec.containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an integer",
                "spec.template.spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
                "spec.template.spec.containers[0].ports[1]: duplicate port definition with spec.template.spec.containers[0].ports[0]",
            ]
        );
        assert!(template(&deployment, Some(&deployment), &["spec", "template"]).is_empty());
    }
}
