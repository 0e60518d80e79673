//! Which kinds there are, how operators spell them, and under which keys their objects lie.
//!
//! Built-in kinds are rows of the API's table; custom ones come from the definitions that the store
//! held at the moment looked at, so that a kind whose definition is gone by now is still known.

use std::collections::HashMap;
use std::fmt;

use trireme_api::kinds::{self, Kind};
use trireme_api::{Value, load, schema};
use trireme_client::Resource;

/// What keys of objects begin with.
pub(super) const PREFIX: &str = "/registry/";
/// Where definitions of custom kinds lie.
pub(super) const DEFINITIONS: &str = "/registry/apiextensions.k8s.io/customresourcedefinitions/";

/// One object's place. Sorts by kind, namespace, name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ObjectId {
    /// `deployments.apps`
    pub resource: String,
    /// Empty for objects of the whole cluster.
    pub namespace: String,
    pub name: String,
}

impl ObjectId {
    pub(super) fn new(resource: &str, namespace: &str, name: &str) -> Self {
        Self { resource: resource.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            return write!(f, "{}/{}", self.resource, self.name);
        }
        write!(f, "{}/{} -n {}", self.resource, self.name, self.namespace)
    }
}

/// A kind that is stored.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub group: String,
    pub kind: String,
    pub plural: String,
    pub namespaced: bool,
    singular: String,
    short_names: Vec<String>,
    /// Every `group/version` that it is served in.
    versions: Vec<(String, String)>,
    /// Keys of its objects begin with it; ends with a slash.
    pub prefix: String,
    /// The API's row, which custom kinds have not.
    pub built_in: Option<&'static Kind>,
    /// Its status is written through a path of its own.
    pub has_status: bool,
}

impl Row {
    /// `deployments.apps`, `pods`.
    pub(super) fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// What keys of its objects in `namespace` begin with; all of them without one.
    pub(super) fn prefix_in(&self, namespace: Option<&str>) -> String {
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{}{namespace}/", self.prefix),
            None => self.prefix.clone(),
        }
    }

    pub(super) fn key(&self, namespace: &str, name: &str) -> String {
        if self.namespaced {
            format!("{}{namespace}/{name}", self.prefix)
        } else {
            format!("{}{name}", self.prefix)
        }
    }

    /// The collection that `object`, of this kind, is written to.
    pub(super) fn collection(&self, object: &Value) -> Resource {
        Resource::discovered(object["apiVersion"].str_or_empty(), &self.plural, self.namespaced)
    }

    /// # Errors
    /// Why the stored bytes are not an object of this kind.
    pub(super) fn decode(&self, stored: &[u8]) -> Result<Value, String> {
        match self.built_in {
            Some(row) => load::decode_stored(schema::builtin(), row, stored).map_err(|e| e.to_string()),
            None => serde_json::from_slice(stored).map_err(|e| format!("stored value: {e}")),
        }
    }

    /// The object under a key of this kind.
    pub(super) fn place(&self, key: &[u8]) -> Option<ObjectId> {
        self.id(std::str::from_utf8(key).ok()?.strip_prefix(&self.prefix)?)
    }

    fn id(&self, rest: &str) -> Option<ObjectId> {
        let (namespace, name) = match (self.namespaced, rest.split_once('/')) {
            (true, Some((namespace, name))) if !name.contains('/') => (namespace, name),
            (false, None) => ("", rest),
            _ => return None,
        };
        (!name.is_empty()).then(|| ObjectId::new(&self.resource(), namespace, name))
    }
}

/// All kinds of a cluster.
#[derive(Clone, Debug)]
pub(super) struct Kinds {
    rows: Vec<Row>,
    by_resource: HashMap<String, usize>,
    by_prefix: HashMap<String, usize>,
}

