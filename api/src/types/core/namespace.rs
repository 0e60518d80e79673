//! `core/v1.Namespace`.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::{Key, Value};
use crate::types::fields::{Fields, Fill, invalid_each};
use crate::types::format;
use crate::types::meta::object_meta::{self, Scope, validate_kube_finalizer};

pub const NAME_LABEL: &str = "kubernetes.io/metadata.name";
pub const FINALIZER: &str = "kubernetes";

/// The label with the namespace's name, which selectors use, and the phase.
pub fn default(namespace: &mut Value) {
    label_with_name(namespace);
    namespace.message("status").fill_zero("phase", "Active");
}

/// Also after a name was generated.
pub fn label_with_name(namespace: &mut Value) {
    let name = namespace["metadata"].text("name").to_owned();
    if !name.is_empty() {
        namespace.make(&["metadata", "labels"]).insert(Key::Static(NAME_LABEL), name);
    }
}

/// A new namespace is active and held by the namespace controller.
pub fn prepare_create(namespace: &mut Value) {
    label_with_name(namespace);
    namespace.put("status", crate::value!({"phase": "Active"}));
    let spec = namespace.message("spec");
    if !spec.list("finalizers").iter().any(|f| *f == FINALIZER) {
        let mut list = spec.list("finalizers").to_vec();
        list.push(FINALIZER.into());
        spec.put("finalizers", Value::Array(list));
    }
}

pub fn validate(namespace: &Value, errs: &mut ErrorList) {
    object_meta::validate(&namespace["metadata"], Scope::Cluster, NameRule::DnsLabel, errs);
    let spec = Path::new("spec");
    let path = spec.child("finalizers");
    for f in namespace["spec"].list("finalizers") {
        validate_finalizer(f.str_or_empty(), &path, errs);
    }
}

fn validate_finalizer(name: &str, path: &Path<'_>, errs: &mut ErrorList) {
    invalid_each(errs, path, name, format::label_key(name));
    validate_kube_finalizer(name, path, errs);
}

pub fn validate_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
}

pub fn validate_status(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    let deleted = new["metadata"].has("deletionTimestamp");
    let (phase, condition) = if deleted {
        ("Terminating", "`deletionTimestamp` is not empty")
    } else {
        ("Active", "`deletionTimestamp` is empty")
    };
    let own = new["status"].text("phase");
    if own != phase {
        let status = Path::new("status");
        errs.push(FieldError::invalid(
            &status.child("Phase"),
            own,
            format!("may only be '{phase}' if {condition}"),
        ));
    }
}

/// Through `finalize`.
pub fn validate_finalize(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    let spec = Path::new("spec");
    let path = spec.child("finalizers");
    for (i, f) in new["spec"].list("finalizers").iter().enumerate() {
        validate_finalizer(f.str_or_empty(), &path.index(i), errs);
    }
}
