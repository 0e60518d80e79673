//! Objects in the version, form and format that a client asked for.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use trireme_api::table::{self, IncludeObject, Now};
use trireme_api::tree::Map;
use trireme_api::{Object, Value};

use crate::cache::{ChangeType, Entry, Event};
use crate::filters::Call;
use crate::negotiate::{self, MetaVersion, Target, Transform, respond};
use crate::registry::{ListPage, Resource};
use crate::server::Body;
use crate::slow::{self, Step};
use crate::status::{ApiError, Result};
use crate::wire::{self, Format};

/// What is shown.
pub(crate) enum Subject<'a> {
    /// As the cache has it.
    Entry(&'a Arc<Entry>),
    /// A tree in normal form of the storage version.
    Hub(&'a Value),
    /// Something else than the resource's own kind, with its message in the schema.
    Other(&'a Value, &'a str),
}

/// An answer with one object.
pub(crate) fn one(
    call: &Call,
    resource: &Resource,
    target: Target,
    code: StatusCode,
    subject: Subject<'_>,
) -> Result<Response<Body>> {
    let _step = slow::step(Step::Encode);
    if let (Format::Json, Transform::None, false, Subject::Entry(entry), true) =
        (target.format, target.transform, target.pretty, &subject, resource.is_hub())
    {
        return Ok(respond(code, Format::Json, entry.json.clone()));
    }
    let (hub, message) = match subject {
        Subject::Entry(entry) => (entry.object().0.clone(), None),
        Subject::Hub(value) => (value.clone(), None),
        Subject::Other(value, message) => (value.clone(), Some(message)),
    };
    let mut value = hub.clone();
    let message = match message {
        Some(message) => message,
        None => {
            to_version(resource, &mut value);
            resource.served.message
        }
    };
    let (value, message) = match target.transform {
        Transform::None => (value, message),
        Transform::Table(version) => {
            let metadata = table::metadata_of_one(&value);
            let table = tables::make(include(call)?, resource, version, &[(hub, value)], metadata, true);
            return Ok(respond(
                code,
                target.format,
                wire::encode(&table, target.format, target.pretty, Some("meta/v1.Table")),
            ));
        }
        Transform::PartialMetadata(version) => (partial(&value, version), "meta/v1.PartialObjectMetadata"),
        Transform::PartialMetadataList(_) => {
            return Err(ApiError::not_acceptable_text(format!(
                "you requested PartialObjectMetadataList, but the requested object is not a list (*{}.{})",
                go_package(resource),
                resource.row.kind
            )));
        }
    };
    Ok(respond(code, target.format, wire::encode(&value, target.format, target.pretty, Some(message))))
}

/// An answer with a list, in any form.
pub(crate) fn list(
    call: &Call,
    resource: &Resource,
    target: Target,
    page: &ListPage,
) -> Result<Response<Body>> {
    let _step = slow::step(Step::Encode);
    let mut metadata = Map::new();
    metadata.set("resourceVersion", page.revision.to_string());
    if !page.continue_token.is_empty() {
        metadata.set("continue", page.continue_token.as_str());
    }
    if let Some(remaining) = page.remaining {
        metadata.set("remainingItemCount", remaining);
    }
    let objects = page.entries.iter().map(|entry| {
        let mut value = entry.object().0.clone();
        to_version(resource, &mut value);
        value
    });
    if let Transform::Table(version) = target.transform {
        let pairs: Vec<(Value, Value)> =
            page.entries.iter().map(|e| e.object().0.clone()).zip(objects).collect();
        let table = tables::make(include(call)?, resource, version, &pairs, Value::Object(metadata), true);
        return Ok(respond(
            StatusCode::OK,
            target.format,
            wire::encode(&table, target.format, target.pretty, Some("meta/v1.Table")),
        ));
    }
    let mut out = Map::new();
    let message = match target.transform {
        Transform::PartialMetadataList(version) | Transform::PartialMetadata(version) => {
            out.set("kind", "PartialObjectMetadataList");
            out.set("apiVersion", version.api_version());
            out.set("metadata", metadata);
            out.set("items", objects.map(|o| partial(&o, version)).collect::<Vec<Value>>());
            "meta/v1.PartialObjectMetadataList".to_owned()
        }
        _ => {
            out.set("kind", format!("{}List", resource.row.kind));
            out.set("apiVersion", resource.served.api_version());
            out.set("metadata", metadata);
            out.set("items", objects.map(without_type).collect::<Vec<Value>>());
            format!("{}List", resource.served.message)
        }
    };
    let value = Value::Object(out);
    Ok(respond(
        StatusCode::OK,
        target.format,
        wire::encode(&value, target.format, target.pretty, Some(&message)),
    ))
}

/// From the storage version to the version asked for, with its kind and apiVersion.
pub(crate) fn to_version(resource: &Resource, value: &mut Value) {
    if !resource.is_hub() {
        *value = wire::to_version(resource.row, resource.served, value);
    }
}

fn without_type(mut value: Value) -> Value {
    if let Some(map) = value.as_object_mut() {
        map.remove("kind");
        map.remove("apiVersion");
    }
    value
}

/// Metadata alone.
pub(crate) fn partial(value: &Value, version: MetaVersion) -> Value {
    let mut out = Map::new();
    out.set("kind", "PartialObjectMetadata");
    out.set("apiVersion", version.api_version());
    out.set("metadata", value["metadata"].clone());
    Value::Object(out)
}

/// Upstream's Go package of a kind's internal type, which some messages show.
pub(crate) fn go_package(resource: &Resource) -> &'static str {
    match resource.row.group {
        "" => "core",
        group => group.split('.').next().unwrap_or(group),
    }
}

