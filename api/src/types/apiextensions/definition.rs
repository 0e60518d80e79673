//! `apiextensions.k8s.io/v1.CustomResourceDefinition`.

use std::collections::BTreeSet;

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::apiextensions::definition_schema;
use crate::types::fields::{Fields, Fill, immutable, invalid_each, one_of, struct_shown};
use crate::types::format;
use crate::types::meta::object_meta::{self, Scope};

const PORT: i64 = 443;
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 9] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "password", ""];

pub fn default(definition: &mut Value) {
    let spec = definition.message("spec");
    let names = spec.message("names");
    let kind = names.text("kind").to_owned();
    if !kind.is_empty() {
        names.fill_zero("singular", kind.to_lowercase());
        names.fill_zero("listKind", format!("{kind}List"));
    }
    let conversion = spec.message("conversion");
    conversion.fill_zero("strategy", "None");
    conversion.within("webhook", |w| {
        w.within("clientConfig", |c| c.within("service", |s| s.fill_absent("port", PORT)));
    });
}

/// A new definition has stored objects in its storage version only.
pub fn prepare_create(definition: &mut Value) {
    definition.put("status", Value::object());
    definition.message("metadata").put("generation", 1);
    remember_storage_version(definition);
}

/// The storage version joins those that objects were stored in.
pub fn remember_storage_version(definition: &mut Value) {
    let storage = definition["spec"]
        .list("versions")
        .iter()
        .find(|v| v.flag("storage"))
        .map(|v| v.text("name").to_owned());
    let Some(name) = storage else { return };
    let status = definition.message("status");
    let mut stored = status.list("storedVersions").to_vec();
    if !stored.iter().any(|v| *v == name.as_str()) {
        stored.push(name.into());
        status.put("storedVersions", Value::Array(stored));
    }
}

pub fn validate(definition: &Value, errs: &mut ErrorList) {
    let (spec, path) = (&definition["spec"], Path::new("spec"));
    let (group, plural) = (spec.text("group"), spec["names"].text("plural"));
    let name = definition["metadata"].text("name");
    object_meta::validate(&definition["metadata"], Scope::Cluster, NameRule::DnsSubdomain, errs);
    if name != format!("{plural}.{group}") {
        let metadata = Path::new("metadata");
        errs.push(FieldError::invalid(
            &metadata.child("name"),
            name,
            "must be spec.names.plural+\".\"+spec.group",
        ));
    }
    validate_spec(spec, &path, errs);
    validate_stored_versions(definition, errs);
}

fn validate_spec(spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let group = spec.text("group");
    let at = path.child("group");
    if group.is_empty() {
        errs.push(FieldError::required(&at, ""));
    } else {
        invalid_each(errs, &at, group, format::dns_subdomain(group));
        if !group.contains('.') {
            errs.push(FieldError::invalid(&at, group, "should be a domain with at least one dot"));
        }
    }
    one_of(errs, &path.child("scope"), spec.text("scope"), &["Cluster", "Namespaced"]);
    validate_versions(spec, path, errs);
    validate_names(&spec["names"], &path.child("names"), errs);
    // One list of columns, one schema and so on, shared by all versions, are reported at the spec.
    let versions = spec.list("versions");
    if let [only] = versions {
        validate_shared(only, path, errs);
    } else {
        let at = path.child("versions");
        for (i, v) in versions.iter().enumerate() {
            validate_shared(v, &at.index(i), errs);
        }
    }
    validate_conversion(spec, &path.child("conversion"), errs);
}

fn validate_versions(spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let at = path.child("versions");
    let versions = spec.list("versions");
    let (mut names, mut repeated) = (BTreeSet::new(), false);
    for (i, v) in versions.iter().enumerate() {
        let name = v.text("name");
        repeated |= !names.insert(name);
        let at = at.index(i);
        invalid_each(errs, &at.child("name"), name, format::dns_1035_label(name));
        if !v["schema"].has("openAPIV3Schema") {
            errs.push(FieldError::required(&at.child("schema").child("openAPIV3Schema"), ""));
        }
    }
    if repeated {
        errs.push(FieldError::invalid(&at, shown(versions), "must contain unique version names"));
    }
    if versions.iter().filter(|v| v.flag("storage")).count() != 1 {
        errs.push(FieldError::invalid(
            &at,
            shown(versions),
            "must have exactly one version marked as storage version",
        ));
    }
}