impl Kinds {
    pub(super) fn built_in() -> Self {
        let mut kinds = Self { rows: Vec::new(), by_resource: HashMap::new(), by_prefix: HashMap::new() };
        for row in kinds::all().iter().filter(|row| !row.virtual_kind) {
            kinds.add(Row {
                group: row.group.to_owned(),
                kind: row.kind.to_owned(),
                plural: row.plural.to_owned(),
                namespaced: row.namespaced,
                singular: row.singular.to_owned(),
                short_names: row.short_names.iter().map(|name| (*name).to_owned()).collect(),
                versions: row.versions.iter().map(|v| (v.group.to_owned(), v.version.to_owned())).collect(),
                prefix: format!("{}/", row.storage_prefix),
                built_in: Some(row),
                has_status: row.has_status(),
            });
        }
        kinds
    }

    /// Adds the kind that a CustomResourceDefinition makes, unless it is known.
    pub(super) fn define(&mut self, definition: &Value) {
        let (spec, text) = (&definition["spec"], |value: &Value| value.str_or_empty().to_owned());
        let names = &spec["names"];
        let (group, plural) = (text(&spec["group"]), text(&names["plural"]));
        if group.is_empty()
            || plural.is_empty()
            || self.rows.iter().any(|row| row.group == group && row.plural == plural)
        {
            return;
        }
        let versions = spec["versions"].items();
        let singular = match names["singular"].str_or_empty() {
            "" => names["kind"].str_or_empty().to_lowercase(),
            given => given.to_owned(),
        };
        self.add(Row {
            kind: text(&names["kind"]),
            namespaced: spec["scope"] == *"Namespaced",
            singular,
            short_names: names["shortNames"].items().iter().map(text).collect(),
            versions: versions.iter().map(|v| (group.clone(), text(&v["name"]))).collect(),
            prefix: format!("{PREFIX}{group}/{plural}/"),
            built_in: None,
            has_status: versions.iter().any(|v| v.at(&["subresources", "status"]).is_some()),
            group,
            plural,
        });
    }

