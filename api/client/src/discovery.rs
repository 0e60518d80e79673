//! What an API server serves, each stored kind once.

use std::collections::{HashMap, HashSet};

use futures::future::join_all;
use http::Method;
use trireme_api::Value;

use crate::client::Client;
use crate::resource::Resource;
use crate::transport::Error;

/// A served collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiResource {
    pub resource: Resource,
    pub kind: String,
    pub verbs: Vec<String>,
}

impl ApiResource {
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }
}

/// The answer of discovery. Groups that did not answer (an aggregated API that is down) are
/// named: what belongs to them is unknown, not absent.
#[derive(Debug, Default)]
pub struct Discovery {
    pub resources: Vec<ApiResource>,
    pub failed: Vec<(String, Error)>,
    /// Every kind that is served, whichever group owns its row: (group, kind) to plural and
    /// whether it has namespaces. For references, which may name any of them.
    pub kinds: HashMap<(String, String), (String, bool)>,
}

/// Groups that serve other groups' rows: (group, plural, group that owns the row). Handling such
/// a collection beside its owner's would handle every object twice.
const SAME_ROW: &[(&str, &str, &str)] = &[
    ("extensions", "deployments", "apps"),
    ("extensions", "replicasets", "apps"),
    ("extensions", "daemonsets", "apps"),
    ("extensions", "ingresses", "networking.k8s.io"),
    ("extensions", "networkpolicies", "networking.k8s.io"),
    ("events.k8s.io", "events", ""),
];

impl Discovery {
    /// Asks for every group; of each, its resources in the preferred version, and those that only
    /// another version has.
    pub async fn load(client: &Client) -> Result<Discovery, Error> {
        let groups = client.raw(Method::GET, "/apis", None).await?;
        let mut versions: Vec<(usize, String)> = vec![(0, "v1".to_owned())];
        for (i, group) in groups["groups"].items().iter().enumerate() {
            versions.extend(group_versions(group).into_iter().map(|gv| (i + 1, gv)));
        }
        let answers = join_all(versions.iter().map(|(_, gv)| async move {
            let path = if gv.contains('/') { format!("/apis/{gv}") } else { format!("/api/{gv}") };
            client.raw(Method::GET, &path, None).await
        }))
        .await;
        let mut out = Discovery::default();
        let mut seen = HashSet::new();
        for ((_, gv), answer) in versions.iter().zip(answers) {
            match answer {
                Ok(list) => {
                    for r in parse(gv, &list) {
                        let (group, plural) = (r.resource.group.to_string(), r.resource.plural.to_string());
                        out.kinds
                            .entry((group.clone(), r.kind.clone()))
                            .or_insert_with(|| (plural.clone(), r.resource.namespaced));
                        if seen.insert((group, plural)) {
                            out.resources.push(r);
                        }
                    }
                }
                // Deregistered in between.
                Err(e) if e.is_not_found() => {}
                Err(e) => out.failed.push((gv.clone(), e)),
            }
        }
        out.once_per_row();
        Ok(out)
    }

    /// The collection of the objects that a reference with this version and kind names.
    pub fn resource_of(&self, api_version: &str, kind: &str) -> Option<Resource> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let (plural, namespaced) = self.kinds.get(&(group.to_owned(), kind.to_owned()))?;
        Some(Resource::discovered(api_version, plural, *namespaced))
    }

    fn once_per_row(&mut self) {
        let served: HashSet<(String, String)> = self
            .resources
            .iter()
            .map(|r| (r.resource.group.to_string(), r.resource.plural.to_string()))
            .collect();
        self.resources.retain(|r| {
            !SAME_ROW.iter().any(|(group, plural, owner)| {
                r.resource.group == *group
                    && r.resource.plural == *plural
                    && served.contains(&((*owner).to_owned(), (*plural).to_owned()))
            })
        });
    }
}

/// The preferred version first.
fn group_versions(group: &Value) -> Vec<String> {
    let preferred = group["preferredVersion"]["groupVersion"].str_or_empty();
    let mut all: Vec<String> =
        group["versions"].items().iter().map(|v| v["groupVersion"].str_or_empty().to_owned()).collect();
    all.sort_by_key(|gv| gv != preferred);
    all
}

fn parse(group_version: &str, list: &Value) -> Vec<ApiResource> {
    list["resources"]
        .items()
        .iter()
        .filter(|r| !r["name"].str_or_empty().contains('/'))
        .map(|r| ApiResource {
            resource: Resource::discovered(
                group_version,
                r["name"].str_or_empty(),
                r["namespaced"].as_bool().unwrap_or(false),
            ),
            kind: r["kind"].str_or_empty().to_owned(),
            verbs: r["verbs"].items().iter().map(|v| v.str_or_empty().to_owned()).collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_api::value;

    #[test]
    fn each_row_once_without_subresources() {
        let list = |names: &[&str]| {
            let items: Vec<Value> = names
                .iter()
                .map(|n| value!({"name": n, "kind": "K", "namespaced": true, "verbs": ["list", "delete"]}))
                .collect();
            let mut list = value!({});
            list.make(&[]).set("resources", items);
            list
        };
        let mut d = Discovery::default();
        d.resources.extend(parse("v1", &list(&["pods", "pods/status", "events"])));
        d.resources.extend(parse("apps/v1", &list(&["deployments", "deployments/scale"])));
        d.resources.extend(parse("extensions/v1beta1", &list(&["deployments", "widgets"])));
        d.resources.extend(parse("events.k8s.io/v1", &list(&["events"])));
        d.once_per_row();
        let names: Vec<String> = d.resources.iter().map(|r| r.resource.to_string()).collect();
        assert_eq!(names, ["pods", "events", "deployments.apps", "widgets.extensions"]);
        assert!(d.resources[0].can("delete") && !d.resources[0].can("watch"));
    }

    #[test]
    fn the_preferred_version_comes_first() {
        let group = value!({
            "preferredVersion": {"groupVersion": "g/v1"},
            "versions": [{"groupVersion": "g/v2beta1"}, {"groupVersion": "g/v1"}],
        });
        assert_eq!(group_versions(&group), ["g/v1", "g/v2beta1"]);
    }
}
