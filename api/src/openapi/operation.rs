//! One operation on one path, told once and written in either dialect.

use super::schemas::{Definitions, Dialect};
use crate::tree::{Map, Value};

/// A parameter in the path or the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) ty: &'static str,
    pub(super) in_path: bool,
}

pub(super) const fn query(name: &'static str, ty: &'static str) -> Parameter {
    Parameter { name, ty, in_path: false }
}
pub(super) const fn path(name: &'static str) -> Parameter {
    Parameter { name, ty: "string", in_path: true }
}

pub(super) const PRETTY: Parameter = query("pretty", "string");
pub(super) const LIST: &[Parameter] = &[
    query("allowWatchBookmarks", "boolean"),
    query("continue", "string"),
    query("fieldSelector", "string"),
    query("labelSelector", "string"),
    query("limit", "integer"),
    query("resourceVersion", "string"),
    query("resourceVersionMatch", "string"),
    query("sendInitialEvents", "boolean"),
    query("shardSelector", "string"),
    query("timeoutSeconds", "integer"),
    query("watch", "boolean"),
];
pub(super) const WRITE: &[Parameter] =
    &[query("dryRun", "string"), query("fieldManager", "string"), query("fieldValidation", "string")];
pub(super) const PATCH: &[Parameter] = &[
    query("dryRun", "string"),
    query("fieldManager", "string"),
    query("fieldValidation", "string"),
    query("force", "boolean"),
];
pub(super) const DELETE: &[Parameter] = &[
    query("dryRun", "string"),
    query("gracePeriodSeconds", "integer"),
    query("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
    query("orphanDependents", "boolean"),
    query("propagationPolicy", "string"),
];
pub(super) const DELETE_COLLECTION: &[Parameter] = &[
    query("continue", "string"),
    query("dryRun", "string"),
    query("fieldSelector", "string"),
    query("gracePeriodSeconds", "integer"),
    query("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
    query("labelSelector", "string"),
    query("limit", "integer"),
    query("orphanDependents", "boolean"),
    query("propagationPolicy", "string"),
    query("resourceVersion", "string"),
    query("resourceVersionMatch", "string"),
    query("sendInitialEvents", "boolean"),
    query("shardSelector", "string"),
    query("timeoutSeconds", "integer"),
];

const OBJECT_TYPES: &[&str] =
    &["application/json", "application/vnd.kubernetes.protobuf", "application/yaml"];
const STREAM_TYPES: &[&str] = &[
    "application/json",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf",
    "application/vnd.kubernetes.protobuf;stream=watch",
    "application/yaml",
];
const PATCH_TYPES: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// What a body is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Message(String),
    Patch,
    Text,
    VersionInfo,
}

/// Media types of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    Object,
    Stream,
    /// Objects' types and plain text: logs.
    Log,
    Any,
    Json,
}

#[derive(Clone, Debug)]
pub(super) struct Operation {
    /// `get`, `put`, …
    pub(super) method: &'static str,
    pub(super) id: String,
    pub(super) tag: String,
    /// `x-kubernetes-action`, and the kind it acts on.
    pub(super) action: Option<(&'static str, [String; 3])>,
    pub(super) parameters: Vec<Parameter>,
    pub(super) request: Option<(Body, bool)>,
    pub(super) response: Body,
    pub(super) codes: &'static [&'static str],
    pub(super) media: Media,
}

impl Media {
    fn types(self) -> &'static [&'static str] {
        match self {
            Media::Object => OBJECT_TYPES,
            Media::Stream => STREAM_TYPES,
            Media::Log => {
                &["application/json", "application/vnd.kubernetes.protobuf", "application/yaml", "text/plain"]
            }
            Media::Any => &["*/*"],
            Media::Json => &["application/json"],
        }
    }
}

fn body(body: &Body, definitions: &mut Definitions<'_>) -> Value {
    match body {
        Body::Message(name) => definitions.message(name),
        Body::Patch => definitions.patch(),
        Body::Text => crate::value!({"type": "string"}),
        Body::VersionInfo => definitions.version_info(),
    }
}

