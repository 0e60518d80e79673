//! Authentication: who sends a request, from its certificate or its token.

mod jwks;
mod tokens;

use std::collections::HashMap;
use std::time::Instant;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

pub(crate) use tokens::{Audience, Bound, BoundObject, Claims, Tokens};

use crate::identity::Identity;
use crate::limits;
use crate::server::Core;
use crate::server::listener::Peer;
use crate::status::ApiError;

/// Tokens that were found good lately: verifying a signature costs more than most requests.
#[derive(Default)]
pub(crate) struct TokenMemory(Mutex<HashMap<[u8; 32], (Identity, Instant)>>);

impl TokenMemory {
    fn get(&self, key: &[u8; 32]) -> Option<Identity> {
        let memory = self.0.lock();
        let (identity, since) = memory.get(key)?;
        (since.elapsed() < limits::TOKEN_CACHE_TTL).then(|| identity.clone())
    }
    fn put(&self, key: [u8; 32], identity: Identity) {
        let mut memory = self.0.lock();
        if memory.len() >= limits::TOKEN_CACHE_ENTRIES_MAX {
            memory.clear();
        }
        memory.insert(key, (identity, Instant::now()));
    }
}

/// Who sends this: by client certificate, by bearer token, or nobody known. A credential that is
/// wrong is refused, never taken for none.
pub(crate) async fn authenticate(
    core: &Core,
    peer: &Peer,
    headers: &http::HeaderMap,
) -> Result<Identity, ApiError> {
    if let Some(identity) = core.tls.identify(&peer.certificates).map_err(|_| ApiError::unauthorized())? {
        return Ok(identity);
    }
    let Some(header) = headers.get(http::header::AUTHORIZATION) else { return Ok(Identity::anonymous()) };
    let token = header.to_str().ok().and_then(|h| {
        let (scheme, token) = h.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    match token {
        Some(token) if !token.is_empty() => token_identity(core, token, &[]).await.map_err(|error| {
            tracing::debug!(%error, "bearer token refused");
            ApiError::unauthorized()
        }),
        // Another scheme than bearer is nobody's: it reaches authorization as anonymous.
        _ => Ok(Identity::anonymous()),
    }
}

/// The identity a token stands for. `audiences` empty: this server's own.
pub(crate) async fn token_identity(
    core: &Core,
    token: &str,
    audiences: &[String],
) -> Result<Identity, TokenError> {
    let key: [u8; 32] = Sha256::digest(token.as_bytes()).into();
    if audiences.is_empty()
        && let Some(identity) = core.token_memory.get(&key)
    {
        return Ok(identity);
    }
    let claims = core.tokens.verify(token, audiences)?;
    let identity = tokens::check_bound(core, &claims).await?;
    if audiences.is_empty() {
        core.token_memory.put(key, identity.clone());
    }
    Ok(identity)
}

/// Why a token is not good.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("not a token this server can read: {0}")]
    Malformed(String),
    #[error("no key of this server verifies the token")]
    UnknownKey,
    #[error("the token is not for this audience")]
    Audience,
    #[error("what the token is bound to is gone: {0}")]
    Gone(String),
}
