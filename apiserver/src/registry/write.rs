//! What all writes share: their options, their body, and the context they run in.

use bytes::Bytes;
use trireme_api::Value;
use trireme_api::field_error::{FieldError, Path};
use trireme_api::types::meta::object_meta;

use super::Resource;
use crate::filters::Call;
use crate::slow::{self, Step};
use crate::status::{ApiError, Result, quote};
use crate::wire::{self, DecodeError, Format};

/// How field names the schema does not know are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// Options of a create, update or patch.
#[derive(Clone, Debug)]
pub(crate) struct WriteOptions {
    pub(crate) dry_run: bool,
    pub(crate) field_manager: String,
    pub(crate) field_validation: FieldValidation,
    pub(crate) force: Option<bool>,
}

/// Bytes of a field manager's name.
const MANAGER_BYTES_MAX: usize = 128;

impl WriteOptions {
    /// `kind`: CreateOptions, UpdateOptions or PatchOptions.
    pub(crate) fn parse(call: &Call, kind: &str, apply: bool) -> Result<WriteOptions> {
        let q = &call.query;
        let mut errors = Vec::new();
        if kind == "PatchOptions" {
            let path = Path::new("force");
            if q.get("force").is_some() && !apply {
                errors.push(FieldError::forbidden(&path, "may not be specified for non-apply patch"));
            }
        }
        let manager = q.text("fieldManager");
        let path = Path::new("fieldManager");
        if apply && manager.is_empty() {
            errors.push(FieldError::required(&path, "is required for apply patch"));
        }
        object_meta::validate_field_manager(manager, &path, &mut errors);
        errors.extend(dry_run_errors(call));
        let validation = q.text("fieldValidation");
        if !matches!(validation, "" | "Ignore" | "Warn" | "Strict") {
            let path = Path::new("fieldValidation");
            errors.push(FieldError::not_supported(&path, validation, &["", "Ignore", "Strict", "Warn"]));
        }
        if !errors.is_empty() {
            return Err(ApiError::invalid_options(kind, &errors));
        }
        Ok(WriteOptions {
            dry_run: q.get("dryRun").is_some_and(|d| !d.is_empty()),
            field_manager: if manager.is_empty() {
                manager_of_agent(call.header("user-agent"))
            } else {
                manager.to_owned()
            },
            field_validation: match validation {
                "Ignore" => FieldValidation::Ignore,
                "Strict" => FieldValidation::Strict,
                _ => FieldValidation::Warn,
            },
            force: q.flag("force"),
        })
    }
}

/// `dryRun` may say `All` and nothing else.
pub(crate) fn dry_run_errors(call: &Call) -> Vec<FieldError> {
    let values: Vec<&str> = call.query.all("dryRun").filter(|v| !v.is_empty()).collect();
    if values.iter().all(|v| *v == "All") {
        return Vec::new();
    }
    let path = Path::new("dryRun");
    let mut e = FieldError::not_supported(&path, "", &["All"]);
    e.value = format!("[{}]", values.iter().map(|v| quote(v)).collect::<Vec<_>>().join(","));
    vec![e]
}

/// The program's name in a `User-Agent`: what stands before the first slash.
fn manager_of_agent(agent: &str) -> String {
    let name = agent.split('/').next().unwrap_or("");
    let mut out = String::new();
    for c in name.chars().filter(|c| !c.is_control()) {
        if out.len() + c.len_utf8() > MANAGER_BYTES_MAX {
            break;
        }
        out.push(c);
    }
    if out.is_empty() { "unknown".into() } else { out }
}

/// The format of a body, from its `Content-Type`.
pub(crate) fn body_format(call: &Call) -> Result<Format> {
    let content_type = call.header("content-type");
    match content_type.split(';').next().unwrap_or("").trim() {
        "" | "application/json" | "text/json" => Ok(Format::Json),
        "application/yaml" | "application/x-yaml" | "text/yaml" => Ok(Format::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(Format::Protobuf),
        _ => Err(ApiError::unsupported_media_type(format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            crate::negotiate::REPRESENTATIONS
        ))),
    }
}

