//! Service-account tokens: made, verified, and checked against what they are bound to.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use trireme_api::Object;

use super::{TokenError, jwks};
use crate::config::{Error, ServiceAccountKeys};
use crate::identity::{Identity, SERVICE_ACCOUNT_PREFIX};
use crate::server::Core;

/// What a token says, in upstream's form.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Claims {
    #[serde(default)]
    pub(crate) aud: Audience,
    pub(crate) exp: i64,
    pub(crate) iat: i64,
    pub(crate) iss: String,
    pub(crate) jti: String,
    #[serde(rename = "kubernetes.io")]
    pub(crate) kubernetes: Bound,
    pub(crate) nbf: i64,
    pub(crate) sub: String,
}

/// One audience or several.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "OneOrMany")]
pub(crate) struct Audience(pub(crate) Vec<String>);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl From<OneOrMany> for Audience {
    fn from(a: OneOrMany) -> Audience {
        Audience(match a {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        })
    }
}

/// What the token stands and falls with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Bound {
    pub(crate) namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<BoundObject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<BoundObject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<BoundObject>,
    pub(crate) serviceaccount: BoundObject,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) warnafter: Option<i64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BoundObject {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) uid: String,
}

struct VerifyingKey {
    id: String,
    algorithm: Algorithm,
    key: DecodingKey,
    der: Vec<u8>,
}

/// The keys. No `Debug`: it holds a private key.
pub(crate) struct Tokens {
    signing: EncodingKey,
    algorithm: Algorithm,
    signing_id: String,
    verifying: Vec<VerifyingKey>,
    issuer: String,
    audiences: Vec<String>,
}

impl Tokens {
    pub(crate) fn new(keys: &ServiceAccountKeys) -> Result<Tokens, Error> {
        let (signing, algorithm) = EncodingKey::from_rsa_pem(&keys.signing_key_pem)
            .map(|k| (k, Algorithm::RS256))
            .or_else(|_| EncodingKey::from_ec_pem(&keys.signing_key_pem).map(|k| (k, Algorithm::ES256)))
            .map_err(|e| {
                Error::Keys(format!("the signing key is neither an RSA nor an EC P-256 key in PEM: {e}"))
            })?;
        let mut verifying = Vec::new();
        for pem in &keys.verifying_keys_pem {
            let der = SubjectPublicKeyInfoDer::from_pem_slice(pem)
                .map_err(|e| Error::Keys(format!("a verifying key is not a PEM public key: {e}")))?;
            let rsa = DecodingKey::from_rsa_pem(pem).map(|k| (k, Algorithm::RS256));
            let (key, algorithm) = rsa
                .or_else(|_| DecodingKey::from_ec_pem(pem).map(|k| (k, Algorithm::ES256)))
                .map_err(|e| Error::Keys(format!("a verifying key is neither RSA nor EC P-256: {e}")))?;
            verifying.push(VerifyingKey { id: jwks::key_id(&der), algorithm, key, der: der.to_vec() });
        }
        let mut tokens = Tokens {
            signing,
            algorithm,
            signing_id: String::new(),
            verifying,
            issuer: keys.issuer.clone(),
            audiences: if keys.audiences.is_empty() {
                vec![keys.issuer.clone()]
            } else {
                keys.audiences.clone()
            },
        };
        tokens.signing_id = tokens.find_signing_id()?;
        Ok(tokens)
    }

