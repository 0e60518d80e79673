use super::*;
use crate::Value;
use crate::schema::builtin;
use crate::tree::Key;
use crate::value;

const NONE: &FieldSet = &FieldSet::new();

/// A server that holds one object, applied to by managers; times count up.
struct Server {
    kind: &'static str,
    api_version: &'static str,
    live: Option<Value>,
    clock: u32,
}

impl Server {
    fn new(kind: &'static str, api_version: &'static str) -> Server {
        Server { kind, api_version, live: None, clock: 0 }
    }
    fn apply(&mut self, manager: &str, config: Value, force: bool) -> Result<Value, ApplyError> {
        self.clock += 1;
        let now = format!("2026-01-01T00:00:{:02}Z", self.clock);
        let writer = self.writer(manager, &now);
        let mut result = apply(&writer, self.live.as_ref(), &config, force)?;
        drop_empty(&mut result);
        if self.live.is_none() {
            result.make(&["metadata"]).set("uid", "u");
        }
        self.live = Some(result.clone());
        Ok(result)
    }
    fn update(&mut self, manager: &str, new: Value) -> Value {
        self.clock += 1;
        let now = format!("2026-01-01T00:00:{:02}Z", self.clock);
        let mut new = new;
        update(&self.writer(manager, &now), self.live.as_ref(), &mut new);
        new.make(&["metadata"]).set("uid", "u");
        self.live = Some(new.clone());
        new
    }
    fn writer<'a>(&self, manager: &'a str, now: &'a str) -> Writer<'a> {
        Writer {
            schema: builtin(),
            api_version: self.api_version,
            message: builtin().find(self.kind).expect("a message"),
            subresource: "",
            manager,
            now,
            ignored: NONE,
            convert: &|_, _| None,
        }
    }
    /// Manager and fields of each entry.
    fn owners(&self) -> Value {
        let mut out = Value::object();
        for entry in self.live.as_ref().expect("an object")["metadata"]["managedFields"].items() {
            let name = Key::from(entry["manager"].str_or_empty());
            out.make(&[]).insert(name, entry["fieldsV1"].clone());
        }
        out
    }
    fn time(&self, manager: &str) -> Value {
        let live = self.live.as_ref().expect("an object");
        let entries = live["metadata"]["managedFields"].items();
        entries.iter().find(|e| e["manager"] == *manager).map(|e| e["time"].clone()).unwrap_or_default()
    }
}

/// What decoding does with nulls and empty maps of optional fields.
fn drop_empty(value: &mut Value) {
    if let Value::Object(map) = value {
        map.values_mut().for_each(drop_empty);
        map.retain(|name, v| {
            !(v.is_null() || matches!(&**name, "data" | "labels") && v.members().is_empty())
        });
    }
}

fn config_map(data: Value) -> Value {
    let mut object = value!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    object.make(&[]).set("data", data);
    object
}

#[test]
fn managers_share_an_object() {
    let mut server = Server::new("core/v1.ConfigMap", "v1");
    server.apply("m1", config_map(value!({"a": "1"})), false).unwrap();
    let result = server.apply("m2", config_map(value!({"b": "2"})), false).unwrap();
    assert_eq!(result["data"], value!({"a": "1", "b": "2"}));
    assert_eq!(server.owners(), value!({"m1": {"f:data": {"f:a": {}}}, "m2": {"f:data": {"f:b": {}}}}));
}

#[test]
fn conflicts_are_told_and_forced() {
    let mut server = Server::new("core/v1.ConfigMap", "v1");
    server.apply("m1", config_map(value!({"a": "1", "b": "1"})), false).unwrap();
    let error = server.apply("m2", config_map(value!({"a": "2", "b": "2"})), false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 2 conflicts: conflicts with \"m1\":\n- .data.a\n- .data.b"
    );
    let ApplyError::Conflict { causes, .. } = error else { panic!("{error}") };
    assert_eq!(causes[0], Conflict { message: "conflict with \"m1\"".into(), field: ".data.a".into() });
    let result = server.apply("m2", config_map(value!({"a": "2"})), true).unwrap();
    assert_eq!(result["data"], value!({"a": "2", "b": "1"}));
    assert_eq!(server.owners(), value!({"m1": {"f:data": {"f:b": {}}}, "m2": {"f:data": {"f:a": {}}}}));
}

#[test]
fn shared_fields_stay_until_the_last_owner_drops_them() {
    let mut server = Server::new("core/v1.ConfigMap", "v1");
    server.apply("m1", config_map(value!({"a": "1"})), false).unwrap();
    server.apply("m2", config_map(value!({"a": "1"})), false).unwrap();
    // Nothing changed, so nothing is said of when.
    assert!(server.time("m2").is_null() && server.time("m1").is_string());
    let result = server.apply("m1", config_map(value!({})), false).unwrap();
    assert_eq!(result["data"], value!({"a": "1"}));
    assert_eq!(server.owners(), value!({"m1": {"f:data": {}}, "m2": {"f:data": {"f:a": {}}}}));
    let result = server.apply("m2", config_map(value!({})), false).unwrap();
    assert!(result["data"].is_null());
    assert_eq!(server.owners(), value!({"m1": {"f:data": {}}, "m2": {"f:data": {}}}));
    assert!(server.time("m2").is_string());
}

