//! Manifests of different years through decode, defaults, conversion and validation: what each
//! must give is in the README beside them. Without the folder the tests say so and pass.

use std::path::PathBuf;

use trireme_api::codec::yaml;
use trireme_api::kinds::{self, Context, Kind};
use trireme_api::tree::Value;
use trireme_api::{normal, schema};

const CONTEXT: Context<'static> = Context { now: "2026-01-02T03:04:05Z", user: "admin", dry_run: false };

fn manifests() -> Option<PathBuf> {
    let shared = std::env::var_os("TRIREME_SHARED")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"));
    let dir = shared.join("manifests");
    dir.is_dir().then_some(dir)
}

/// A document as it would be stored, and what is wrong with it.
struct Stored {
    object: Value,
    errors: Vec<String>,
    strict: Vec<String>,
    deprecated: bool,
}

fn prepare(document: &str) -> Stored {
    let plain = yaml::parse(document.as_bytes()).expect("YAML").value;
    let api_version = plain["apiVersion"].str_or_empty();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind_name = plain["kind"].str_or_empty();
    let (kind, served) = kinds::by_kind(group, version, kind_name)
        .unwrap_or_else(|| panic!("{api_version} {kind_name} is not served"));
    let builtin = schema::builtin();
    let message = builtin.find(served.message).expect("a message of the schema");
    let decoded = yaml::decode(builtin, message, document.as_bytes()).expect("a well-typed document");
    let mut object = decoded.value;
    if kind.namespaced && object["metadata"]["namespace"].is_null() {
        object.make(&["metadata"]).set("namespace", "default");
    }
    object.make(&["metadata"]).set("uid", "0a0a0a0a-0000-4000-8000-000000000001");
    (served.default)(&mut object);
    if let Some(convert) = served.to_hub {
        convert(&mut object);
    }
    (kind.hub().default)(&mut object);
    (kind.rules.prepare_create)(&mut object, &CONTEXT);
    let errors = (kind.rules.validate)(&object).iter().map(ToString::to_string).collect();
    normalize(kind, &mut object);
    Stored { object, errors, strict: decoded.strict, deprecated: served.deprecation.is_some() }
}

fn normalize(kind: &Kind, object: &mut Value) {
    let builtin = schema::builtin();
    normal::normalize(builtin, builtin.find(kind.hub().message).expect("a message of the schema"), object);
}

/// Every document of the manifest whose name starts with `prefix`; none where the folder is absent.
fn documents(prefix: &str) -> Vec<Stored> {
    let Some(dir) = manifests() else {
        // Past the capture of what tests that pass print.
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!(
                "skipped: {}: manifest {prefix} is not here\n",
                std::thread::current().name().unwrap_or("?")
            ),
        );
        return Vec::new();
    };
    let file = std::fs::read_dir(dir)
        .expect("a readable folder")
        .filter_map(|e| Some(e.ok()?.path()))
        .find(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(prefix)))
        .unwrap_or_else(|| panic!("a manifest {prefix}"));
    let text = std::fs::read_to_string(file).expect("a readable manifest");
    text.split("\n---")
        .map(|d| d.trim_start_matches("---"))
        .filter(|d| !d.trim().is_empty())
        .map(prepare)
        .collect()
}

#[test]
fn every_good_manifest_is_valid() {
    for n in 1..=13 {
        for stored in documents(&format!("{n:02}-")) {
            assert_eq!(stored.errors, Vec::<String>::new(), "{n}: {}", stored.object);
            assert_eq!(stored.strict, Vec::<String>::new(), "{n}: {}", stored.object);
        }
    }
}

#[test]
fn legacy_versions_keep_their_own_defaults() {
    for d in documents("03-").iter().filter(|d| d.object["kind"] == "StatefulSet") {
        assert!(d.deprecated);
        let spec = &d.object["spec"];
        assert_eq!(spec["updateStrategy"].to_string(), r#"{"type":"OnDelete"}"#);
        assert_eq!(spec["selector"].to_string(), r#"{"matchLabels":{"app":"nginx"}}"#);
        assert_eq!(d.object["metadata"]["labels"].to_string(), r#"{"app":"nginx"}"#);
    }
    for d in documents("04-") {
        assert!(d.deprecated);
        assert_eq!(d.object["spec"]["updateStrategy"].to_string(), r#"{"type":"OnDelete"}"#);
        assert_eq!(
            d.object["spec"]["selector"].to_string(),
            r#"{"matchLabels":{"name":"fluentd-elasticsearch"}}"#
        );
        assert_eq!(d.object["metadata"]["labels"].to_string(), r#"{"k8s-app":"fluentd-logging"}"#);
    }
    for d in documents("06-").iter().chain(&documents("07-")) {
        assert!(d.deprecated);
        let spec = &d.object["spec"];
        assert_eq!(spec["successfulJobsHistoryLimit"].as_i64(), Some(3));
        assert_eq!(spec["failedJobsHistoryLimit"].as_i64(), Some(1));
        assert_eq!(spec["concurrencyPolicy"].str_or_empty(), "Allow");
    }
    for d in documents("12-") {
        assert!(d.deprecated);
        let spec = &d.object["spec"];
        assert_eq!(spec["strategy"]["rollingUpdate"].to_string(), r#"{"maxUnavailable":1,"maxSurge":1}"#);
        assert_eq!(spec["selector"].to_string(), r#"{"matchLabels":{"app":"nginx-legacy"}}"#);
        assert_eq!(d.object["metadata"]["labels"].to_string(), r#"{"app":"nginx-legacy"}"#);
    }
    for d in documents("02-") {
        assert!(d.deprecated);
        assert_eq!(d.object["spec"]["revisionHistoryLimit"].as_i64(), Some(10));
    }
}

#[test]
fn bad_manifests_are_refused_by_field() {
    for d in documents("bad-01-") {
        assert_eq!(
            d.errors,
            [
                "spec.selector: Required value",
                "spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`",
            ]
        );
    }
    for d in documents("bad-02-") {
        assert_eq!(d.errors.len(), 1);
        assert!(
            d.errors[0].starts_with(
                "metadata.name: Invalid value: \"flask-kubernetes -service\": a DNS-1035 label must"
            ),
            "{}",
            d.errors[0]
        );
    }
    for d in documents("bad-03-") {
        assert_eq!(d.strict, ["unknown field \"spec.volumes[0].hostpath\""]);
        assert_eq!(d.errors, Vec::<String>::new());
        assert_eq!(d.object["spec"]["volumes"][0]["emptyDir"].to_string(), "{}");
    }
    for d in documents("bad-04-") {
        assert_eq!(d.errors.len(), 1);
        assert!(d.errors[0].starts_with("spec.template.metadata.labels: Invalid value: "), "{}", d.errors[0]);
        assert!(d.errors[0].ends_with("`selector` does not match template `labels`"));
    }
}
