//! PATCH in its four forms.

use bytes::Bytes;
use http::{Response, StatusCode};
use trireme_api::field_error::{FieldError, Path};
use trireme_api::patch::{self as patches, PatchError};
use trireme_api::{Object, Value};

use super::update::{self, Missing, Part};
use super::write::{self, WriteOptions};
use super::{Resource, managed};
use crate::clock;
use crate::filters::Call;
use crate::negotiate;
use crate::present::{self, Subject};
use crate::server::Body;
use crate::status::{ApiError, Result, qualified, quote};
use crate::wire::{self, DecodeError, Format};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PatchType {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl PatchType {
    fn of(call: &Call) -> Result<PatchType> {
        match call.header("content-type").split(';').next().unwrap_or("").trim() {
            "application/json-patch+json" => Ok(PatchType::Json),
            "application/merge-patch+json" => Ok(PatchType::Merge),
            "application/strategic-merge-patch+json" => Ok(PatchType::Strategic),
            "application/apply-patch+yaml" | "application/apply-patch+json" => Ok(PatchType::Apply),
            _ => Err(ApiError::unsupported_media_type("415: Unsupported Media Type").with_details()),
        }
    }
}

/// A patch, read.
pub(super) struct Patch {
    kind: PatchType,
    document: Value,
}

impl Patch {
    pub(super) async fn read(call: &Call) -> Result<(Patch, WriteOptions)> {
        let kind = PatchType::of(call)?;
        let options = WriteOptions::parse(call, "PatchOptions", kind == PatchType::Apply)?;
        let bytes: Bytes = call.body().await?;
        let document = if kind == PatchType::Apply {
            wire::parse_any(Format::Yaml, &bytes)
                .map_err(|e| ApiError::bad_request(format!("error decoding YAML: {e}")))?
        } else {
            wire::parse_any(Format::Json, &bytes)
                .map_err(|e| ApiError::bad_request(format!("error decoding patch: {e}")))?
        };
        if kind == PatchType::Json && !matches!(document, Value::Array(_) | Value::Null) {
            return Err(ApiError::bad_request(format!(
                "error decoding patch: json: cannot unmarshal {} into Go value of type []handlers.jsonPatchOp",
                document.kind_name()
            )));
        }
        if kind == PatchType::Json && document.items().len() > crate::limits::JSON_PATCH_OPERATIONS_MAX {
            return Err(ApiError::new(
                413,
                "RequestEntityTooLarge",
                format!(
                    "Request entity too large: The allowed maximum operations in a JSON patch is {}, got {}",
                    crate::limits::JSON_PATCH_OPERATIONS_MAX,
                    document.items().len()
                ),
            ));
        }
        Ok((Patch { kind, document }, options))
    }

    /// The patched document, in the version and shape of `old`; not decoded yet.
    pub(super) fn apply_to(&self, message: &str, old: Value) -> Result<Value> {
        let patched = match self.kind {
            PatchType::Json => patches::json_patch(old, &self.document),
            PatchType::Merge => patches::merge_patch(old, self.document.clone()),
            PatchType::Strategic => {
                let (schema, id) = wire::message(message)?;
                patches::strategic_merge(schema, id, old, self.document.clone())
            }
            PatchType::Apply => {
                return Err(ApiError::internal("an applied configuration is merged elsewhere"));
            }
        };
        patched.map_err(|e| match e {
            PatchError::BadRequest(text) => ApiError::bad_request(text),
            PatchError::Unprocessable(_) => {
                ApiError::unprocessable("the server rejected our request due to an error in our request")
            }
            PatchError::TooLarge(text) => ApiError::new(413, "RequestEntityTooLarge", text),
            PatchError::Internal(text) => ApiError::plain(text),
        })
    }

    /// Patches and decodes. What does not decode is a 422 that quotes the document.
    pub(super) fn patched(
        &self,
        call: &Call,
        options: &WriteOptions,
        expected: write::Expected<'_>,
        old: Value,
    ) -> Result<Value> {
        let patched = self.apply_to(expected.message, old)?;
        let invalid = |why: &str| {
            let mut shown = patched.clone();
            if let Some(map) = shown.as_object_mut() {
                map.sort_by_key();
            }
            let path = Path::new("patch");
            let e = FieldError::invalid(&path, shown.to_string(), why);
            ApiError::invalid(qualified("", ""), "", &[e])
        };
        let (kind, api_version) = (patched["kind"].str_or_empty(), patched["apiVersion"].str_or_empty());
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let untyped = kind.is_empty() && api_version.is_empty();
        let message = if untyped || kind == expected.kind && api_version == expected.api_version() {
            expected.message
        } else {
            wire::message_of(group, version, kind).ok_or_else(|| {
                invalid(&format!(
                    "no kind {} is registered for version {} in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
                    quote(kind),
                    quote(api_version)
                ))
            })?
        };
        let bytes = Bytes::from(patched.to_string());
        let decoded = wire::decode(Format::Json, &bytes, message).map_err(|e| match e {
            DecodeError::Syntax(text) | DecodeError::Type(text) => invalid(&text),
        })?;
        if message != expected.message {
            return Err(invalid(&format!("{kind} is not a {}", expected.kind)));
        }
        write::strict(call, &decoded.strict, options.field_validation, |why| {
            invalid(&format!("strict decoding error: {why}"))
        })?;
        Ok(decoded.value)
    }
}

/// `patch` of an object, or of its status and the like.
pub(super) async fn patch(call: &Call, resource: &Resource) -> Result<Response<Body>> {
    let target = negotiate::target(call)?;
    let (patch, options) = Patch::read(call).await?;
    let part = Part::of(resource);
    let apply = patch.kind == PatchType::Apply;
    let missing = if apply { Missing::Create } else { Missing::Refuse };
    let done = update::run(call, resource, &options, part, missing, &mut |old| {
        if apply {
            return apply_configuration(call, resource, &options, part, &patch.document, old);
        }
        let old = old.ok_or_else(|| ApiError::not_found(resource.qualified(), &call.info.name))?;
        let mut shown = old.0.clone();
        present::to_version(resource, &mut shown);
        let mut value = patch.patched(call, &options, write::Expected::of(resource), shown)?;
        has_name(call, &value)?;
        update::check_name(call, resource, &mut value)?;
        wire::default_and_normalize(resource.row, resource.served, &mut value);
        managed::update(resource, Some(old), &mut value, &options.field_manager, part.name(), &clock::now());
        wire::to_hub(resource.row, resource.served, &mut value);
        super::sub::keep(part, &mut value, old);
        Ok(value)
    })
    .await?;
    let code = if done.created { StatusCode::CREATED } else { StatusCode::OK };
    present::one(call, resource, target, code, Subject::Hub(&done.value))
}

/// A patched or applied object names itself; only a PUT may leave that to the path.
fn has_name(call: &Call, value: &Value) -> Result<()> {
    if value["metadata"]["name"].str_or_empty().is_empty() {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            call.info.name
        )));
    }
    Ok(())
}

/// Server-side apply: the configuration is merged by field ownership.
fn apply_configuration(
    call: &Call,
    resource: &Resource,
    options: &WriteOptions,
    part: Part,
    document: &Value,
    old: Option<&Object>,
) -> Result<Value> {
    has_name(call, document)?;
    let mut value = managed::apply(resource, options, part, document, old)?;
    update::check_name(call, resource, &mut value)?;
    if let Some(old) = old {
        super::sub::keep(part, &mut value, old);
    }
    Ok(value)
}
