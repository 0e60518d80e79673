//! Public keys of tokens as others read them (RFC 7517).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// The key's id, as upstream derives it: SHA-256 of the DER form.
pub(super) fn key_id(der: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(der))
}

pub(super) fn jwk(id: &str, der: &[u8]) -> Option<serde_json::Value> {
    let (_, info) = SubjectPublicKeyInfo::from_der(der).ok()?;
    let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    match info.parsed().ok()? {
        PublicKey::RSA(rsa) => {
            let trim = |b: &[u8]| b64(&b[b.iter().take_while(|x| **x == 0).count()..]);
            Some(serde_json::json!({
                "use": "sig", "kty": "RSA", "kid": id, "alg": "RS256", "n": trim(rsa.modulus), "e": trim(rsa.exponent),
            }))
        }
        PublicKey::EC(point) => {
            // An uncompressed P-256 point: 4, x, y.
            let (x, y) = (point.data().get(1..33)?, point.data().get(33..65)?);
            Some(serde_json::json!({
                "use": "sig", "kty": "EC", "kid": id, "crv": "P-256", "alg": "ES256", "x": b64(x), "y": b64(y),
            }))
        }
        _ => None,
    }
}
