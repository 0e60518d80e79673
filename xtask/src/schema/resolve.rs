//! From Go's types to the table's: named types looked through, embedded structs flattened.

use anyhow::{Context as _, Result, bail};

use super::facts::{Facts, Row};
use super::{Field, Message};

/// Types with a JSON form of their own, and their code in the table.
const OPAQUE: &[(&str, &str)] = &[
    ("meta/v1.Time", "T"),
    ("meta/v1.MicroTime", "U"),
    ("meta/v1.Duration", "D"),
    ("meta/v1.FieldsV1", "F"),
    ("resource.Quantity", "Q"),
    ("intstr.IntOrString", "I"),
    ("runtime.RawExtension", "R"),
    ("apiextensions/v1.JSON", "J"),
    ("apiextensions/v1.JSONSchemaPropsOrBool", "?b"),
    ("apiextensions/v1.JSONSchemaPropsOrArray", "?a"),
    ("apiextensions/v1.JSONSchemaPropsOrStringArray", "?s"),
];

/// Lists that are messages of their own in protobuf (`+protobuf.nullable`).
const WRAPPED: &[&str] = &["ExtraValue", "Verbs"];

pub(crate) fn messages(facts: &Facts) -> Result<Vec<Message>> {
    let mut out = Vec::new();
    for (folder, name) in facts.structs.keys() {
        let full = format!("{folder}.{name}");
        if OPAQUE.iter().any(|(n, _)| *n == full) {
            continue;
        }
        let mut fields = Vec::new();
        flatten(facts, folder, name, &[], true, &mut fields).with_context(|| full.clone())?;
        out.push(Message { name: full, fields, ..Message::default() });
    }
    Ok(out)
}

/// Appends the fields of a struct; `path` are the protobuf numbers that lead to it, and `wire`
/// says whether it is on the wire at all.
fn flatten(
    facts: &Facts,
    folder: &str,
    name: &str,
    path: &[u32],
    wire: bool,
    out: &mut Vec<Field>,
) -> Result<()> {
    let rows = &facts.structs[&(folder.to_owned(), name.to_owned())];
    for row in rows {
        if row.inline {
            let (inner_folder, inner) = embedded(facts, folder, &row.go_type)?;
            let mut inner_path = path.to_vec();
            inner_path.extend(row.proto);
            flatten(facts, &inner_folder, &inner, &inner_path, wire && row.proto.is_some(), out)?;
        } else if row.json != "-" {
            let mut field = field(facts, folder, row).with_context(|| row.json.clone())?;
            if let (true, Some(number)) = (wire, row.proto) {
                field.proto = path.iter().copied().chain([number]).collect();
            }
            out.push(field);
        }
    }
    Ok(())
}

fn embedded(facts: &Facts, folder: &str, go: &str) -> Result<(String, String)> {
    match named(facts, folder, go)? {
        Target::Struct(folder, name) => Ok((folder, name)),
        Target::Alias(folder, target) => embedded(facts, &folder, &target),
        Target::Code(_) => bail!("embedded {go} is not a struct"),
    }
}

fn field(facts: &Facts, folder: &str, row: &Row) -> Result<Field> {
    let mut field = Field {
        json: row.json.clone(),
        pointer: row.pointer,
        omitempty: row.omitempty,
        omitzero: row.omitzero,
        list_type: row.marker("+listType").map(str::to_owned),
        list_map_keys: row
            .markers
            .iter()
            .filter_map(|m| m.strip_prefix("+listMapKey="))
            .map(|k| k.trim_matches('"').to_owned())
            .collect(),
        map_type: row.marker("+mapType").or(row.marker("+structType")).map(str::to_owned),
        patch_strategy: row.patch_strategy.clone(),
        merge_key: row.merge_key.clone(),
        // The rule of upstream's OpenAPI generator.
        required: row.has("+required") || (!row.has("+optional") && !row.omitempty),
        default: row.marker("+default").filter(|d| !d.starts_with("ref(")).map(str::to_owned),
        ..Field::default()
    };
    field.ty = code(facts, folder, &row.go_type, &mut field)?;
    Ok(field)
}

enum Target {
    Code(&'static str),
    Struct(String, String),
    /// Another Go type, seen from a folder.
    Alias(String, String),
}

fn code(facts: &Facts, folder: &str, go: &str, field: &mut Field) -> Result<String> {
    let simple = match go {
        "string" => "s",
        "bool" => "b",
        "int32" | "int" | "uint32" => "i",
        "int64" => "l",
        "float64" => "f",
        "[]byte" => "y",
        "interface{}" => "J",
        _ => "",
    };
    if !simple.is_empty() {
        return Ok(simple.to_owned());
    }
    if let Some(rest) = go.strip_prefix('*') {
        return code(facts, folder, rest, field);
    }
    if let Some(rest) = go.strip_prefix("[]") {
        return Ok(format!("[{}", code(facts, folder, rest, field)?));
    }
    if let Some((_, value)) = go.strip_prefix("map[").and_then(|r| r.split_once(']')) {
        return Ok(format!("{{{}", code(facts, folder, value, field)?));
    }
    match named(facts, folder, go)? {
        Target::Code(c) => Ok(c.to_owned()),
        Target::Struct(f, n) if f == folder => Ok(format!(".{n}")),
        Target::Struct(f, n) => Ok(format!("{f}.{n}")),
        Target::Alias(f, target) => {
            let name = go.rsplit('.').next().unwrap_or(go);
            field.wrapped |= WRAPPED.contains(&name);
            let inner = code(facts, &f, &target, field)?;
            if inner == "s" {
                field.named = Some(format!("{f}.{name}"));
            }
            // A code that names a message of its own folder must do so from this one as well.
            Ok(if f != folder && inner.contains('.') && !inner.contains('/') {
                inner.replacen('.', &format!("{f}."), 1)
            } else {
                inner
            })
        }
    }
}

fn named(facts: &Facts, folder: &str, go: &str) -> Result<Target> {
    let candidates: Vec<(String, &str)> = match go.split_once('.') {
        None => vec![(folder.to_owned(), go)],
        Some(("types", _)) => return Ok(Target::Code("s")),
        Some((alias @ ("runtime" | "resource" | "intstr"), name)) => vec![(alias.to_owned(), name)],
        Some(("metav1", name)) => vec![("meta/v1".to_owned(), name)],
        Some(("corev1" | "apiv1", name)) => vec![("core/v1".to_owned(), name)],
        // Upstream calls several packages `v1`: the one that has the type is meant.
        Some(("v1", name)) => {
            let group = folder.split('/').next().unwrap_or(folder);
            ["core", "meta", group, "authentication"].map(|g| (format!("{g}/v1"), name)).to_vec()
        }
        Some((alias, name)) => match alias.strip_suffix("v1") {
            Some(group) => vec![(format!("{group}/v1"), name)],
            None => bail!("unknown package {alias}"),
        },
    };
    for (f, name) in candidates {
        let full = format!("{f}.{name}");
        if let Some((_, c)) = OPAQUE.iter().find(|(n, _)| *n == full) {
            return Ok(Target::Code(c));
        }
        let key = (f, name.to_owned());
        if facts.structs.contains_key(&key) {
            return Ok(Target::Struct(key.0, key.1));
        }
        if let Some(target) = facts.named.get(&key) {
            return Ok(Target::Alias(key.0, target.clone()));
        }
    }
    bail!("no type {go} seen from {folder}")
}
