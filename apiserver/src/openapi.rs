//! OpenAPI documents.
use http::Response;
use crate::filters::Call;
use crate::server::Body;
use crate::status::{ApiError, Result};
#[derive(Default)]
pub(crate) struct OpenApi {}
pub(crate) fn v2(_: &Call) -> Result<Response<Body>> { Err(ApiError::no_such_path()) }
pub(crate) fn v3_index(_: &Call) -> Result<Response<Body>> { Err(ApiError::no_such_path()) }
pub(crate) fn v3(_: &Call, _: &str) -> Result<Response<Body>> { Err(ApiError::no_such_path()) }
/// The description of a message's field.
pub(crate) fn describe(_message: &str, _field: &str) -> Option<&'static str> { None }
