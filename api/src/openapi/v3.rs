//! OpenAPI v3: an index, and a document for each group version and each discovery path.

use super::operation::{Body, Media, Operation, path_item};
use super::paths::{self, Paths};
use super::schemas::{Definitions, Dialect};
use super::{TITLE, VERSION};
use crate::kinds::{self, GroupVersion};
use crate::schema;
use crate::tree::{Map, Value};

/// The names of all documents, sorted: `api/v1`, `apis/apps`, `apis/apps/v1`, `version`. Each is
/// served under `/openapi/v3/<name>`.
pub fn index() -> Vec<String> {
    let mut out: Vec<String> = ["api", "apis", "version"].map(str::to_owned).to_vec();
    for gv in kinds::group_versions() {
        out.push(paths::base(gv.group, gv.version)[1..].to_owned());
        if !gv.group.is_empty() {
            out.push(format!("apis/{}", gv.group));
        }
    }
    out.sort_unstable();
    out.dedup();
    out
}

/// The document of a name in [`index`].
pub fn document(name: &str) -> Option<Value> {
    let gv = kinds::group_versions().iter().find(|gv| paths::base(gv.group, gv.version)[1..] == *name);
    let (paths, group_versions) = match gv {
        Some(gv) => (paths::of(gv), vec![(gv.group, gv.version)]),
        None => (discovery(name)?, Vec::new()),
    };
    let mut definitions = Definitions::new(schema::builtin(), Dialect::V3, &group_versions);
    let mut items = Map::new();
    for (path, operations) in &paths {
        items.insert(path.as_str(), path_item(operations, Dialect::V3, &mut definitions));
    }
    Some(crate::value!({
        "openapi": "3.0.0",
        "info": {"title": TITLE, "version": VERSION},
    }))
    .map(|mut document| {
        let map = document.as_object_mut().expect("made as an object");
        map.set("paths", items);
        let mut components = Map::new();
        components.set("schemas", definitions.finish());
        components.set(
            "securitySchemes",
            crate::value!({"BearerToken": {
                "type": "apiKey",
                "description": "Bearer Token authentication",
                "name": "authorization",
                "in": "header",
            }}),
        );
        map.set("components", components);
        document
    })
}

/// The paths that are not of one group version.
pub(super) fn discovery(name: &str) -> Option<Paths> {
    let get = |path: String, id: String, tag: &str, response: Body, media: Media| {
        let operation = Operation {
            method: "get",
            id,
            tag: tag.to_owned(),
            action: None,
            parameters: Vec::new(),
            request: None,
            response,
            codes: &["200"],
            media,
        };
        Some(Paths::from([(path, vec![operation])]))
    };
    let message = |kind: &str| Body::Message(format!("meta/v1.{kind}"));
    match name {
        "api" => {
            get("/api/".into(), "getCoreAPIVersions".into(), "core", message("APIVersions"), Media::Object)
        }
        "apis" => {
            get("/apis/".into(), "getAPIVersions".into(), "apis", message("APIGroupList"), Media::Object)
        }
        "version" => {
            get("/version/".into(), "getCodeVersion".into(), "version", Body::VersionInfo, Media::Json)
        }
        _ => {
            let group = name.strip_prefix("apis/")?;
            kinds::group_versions()
                .iter()
                .find(|gv: &&GroupVersion| gv.group == group && !group.is_empty())?;
            let words = paths::group_words(group);
            let id = format!("get{}APIGroup", paths::capitalize(&words));
            get(format!("/apis/{group}/"), id, &words, message("APIGroup"), Media::Object)
        }
    }
}