/// The form of a watch's frames, and what is remembered of it on an event.
pub(crate) struct Framing {
    pub(crate) resource: Resource,
    target: Target,
    /// What a Table's rows include of their objects.
    include: IncludeObject,
}

fn include(call: &Call) -> Result<IncludeObject> {
    let text = call.query.text("includeObject");
    text.parse().map_err(|()| {
        ApiError::bad_request(format!("unrecognized includeObject value: {}", crate::status::quote(text)))
    })
}

impl Framing {
    pub(crate) fn new(call: &Call, resource: Resource, target: Target) -> Result<Framing> {
        Ok(Framing { resource, target, include: include(call)? })
    }

    /// One number per form: what an event's encodings are remembered by.
    fn id(&self, include_columns: bool) -> u64 {
        let version = self
            .resource
            .row
            .versions
            .iter()
            .position(|s| std::ptr::eq(s, self.resource.served))
            .unwrap_or(0) as u64;
        let transform = match self.target.transform {
            Transform::None => 0u64,
            Transform::Table(MetaVersion::V1) => 1,
            Transform::Table(MetaVersion::V1Beta1) => 2,
            Transform::PartialMetadata(MetaVersion::V1) => 3,
            _ => 4,
        };
        let format = match self.target.format {
            Format::Json => 0u64,
            Format::Yaml => 1,
            Format::Protobuf => 2,
        };
        version << 8
            | transform << 4
            | format << 2
            | u64::from(include_columns) << 1
            | u64::from(self.target.pretty)
    }

    /// The frame of an event, made once for all who watch in this form. `columns`: a Table's
    /// column definitions go with the first event only.
    pub(crate) fn event(
        &self,
        change: ChangeType,
        entry: &Arc<Entry>,
        event: &Event,
        columns: bool,
    ) -> Result<Bytes> {
        // A Table's cells hold ages, and what else it includes depends on the request.
        if matches!(self.target.transform, Transform::Table(_)) {
            return self.frame(change.as_str(), entry, event.revision, columns);
        }
        event
            .encoded(change, self.id(columns), || self.frame(change.as_str(), entry, event.revision, columns))
    }

    /// The frame of an object as it is.
    pub(crate) fn initial(&self, entry: &Arc<Entry>, columns: bool) -> Result<Bytes> {
        self.frame(ChangeType::Added.as_str(), entry, entry.revision, columns)
    }

