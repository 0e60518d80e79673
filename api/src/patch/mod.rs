//! Patches: JSON patch (RFC 6902), merge patch (RFC 7396) and strategic merge patch, each a
//! function from a document and a patch to a new document.
//!
//! They deviate from their standards where upstream does; the comments say where. The result has
//! not been decoded: it may hold fields the schema does not know, nulls, or values of the wrong
//! type, and the caller decodes it like a body.

mod go_print;
mod json;
mod members;
mod merge;
mod order;
mod strategic;

#[cfg(test)]
mod recorded_test;

pub use go_print::go_print;
pub use json::{JSON_PATCH_COPY_BYTES_MAX, JSON_PATCH_OPERATIONS_MAX, json_patch};
pub use merge::merge_patch;
pub use strategic::strategic_merge;

/// Why a patch does not apply, by the answer it gets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// 400 with this message.
    #[error("{0}")]
    BadRequest(String),
    /// 422. Upstream answers with its generic text and keeps this one to itself.
    #[error("{0}")]
    Unprocessable(String),
    /// 413 with this message.
    #[error("{0}")]
    TooLarge(String),
    /// 500 with this message: the patch contradicts itself or the schema.
    #[error("{0}")]
    Internal(String),
}

fn bad_request<T>(message: impl Into<String>) -> Result<T, PatchError> {
    Err(PatchError::BadRequest(message.into()))
}
fn internal<T>(message: impl Into<String>) -> Result<T, PatchError> {
    Err(PatchError::Internal(message.into()))
}
