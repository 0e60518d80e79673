//! RBAC: rules by subject, made from the cached roles and bindings whenever one of them changed.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use trireme_api::Value;
use trireme_api::kinds::{self, Kind};
use trireme_api::selector::LabelSelector;

use super::{Attributes, Decision};
use crate::cache::{Cache, Entry, KindCache};
use crate::identity::{Identity, SERVICE_ACCOUNT_PREFIX};

pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";

/// One rule of a role.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rule {
    pub(crate) verbs: Vec<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) resources: Vec<String>,
    pub(crate) names: Vec<String>,
    pub(crate) paths: Vec<String>,
}

impl Rule {
    pub(crate) fn from_value(v: &Value) -> Rule {
        let list = |key: &str| v[key].items().iter().filter_map(|x| x.as_str().map(str::to_owned)).collect();
        Rule {
            verbs: list("verbs"),
            groups: list("apiGroups"),
            resources: list("resources"),
            names: list("resourceNames"),
            paths: list("nonResourceURLs"),
        }
    }

    pub(crate) fn list(v: &Value) -> Vec<Rule> {
        v.items().iter().map(Rule::from_value).collect()
    }

    fn allows(&self, a: &Attributes, full_resource: &str) -> bool {
        let has = |list: &[String], x: &str| list.iter().any(|v| v == "*" || v == x);
        if !has(&self.verbs, &a.verb) {
            return false;
        }
        if !a.is_resource {
            return self.paths.iter().any(|p| match p.strip_suffix('*') {
                Some(prefix) => a.path.starts_with(prefix),
                None => *p == a.path,
            });
        }
        has(&self.groups, &a.group)
            && self.resources.iter().any(|r| resource_matches(r, full_resource, &a.subresource))
            && (self.names.is_empty() || self.names.contains(&a.name))
    }

    /// Whether `self` grants everything that the single-valued `other` does.
    fn covers(&self, other: &Rule) -> bool {
        let all = |mine: &[String], theirs: &[String]| {
            mine.iter().any(|v| v == "*") || theirs.iter().all(|t| mine.contains(t))
        };
        if !all(&self.verbs, &other.verbs) {
            return false;
        }
        if !other.paths.is_empty() {
            return other.paths.iter().all(|p| {
                self.paths.iter().any(|mine| match mine.strip_suffix('*') {
                    Some(prefix) => p.starts_with(prefix),
                    None => mine == p,
                })
            });
        }
        all(&self.groups, &other.groups)
            && other.resources.iter().all(|r| {
                let sub = r.split_once('/').map_or("", |(_, s)| s);
                self.resources.iter().any(|mine| resource_matches(mine, r, sub))
            })
            && (self.names.is_empty()
                || (!other.names.is_empty() && other.names.iter().all(|n| self.names.contains(n))))
    }

    /// Broken down to one verb, one group, one resource, one name each.
    fn singles(&self) -> Vec<Rule> {
        let mut out = Vec::new();
        for verb in &self.verbs {
            for path in &self.paths {
                out.push(Rule { verbs: vec![verb.clone()], paths: vec![path.clone()], ..Rule::default() });
            }
            for group in &self.groups {
                for resource in &self.resources {
                    let base = Rule {
                        verbs: vec![verb.clone()],
                        groups: vec![group.clone()],
                        resources: vec![resource.clone()],
                        ..Rule::default()
                    };
                    if self.names.is_empty() {
                        out.push(base);
                    } else {
                        out.extend(
                            self.names.iter().map(|n| Rule { names: vec![n.clone()], ..base.clone() }),
                        );
                    }
                }
            }
        }
        out
    }
}

/// `*`, the resource itself, or `*/scale` for every resource's scale.
fn resource_matches(rule: &str, full_resource: &str, subresource: &str) -> bool {
    rule == "*"
        || rule == full_resource
        || (!subresource.is_empty() && rule.strip_prefix("*/").is_some_and(|s| s == subresource))
}

type Rules = Arc<Vec<Rule>>;

/// A binding, for the reason of a decision.
struct Grant {
    rules: Rules,
    reason: Arc<str>,
}

/// All rules by who holds them. Subjects are `u:name` and `g:name`; service accounts are users.
#[derive(Default)]
pub(crate) struct Index {
    stamp: [i64; 4],
    cluster: HashMap<String, Vec<Grant>>,
    namespaced: HashMap<String, HashMap<String, Vec<Grant>>>,
    cluster_roles: HashMap<String, Rules>,
    roles: HashMap<(String, String), Rules>,
}

