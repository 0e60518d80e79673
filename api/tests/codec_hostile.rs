//! Bytes that nobody would send on purpose: decoders answer, and never panic.

use proptest::prelude::*;
use trireme_api::Value;
use trireme_api::codec::{json, protobuf, yaml};
use trireme_api::normal::normalize;
use trireme_api::schema::builtin;

const POD: &str = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","labels":{"x":"y"},"creationTimestamp":"2026-01-02T03:04:05Z"},"spec":{"volumes":[{"name":"v","emptyDir":{"sizeLimit":"1Gi"}}],"containers":[{"name":"c","image":"i","ports":[{"containerPort":80}],"resources":{"limits":{"cpu":"100m"}},"livenessProbe":{"httpGet":{"port":"http"}}}],"tolerations":[{"tolerationSeconds":300}]}}"#;

fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (-1000.0..1000.0f64).prop_filter("a fraction", |f| f.fract() != 0.0).prop_map(Value::Float),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::btree_map("\\PC{0,6}", inner, 0..6)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn json_reads_back(value in tree()) {
        prop_assert_eq!(&json::parse(&json::encode(&value)).unwrap().value, &value);
        prop_assert_eq!(&json::parse(&json::encode_pretty(&value)).unwrap().value, &value);
    }

    #[test]
    fn any_tree_can_be_normalized(value in tree()) {
        let schema = builtin();
        let mut pod = json::parse(POD.as_bytes()).unwrap().value;
        for path in [&["spec", "containers"][..], &["metadata", "labels"], &["spec"], &["status"]] {
            let mut v = pod.clone();
            if let Some(place) = v.at_mut(path) {
                *place = value.clone();
            }
            normalize(schema, schema.find("core/v1.Pod").unwrap(), &mut v);
            let _ = protobuf::encode(schema, schema.find("core/v1.Pod").unwrap(), &v);
        }
        pod.as_object_mut().unwrap().set("spec", value);
        let _ = json::decode(schema, schema.find("core/v1.Pod").unwrap(), &json::encode(&pod));
    }

    #[test]
    fn damaged_bodies_are_refused(at in 0usize..400, byte in any::<u8>(), cut in 0usize..400) {
        let schema = builtin();
        let id = schema.find("core/v1.Pod").unwrap();
        let mut text = POD.as_bytes().to_vec();
        let at_text = at % text.len();
        text[at_text] = byte;
        let _ = json::decode(schema, id, &text);
        let _ = json::type_meta(&text);
        let _ = json::decode(schema, id, &text[..cut % text.len()]);
        let _ = yaml::parse(&text);
        let whole = json::decode(schema, id, POD.as_bytes()).unwrap().value;
        let mut wire = protobuf::seal("v1", "Pod", &protobuf::encode(schema, id, &whole).unwrap());
        let at_wire = at % wire.len();
        wire[at_wire] = byte;
        if let Ok(envelope) = protobuf::open(&wire) {
            let _ = protobuf::decode(schema, id, envelope.raw);
        }
    }

    #[test]
    fn noise_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let schema = builtin();
        let id = schema.find("apiextensions/v1.CustomResourceDefinition").unwrap();
        let _ = json::parse(&bytes);
        let _ = protobuf::open(&bytes);
        let _ = protobuf::decode(schema, id, &bytes);
    }
}
