//! What only OpenAPI v3 says: enum values, atomic structs, unions, and defaults that the source
//! names by a constant. Also checks what the fields' markers gave.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Message;

/// `io.k8s.api.core.v1.Pod` and its like become `core/v1.Pod`.
fn message_name(definition: &str) -> Option<String> {
    let mut parts: Vec<&str> = definition.rsplit('.').take(3).collect();
    parts.reverse();
    match parts[..] {
        [group, version, name] => Some(format!("{group}/{version}.{name}")),
        _ => None,
    }
}

fn definitions(folder: &Path) -> Result<BTreeMap<String, Value>> {
    let mut out = BTreeMap::new();
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .with_context(|| format!("read {}", folder.display()))?
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .map(|e| e.path())
        .collect();
    files.sort();
    for file in files {
        let document: Value = serde_json::from_slice(&std::fs::read(&file)?)
            .with_context(|| format!("{} is not JSON", file.display()))?;
        let Some(schemas) = document["components"]["schemas"].as_object() else { continue };
        for (name, schema) in schemas {
            if let Some(name) = message_name(name) {
                out.insert(name, schema.clone());
            }
        }
    }
    Ok(out)
}

pub(crate) fn merge(messages: &mut [Message], folder: &Path) -> Result<()> {
    let definitions = definitions(folder)?;
    let mut enums: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let (mut differ, mut seen) = (0, 0);
    for message in messages.iter_mut() {
        let Some(definition) = definitions.get(&message.name) else { continue };
        seen += 1;
        message.atomic = definition["x-kubernetes-map-type"] == "atomic";
        message.unions = match &definition["x-kubernetes-unions"] {
            Value::Null => None,
            unions => Some(unions.to_string()),
        };
        let required: BTreeSet<&str> =
            definition["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for field in &mut message.fields {
            let property = &definition["properties"][&field.json];
            if property.is_null() {
                eprintln!("note: {} {}: not in OpenAPI", message.name, field.json);
                differ += 1;
                continue;
            }
            if field.required != required.contains(field.json.as_str()) {
                eprintln!("note: {} {}: required by one source only", message.name, field.json);
                differ += 1;
                field.required = !field.required;
            }
            let explicit = !matches!(&property["default"], Value::Null)
                && property["default"] != ""
                && property["default"] != 0
                && property["default"] != false
                && property["default"] != serde_json::json!({});
            if explicit {
                field.default = Some(property["default"].to_string());
            }
            let values = [property, &property["items"], &property["additionalProperties"]]
                .into_iter()
                .find_map(|p| p["enum"].as_array());
            if let Some(values) = values {
                field.enum_values = values.iter().filter_map(Value::as_str).map(str::to_owned).collect();
                if let Some(named) = &field.named {
                    enums.entry(named.clone()).or_default().extend(field.enum_values.iter().cloned());
                }
            }
        }
    }
    // A version that is not served any more shares the named types of one that is.
    for field in messages.iter_mut().flat_map(|m| &mut m.fields) {
        let values = field.named.as_ref().and_then(|n| enums.get(n));
        if let (true, Some(values)) = (field.enum_values.is_empty(), values) {
            field.enum_values = values.iter().cloned().collect();
        }
    }
    println!("{seen} messages are in OpenAPI, {differ} fields differ");
    Ok(())
}