impl Index {
    pub(crate) fn authorize(&self, user: &Identity, a: &Attributes) -> Decision {
        let full = a.full_resource();
        for grant in self.grants(user, &a.namespace) {
            if grant.rules.iter().any(|r| r.allows(a, &full)) {
                return Decision { allowed: true, reason: format!("RBAC: allowed by {}", grant.reason) };
            }
        }
        Decision::default()
    }

    fn grants<'a>(&'a self, user: &Identity, namespace: &str) -> impl Iterator<Item = &'a Grant> {
        let keys: Vec<String> = std::iter::once(format!("u:{}", user.name))
            .chain(user.groups.iter().map(|g| format!("g:{g}")))
            .collect();
        let local = (!namespace.is_empty()).then(|| self.namespaced.get(namespace)).flatten();
        let maps: Vec<&'a HashMap<String, Vec<Grant>>> =
            std::iter::once(&self.cluster).chain(local).collect();
        let mut out: Vec<&'a Grant> = Vec::new();
        for map in maps {
            out.extend(keys.iter().filter_map(|k| map.get(k)).flatten());
        }
        out.into_iter()
    }

    /// Whether a cluster role would allow something, whoever holds it.
    pub(crate) fn role_allows(&self, role: &str, a: &Attributes) -> bool {
        let full = a.full_resource();
        self.cluster_roles.get(role).is_some_and(|rules| rules.iter().any(|r| r.allows(a, &full)))
    }

    /// Every rule that holds for a user in a namespace.
    pub(crate) fn rules_of(&self, user: &Identity, namespace: &str) -> Vec<Rule> {
        self.grants(user, namespace).flat_map(|g| g.rules.iter().cloned()).collect()
    }

    /// The rules of a role that a binding names; `None` when it does not exist.
    pub(crate) fn role_rules(&self, kind: &str, namespace: &str, name: &str) -> Option<Vec<Rule>> {
        match kind {
            "ClusterRole" => self.cluster_roles.get(name).map(|r| r.to_vec()),
            _ => self.roles.get(&(namespace.to_owned(), name.to_owned())).map(|r| r.to_vec()),
        }
    }

    /// The single rules of `wanted` that `user` does not hold.
    pub(crate) fn missing(&self, user: &Identity, namespace: &str, wanted: &[Rule]) -> Vec<Rule> {
        let held = self.rules_of(user, namespace);
        wanted.iter().flat_map(Rule::singles).filter(|w| !held.iter().any(|h| h.covers(w))).collect()
    }
}

/// The current index, made anew when a role or binding changed.
pub(crate) struct Rbac {
    index: ArcSwap<Index>,
    building: Mutex<()>,
    rows: [&'static Kind; 4],
}

impl Rbac {
    pub(crate) fn new() -> Rbac {
        let row = |plural: &str| kinds::find(GROUP, "v1", plural).expect("RBAC's kinds are built in").0;
        Rbac {
            index: ArcSwap::from_pointee(Index::default()),
            building: Mutex::new(()),
            rows: [row("clusterroles"), row("clusterrolebindings"), row("roles"), row("rolebindings")],
        }
    }

