//! Makes the schema table (`api/schema/<version>.tsv`) out of the facts of one Kubernetes
//! version: its struct fields, its OpenAPI v3 documents and this project's overlay.
//!
//! `facts` reads the fields, `resolve` turns Go types into the table's types, `openapi` adds what
//! only the documents say (enum values, atomic structs, unions), `render` writes.

mod facts;
mod openapi;
mod render;
mod resolve;

use std::path::Path;

use anyhow::{Context as _, Result};

/// One field as it goes into the table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Field {
    pub(crate) json: String,
    /// The table's type code.
    pub(crate) ty: String,
    /// `<message folder>.<Type>` of a named string type, for its enum values.
    pub(crate) named: Option<String>,
    pub(crate) pointer: bool,
    pub(crate) omitempty: bool,
    pub(crate) omitzero: bool,
    /// A list that protobuf wraps in a message of its own.
    pub(crate) wrapped: bool,
    pub(crate) proto: Vec<u32>,
    pub(crate) list_type: Option<String>,
    pub(crate) list_map_keys: Vec<String>,
    pub(crate) map_type: Option<String>,
    pub(crate) patch_strategy: String,
    pub(crate) merge_key: String,
    pub(crate) required: bool,
    /// JSON text.
    pub(crate) default: Option<String>,
    pub(crate) enum_values: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    /// `core/v1.Pod`.
    pub(crate) name: String,
    pub(crate) fields: Vec<Field>,
    pub(crate) atomic: bool,
    /// `x-kubernetes-unions` as JSON text.
    pub(crate) unions: Option<String>,
}

/// The table's text, from the files.
pub(crate) fn table(fields: &Path, openapi: Option<&Path>, overlay: &Path) -> Result<String> {
    let text = std::fs::read_to_string(fields).with_context(|| format!("read {}", fields.display()))?;
    let mut facts = facts::parse(&text)?;
    let overlay = std::fs::read_to_string(overlay).with_context(|| format!("read {}", overlay.display()))?;
    facts::additions(&mut facts, &overlay)?;
    let mut messages = resolve::messages(&facts)?;
    if let Some(folder) = openapi {
        openapi::merge(&mut messages, folder)?;
    }
    facts::overlay(&mut messages, &overlay)?;
    Ok(render::table(&messages))
}
