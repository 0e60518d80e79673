//! Fields a request cannot change, whatever its body says: nobody gains or loses them by it.

use super::field_set::FieldSet;

/// `status` through the main resource of kinds that have a status subresource, `spec` (and for
/// some kinds more) through `status`.
pub fn reset_fields(kind: &str, subresource: &str, has_status: bool) -> FieldSet {
    let paths: &[&[&'static str]] = match (kind, subresource) {
        // A request cannot be changed once it is made.
        ("CertificateSigningRequest", "") => &[&["spec"], &["status"]],
        (_, "") if has_status => &[&["status"]],
        ("Pod", "status") => {
            &[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]]
        }
        ("Deployment", "status") => &[&["spec"], &["metadata", "labels"]],
        ("CustomResourceDefinition" | "FlowSchema" | "PriorityLevelConfiguration", "status") => {
            &[&["spec"], &["metadata"]]
        }
        ("Namespace", "finalize") => &[&["status"]],
        (_, "status") => &[&["spec"]],
        _ => &[],
    };
    FieldSet::of(paths)
}
