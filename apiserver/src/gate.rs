//! Machines that come to the cluster with a token, before they have any certificate.

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Method, Response, header};

use crate::filters::Call;
use crate::server::Body;
use crate::status::{ApiError, Result};

/// Where a machine shows its token: `POST`, with it as bearer token.
pub const JOIN_PATH: &str = "/trireme/v1/join";

/// Decides who comes in, and gives them what they need.
#[async_trait]
pub trait Gate: Send + Sync + 'static {
    /// A document for the bearer of `token`, which this crate does not read. It is secret.
    ///
    /// # Errors
    /// [`ApiError::unauthorized`] for a token that is wrong or has run out.
    async fn admit(&self, token: &str) -> std::result::Result<Bytes, ApiError>;
}

/// Answers whoever comes to [`JOIN_PATH`].
pub(crate) async fn serve(call: &Call) -> Result<Response<Body>> {
    let Some(gate) = call.core.gate.get() else { return Err(ApiError::no_such_path()) };
    if call.method != Method::POST {
        return Err(ApiError::method_not_allowed());
    }
    let token = call.header("authorization").strip_prefix("Bearer ").map(str::trim).unwrap_or_default();
    if token.is_empty() {
        return Err(ApiError::unauthorized());
    }
    let document = gate.admit(token).await?;
    let mut response = Response::new(Body::Full(document));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
