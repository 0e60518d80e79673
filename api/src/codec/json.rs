//! JSON as Go's decoder for Kubernetes reads it: field names are case-sensitive, numbers keep
//! whether they are integers, duplicates and unknown fields are reported, not refused.

mod encode;
mod scan;
mod typed;

pub(crate) use encode::string as encode_string;
pub use encode::{encode, encode_into, encode_pretty};

use super::{DecodeError, Decoded};
use crate::schema::{MessageId, Schema};
use crate::tree::Value;
use scan::Scanner;

/// Decodes `bytes` as `message`.
///
/// # Errors
/// [`DecodeError::Syntax`] if it is not one JSON value, [`DecodeError::Type`] with Go's message
/// for the first field of a wrong type.
pub fn decode(schema: &Schema, message: MessageId, bytes: &[u8]) -> Result<Decoded, DecodeError> {
    typed::decode(schema, message, bytes)
}

/// Decodes any JSON, without facts: custom resources, patches. Nulls stay. Of a repeated key the
/// last value stays; the repeats are in [`Decoded::strict`].
///
/// # Errors
/// [`DecodeError::Syntax`].
pub fn parse(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let mut scanner = Scanner::new(bytes);
    let mut strict = Vec::new();
    let value = scanner.any(&mut |path| strict.push(format!("duplicate field {path:?}")))?;
    scanner.end()?;
    strict.truncate(super::STRICT_ERRORS_MAX);
    Ok(Decoded { value, strict })
}

/// Reads only `apiVersion` and `kind` at the top, without decoding the rest.
///
/// # Errors
/// [`DecodeError::Syntax`], with Go's message.
pub fn type_meta(bytes: &[u8]) -> Result<(String, String), DecodeError> {
    let mut scanner = Scanner::new(bytes);
    scanner.type_meta()
}

/// An escaped Go-like rendering for messages: `"text"`.
pub fn quote(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
#[path = "json/json_test.rs"]
mod json_test;
