//! The default roles and bindings. Those that exist keep what was added to them and get back what
//! was taken away, unless they are marked as not to be kept up (`autoupdate: "false"`).

use futures::FutureExt;
use trireme_api::{Key, Value, value};

use super::write::{all, ensure};
use crate::server::Core;
use crate::status::{ApiError, Result};

const TEXT: &str = include_str!("rbac.txt");
const GROUP: &str = "rbac.authorization.k8s.io";
const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

pub(super) async fn roles_and_bindings(core: &Core) -> Result<()> {
    let objects = parse(TEXT).map_err(|line| ApiError::internal(format!("built-in roles, line {line}")))?;
    all(objects.into_iter().map(|object| make(core, object).boxed()).collect()).await
}

async fn make(core: &Core, object: Value) -> Result<()> {
    let plural = match object["kind"].str_or_empty() {
        "ClusterRole" => "clusterroles",
        "Role" => "roles",
        "ClusterRoleBinding" => "clusterrolebindings",
        _ => "rolebindings",
    };
    let metadata = &object["metadata"];
    let (namespace, name) = (metadata["namespace"].str_or_empty(), metadata["name"].str_or_empty());
    ensure(core, GROUP, plural, namespace, name, |old| match old {
        None => Some(object.clone()),
        Some(old) => reconcile(old, &object),
    })
    .await
}

/// What is there with what is missing, or `None` when nothing is.
fn reconcile(old: &Value, wanted: &Value) -> Option<Value> {
    if old["metadata"]["annotations"][AUTO_UPDATE] == *"false" || !wanted["aggregationRule"].is_null() {
        return None;
    }
    let mut new = old.clone();
    for list in ["rules", "subjects"] {
        let missing: Vec<Value> =
            wanted[list].items().iter().filter(|w| !old[list].items().contains(w)).cloned().collect();
        if missing.is_empty() {
            continue;
        }
        let mut all = old[list].items().to_vec();
        all.extend(missing);
        new.make(&[]).insert(Key::from(list), Value::Array(all));
    }
    (new != *old).then_some(new)
}

/// Reads the text. `Err` is the number of a line that is wrong.
fn parse(text: &str) -> std::result::Result<Vec<Value>, usize> {
    let mut out: Vec<Value> = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, l)| !l.starts_with('#') && !l.is_empty()) {
        let number = number + 1;
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["role", kind, name, rest @ ..] => out.push(role(kind, name, rest)),
            ["bind", kind, name, role] => out.push(binding(kind, name, role).ok_or(number)?),
            words if line.starts_with("  ") => {
                let last = out.last_mut().ok_or(number)?;
                let (list, item) = if last["roleRef"].is_null() {
                    ("rules", rule(words).ok_or(number)?)
                } else {
                    ("subjects", subject(words).ok_or(number)?)
                };
                let items = last.make(&[]).entry_or(Key::Static(list), || Value::Array(Vec::new()));
                items.as_array_mut().ok_or(number)?.push(item);
            }
            _ => return Err(number),
        }
    }
    aggregate(&mut out);
    Ok(out)
}

fn object(kind: &str, name: &str) -> Value {
    let mut out = value!({
        "kind": kind, "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": {
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            "annotations": {AUTO_UPDATE: "true"},
        },
    });
    let metadata = out.make(&["metadata"]);
    match name.split_once('/') {
        Some((namespace, name)) => {
            metadata.set("namespace", namespace);
            metadata.set("name", name);
        }
        None => metadata.set("name", name),
    }
    out
}

fn role(kind: &str, name: &str, rest: &[&str]) -> Value {
    let mut out = object(kind, name);
    let mut selectors: Vec<Value> = Vec::new();
    for word in rest {
        if let Some(label) = word.strip_prefix("aggregates:") {
            selectors.push(value!({"matchLabels": {label: "true"}}));
        } else if let Some((label, value)) = word.split_once('=') {
            out.make(&["metadata", "labels"]).insert(Key::from(label), value);
        }
    }
    if !selectors.is_empty() {
        out.make(&["aggregationRule"]).set("clusterRoleSelectors", selectors);
    }
    out.make(&[]).set("rules", Value::Array(Vec::new()));
    out
}