/// Versions as upstream prints them: what all versions share it has moved to the spec.
fn shown(versions: &[Value]) -> Value {
    let alone = versions.len() == 1;
    let own = |v: &Value, field: &str| if alone { Value::Null } else { v[field].clone() };
    let list = versions
        .iter()
        .map(|v| {
            struct_shown([
                ("Name", v.text("name").into()),
                ("Served", v.flag("served").into()),
                ("Storage", v.flag("storage").into()),
                ("Deprecated", v.flag("deprecated").into()),
                ("DeprecationWarning", v["deprecationWarning"].clone()),
                ("Schema", own(v, "schema")),
                ("Subresources", own(v, "subresources")),
                ("AdditionalPrinterColumns", own(v, "additionalPrinterColumns")),
                ("SelectableFields", own(v, "selectableFields")),
            ])
        })
        .collect();
    Value::Array(list)
}

fn validate_names(names: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let label = |field: &'static str, errs: &mut ErrorList| {
        let name = names.text(field);
        if name.is_empty() {
            errs.push(FieldError::required(&path.child(field), ""));
            return;
        }
        let text = if matches!(field, "kind" | "listKind") { name.to_lowercase() } else { name.to_owned() };
        for message in format::dns_1035_label(&text) {
            let message = if text == name {
                message
            } else {
                format!("may have mixed case, but should otherwise match: {message}")
            };
            errs.push(FieldError::invalid(&path.child(field), name, message));
        }
    };
    for field in ["plural", "singular", "kind", "listKind"] {
        label(field, errs);
    }
    for field in ["shortNames", "categories"] {
        let at = path.child(field);
        for (i, n) in names.list(field).iter().enumerate() {
            let n = n.str_or_empty();
            invalid_each(errs, &at.index(i), n, format::dns_1035_label(n));
        }
    }
    if !names.text("kind").is_empty() && names.text("kind") == names.text("listKind") {
        errs.push(FieldError::invalid(
            &path.child("listKind"),
            names.text("listKind"),
            "kind and listKind may not be the same",
        ));
    }
}

fn validate_shared(version: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    if let Some(schema) = version["schema"].opt("openAPIV3Schema") {
        let at = path.child(if version_is_alone(path) { "validation" } else { "schema" });
        definition_schema::validate(schema, &at.child("openAPIV3Schema"), errs);
    }
    if let Some(subresources) = version.opt("subresources") {
        validate_subresources(subresources, &path.child("subresources"), errs);
    }
    let at = path.child("additionalPrinterColumns");
    for (i, column) in version.list("additionalPrinterColumns").iter().enumerate() {
        validate_column(column, &at.index(i), errs);
    }
}

fn version_is_alone(path: &Path<'_>) -> bool {
    path.to_string() == "spec"
}

/// `.spec.replicas`: fields from the root, no array access.
fn simple_path(text: &str, path: &Path<'_>, errs: &mut ErrorList) {
    if text.is_empty() {
        errs.push(FieldError::required(path, ""));
    } else if !text.starts_with('.') {
        errs.push(FieldError::invalid(path, text, "must be a simple json path starting with ."));
    }
}

fn validate_subresources(subresources: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let Some(scale) = subresources.opt("scale") else { return };
    let at = path.child("scale");
    for (field, root) in [("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")] {
        let (text, at) = (scale.text(field), at.child(field));
        let before = errs.len();
        simple_path(text, &at, errs);
        if errs.len() == before && !text.starts_with(&format!("{root}.")) {
            errs.push(FieldError::invalid(&at, text, format!("should be a json path under {root}")));
        }
    }
    if let Some(text) = scale.opt_text("labelSelectorPath").filter(|t| !t.is_empty()) {
        let at = at.child("labelSelectorPath");
        let before = errs.len();
        simple_path(text, &at, errs);
        if errs.len() == before && !text.starts_with(".spec.") && !text.starts_with(".status.") {
            errs.push(FieldError::invalid(&at, text, "should be a json path under either .spec or .status"));
        }
    }
}

