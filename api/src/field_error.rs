//! What is wrong with a field, in upstream's words (`k8s.io/apimachinery/pkg/util/validation/field`).

use std::fmt;

use crate::tree::Value;

/// The reason a client sees in `details.causes[].reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    InternalError,
    TypeInvalid,
}

/// One wrong field.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    pub kind: ErrorType,
    /// `spec.containers[0].image`; "" where upstream gives none.
    pub field: String,
    /// The value that is wrong, as upstream prints it (already formatted).
    pub value: String,
    pub detail: String,
}

/// A path to a field while walking: cheap to extend, printed on error.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    pub const fn new(field: &'a str) -> Path<'a> {
        Path { parent: None, step: Step::Field(field) }
    }
    /// `path.field`
    pub const fn child(&'a self, field: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Field(field) }
    }
    /// `path[i]`
    pub const fn index(&'a self, i: usize) -> Path<'a> {
        Path { parent: Some(self), step: Step::Index(i) }
    }
    /// `path[key]`
    pub const fn key(&'a self, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Key(key) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Field(name) if self.parent.is_some() => write!(f, ".{name}"),
            Step::Field(name) => f.write_str(name),
            Step::Index(i) => write!(f, "[{i}]"),
            Step::Key(key) => write!(f, "[{key}]"),
        }
    }
}

/// Errors gathered on a walk.
pub type ErrorList = Vec<FieldError>;

/// How upstream prints a bad value: strings quoted, numbers plain, structures as Go JSON.
pub fn show(value: &Value) -> String {
    match value {
        Value::String(s) => quote(s),
        other => other.to_string(),
    }
}

/// Go's `%q`, which differs from Rust's in control characters.
pub fn quote(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

impl FieldError {
    fn new(kind: ErrorType, path: &Path<'_>, value: String, detail: impl Into<String>) -> FieldError {
        FieldError { kind, field: path.to_string(), value, detail: detail.into() }
    }
    pub fn required(path: &Path<'_>, detail: impl Into<String>) -> FieldError {
        Self::new(ErrorType::Required, path, String::new(), detail)
    }
    pub fn invalid(path: &Path<'_>, value: impl Into<Value>, detail: impl Into<String>) -> FieldError {
        Self::new(ErrorType::Invalid, path, show(&value.into()), detail)
    }
    pub fn duplicate(path: &Path<'_>, value: impl Into<Value>) -> FieldError {
        Self::new(ErrorType::Duplicate, path, show(&value.into()), "")
    }
    pub fn forbidden(path: &Path<'_>, detail: impl Into<String>) -> FieldError {
        Self::new(ErrorType::Forbidden, path, String::new(), detail)
    }
    pub fn not_found(path: &Path<'_>, value: impl Into<Value>) -> FieldError {
        Self::new(ErrorType::NotFound, path, show(&value.into()), "")
    }
    /// `supported` is listed in the order given: upstream sorts some of its lists and not others.
    pub fn not_supported(path: &Path<'_>, value: impl Into<Value>, supported: &[&str]) -> FieldError {
        let list: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        Self::new(
            ErrorType::NotSupported,
            path,
            show(&value.into()),
            format!("supported values: {}", list.join(", ")),
        )
    }
    pub fn too_long(path: &Path<'_>, max: usize) -> FieldError {
        Self::new(ErrorType::TooLong, path, String::new(), format!("may not be more than {max} bytes"))
    }
    pub fn internal(path: &Path<'_>, detail: impl Into<String>) -> FieldError {
        Self::new(ErrorType::InternalError, path, String::new(), detail)
    }
    pub fn too_many(path: &Path<'_>, actual: usize, max: usize) -> FieldError {
        Self::new(ErrorType::TooMany, path, actual.to_string(), format!("must have at most {max} items"))
    }

    /// The same error with more said about it.
    pub fn with_detail(mut self, detail: impl Into<String>) -> FieldError {
        self.detail = detail.into();
        self
    }

    /// `Status.details.causes[].reason`.
    pub fn reason(&self) -> &'static str {
        match self.kind {
            ErrorType::NotFound => "FieldValueNotFound",
            ErrorType::Required => "FieldValueRequired",
            ErrorType::Duplicate => "FieldValueDuplicate",
            ErrorType::Invalid => "FieldValueInvalid",
            ErrorType::NotSupported => "FieldValueNotSupported",
            ErrorType::Forbidden => "FieldValueForbidden",
            ErrorType::TooLong => "FieldValueTooLong",
            ErrorType::TooMany => "FieldValueTooMany",
            ErrorType::InternalError => "InternalError",
            ErrorType::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    /// The message without the field: `Invalid value: "x": must be ...`.
    pub fn body(&self) -> String {
        let label = match self.kind {
            ErrorType::NotFound => "Not found",
            ErrorType::Required => "Required value",
            ErrorType::Duplicate => "Duplicate value",
            ErrorType::Invalid | ErrorType::TypeInvalid => "Invalid value",
            ErrorType::NotSupported => "Unsupported value",
            ErrorType::Forbidden => "Forbidden",
            ErrorType::TooLong => "Too long",
            ErrorType::TooMany => "Too many",
            ErrorType::InternalError => "Internal error",
        };
        let mut out = label.to_owned();
        if !self.value.is_empty() {
            out.push_str(": ");
            out.push_str(&self.value);
        }
        if !self.detail.is_empty() {
            out.push_str(": ");
            out.push_str(&self.detail);
        }
        out
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}
