//! Event.

use crate::convert;
use crate::kinds::{Kind, Rules, Served, selectable};
use crate::types::core::event;
use crate::types::errors;

const RULES: Rules = Rules {
    validate: |o| errors(|e| event::validate(o, e)),
    validate_update: |new, old| errors(|e| event::validate_update(new, old, e)),
    ..Rules::generic(false, false)
};

pub static KIND: Kind = Kind {
    group: "",
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    storage_prefix: "/registry/events",
    versions: &[
        Served { group: "", version: "v1", message: "core/v1.Event", ..Served::HUB },
        Served {
            group: "events.k8s.io",
            version: "v1",
            message: "events/v1.Event",
            to_hub: Some(convert::event::to_core),
            from_hub: Some(convert::event::from_core),
            selectors: Some(&[
                ("reason", "reason"),
                ("regarding.kind", "involvedObject.kind"),
                ("regarding.namespace", "involvedObject.namespace"),
                ("regarding.name", "involvedObject.name"),
                ("regarding.uid", "involvedObject.uid"),
                ("regarding.apiVersion", "involvedObject.apiVersion"),
                ("regarding.resourceVersion", "involvedObject.resourceVersion"),
                ("regarding.fieldPath", "involvedObject.fieldPath"),
                ("reportingController", "reportingComponent"),
                ("source", "source"),
                ("type", "type"),
            ]),
            ..Served::HUB
        },
    ],
    create_on_update: true,
    selectable: &[
        ("involvedObject.kind", |o| selectable::text(o, &["involvedObject", "kind"])),
        ("involvedObject.namespace", |o| selectable::text(o, &["involvedObject", "namespace"])),
        ("involvedObject.name", |o| selectable::text(o, &["involvedObject", "name"])),
        ("involvedObject.uid", |o| selectable::text(o, &["involvedObject", "uid"])),
        ("involvedObject.apiVersion", |o| selectable::text(o, &["involvedObject", "apiVersion"])),
        ("involvedObject.resourceVersion", |o| selectable::text(o, &["involvedObject", "resourceVersion"])),
        ("involvedObject.fieldPath", |o| selectable::text(o, &["involvedObject", "fieldPath"])),
        ("reason", |o| selectable::text(o, &["reason"])),
        ("reportingComponent", |o| selectable::text(o, &["reportingComponent"])),
        ("source", |o| selectable::event_source(o)),
        ("type", |o| selectable::text(o, &["type"])),
    ],
    rules: RULES,
    ..Kind::ROW
};
