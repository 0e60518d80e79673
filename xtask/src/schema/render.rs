//! Writes the table. Its form is documented in `docs/schema.md` and read by `api/src/schema`.

use std::fmt::Write as _;

use super::{Field, Message};

const HEADER: &str = "\
# The schema table: every message of the API and its fields, as docs/schema.md describes.
# Facts (names, numbers, types) of Kubernetes 1.36, Apache-2.0, The Kubernetes Authors.
# Written by `cargo xtask schema`; do not edit: facts of our own belong into overlay.tsv.
";

pub(crate) fn table(messages: &[Message]) -> String {
    let mut sorted: Vec<&Message> = messages.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let mut out = HEADER.to_owned();
    for message in sorted {
        let _ = write!(out, "={}", message.name);
        if message.atomic {
            out.push_str("\ta");
        }
        if let Some(unions) = &message.unions {
            let _ = write!(out, "\tu{unions}");
        }
        out.push('\n');
        for field in &message.fields {
            line(&mut out, field);
        }
    }
    out
}

fn line(out: &mut String, field: &Field) {
    let mut flags = String::new();
    for (set, flag) in [
        (field.pointer, 'p'),
        (field.omitempty, 'o'),
        (field.omitzero, 'z'),
        (field.required, 'r'),
        (field.wrapped, 'w'),
        (field.map_type.as_deref() == Some("atomic"), 'a'),
        (field.map_type.as_deref() == Some("granular"), 'g'),
    ] {
        if set {
            flags.push(flag);
        }
    }
    let proto: Vec<String> = field.proto.iter().map(u32::to_string).collect();
    let _ = write!(out, "{}\t{}\t{flags}\t{}", field.json, field.ty, proto.join("."));
    match field.list_type.as_deref() {
        Some("map") => {
            let _ = write!(out, "\tlm{}", field.list_map_keys.join(","));
        }
        Some("set") => out.push_str("\tls"),
        Some("atomic") => out.push_str("\tla"),
        _ => {}
    }
    if !field.patch_strategy.is_empty() {
        let _ = write!(out, "\tp{}", field.patch_strategy);
    }
    if !field.merge_key.is_empty() {
        let _ = write!(out, "\tk{}", field.merge_key);
    }
    if let Some(default) = &field.default {
        let _ = write!(out, "\td{default}");
    }
    if !field.enum_values.is_empty() {
        let _ = write!(out, "\te{}", field.enum_values.join("|"));
    }
    out.push('\n');
}
