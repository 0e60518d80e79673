//! `scheduling.k8s.io/v1`: PriorityClass.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::fields::{Fields, Fill, immutable, one_of};
use crate::types::meta::object_meta::{self, Scope};

/// The highest priority that is not the system's.
pub const USER_PRIORITY_MAX: i64 = 1_000_000_000;
/// Upstream's own classes and their values.
pub const SYSTEM_CLASSES: &[(&str, i64)] =
    &[("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

pub fn default(class: &mut Value) {
    class.fill_absent("preemptionPolicy", "PreemptLowerPriority");
}

pub fn validate(class: &Value, errs: &mut ErrorList) {
    object_meta::validate(&class["metadata"], Scope::Cluster, NameRule::DnsSubdomain, errs);
    let (name, value) = (class["metadata"].text("name"), class.int("value"));
    if name.starts_with("system-") {
        let why = match SYSTEM_CLASSES.iter().find(|(n, _)| *n == name) {
            None => Some(format!("{name} is not a known system priority class")),
            Some((_, own)) if *own != value => Some(format!("value of {name} PriorityClass must be {own}")),
            Some(_) if class.flag("globalDefault") => Some(format!("globalDefault of {name} must be false")),
            Some(_) => None,
        };
        if let Some(why) = why {
            let metadata = Path::new("metadata");
            errs.push(FieldError::forbidden(
                &metadata.child("name"),
                format!("priority class names with 'system-' prefix are reserved for system use only. error: {why}"),
            ));
        }
    } else if value > USER_PRIORITY_MAX {
        errs.push(FieldError::forbidden(
            &Path::new("value"),
            format!("maximum allowed value of a user defined priority is {USER_PRIORITY_MAX}"),
        ));
    }
    if let Some(policy) = class.opt_text("preemptionPolicy") {
        let at = Path::new("preemptionPolicy");
        if policy.is_empty() {
            errs.push(FieldError::required(&at, ""));
        } else {
            one_of(errs, &at, policy, &["PreemptLowerPriority", "Never"]);
        }
    }
}

pub fn validate_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    if new.int("value") != old.int("value") {
        errs.push(FieldError::forbidden(&Path::new("value"), "may not be changed in an update."));
    }
    immutable(errs, &Path::new("preemptionPolicy"), &new["preemptionPolicy"], &old["preemptionPolicy"]);
}