    fn add(&mut self, row: Row) {
        self.by_resource.insert(row.resource(), self.rows.len());
        self.by_prefix.insert(row.prefix.clone(), self.rows.len());
        self.rows.push(row);
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The kind of `deployments.apps`.
    pub(super) fn get(&self, resource: &str) -> Option<&Row> {
        self.by_resource.get(resource).map(|i| &self.rows[*i])
    }

    /// The kind that a reference names.
    pub(super) fn of_reference(&self, api_version: &str, kind: &str) -> Option<&Row> {
        let group = load::split_api_version(api_version).0;
        self.rows.iter().find(|row| row.kind == kind && row.versions.iter().any(|(g, _)| g == group))
    }

    /// What lies under a key.
    pub(super) fn locate(&self, key: &[u8]) -> Option<(&Row, ObjectId)> {
        let key = std::str::from_utf8(key).ok()?;
        let suffix = key.strip_prefix(PREFIX)?;
        let ends: Vec<usize> = suffix.match_indices('/').take(2).map(|(i, _)| PREFIX.len() + i + 1).collect();
        // `services/specs/` before a kind that would be called `services`.
        ends.iter().rev().find_map(|end| {
            let row = &self.rows[*self.by_prefix.get(&key[..*end])?];
            Some((row, row.id(&key[*end..])?))
        })
    }

    /// The kind that an operator means: plural, singular, kind or short name, followed by
    /// `.group` or `.version.group` where needed.
    ///
    /// # Errors
    /// What was written, and kinds that it may have meant.
    pub(super) fn find(&self, word: &str) -> Result<&Row, String> {
        let lower = word.to_lowercase();
        let (name, rest) = lower.split_once('.').unwrap_or((&lower, ""));
        let fits = |row: &&Row| {
            let named = row.plural == name
                || row.singular == name
                || row.kind.to_lowercase() == name
                || row.short_names.iter().any(|short| short == name);
            let of_group = rest.is_empty()
                || row.versions.iter().any(|(group, version)| {
                    rest == group || rest == format!("{version}.{group}").trim_end_matches('.')
                });
            named && of_group
        };
        if let Some(row) = self.rows.iter().find(fits) {
            return Ok(row);
        }
        let alike: Vec<String> = self
            .rows
            .iter()
            .filter(|row| {
                !name.is_empty()
                    && (row.plural.contains(name) || !row.singular.is_empty() && name.contains(&row.singular))
            })
            .map(Row::resource)
            .collect();
        let meant =
            if alike.is_empty() { String::new() } else { format!(": is {} meant?", alike.join(", ")) };
        Err(format!("{word:?} is no kind that this cluster stored then{meant}"))
    }

    /// `deployment/web`.
    ///
    /// # Errors
    /// As [`Kinds::find`], and when a part is missing.
    pub(super) fn object(&self, target: &str, namespace: &str) -> Result<(&Row, ObjectId), String> {
        let parts = target.split_once('/').filter(|(_, name)| !name.is_empty() && !name.contains('/'));
        let (kind, name) =
            parts.ok_or_else(|| format!("{target:?}: KIND/NAME is expected, such as deployment/web"))?;
        let row = self.find(kind)?;
        let namespace = if row.namespaced { namespace } else { "" };
        Ok((row, ObjectId::new(&row.resource(), namespace, name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_api::value;

    fn kinds() -> Kinds {
        let mut kinds = Kinds::built_in();
        kinds.define(&value!({"spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [{"name": "v1", "subresources": {"status": {}}}],
        }}));
        kinds
    }

    #[test]
    fn kinds_are_spelt_as_kubectl_takes_them() {
        let kinds = kinds();
        let check =
            |word: &str, want: &str| assert_eq!(kinds.find(word).map(Row::resource), Ok(want.to_owned()));
        for word in
            ["deployment", "deployments", "deploy", "Deployment", "deployments.apps", "deploy.v1.apps"]
        {
            check(word, "deployments.apps");
        }
        for word in ["po", "pods", "pod", "pods.v1"] {
            check(word, "pods");
        }
        for word in ["wd", "widget", "widgets.example.com", "Widget.v1.example.com"] {
            check(word, "widgets.example.com");
        }
        check("ns", "namespaces");
        check("ev", "events");
        let error = kinds.find("deploymints").unwrap_err();
        assert!(error.contains("\"deploymints\" is no kind"), "{error}");
        assert!(kinds.find("pods.apps").is_err() && kinds.find("").is_err() && kinds.find(".apps").is_err());
    }

    #[test]
    fn keys_lead_to_objects_and_back() {
        let kinds = kinds();
        let check = |key: &str, want: Option<&str>| {
            let found = kinds.locate(key.as_bytes());
            assert_eq!(found.as_ref().map(|(_, id)| id.to_string()).as_deref(), want, "{key}");
            if let Some((row, id)) = found {
                assert_eq!(row.key(&id.namespace, &id.name), key);
            }
        };
        check("/registry/deployments/shop/web", Some("deployments.apps/web -n shop"));
        check("/registry/services/specs/shop/web", Some("services/web -n shop"));
        check("/registry/minions/n1", Some("nodes/n1"));
        check("/registry/example.com/widgets/shop/w", Some("widgets.example.com/w -n shop"));
        for key in [
            "/registry/deployments/web",
            "/registry/deployments/a/b/c",
            "/registry/unknown/x",
            "/registry/",
            "x",
        ] {
            check(key, None);
        }
    }

    #[test]
    fn objects_are_named_by_kind_and_name() {
        let kinds = kinds();
        let named = |target| kinds.object(target, "shop").map(|(_, id)| id.to_string());
        assert_eq!(named("deploy/web"), Ok("deployments.apps/web -n shop".into()));
        assert_eq!(named("node/n1"), Ok("nodes/n1".into()));
        for wrong in ["web", "deploy/", "deploy/a/b", "/"] {
            assert!(named(wrong).unwrap_err().contains("KIND/NAME"), "{wrong}");
        }
        assert_eq!(
            kinds.of_reference("extensions/v1beta1", "ReplicaSet").map(Row::resource),
            Some("replicasets.apps".into())
        );
        assert_eq!(kinds.of_reference("v1", "ReplicaSet").map(Row::resource), None);
    }
}
