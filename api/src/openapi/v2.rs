//! OpenAPI v2: one document of everything, for clients that know no other.

use super::operation::path_item;
use super::schemas::{Definitions, Dialect};
use super::{TITLE, VERSION, paths, v3};
use crate::kinds;
use crate::schema;
use crate::tree::{Map, Value};

/// The whole document.
pub fn document() -> Value {
    let group_versions: Vec<_> = kinds::group_versions().iter().map(|gv| (gv.group, gv.version)).collect();
    let mut definitions = Definitions::new(schema::builtin(), Dialect::V2, &group_versions);
    let mut all = paths::Paths::new();
    for gv in kinds::group_versions() {
        all.extend(paths::of(gv));
    }
    for name in v3::index() {
        all.extend(v3::discovery(&name).into_iter().flatten());
    }
    let mut items = Map::with_capacity(all.len());
    for (path, operations) in &all {
        items.push_unique(path.as_str().into(), path_item(operations, Dialect::V2, &mut definitions));
    }
    let mut document = crate::value!({"swagger": "2.0", "info": {"title": TITLE, "version": VERSION}});
    let map = document.as_object_mut().expect("made as an object");
    map.set("paths", items);
    map.set("definitions", definitions.finish());
    map.set(
        "securityDefinitions",
        crate::value!({"BearerToken": {
            "description": "Bearer Token authentication",
            "type": "apiKey",
            "name": "authorization",
            "in": "header",
        }}),
    );
    map.set("security", crate::value!([{"BearerToken": []}]));
    document
}
