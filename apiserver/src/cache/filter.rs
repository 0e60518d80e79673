//! What a list or watch selects.

use std::borrow::Cow;

use trireme_api::kinds::Kind;
use trireme_api::selector::{FieldSelector, LabelSelector};

use super::Entry;

/// Namespace and selectors of a list or watch.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    /// "" for all.
    pub(crate) namespace: String,
    pub(crate) labels: LabelSelector,
    pub(crate) fields: FieldSelector,
}

impl Filter {
    pub(crate) fn namespace(namespace: &str) -> Filter {
        Filter {
            namespace: namespace.into(),
            labels: LabelSelector::everything(),
            fields: FieldSelector::everything(),
        }
    }

    /// Whether selectors (beside the namespace) leave anything out.
    pub(crate) fn selects(&self) -> bool {
        !self.labels.is_everything() || !self.fields.is_everything()
    }

    pub(crate) fn matches(&self, row: &Kind, entry: &Entry) -> bool {
        (self.namespace.is_empty() || entry.namespace() == self.namespace)
            && (self.labels.is_everything() || self.labels.matches(|key| entry.label(key)))
            && (self.fields.is_everything()
                || self.fields.matches(|field| Cow::Borrowed(field_of(row, entry, field))))
    }

    /// The one object this can match: its key below the kind's prefix.
    pub(crate) fn single_key(&self, row: &Kind) -> Option<String> {
        let name = self.fields.exact_value("metadata.name")?;
        if !row.namespaced {
            return Some(name.to_owned());
        }
        let namespace = match self.namespace.as_str() {
            "" => self.fields.exact_value("metadata.namespace")?,
            namespace => namespace,
        };
        Some(format!("{namespace}/{name}"))
    }

    /// The node whose pods this is about.
    pub(crate) fn node(&self) -> Option<&str> {
        self.fields.exact_value(NODE_FIELD)
    }
}

/// The field that the kubelets' watches select by.
pub(super) const NODE_FIELD: &str = "spec.nodeName";

fn field_of<'e>(row: &Kind, entry: &'e Entry, field: &str) -> &'e str {
    match field {
        "metadata.name" => entry.name(),
        "metadata.namespace" => entry.namespace(),
        _ => row
            .selectable
            .iter()
            .position(|(name, _)| *name == field)
            .and_then(|i| entry.fields.get(i))
            .map_or("", |v| v),
    }
}
