//! Events of `events.k8s.io/v1` and of core/v1: the same object under other names.

use super::rename;
use crate::tree::Value;

/// events.k8s.io/v1 name, core/v1 name.
const NAMES: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
    ("reportingController", "reportingComponent"),
];

pub fn to_core(event: &mut Value) {
    if let Some(map) = event.as_object_mut() {
        for (new, core) in NAMES {
            rename(map, new, core);
        }
    }
}

pub fn from_core(event: &mut Value) {
    if let Some(map) = event.as_object_mut() {
        for (new, core) in NAMES {
            rename(map, core, new);
        }
    }
}
