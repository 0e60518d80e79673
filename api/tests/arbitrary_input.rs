//! Patches, selectors, quantities and field ownership take whatever a client sends: they answer
//! or refuse, and never panic.

use proptest::prelude::*;
use trireme_api::managed::{self, FieldSet, Writer};
use trireme_api::patch::{json_patch, merge_patch, strategic_merge};
use trireme_api::quantity::Quantity;
use trireme_api::schema::builtin;
use trireme_api::selector::{FieldSelector, LabelSelector};
use trireme_api::{Value, table, value};

/// Names that mean something to the code under test, so that cases meet.
const NAMES: &[&str] = &[
    "metadata",
    "spec",
    "status",
    "containers",
    "name",
    "image",
    "ports",
    "containerPort",
    "protocol",
    "labels",
    "finalizers",
    "ownerReferences",
    "uid",
    "conditions",
    "type",
    "managedFields",
    "env",
    "value",
    "resources",
    "limits",
    "cpu",
    "volumes",
    "$patch",
    "$retainKeys",
    "$setElementOrder/containers",
    "$setElementOrder/finalizers",
    "$deleteFromPrimitiveList/finalizers",
    "$setElementOrder",
    "operation",
    "apiVersion",
    "fieldsType",
    "fieldsV1",
    "f:spec",
    "k:{\"name\":\"a\"}",
    "v:1",
    ".",
    "op",
    "path",
    "from",
];
const TEXTS: &[&str] = &[
    "",
    "a",
    "b",
    "delete",
    "replace",
    "merge",
    "x",
    "1",
    "Apply",
    "Update",
    "FieldsV1",
    "v1",
    "add",
    "remove",
    "move",
    "copy",
    "test",
    "/spec/containers/0",
    "/spec/containers/-",
    "/metadata",
    "/",
    "/spec/containers/-1",
    "100m",
];

fn json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![prop::sample::select(TEXTS).prop_map(Value::from), ".{0,4}".prop_map(Value::from)];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-3i64..100).prop_map(Value::Int),
        text,
    ];
    leaf.prop_recursive(6, 48, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((prop::sample::select(NAMES), inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn pod() -> impl Strategy<Value = Value> {
    (json(), json(), json(), json()).prop_map(|(metadata, spec, containers, status)| {
        let mut pod = value!({"apiVersion": "v1", "kind": "Pod"});
        let map = pod.make(&[]);
        map.set("metadata", metadata);
        map.set("spec", spec);
        map.set("status", status);
        if containers.is_array() {
            pod.make(&["spec"]).set("containers", containers);
        }
        pod
    })
}

proptest! {
    #[test]
    fn patches_answer(target in pod(), patch in prop_oneof![json(), pod()]) {
        let schema = builtin();
        let id = schema.find("core/v1.Pod").expect("pods are known");
        let _ = json_patch(target.clone(), &patch);
        let _ = merge_patch(target.clone(), patch.clone());
        let _ = strategic_merge(schema, id, target, patch);
    }

    #[test]
    fn an_object_merged_into_itself_stays(target in pod()) {
        prop_assume!(target["metadata"]["$patch"].is_null());
        let merged = merge_patch(target.clone(), target.clone()).expect("an object");
        let again = merge_patch(merged.clone(), target).expect("an object");
        prop_assert_eq!(merged, again);
    }

    #[test]
    fn ownership_answers(live in pod(), new in pod(), force in any::<bool>()) {
        let schema = builtin();
        let none = FieldSet::new();
        let writer = Writer {
            schema,
            api_version: "v1",
            message: schema.find("core/v1.Pod").expect("pods are known"),
            subresource: "",
            manager: "m",
            now: "2026-01-01T00:00:00Z",
            ignored: &none,
            convert: &|_, _| None,
        };
        let mut created = live.clone();
        managed::update(&writer, None, &mut created);
        let mut updated = new.clone();
        managed::update(&writer, Some(&created), &mut updated);
        let _ = managed::apply(&writer, Some(&updated), &live, force);
        // What is compared with itself has not changed.
        let same = managed::compare(schema, writer.message, &new, &new);
        prop_assert!(same.added.is_empty() && same.modified.is_empty() && same.removed.is_empty());
    }

    #[test]
    fn sets_of_fields_survive_their_text(object in pod()) {
        let schema = builtin();
        let set = managed::set_of(schema, schema.find("core/v1.Pod").expect("pods are known"), &object);
        prop_assert_eq!(FieldSet::from_fields_v1(&set.to_fields_v1()), Ok(set));
    }

    #[test]
    fn tables_print_anything(object in pod()) {
        for kind in ["Pod", "Node", "Event", "Service", "Deployment", "Job", "HorizontalPodAutoscaler", "Ingress"] {
            let printer = table::printer(kind);
            prop_assert_eq!((printer.cells)(&object, table::Now(0)).len(), printer.columns.len());
        }
    }

    #[test]
    fn selectors_answer(text in "[a-c=!<>(), \\\\]{0,12}") {
        if let Ok(selector) = text.parse::<LabelSelector>() {
            prop_assert_eq!(selector.to_string().parse::<LabelSelector>(), Ok(selector));
        }
        if let Ok(selector) = text.parse::<FieldSelector>() {
            prop_assert_eq!(selector.to_string().parse::<FieldSelector>().map(|s| s.terms.len()), Ok(selector.terms.len()));
        }
    }

    #[test]
    fn quantities_survive_their_text(text in "[+-]?[0-9]{0,22}(\\.[0-9]{0,12})?(|m|u|n|k|M|Gi|Ki|Ei|e3|E-2|e99)") {
        if let Ok(quantity) = text.parse::<Quantity>() {
            let again: Quantity = quantity.to_string().parse().expect("canonical text");
            prop_assert_eq!(&again, &quantity, "{} as {}", text, quantity);
            prop_assert_eq!(again.to_string(), quantity.to_string());
        }
    }
}
