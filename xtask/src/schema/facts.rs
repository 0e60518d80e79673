//! Reads the facts: one row per struct field, and the overlay.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};

use super::Message;

/// Packages that hold no type of the API this project serves.
const SKIPPED: &[&str] =
    &["metrics/", "apimachinery/pkg/apis/meta/internalversion", "apimachinery/pkg/runtime"];

#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) json: String,
    pub(crate) go_type: String,
    pub(crate) pointer: bool,
    pub(crate) omitempty: bool,
    pub(crate) omitzero: bool,
    pub(crate) inline: bool,
    pub(crate) proto: Option<u32>,
    pub(crate) patch_strategy: String,
    pub(crate) merge_key: String,
    pub(crate) markers: Vec<String>,
}

impl Row {
    /// The value of the first marker `+name=value`.
    pub(crate) fn marker(&self, name: &str) -> Option<&str> {
        self.markers.iter().find_map(|m| m.strip_prefix(name)?.strip_prefix('='))
    }
    pub(crate) fn has(&self, name: &str) -> bool {
        self.markers.iter().any(|m| m == name)
    }
}

/// Structs and named types by `(folder, type)`, the folder being the table's (`core/v1`).
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) structs: BTreeMap<(String, String), Vec<Row>>,
    pub(crate) named: BTreeMap<(String, String), String>,
}

/// `api/core/v1` and `apimachinery/pkg/apis/meta/v1` become `core/v1` and `meta/v1`.
fn folder(package: &str) -> String {
    let mut parts: Vec<&str> = package.rsplit('/').take(2).collect();
    parts.reverse();
    parts.join("/")
}

pub(crate) fn parse(text: &str) -> Result<Facts> {
    let mut facts = Facts::default();
    for (i, line) in text.lines().enumerate().skip(1) {
        let cells: Vec<&str> = line.split('\t').collect();
        if cells.len() < 12 {
            bail!("line {}: {} cells, expected 12", i + 1, cells.len());
        }
        if SKIPPED.iter().any(|p| cells[0].starts_with(p)) {
            continue;
        }
        let key = (folder(cells[0]), cells[1].to_owned());
        if cells[2] == "-" {
            facts.named.insert(key, cells[4].to_owned());
            continue;
        }
        let proto = match cells[8].split(' ').nth(1) {
            Some(n) => Some(n.parse().with_context(|| format!("line {}: protobuf number {n:?}", i + 1))?),
            None => None,
        };
        facts.structs.entry(key).or_default().push(Row {
            json: cells[3].to_owned(),
            go_type: cells[4].to_owned(),
            pointer: cells[5] == "pointer",
            omitempty: matches!(cells[6], "omitempty" | "omitzero"),
            omitzero: cells[6] == "omitzero",
            inline: cells[7] == "inline",
            proto,
            patch_strategy: cells[9].to_owned(),
            merge_key: cells[10].to_owned(),
            markers: cells[11].split(" ; ").filter(|m| !m.is_empty()).map(str::to_owned).collect(),
        });
    }
    Ok(facts)
}

/// Adds the structs that the list of fields lacks: overlay rows whose fact is `add`, the value
/// being Go's type and the protobuf number.
pub(crate) fn additions(facts: &mut Facts, text: &str) -> Result<()> {
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let cells: Vec<&str> = line.split('\t').collect();
        let [message, json, "add", value, _] = cells[..] else { continue };
        let (folder, name) = message.split_once('.').with_context(|| format!("overlay: {message}"))?;
        let rows = facts.structs.entry((folder.to_owned(), name.to_owned())).or_default();
        if json == "-" {
            // A struct without fields.
            continue;
        }
        let (go_type, number) = value.split_once(' ').with_context(|| format!("overlay: {line}"))?;
        rows.push(Row {
            json: json.to_owned(),
            go_type: go_type.to_owned(),
            pointer: false,
            omitempty: false,
            omitzero: false,
            inline: false,
            proto: Some(number.parse()?),
            patch_strategy: String::new(),
            merge_key: String::new(),
            markers: Vec::new(),
        });
    }
    Ok(())
}

/// Applies `message <tab> field <tab> fact <tab> value <tab> source` rows.
pub(crate) fn overlay(messages: &mut [Message], text: &str) -> Result<()> {
    for (i, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let cells: Vec<&str> = line.split('\t').collect();
        let [message, field, fact, value, source] = cells[..] else {
            bail!("overlay line {}: {} cells, expected 5", i + 1, cells.len());
        };
        if source.is_empty() {
            bail!("overlay line {}: every fact needs its source", i + 1);
        }
        if fact == "add" {
            continue;
        }
        let field = messages
            .iter_mut()
            .find(|m| m.name == message)
            .and_then(|m| m.fields.iter_mut().find(|f| f.json == field))
            .with_context(|| format!("overlay line {}: no field {message} {field}", i + 1))?;
        match fact {
            "enum" => field.enum_values = value.split('|').map(str::to_owned).collect(),
            "required" => field.required = value.parse()?,
            "default" => field.default = Some(value.to_owned()),
            "list" => field.list_type = Some(value.to_owned()),
            "list-keys" => field.list_map_keys = value.split(',').map(str::to_owned).collect(),
            other => bail!("overlay line {}: unknown fact {other:?}", i + 1),
        }
    }
    Ok(())
}
