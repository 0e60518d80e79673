use super::*;
use crate::schema::builtin;
use crate::value;

fn merge(message: &str, target: Value, patch: Value) -> Result<Value, PatchError> {
    let schema = builtin();
    let id = schema.find(message).unwrap_or_else(|| panic!("no message {message}"));
    strategic_merge(schema, id, target, patch)
}

fn containers(list: Value) -> Value {
    value!({"containers": (serde_json::to_value(&list).unwrap())})
}

#[test]
fn lists_merge_by_key() {
    let live = || {
        containers(value!([{"name": "c", "image": "img:1", "args": ["a", "b"]}, {"name": "d", "image": "d"}]))
    };
    for (patch, expected) in [
        (value!([{"name": "c", "$patch": "delete"}]), value!([{"name": "d", "image": "d"}])),
        (value!([{"name": "zz", "$patch": "delete"}]), live()["containers"].clone()),
        (value!([{"name": "z", "image": "z"}, {"$patch": "replace"}]), value!([{"name": "z", "image": "z"}])),
        (
            value!([{"name": "c", "args": ["z"]}]),
            value!([{"name": "c", "image": "img:1", "args": ["z"]}, {"name": "d", "image": "d"}]),
        ),
        (
            value!([{"name": "n", "image": "n", "args": null}]),
            value!([
                {"name": "n", "image": "n"},
                {"name": "c", "image": "img:1", "args": ["a", "b"]},
                {"name": "d", "image": "d"},
            ]),
        ),
        (
            value!([{"name": "d", "image": "d:2"}, {"name": "c", "args": null}]),
            value!([{"name": "d", "image": "d:2"}, {"name": "c", "image": "img:1"}]),
        ),
    ] {
        let result = merge("core/v1.PodSpec", live(), containers(patch.clone())).unwrap();
        assert_eq!(result["containers"], expected, "{patch}");
    }
}

#[test]
fn element_order_is_kept() {
    let live = containers(value!([{"name": "c"}, {"name": "d"}, {"name": "e"}]));
    let names = |v: &Value| {
        v["containers"]
            .items()
            .iter()
            .map(|c| c["name"].str_or_empty().to_owned())
            .collect::<Vec<_>>()
            .join(",")
    };
    for (patch, expected) in [
        (
            value!({"$setElementOrder/containers": [{"name": "e"}, {"name": "c"}, {"name": "d"}], "containers": [{"name": "d", "image": "2"}]}),
            "e,c,d",
        ),
        (
            value!({"$setElementOrder/containers": [{"name": "n"}, {"name": "d"}], "containers": [{"name": "n"}]}),
            "n,c,d,e",
        ),
        (value!({"$setElementOrder/containers": [{"name": "d"}, {"name": "c"}]}), "d,c,e"),
    ] {
        let result = merge("core/v1.PodSpec", live.clone(), patch.clone()).unwrap();
        assert_eq!(names(&result), expected, "{patch}");
    }
    let patch = value!({"$setElementOrder/containers": [{"name": "c"}], "containers": [{"name": "other", "image": "n"}]});
    let error = merge("core/v1.PodSpec", live, patch).unwrap_err();
    assert_eq!(error, PatchError::Internal(
        "The order in patch list:\n[map[image:n name:other]]\n doesn't match $setElementOrder list:\n[map[name:c]]\n".into()
    ));
}

#[test]
fn primitive_lists_merge_and_delete() {
    let live = value!({"finalizers": ["a", "b"]});
    for (patch, expected) in [
        (value!({"$deleteFromPrimitiveList/finalizers": ["a"]}), value!(["b"])),
        (value!({"finalizers": ["c"]}), value!(["c", "a", "b"])),
        (value!({"finalizers": ["b"]}), value!(["a", "b"])),
        (value!({"$setElementOrder/finalizers": ["b", "a"]}), value!(["b", "a"])),
        (value!({"finalizers": null}), Value::Null),
        (value!({"$deleteFromPrimitiveList/finalizers": null}), Value::Null),
    ] {
        let result = merge("meta/v1.ObjectMeta", live.clone(), patch.clone()).unwrap();
        assert_eq!(result["finalizers"], expected, "{patch}");
    }
}

#[test]
fn maps_and_directives() {
    let live =
        value!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}, "replicas": 1});
    let recreate = value!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}});
    let result = merge("apps/v1.DeploymentSpec", live.clone(), recreate).unwrap();
    assert_eq!(result["strategy"], value!({"type": "Recreate"}));
    let foreign =
        value!({"strategy": {"$retainKeys": ["type"], "type": "Recreate", "rollingUpdate": null, "x": 1}});
    let error = merge("apps/v1.DeploymentSpec", live.clone(), foreign).unwrap_err();
    assert_eq!(error, PatchError::BadRequest("invalid patch format of retainKeys".into()));
    for (patch, expected) in [
        (value!({"strategy": {"$patch": "replace", "type": "X"}}), value!({"type": "X"})),
        (value!({"strategy": {"$patch": "delete"}}), value!({})),
        (value!({"strategy": null}), Value::Null),
    ] {
        let result = merge("apps/v1.DeploymentSpec", live.clone(), patch.clone()).unwrap();
        assert_eq!(result["strategy"], expected, "{patch}");
    }
    let error = merge("apps/v1.DeploymentSpec", live, value!({"strategy": {"$patch": "frob"}})).unwrap_err();
    assert_eq!(error, PatchError::Internal("unknown patch type: frob in map: map[$patch:frob]".into()));
}

#[test]
fn lists_without_strategy_are_replaced_whole() {
    let live = value!({"imagePullSecrets": [{"name": "a"}], "secrets": [{"name": "s"}]});
    let patch = value!({"imagePullSecrets": [{"name": "b"}], "secrets": [{"name": "t"}]});
    let result = merge("core/v1.ServiceAccount", live, patch).unwrap();
    assert_eq!(result["imagePullSecrets"], value!([{"name": "b"}]));
    assert_eq!(result["secrets"], value!([{"name": "t"}, {"name": "s"}]));
}

#[test]
fn contradictions_are_told_in_upstreams_words() {
    let live = || containers(value!([{"name": "c", "image": "img:1"}]));
    for (patch, message) in [
        (containers(value!([{"image": "x"}])), "map: map[image:x] does not contain declared merge key: name"),
        (
            containers(value!(["str"])),
            "list element types are not identical: [[map[image:img:1 name:c]] [str]]",
        ),
        (
            containers(value!([{"$patch": "delete"}])),
            "map: map[$patch:delete] does not contain declared merge key: name",
        ),
        (
            containers(value!([{"$patch": "x", "name": "c"}])),
            "unknown patch type: x in map: map[$patch:x name:c]",
        ),
        (
            value!({"$setElementOrder/nope": ["a"]}),
            "unable to find api field in struct PodSpec for the json field \"nope\"",
        ),
    ] {
        let error = merge("core/v1.PodSpec", live(), patch.clone()).unwrap_err();
        assert_eq!(error, PatchError::Internal(message.into()), "{patch}");
    }
    let nested = merge("core/v1.PodSpec", containers(value!([[1]])), containers(value!([[2]]))).unwrap_err();
    assert!(matches!(nested, PatchError::Unprocessable(_)));
}