fn validate_column(column: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    if column.text("name").is_empty() {
        errs.push(FieldError::required(&path.child("name"), ""));
    }
    let kind = column.text("type");
    if kind.is_empty() {
        errs.push(FieldError::required(
            &path.child("type"),
            format!("must be one of {}", COLUMN_TYPES.join(",")),
        ));
    } else if !COLUMN_TYPES.contains(&kind) {
        errs.push(FieldError::invalid(
            &path.child("type"),
            kind,
            format!("must be one of {}", COLUMN_TYPES.join(",")),
        ));
    }
    let format = column.text("format");
    if !COLUMN_FORMATS.contains(&format) {
        errs.push(FieldError::invalid(
            &path.child("format"),
            format,
            format!("must be one of {}", COLUMN_FORMATS[..8].join(",")),
        ));
    }
    simple_path(column.text("jsonPath"), &path.child("JSONPath"), errs);
}

fn validate_conversion(spec: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let conversion = &spec["conversion"];
    match conversion.text("strategy") {
        "None" => {
            if conversion.has("webhook") {
                errs.push(FieldError::forbidden(
                    &path.child("webhookClientConfig"),
                    "should not be set when strategy is not set to Webhook",
                ));
            }
        }
        "Webhook" => {
            let webhook = &conversion["webhook"];
            if !webhook.has("clientConfig") {
                errs.push(FieldError::required(
                    &path.child("webhookClientConfig"),
                    "required when strategy is set to Webhook",
                ));
            }
            if webhook.list("conversionReviewVersions").is_empty() {
                errs.push(FieldError::required(&path.child("conversionReviewVersions"), ""));
            }
            if spec.flag("preserveUnknownFields") {
                errs.push(FieldError::invalid(
                    &path.child("strategy"),
                    "Webhook",
                    "must be None if spec.preserveUnknownFields is true",
                ));
            }
        }
        "" => errs.push(FieldError::required(&path.child("strategy"), "")),
        other => errs.push(FieldError::not_supported(&path.child("strategy"), other, &["None", "Webhook"])),
    }
}

fn validate_stored_versions(definition: &Value, errs: &mut ErrorList) {
    let status = Path::new("status");
    let at = status.child("storedVersions");
    let stored = definition["status"].list("storedVersions");
    if stored.is_empty() {
        errs.push(FieldError::invalid(
            &at,
            definition["status"]["storedVersions"].clone(),
            "must have at least one stored version",
        ));
        return;
    }
    let versions = definition["spec"].list("versions");
    for (i, v) in stored.iter().enumerate() {
        if !versions.iter().any(|own| own.text("name") == v.str_or_empty()) {
            errs.push(FieldError::invalid(
                &at.index(i),
                v.clone(),
                "missing from spec.versions; v1 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 and removes v1 from status.storedVersions"
                    .replace("v1", v.str_or_empty()),
            ));
        }
    }
}

pub fn validate_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    let path = Path::new("spec");
    let (now, before) = (&new["spec"], &old["spec"]);
    validate_spec(now, &path, errs);
    validate_stored_versions(new, errs);
    for (field, at) in [("group", path.child("group")), ("scope", path.child("scope"))] {
        immutable(errs, &at, &now[field], &before[field]);
    }
    let established =
        old["status"].list("conditions").iter().any(|c| c["type"] == "Established" && c["status"] == "True");
    if established {
        let names = path.child("names");
        for field in ["kind", "plural"] {
            immutable(errs, &names.child(field), &now["names"][field], &before["names"][field]);
        }
    }
}

pub fn validate_status(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    validate_stored_versions(new, errs);
}