#[test]
fn updates_and_applies_meet() {
    let mut server = Server::new("core/v1.ConfigMap", "v1");
    server.update("recorder", config_map(value!({"k": "v"})));
    let error = server.apply("m1", config_map(value!({"k": "other"})), false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"recorder\" using v1: .data.k"
    );
    server.apply("m1", config_map(value!({"k": "v"})), false).unwrap();
    assert_eq!(
        server.owners(),
        value!({"m1": {"f:data": {"f:k": {}}}, "recorder": {"f:data": {".": {}, "f:k": {}}}})
    );
    server.update("recorder", config_map(value!({"k": "w"})));
    assert_eq!(server.owners(), value!({"recorder": {"f:data": {".": {}, "f:k": {}}}}));
    server.apply("m1", config_map(value!({"k": "v"})), true).unwrap();
    assert_eq!(server.owners(), value!({"m1": {"f:data": {"f:k": {}}}, "recorder": {"f:data": {}}}));
}

#[test]
fn what_was_there_before_has_an_owner() {
    let mut server = Server::new("core/v1.ConfigMap", "v1");
    let mut object = config_map(value!({"k": "v"}));
    object.make(&["metadata"]).set("uid", "u");
    server.live = Some(object);
    let error = server.apply("m1", config_map(value!({"k": "x"})), false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.k"
    );
    server.apply("m1", config_map(value!({"n": "x"})), false).unwrap();
    assert_eq!(server.owners()["before-first-apply"], value!({"f:data": {".": {}, "f:k": {}}}));
}

fn template(containers: Value) -> Value {
    let mut object = value!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "a"}});
    object.make(&["template", "spec"]).set("containers", containers);
    object
}

#[test]
fn keyed_lists_merge_and_prune() {
    let mut server = Server::new("core/v1.PodTemplate", "v1");
    let names = |v: &Value| -> Vec<String> {
        v["template"]["spec"]["containers"]
            .items()
            .iter()
            .map(|c| c["name"].str_or_empty().to_owned())
            .collect()
    };
    server.apply("m1", template(value!([{"name": "c", "image": "1"}])), false).unwrap();
    let result = server.apply("m2", template(value!([{"name": "d", "image": "d"}])), false).unwrap();
    assert_eq!(names(&result), ["c", "d"]);
    let error = server.apply("m2", template(value!([{"name": "c", "image": "x"}])), false).unwrap_err();
    let expected =
        "Apply failed with 1 conflict: conflict with \"m1\": .template.spec.containers[name=\"c\"].image";
    assert_eq!(error.to_string(), expected);
    let env = value!([{"name": "c", "env": [{"name": "A", "value": "1"}]}]);
    let result = server.apply("m2", template(env), false).unwrap();
    assert_eq!(names(&result), ["c"]);
    assert_eq!(result["template"]["spec"]["containers"][0]["env"], value!([{"name": "A", "value": "1"}]));
    assert_eq!(result["template"]["spec"]["containers"][0]["image"], "1");
    // The configuration's order wins.
    let result = server
        .apply("m1", template(value!([{"name": "e", "image": "e"}, {"name": "c", "image": "1"}])), false)
        .unwrap();
    assert_eq!(names(&result), ["e", "c"]);
}