/// What a body should be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected<'a> {
    pub(crate) kind: &'a str,
    pub(crate) group: &'a str,
    pub(crate) version: &'a str,
    /// Its message in the schema.
    pub(crate) message: &'a str,
}

impl<'a> Expected<'a> {
    pub(crate) fn of(resource: &Resource) -> Expected<'static> {
        Expected {
            kind: resource.row.kind,
            group: resource.served.group,
            version: resource.served.version,
            message: resource.served.message,
        }
    }
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

/// Decodes a body, in the version it was sent in. Unknown and repeated fields are met as the
/// options say.
pub(crate) fn decode(
    call: &Call,
    expected: Expected<'_>,
    bytes: &Bytes,
    validation: FieldValidation,
) -> Result<Value> {
    let _step = slow::step(Step::Decode);
    let format = body_format(call)?;
    let (api_version, kind) = wire::type_meta(format, bytes).map_err(|e| {
        ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; {}: {} ({})",
            expected.kind,
            if format == Format::Yaml { "yaml parse error" } else { "json parse error" },
            e,
            if bytes.is_empty() { "<empty>".to_owned() } else { hex_start(bytes) },
        ))
    })?;
    let sent_kind = if kind.is_empty() { expected.kind.to_owned() } else { kind };
    let sent_version = if api_version.is_empty() { expected.api_version() } else { api_version };
    let (group, version) = sent_version.split_once('/').unwrap_or(("", &sent_version));
    let cannot = |why: String| {
        ApiError::bad_request(format!(
            "{sent_kind} in version {} cannot be handled as a {}: {why}",
            quote(version),
            expected.kind
        ))
    };
    let same = sent_kind == expected.kind && group == expected.group && version == expected.version;
    let message = if same {
        expected.message
    } else {
        match wire::message_of(group, version, &sent_kind) {
            Some(message) => message,
            None => {
                let known = if group.is_empty() { version.to_owned() } else { sent_version.clone() };
                return Err(cannot(format!(
                    "no kind {} is registered for version {} in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
                    quote(&sent_kind),
                    quote(&known)
                )));
            }
        }
    };
    let decoded = wire::decode(format, bytes, message).map_err(|e| match e {
        DecodeError::Syntax(text) | DecodeError::Type(text) => cannot(text),
    })?;
    if !same {
        if sent_kind != expected.kind {
            return Err(cannot(format!(
                "converting ({version}.{sent_kind}) to ({}.{}): unknown conversion",
                if expected.group.is_empty() {
                    "core"
                } else {
                    expected.group.split('.').next().unwrap_or("")
                },
                expected.kind
            )));
        }
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({sent_version}) does not match the expected API version ({})",
            expected.api_version()
        )));
    }
    strict(call, &decoded.strict, validation, |why| cannot(format!("strict decoding error: {why}")))?;
    Ok(decoded.value)
}

/// Refuses or warns of what strict decoding found.
pub(crate) fn strict(
    call: &Call,
    found: &[String],
    validation: FieldValidation,
    refuse: impl FnOnce(String) -> ApiError,
) -> Result<()> {
    match validation {
        FieldValidation::Ignore => {}
        FieldValidation::Warn => found.iter().for_each(|text| call.warn(text.as_str())),
        FieldValidation::Strict if !found.is_empty() => return Err(refuse(found.join(", "))),
        FieldValidation::Strict => {}
    }
    Ok(())
}

/// The beginning of bytes as upstream shows them.
fn hex_start(bytes: &[u8]) -> String {
    let shown: String = bytes.iter().take(16).map(|b| format!("{b:02x}")).collect();
    if bytes.len() > 16 { format!("{shown} ...") } else { shown }
}