    pub(crate) fn current(&self, cache: &Cache) -> Arc<Index> {
        let caches = self.rows.map(|row| cache.kind(row));
        let stamp = caches.map(|c| c.changed_revision());
        let index = self.index.load_full();
        if index.stamp == stamp {
            return index;
        }
        let _building = self.building.lock();
        let index = self.index.load_full();
        let stamp = caches.map(|c| c.changed_revision());
        if index.stamp == stamp {
            return index;
        }
        let index = Arc::new(build(caches, stamp));
        self.index.store(index.clone());
        index
    }
}

fn build(caches: [&Arc<KindCache>; 4], stamp: [i64; 4]) -> Index {
    let mut index = Index { stamp, ..Index::default() };
    let [cluster_roles, cluster_bindings, roles, bindings] = caches.map(|c| c.all());
    for (entry, rules) in cluster_roles.iter().zip(aggregated(&cluster_roles)) {
        index.cluster_roles.insert(entry.name().to_owned(), Arc::new(rules));
    }
    for entry in &roles {
        let rules = Rule::list(&entry.object()["rules"]);
        index.roles.insert((entry.namespace().to_owned(), entry.name().to_owned()), Arc::new(rules));
    }
    for entry in cluster_bindings.iter().chain(&bindings) {
        let binding = entry.object();
        let role = &binding["roleRef"];
        let (kind, name) = (role["kind"].str_or_empty(), role["name"].str_or_empty());
        let rules = match kind {
            "ClusterRole" => index.cluster_roles.get(name),
            _ => index.roles.get(&(entry.namespace().to_owned(), name.to_owned())),
        };
        let Some(rules) = rules.cloned() else { continue };
        for subject in binding["subjects"].items() {
            let who = subject_key(subject);
            let described = match subject["kind"].str_or_empty() {
                "ServiceAccount" => format!(
                    "ServiceAccount \"{}/{}\"",
                    subject["name"].str_or_empty(),
                    subject["namespace"].str_or_empty()
                ),
                kind => format!("{kind} {:?}", subject["name"].str_or_empty()),
            };
            let reason: Arc<str> = if entry.namespace().is_empty() {
                format!("ClusterRoleBinding {:?} of {kind} {name:?} to {described}", entry.name())
            } else {
                format!(
                    "RoleBinding \"{}/{}\" of {kind} {name:?} to {described}",
                    entry.name(),
                    entry.namespace()
                )
            }
            .into();
            let map = if entry.namespace().is_empty() {
                &mut index.cluster
            } else {
                index.namespaced.entry(entry.namespace().to_owned()).or_default()
            };
            map.entry(who).or_default().push(Grant { rules: rules.clone(), reason });
        }
    }
    index
}

/// How deep roles gather roles that gather.
const AGGREGATION_DEPTH_MAX: usize = 4;

/// The rules of each cluster role. What an aggregated role gathers counts at once, whether or not
/// a controller has written it into the role yet.
fn aggregated(roles: &[Arc<Entry>]) -> Vec<Vec<Rule>> {
    let mut rules: Vec<Vec<Rule>> = roles.iter().map(|e| Rule::list(&e.object()["rules"])).collect();
    let selectors: Vec<(usize, LabelSelector)> = roles
        .iter()
        .enumerate()
        .flat_map(|(i, e)| {
            let object = e.object();
            let list = object["aggregationRule"]["clusterRoleSelectors"].items();
            list.iter().filter_map(|s| Some((i, LabelSelector::from_object(s).ok()?))).collect::<Vec<_>>()
        })
        .collect();
    for _ in 0..AGGREGATION_DEPTH_MAX {
        let mut changed = false;
        for (i, selector) in &selectors {
            for (j, _) in
                roles.iter().enumerate().filter(|(j, o)| j != i && selector.matches(|key| o.label(key)))
            {
                let gathered: Vec<Rule> =
                    rules[j].iter().filter(|r| !rules[*i].contains(r)).cloned().collect();
                changed |= !gathered.is_empty();
                rules[*i].extend(gathered);
            }
        }
        if !changed {
            break;
        }
    }
    rules
}

fn subject_key(subject: &Value) -> String {
    let name = subject["name"].str_or_empty();
    match subject["kind"].str_or_empty() {
        "Group" => format!("g:{name}"),
        "ServiceAccount" => {
            format!("u:{SERVICE_ACCOUNT_PREFIX}{}:{name}", subject["namespace"].str_or_empty())
        }
        _ => format!("u:{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_api::value;

    fn rule(v: Value) -> Rule {
        Rule::from_value(&v)
    }

    #[test]
    fn rules_allow_what_they_name_and_no_more() {
        let r = rule(
            value!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "*/scale"], "resourceNames": ["a"]}),
        );
        let check = |resource: &str, name: &str| {
            let a = Attributes::resource("get", "", resource, "ns", name);
            r.allows(&a, &a.full_resource())
        };
        assert!(check("pods", "a"));
        assert!(!check("pods", "b"));
        assert!(!check("pods/log", "a"));
        assert!(check("deployments/scale", "a"));
        let path = rule(value!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/api/*"]}));
        let at = |p: &str| Attributes { verb: "get".into(), path: p.into(), ..Attributes::default() };
        assert!(path.allows(&at("/api/v1"), "") && path.allows(&at("/healthz"), ""));
        assert!(!path.allows(&at("/healthz/etcd"), ""));
    }

    #[test]
    fn a_user_cannot_grant_more_than_it_holds() {
        let held = rule(value!({"verbs": ["get", "list"], "apiGroups": ["*"], "resources": ["pods"]}));
        let mut index = Index::default();
        index.cluster.insert("u:x".into(), vec![Grant { rules: Arc::new(vec![held]), reason: "r".into() }]);
        let user = Identity::user("x", Vec::<String>::new());
        let wanted =
            [rule(value!({"verbs": ["get", "delete"], "apiGroups": ["apps"], "resources": ["pods"]}))];
        let missing = index.missing(&user, "", &wanted);
        assert_eq!(missing.len(), 1);
        assert_eq!(missing[0].verbs, ["delete"]);
    }
}