    /// The id of the verifying key that belongs to the signing key.
    fn find_signing_id(&self) -> Result<String, Error> {
        let wrong = |e: jsonwebtoken::errors::Error| Error::Keys(format!("the signing key cannot sign: {e}"));
        let probe = jsonwebtoken::encode(&Header::new(self.algorithm), &serde_json::json!({}), &self.signing)
            .map_err(wrong)?;
        let mut validation = Validation::new(self.algorithm);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let fits = |k: &&VerifyingKey| {
            k.algorithm == self.algorithm
                && jsonwebtoken::decode::<serde_json::Value>(&probe, &k.key, &validation).is_ok()
        };
        match self.verifying.iter().find(fits) {
            Some(key) => Ok(key.id.clone()),
            None => Err(Error::Keys("the signing key's public key is not among the verifying keys".into())),
        }
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(crate) fn audiences(&self) -> &[String] {
        &self.audiences
    }

    pub(crate) fn sign(&self, claims: &Claims) -> Result<String, jsonwebtoken::errors::Error> {
        let mut header = Header::new(self.algorithm);
        header.typ = None;
        header.kid = Some(self.signing_id.clone());
        jsonwebtoken::encode(&header, claims, &self.signing)
    }

    /// Signature, issuer, times and audience; not yet what the token is bound to.
    pub(crate) fn verify(&self, token: &str, audiences: &[String]) -> Result<Claims, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|e| TokenError::Malformed(e.to_string()))?;
        let mut last = TokenError::UnknownKey;
        for key in &self.verifying {
            if key.algorithm != header.alg || header.kid.as_ref().is_some_and(|kid| *kid != key.id) {
                continue;
            }
            let mut validation = Validation::new(key.algorithm);
            validation.validate_aud = false;
            validation.validate_nbf = true;
            validation.leeway = 10;
            validation.set_issuer(&[&self.issuer]);
            match jsonwebtoken::decode::<Claims>(token, &key.key, &validation) {
                Ok(data) => {
                    let wanted = if audiences.is_empty() { &self.audiences } else { audiences };
                    if !data.claims.aud.0.iter().any(|a| wanted.contains(a)) {
                        return Err(TokenError::Audience);
                    }
                    return Ok(data.claims);
                }
                Err(e) => last = TokenError::Malformed(e.to_string()),
            }
        }
        Err(last)
    }

    /// `/openid/v1/jwks`.
    pub(crate) fn jwks(&self) -> serde_json::Value {
        let keys: Vec<_> = self.verifying.iter().filter_map(|k| jwks::jwk(&k.id, &k.der)).collect();
        serde_json::json!({ "keys": keys })
    }
}

/// The service account, and pod, secret or node, must still be the very ones the token was made
/// for.
pub(super) async fn check_bound(core: &Core, claims: &Claims) -> Result<Identity, TokenError> {
    let bound = &claims.kubernetes;
    let gone = |what: &str| TokenError::Gone(what.to_owned());
    let same = |object: &Object, uid: &str| uid.is_empty() || object.uid() == uid;
    let account = core
        .lookup("", "serviceaccounts", &bound.namespace, &bound.serviceaccount.name)
        .await
        .filter(|o| same(o, &bound.serviceaccount.uid) && o.deletion_timestamp().is_none())
        .ok_or_else(|| gone("service account"))?;
    if claims.sub != format!("{SERVICE_ACCOUNT_PREFIX}{}:{}", bound.namespace, bound.serviceaccount.name) {
        return Err(TokenError::Malformed("the subject is not the bound service account".into()));
    }
    let mut identity = Identity::service_account(&bound.namespace, &bound.serviceaccount.name);
    identity.uid = account.uid().to_owned();
    let mut extra = |key: &str, value: &str| {
        identity.extra.push((format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]));
    };
    extra("credential-id", &format!("JTI={}", claims.jti));
    if let Some(node) = &bound.node {
        extra("node-name", &node.name);
        extra("node-uid", &node.uid);
    }
    if let Some(pod) = &bound.pod {
        extra("pod-name", &pod.name);
        extra("pod-uid", &pod.uid);
        core.lookup("", "pods", &bound.namespace, &pod.name)
            .await
            .filter(|o| same(o, &pod.uid))
            .ok_or_else(|| gone("pod"))?;
    } else if let Some(node) = &bound.node {
        core.lookup("", "nodes", "", &node.name)
            .await
            .filter(|o| same(o, &node.uid))
            .ok_or_else(|| gone("node"))?;
    }
    if let Some(secret) = &bound.secret {
        core.lookup("", "secrets", &bound.namespace, &secret.name)
            .await
            .filter(|o| same(o, &secret.uid) && o.deletion_timestamp().is_none())
            .ok_or_else(|| gone("secret"))?;
    }
    Ok(identity)
}