fn rule(words: &[&str]) -> Option<Value> {
    let list =
        |s: &str| -> Vec<Value> { s.split(',').map(|x| if x == "-" { "" } else { x }.into()).collect() };
    Some(match words {
        [verbs, paths] => value_of(&[("verbs", list(verbs)), ("nonResourceURLs", list(paths))]),
        [verbs, groups, resources] => {
            value_of(&[("verbs", list(verbs)), ("apiGroups", list(groups)), ("resources", list(resources))])
        }
        [verbs, groups, resources, names] => value_of(&[
            ("verbs", list(verbs)),
            ("apiGroups", list(groups)),
            ("resources", list(resources)),
            ("resourceNames", list(names)),
        ]),
        _ => return None,
    })
}

fn value_of(members: &[(&'static str, Vec<Value>)]) -> Value {
    let mut out = Value::object();
    for (key, list) in members {
        out.make(&[]).set(key, Value::Array(list.clone()));
    }
    out
}

fn binding(kind: &str, name: &str, role: &str) -> Option<Value> {
    let (role_kind, role_name) = role.split_once('/')?;
    let mut out = object(kind, name);
    out.make(&[]).set(
        "roleRef",
        value!({"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role_name}),
    );
    Some(out)
}

fn subject(words: &[&str]) -> Option<Value> {
    match words {
        ["ServiceAccount", name] => {
            let (namespace, name) = name.split_once('/')?;
            Some(value!({"kind": "ServiceAccount", "name": name, "namespace": namespace}))
        }
        [kind, name] => Some(value!({"kind": *kind, "apiGroup": "rbac.authorization.k8s.io", "name": *name})),
        _ => None,
    }
}

/// Gives aggregated roles the rules of those they gather, so that they read right from the start.
fn aggregate(roles: &mut [Value]) {
    // Roles that gather are gathered themselves (`edit` by `admin`): as deep as that goes.
    for _ in 0..3 {
        let snapshot = roles.to_vec();
        for role in roles.iter_mut().filter(|r| !r["aggregationRule"].is_null()) {
            let mut rules: Vec<Value> = Vec::new();
            for selector in role["aggregationRule"]["clusterRoleSelectors"].items() {
                for (label, wanted) in selector["matchLabels"].members() {
                    for other in snapshot.iter().filter(|o| o["metadata"]["labels"][&**label] == *wanted) {
                        for rule in other["rules"].items() {
                            if !rules.contains(rule) {
                                rules.push(rule.clone());
                            }
                        }
                    }
                }
            }
            role.make(&[]).set("rules", rules);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_text_reads() {
        let objects = parse(TEXT).unwrap();
        let find = |kind: &str, name: &str| {
            objects.iter().find(|o| o["kind"] == *kind && o["metadata"]["name"] == *name).unwrap()
        };
        assert_eq!(find("ClusterRole", "cluster-admin")["rules"][1]["nonResourceURLs"][0], "*");
        let admin = find("ClusterRole", "admin")["rules"].items();
        assert!(admin.iter().any(|r| r["resources"].items().iter().any(|x| *x == "deployments/scale")));
        assert_eq!(find("ClusterRoleBinding", "cluster-admin")["subjects"][0]["name"], "system:masters");
        assert_eq!(
            find("RoleBinding", "system:controller:bootstrap-signer")["metadata"]["namespace"],
            "kube-public"
        );
    }

    #[test]
    fn what_was_taken_away_comes_back_and_what_was_added_stays() {
        let wanted = value!({"rules": [{"verbs": ["get"]}, {"verbs": ["list"]}]});
        let old = value!({"metadata": {}, "rules": [{"verbs": ["list"]}, {"verbs": ["own"]}]});
        let new = reconcile(&old, &wanted).unwrap();
        assert_eq!(new["rules"].items().len(), 3);
        assert!(reconcile(&new, &wanted).is_none());
    }
}
