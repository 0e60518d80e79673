//! Bytes to tree and back: JSON, YAML and protobuf, with the wording and rules of upstream's.
//!
//! Decoding takes the message's facts along: it checks types, drops what the message does not
//! name (and says so in [`Decoded::strict`]), and gives field names without copying them. What
//! comes out has no nulls where Go would have nil; [`crate::normal`] brings it into the normal form.

pub mod json;
pub mod protobuf;
pub mod yaml;

use crate::tree::Value;

/// A decoded body.
#[derive(Debug, Default)]
pub struct Decoded {
    pub value: Value,
    /// What strict field validation would refuse, in upstream's words: `unknown field "spec.foo"`,
    /// `duplicate field "metadata.name"`. In the order found, each once.
    pub strict: Vec<String>,
}

/// Why bytes are not an object. The texts are what clients of upstream see.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON, YAML or protobuf at all.
    #[error("{0}")]
    Syntax(String),
    /// Well-formed, but a value has the wrong type or form for its field.
    #[error("{0}")]
    Type(String),
}

/// Strict errors past this number are not collected.
const STRICT_ERRORS_MAX: usize = 100;

/// How deep a document may nest. Objects of the API stay far below; the limit keeps a hostile
/// body from exhausting the stack.
const DEPTH_MAX: usize = 256;

/// Standard base64 in the form Go writes it: line breaks gone, checked.
///
/// # Errors
/// Go's message, with the place.
fn base64_normal(text: &str) -> Result<String, String> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let clean: String;
    let text = if text.bytes().any(|b| b == b'\n' || b == b'\r') {
        clean = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
        &clean
    } else {
        text
    };
    match STANDARD.decode(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(e) => {
            let at = match e {
                base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => {
                    text.len() / 4 * 4
                }
            };
            Err(format!("illegal base64 data at input byte {at}"))
        }
    }
}
