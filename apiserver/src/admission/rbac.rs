//! Nobody grants what it does not hold: checked on roles and bindings.

use trireme_api::Value;

use super::{Operation, Request};
use crate::authz::rbac::{GROUP, Rule};
use crate::authz::{self, Attributes};
use crate::identity::{Identity, SYSTEM_MASTERS};
use crate::status::Result;

pub(super) fn no_escalation(request: &Request<'_>, new: &Value, old: Option<&Value>) -> Result<()> {
    if request.row().group != GROUP
        || request.operation == Operation::Delete
        || request.call.user.in_group(SYSTEM_MASTERS)
    {
        return Ok(());
    }
    let user = &request.call.user;
    let core = request.core();
    let namespace = request.call.info.namespace.as_str();
    let may = |verb: &str, resource: &str, namespace: &str, name: &str| {
        authz::authorize(core, user, &Attributes::resource(verb, GROUP, resource, namespace, name)).allowed
    };
    let index = core.rbac.current(&core.cache);
    match request.row().kind {
        "Role" | "ClusterRole" => {
            let unchanged = old.is_some_and(|o| {
                o["rules"] == new["rules"] && o["aggregationRule"] == new["aggregationRule"]
            });
            if unchanged || may("escalate", request.row().plural, namespace, &request.name) {
                return Ok(());
            }
            if !new["aggregationRule"].is_null() {
                let all = ["*".to_owned()].to_vec();
                let everything = [
                    Rule {
                        verbs: all.clone(),
                        groups: all.clone(),
                        resources: all.clone(),
                        ..Rule::default()
                    },
                    Rule { verbs: all.clone(), paths: all, ..Rule::default() },
                ];
                if !index.missing(user, "", &everything).is_empty() {
                    return Err(
                        request.refuse("must have cluster-admin privileges to use an aggregationRule")
                    );
                }
            }
            holds(request, user, &index.missing(user, namespace, &Rule::list(&new["rules"])))
        }
        "RoleBinding" | "ClusterRoleBinding" => {
            let role = &new["roleRef"];
            if old.is_some_and(|o| o["roleRef"] == *role && o["subjects"] == new["subjects"]) {
                return Ok(());
            }
            let (kind, name) = (role["kind"].str_or_empty(), role["name"].str_or_empty());
            let plural = if kind == "ClusterRole" { "clusterroles" } else { "roles" };
            if may("bind", plural, namespace, name) {
                return Ok(());
            }
            match index.role_rules(kind, namespace, name) {
                Some(rules) => holds(request, user, &index.missing(user, namespace, &rules)),
                None => {
                    Err(crate::status::ApiError::not_found(crate::status::qualified(GROUP, plural), name))
                }
            }
        }
        _ => Ok(()),
    }
}

fn holds(request: &Request<'_>, user: &Identity, missing: &[Rule]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let mut lines: Vec<String> = compact(missing).iter().map(describe).collect();
    lines.sort();
    let groups: Vec<String> = user.groups.iter().map(|g| format!("{g:?}")).collect();
    Err(request.refuse(format!(
        "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        groups.join(" "),
        lines.join("\n")
    )))
}

/// Single rules that differ only in their verb, joined.
fn compact(rules: &[Rule]) -> Vec<Rule> {
    let mut out: Vec<Rule> = Vec::new();
    for rule in rules {
        let same = |o: &&mut Rule| {
            o.groups == rule.groups
                && o.resources == rule.resources
                && o.names == rule.names
                && o.paths == rule.paths
        };
        match out.iter_mut().find(same) {
            Some(found) => found.verbs.extend(rule.verbs.iter().cloned()),
            None => out.push(rule.clone()),
        }
    }
    out
}

fn describe(rule: &Rule) -> String {
    let list = |l: &[String]| l.iter().map(|s| format!("{s:?}")).collect::<Vec<_>>().join(", ");
    let mut parts = Vec::new();
    for (name, values) in [
        ("APIGroups", &rule.groups),
        ("Resources", &rule.resources),
        ("ResourceNames", &rule.names),
        ("NonResourceURLs", &rule.paths),
        ("Verbs", &rule.verbs),
    ] {
        if !values.is_empty() {
            parts.push(format!("{name}:[{}]", list(values)));
        }
    }
    format!("{{{}}}", parts.join(", "))
}