    fn frame(&self, kind: &str, entry: &Arc<Entry>, revision: i64, columns: bool) -> Result<Bytes> {
        let shown_revision = if kind == ChangeType::Deleted.as_str() { revision } else { entry.revision };
        if self.target.format == Format::Json
            && self.target.transform == Transform::None
            && self.resource.is_hub()
        {
            return Ok(wire::json_frame(kind, &entry.json_at(shown_revision)));
        }
        let mut hub = entry.object().0.clone();
        wire::set_resource_version(&mut hub, shown_revision);
        let mut value = hub.clone();
        to_version(&self.resource, &mut value);
        let (value, message) = match self.target.transform {
            Transform::Table(version) => {
                let metadata = table::metadata_of_one(&value);
                let table =
                    tables::make(self.include, &self.resource, version, &[(hub, value)], metadata, columns);
                (table, "meta/v1.Table")
            }
            Transform::PartialMetadata(version) | Transform::PartialMetadataList(version) => {
                (partial(&value, version), "meta/v1.PartialObjectMetadata")
            }
            Transform::None => (value, self.resource.served.message),
        };
        Ok(wire::frame(kind, &value, self.target.format, message))
    }

    /// A bookmark: nothing but a revision.
    pub(crate) fn bookmark(&self, revision: i64, initial_events_end: bool) -> Bytes {
        let mut metadata = Map::new();
        metadata.set("resourceVersion", revision.to_string());
        metadata.set("creationTimestamp", Value::Null);
        if initial_events_end {
            let mut annotations = Map::new();
            annotations.insert("k8s.io/initial-events-end", "true");
            metadata.set("annotations", annotations);
        }
        let mut out = Map::new();
        let message = match self.target.transform {
            Transform::Table(version) => {
                metadata.remove("creationTimestamp");
                let mut object = Map::new();
                let mut partial = Map::new();
                partial.set("kind", "PartialObjectMetadata");
                partial.set("apiVersion", version.api_version());
                partial.set("metadata", metadata);
                object.set("object", partial);
                object.set("cells", Vec::<Value>::new());
                out.set("kind", "Table");
                out.set("apiVersion", version.api_version());
                let mut list = Map::new();
                list.set("resourceVersion", revision.to_string());
                out.set("metadata", list);
                out.set("columnDefinitions", Value::Null);
                out.set("rows", vec![Value::Object(object)]);
                "meta/v1.Table"
            }
            Transform::PartialMetadata(version) | Transform::PartialMetadataList(version) => {
                out.set("kind", "PartialObjectMetadata");
                out.set("apiVersion", version.api_version());
                out.set("metadata", metadata);
                "meta/v1.PartialObjectMetadata"
            }
            Transform::None => {
                out.set("kind", self.resource.row.kind);
                out.set("apiVersion", self.resource.served.api_version());
                out.set("metadata", metadata);
                self.resource.served.message
            }
        };
        let mut value = Value::Object(out);
        if self.target.transform == Transform::None {
            wire::normalize(self.resource.served, &mut value);
        }
        wire::frame("BOOKMARK", &value, self.target.format, message)
    }

    /// The end of a watch, with its reason.
    pub(crate) fn error(&self, error: &ApiError) -> Bytes {
        wire::frame("ERROR", &error.to_value(), self.target.format, "meta/v1.Status")
    }

    pub(crate) fn content_type(&self) -> &'static str {
        match self.target.format {
            Format::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
            _ => "application/json",
        }
    }
}

/// A shared object as an in-process watcher sees it after `event`.
pub(crate) fn shared(entry: &Arc<Entry>, change: ChangeType, event: &Event) -> Arc<Object> {
    if change == ChangeType::Deleted && event.revision != entry.revision {
        let mut object = Object::clone(&entry.object());
        wire::set_resource_version(&mut object, event.revision);
        return Arc::new(object);
    }
    entry.object()
}

mod tables {
    //! Tables, with what `includeObject` asks for in their rows.

    use super::*;

    /// `objects`: each in the storage version, which cells are made from, and in the version
    /// asked for, which rows show.
    pub(super) fn make(
        include: IncludeObject,
        resource: &Resource,
        version: MetaVersion,
        objects: &[(Value, Value)],
        metadata: Value,
        columns: bool,
    ) -> Value {
        let printer = table::printer(resource.row.kind);
        let version = version.name();
        let now = Now(crate::clock::unix_seconds());
        let rows =
            objects.iter().map(|(hub, shown)| printer.row(hub, shown, include, version, now)).collect();
        let definitions = if columns { printer.definitions(&crate::openapi::describe) } else { Value::Null };
        table::table(version, metadata, definitions, rows)
    }
}

/// An answer that is a `Status` of success.
pub(crate) fn status(call: &Call, code: StatusCode, value: &Value) -> Response<Body> {
    negotiate::status_response(call, code, value)
}