fn code_text(code: &str) -> &'static str {
    match code {
        "201" => "Created",
        "202" => "Accepted",
        "401" => "Unauthorized",
        _ => "OK",
    }
}

/// The item of one path: parameters that all its operations share stand beside them.
pub(super) fn path_item(
    operations: &[Operation],
    dialect: Dialect,
    definitions: &mut Definitions<'_>,
) -> Value {
    let shared: Vec<Parameter> = match operations.split_first() {
        Some((first, rest)) => first
            .parameters
            .iter()
            .copied()
            .filter(|p| rest.iter().all(|o| o.parameters.contains(p)))
            .collect(),
        None => Vec::new(),
    };
    let mut item = Map::new();
    for operation in operations {
        item.set(operation.method, write(operation, &shared, dialect, definitions));
    }
    if !shared.is_empty() {
        item.set("parameters", parameters(shared, dialect));
    }
    Value::Object(item)
}

fn parameters(mut list: Vec<Parameter>, dialect: Dialect) -> Vec<Value> {
    list.sort_unstable_by_key(|p| (p.name, !p.in_path));
    list.iter()
        .map(|p| {
            let mut out = Map::new();
            out.set("name", p.name);
            out.set("in", if p.in_path { "path" } else { "query" });
            if p.in_path {
                out.set("required", true);
            }
            match dialect {
                Dialect::V2 => {
                    out.set("type", p.ty);
                    out.set("uniqueItems", true);
                }
                Dialect::V3 => out.set("schema", crate::value!({"type": p.ty, "uniqueItems": true})),
            }
            Value::Object(out)
        })
        .collect()
}

fn content(types: &[&'static str], schema: &Value) -> Map {
    let mut content = Map::new();
    for ty in types {
        let mut media = Map::new();
        media.set("schema", schema.clone());
        content.set(ty, media);
    }
    content
}

fn write(
    operation: &Operation,
    shared: &[Parameter],
    dialect: Dialect,
    definitions: &mut Definitions<'_>,
) -> Value {
    let mut out = Map::new();
    out.set("tags", vec![operation.tag.as_str()]);
    out.set("operationId", operation.id.as_str());
    let own = operation.parameters.iter().copied().filter(|p| !shared.contains(p)).collect();
    let mut list = parameters(own, dialect);
    let response = body(&operation.response, definitions);
    match dialect {
        Dialect::V2 => {
            let consumes = match &operation.request {
                Some((Body::Patch, _)) => PATCH_TYPES,
                _ => &["*/*"],
            };
            out.set("consumes", consumes.to_vec());
            out.set("produces", operation.media.types().to_vec());
            out.set("schemes", vec!["https"]);
            if let Some((request, required)) = &operation.request {
                let mut parameter = Map::new();
                parameter.set("name", "body");
                parameter.set("in", "body");
                if *required {
                    parameter.set("required", true);
                }
                parameter.set("schema", body(request, definitions));
                list.insert(0, Value::Object(parameter));
            }
        }
        Dialect::V3 => {
            if let Some((request, required)) = &operation.request {
                let types = if *request == Body::Patch { PATCH_TYPES } else { &["*/*"] };
                let mut map = Map::new();
                map.set("content", content(types, &body(request, definitions)));
                if *required {
                    map.set("required", true);
                }
                out.set("requestBody", map);
            }
        }
    }
    if !list.is_empty() {
        out.set("parameters", list);
    }
    let mut responses = Map::new();
    for code in operation.codes.iter().copied().chain(["401"]) {
        let mut one = Map::new();
        one.set("description", code_text(code));
        if code != "401" {
            match dialect {
                Dialect::V2 => one.set("schema", response.clone()),
                Dialect::V3 => one.set("content", content(operation.media.types(), &response)),
            }
        }
        responses.set(code, one);
    }
    out.set("responses", responses);
    if let Some((action, [group, version, kind])) = &operation.action {
        out.set("x-kubernetes-action", *action);
        out.set(
            "x-kubernetes-group-version-kind",
            crate::value!({"group": group, "version": version, "kind": kind}),
        );
    }
    Value::Object(out)
}
