//! DefaultStorageClass and DefaultIngressClass: an object that names no class gets the default one.

use std::cmp::Reverse;

use crate::tree::Value;
use crate::types::fields::{Fields, Fill};

const STORAGE: &[&str] =
    &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
const INGRESS: &[&str] = &["ingressclass.kubernetes.io/is-default-class"];
const CLAIM_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const INGRESS_CLASS: &str = "kubernetes.io/ingress.class";

/// Of several defaults the newest counts, then the first by name.
fn newest<'a>(classes: impl IntoIterator<Item = &'a Value>, annotations: &[&str]) -> Option<&'a str> {
    let is_default = |c: &Value| annotations.iter().any(|a| c["metadata"]["annotations"].text(a) == "true");
    classes
        .into_iter()
        .filter(|c| is_default(c))
        .max_by_key(|c| (c["metadata"].text("creationTimestamp"), Reverse(c["metadata"].text("name"))))
        .map(|c| c["metadata"].text("name"))
}

/// A new PersistentVolumeClaim, given all StorageClasses.
pub fn admit_claim<'a>(claim: &mut Value, classes: impl IntoIterator<Item = &'a Value>) {
    let named = claim["spec"].has("storageClassName") || claim["metadata"]["annotations"].has(CLAIM_CLASS);
    if let Some(name) = newest(classes, STORAGE).filter(|_| !named) {
        claim.message("spec").put("storageClassName", name);
    }
}

/// A new Ingress, given all IngressClasses.
pub fn admit_ingress<'a>(ingress: &mut Value, classes: impl IntoIterator<Item = &'a Value>) {
    let named =
        ingress["spec"].has("ingressClassName") || ingress["metadata"]["annotations"].has(INGRESS_CLASS);
    if let Some(name) = newest(classes, INGRESS).filter(|_| !named) {
        ingress.message("spec").put("ingressClassName", name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn the_newest_default_counts() {
        let class = |name: &str, at: &str| value!({"metadata": {"name": name, "creationTimestamp": at, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}});
        let classes = [
            class("b", "2020-01-01T00:00:00Z"),
            class("a", "2021-01-01T00:00:00Z"),
            value!({"metadata": {"name": "c"}}),
        ];
        let mut claim = value!({"spec": {}});
        admit_claim(&mut claim, &classes);
        assert_eq!(claim, value!({"spec": {"storageClassName": "a"}}));
        let mut none = value!({"spec": {"storageClassName": ""}});
        admit_claim(&mut none, &classes);
        assert_eq!(none["spec"]["storageClassName"], value!(""));
    }
}
