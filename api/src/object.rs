//! `Object`: a tree with metadata, as the API hands it around.

use crate::tree::{Key, Map, Value};

/// One Kubernetes object (or any body with `kind` and `apiVersion`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object(pub Value);

impl Object {
    pub fn api_version(&self) -> &str {
        self.0["apiVersion"].str_or_empty()
    }
    pub fn kind(&self) -> &str {
        self.0["kind"].str_or_empty()
    }
    pub fn metadata(&self) -> &Value {
        &self.0["metadata"]
    }
    pub fn metadata_mut(&mut self) -> &mut Map {
        self.0.make(&["metadata"])
    }
    pub fn name(&self) -> &str {
        self.metadata()["name"].str_or_empty()
    }
    pub fn namespace(&self) -> &str {
        self.metadata()["namespace"].str_or_empty()
    }
    pub fn uid(&self) -> &str {
        self.metadata()["uid"].str_or_empty()
    }
    pub fn resource_version(&self) -> &str {
        self.metadata()["resourceVersion"].str_or_empty()
    }
    pub fn generation(&self) -> i64 {
        self.metadata()["generation"].as_i64().unwrap_or(0)
    }
    pub fn deletion_timestamp(&self) -> Option<&str> {
        self.metadata()["deletionTimestamp"].as_str()
    }
    pub fn label(&self, key: &str) -> Option<&str> {
        self.metadata()["labels"].get(key).and_then(Value::as_str)
    }
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata()["annotations"].get(key).and_then(Value::as_str)
    }
    pub fn set_annotation(&mut self, key: &str, value: &str) {
        self.0.make(&["metadata", "annotations"]).insert(Key::from(key), value);
    }
    /// `metadata.labels`, none where absent.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.metadata()["labels"].members().iter().filter_map(|(k, v)| Some((&**k, v.as_str()?)))
    }
    /// The owner reference with `controller: true`.
    pub fn controller_ref(&self) -> Option<&Value> {
        self.metadata()["ownerReferences"].items().iter().find(|r| r["controller"] == Value::Bool(true))
    }
    pub fn spec(&self) -> &Value {
        &self.0["spec"]
    }
    pub fn status(&self) -> &Value {
        &self.0["status"]
    }
}

impl std::ops::Deref for Object {
    type Target = Value;
    fn deref(&self) -> &Value {
        &self.0
    }
}
impl std::ops::DerefMut for Object {
    fn deref_mut(&mut self) -> &mut Value {
        &mut self.0
    }
}
impl From<Value> for Object {
    fn from(v: Value) -> Object {
        Object(v)
    }
}
