//! Discovery: what is served, from the table of kinds.

use http::{Response, StatusCode};
use parking_lot::Mutex;
use std::collections::HashMap;

use crate::filters::Call;
use crate::server::Body;
use crate::status::{ApiError, Result};

#[derive(Default)]
pub(crate) struct Discovery {
    documents: Mutex<HashMap<String, bytes::Bytes>>,
}

pub(crate) fn api(_: &Call) -> Result<Response<Body>> { Err(ApiError::no_such_path()) }
pub(crate) fn apis(_: &Call) -> Result<Response<Body>> { Err(ApiError::no_such_path()) }
pub(crate) fn group(_: &Call, _: &str) -> Result<Response<Body>> { Err(ApiError::no_such_path()) }
pub(crate) fn resources(_: &Call, _: &str, _: &str) -> Result<Response<Body>> { Err(ApiError::no_such_path()) }
