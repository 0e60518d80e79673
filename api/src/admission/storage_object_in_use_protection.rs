//! StorageObjectInUseProtection: claims, volumes and their classes stay while they are used.

use crate::tree::Value;
use crate::types::fields::{Fields, Fill};

/// Adds the finalizer of a new object of `kind`; other kinds stay as they are.
pub fn admit(kind: &str, object: &mut Value) {
    let finalizer = match kind {
        "PersistentVolumeClaim" => "kubernetes.io/pvc-protection",
        "PersistentVolume" => "kubernetes.io/pv-protection",
        "VolumeAttributesClass" => "kubernetes.io/vac-protection",
        _ => return,
    };
    let metadata = object.message("metadata");
    let mut list = metadata.list("finalizers").to_vec();
    if !list.iter().any(|f| *f == finalizer) {
        list.push(finalizer.into());
        metadata.put("finalizers", Value::Array(list));
    }
}