#[test]
fn sets_and_atomic_maps() {
    let mut server = Server::new("core/v1.ConfigMap", "v1");
    let with = |finalizers: Value| {
        let mut object = value!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
        object.make(&["metadata"]).set("finalizers", finalizers);
        object
    };
    server.apply("m1", with(value!(["x/a", "x/b"])), false).unwrap();
    assert_eq!(
        server.owners(),
        value!({"m1": {"f:metadata": {"f:finalizers": {"v:\"x/a\"": {}, "v:\"x/b\"": {}}}}})
    );
    let result = server.apply("m1", with(value!(["x/b"])), false).unwrap();
    assert_eq!(result["metadata"]["finalizers"], value!(["x/b"]));

    let mut server = Server::new("core/v1.Service", "v1");
    let selector = |selector: Value| {
        let mut object = value!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}});
        object.make(&["spec"]).set("selector", selector);
        object
    };
    server.apply("m1", selector(value!({"a": "1"})), false).unwrap();
    let error = server.apply("m2", selector(value!({"b": "2"})), false).unwrap_err();
    assert_eq!(error.to_string(), "Apply failed with 1 conflict: conflict with \"m1\": .spec.selector");
    let ports = value!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}});
    server.apply("m3", ports, false).unwrap();
    assert_eq!(
        server.owners()["m3"],
        value!({"f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}}})
    );
}

#[test]
fn bad_configurations_are_told_in_upstreams_words() {
    let typed = "failed to create typed patch object (/a; /v1, Kind=ConfigMap): ";
    for (change, message) in [
        (value!({"nope": 1}), ".nope: field not declared in schema"),
        (value!({"data": "x"}), ".data: expected map, got &{x}"),
        (
            value!({"metadata": {"name": "a", "finalizers": ["x", "x"]}}),
            ".metadata.finalizers: duplicate entries for key [=\"x\"]",
        ),
        (value!({"immutable": "yes"}), ".immutable: expected boolean, got &{yes}"),
        (
            value!({"metadata": {"name": "a", "finalizers": "x"}}),
            ".metadata.finalizers: expected list, got &{x}",
        ),
        (
            value!({"metadata": {"name": "a", "ownerReferences": [{"kind": "x"}]}}),
            ".metadata.ownerReferences: element 0: associative list with keys has an element that omits key field \"uid\" (and doesn't have default value)",
        ),
    ] {
        let mut config = value!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
        for (name, value) in change.members() {
            config.make(&[]).insert(name.clone(), value.clone());
        }
        let error = Server::new("core/v1.ConfigMap", "v1").apply("m", config, false).unwrap_err();
        assert_eq!(error, ApplyError::Internal(format!("{typed}{message}")));
    }
    let mut config = config_map(value!({}));
    config.make(&["metadata"]).set("managedFields", Value::Array(vec![]));
    let error = Server::new("core/v1.ConfigMap", "v1").apply("m", config, false).unwrap_err();
    assert_eq!(error, ApplyError::BadRequest("metadata.managedFields must be nil".into()));
    let mut config = config_map(value!({}));
    config.make(&[]).set("apiVersion", "v2");
    assert!(matches!(
        Server::new("core/v1.ConfigMap", "v1").apply("m", config, false),
        Err(ApplyError::BadRequest(_))
    ));
}

/// One manager applies in a version of its own; the other's fields are compared in that version.
#[test]
fn versions_are_converted_for_their_managers() {
    let convert = |object: &Value, version: &str| {
        let mut object = object.clone();
        object.make(&[]).set("apiVersion", version);
        Some((object, builtin().find(&format!("{version}.HorizontalPodAutoscaler"))?))
    };
    let config = |version: &'static str, max: i64| value!({"apiVersion": version, "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"}, "spec": {"maxReplicas": max}});
    let writer = |version: &'static str, manager: &'static str| Writer {
        schema: builtin(),
        api_version: version,
        message: builtin().find(&format!("{version}.HorizontalPodAutoscaler")).expect("a message"),
        subresource: "",
        manager,
        now: "t",
        ignored: NONE,
        convert: &convert,
    };
    let live = apply(&writer("autoscaling/v1", "m1"), None, &config("autoscaling/v1", 3), false).unwrap();
    let (in_v2, _) = convert(&live, "autoscaling/v2").unwrap();
    let error = apply(&writer("autoscaling/v2", "m2"), Some(&in_v2), &config("autoscaling/v2", 4), false)
        .unwrap_err();
    assert_eq!(error.to_string(), "Apply failed with 1 conflict: conflict with \"m1\": .spec.maxReplicas");
    let same =
        apply(&writer("autoscaling/v2", "m1"), Some(&in_v2), &config("autoscaling/v2", 3), false).unwrap();
    assert_eq!(same["metadata"]["managedFields"].items().len(), 1);
    assert_eq!(same["metadata"]["managedFields"][0]["apiVersion"], "autoscaling/v2");
}

#[test]
fn kubectl_takes_over_what_it_applied_from_the_client() {
    let annotation = "kubectl.kubernetes.io/last-applied-configuration";
    let applied =
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"a":"1","b":"1"}}"#;
    let mut server = Server::new("core/v1.ConfigMap", "v1");
    let mut object = config_map(value!({"a": "1", "b": "changed"}));
    object.make(&["metadata", "annotations"]).insert(annotation, applied);
    server.update("kubectl-client-side-apply", object);
    let error = server.apply("kubectl", config_map(value!({"a": "2", "b": "2"})), false).unwrap_err();
    let expected =
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using v1: .data.b";
    assert_eq!(error.to_string(), expected);
    assert!(server.apply("other", config_map(value!({"a": "2"})), false).is_err());
    let result = server.apply("kubectl", config_map(value!({"a": "2"})), false).unwrap();
    assert_eq!(result["data"], value!({"a": "2", "b": "changed"}));
    let noted: Value =
        serde_json::from_str(result["metadata"]["annotations"][annotation].str_or_empty()).unwrap();
    assert_eq!(noted["data"], value!({"a": "2"}));
}
