//! `core/v1.Secret`: types with keys of their own.

use base64::Engine;

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::core::config_map::{DATA_BYTES_MAX, decoded, validate_frozen};
use crate::types::fields::{Fields, Fill, IMMUTABLE, invalid_each};
use crate::types::format;
use crate::types::meta::object_meta::{self, Scope};

const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";

pub fn default(secret: &mut Value) {
    secret.fill_zero("type", "Opaque");
    fold_string_data(secret);
}

/// `stringData` is write-only: it goes into `data`, over what is there.
fn fold_string_data(secret: &mut Value) {
    let Some(plain) = secret.drop_field("stringData") else { return };
    if plain.members().is_empty() {
        return;
    }
    let data = secret.message("data").make(&[]);
    for (key, value) in plain.members() {
        let encoded = base64::engine::general_purpose::STANDARD.encode(value.str_or_empty());
        data.insert(key.clone(), encoded);
    }
}

pub fn validate(secret: &Value, errs: &mut ErrorList) {
    object_meta::validate(&secret["metadata"], Scope::Namespaced, NameRule::DnsSubdomain, errs);
    let (data, path) = (&secret["data"], Path::new("data"));
    let mut size = 0;
    for (key, value) in data.members() {
        invalid_each(errs, &path.key(key), key, format::config_key(key));
        size += decoded(value).len();
    }
    if size > DATA_BYTES_MAX {
        errs.push(FieldError::too_long(&path, DATA_BYTES_MAX));
    }
    let mut required = |keys: &[&str]| {
        for key in keys.iter().filter(|k| data.get(k).is_none()) {
            errs.push(FieldError::required(&path.key(key), ""));
        }
    };
    match secret.text("type") {
        "kubernetes.io/service-account-token"
            if secret["metadata"]["annotations"].text(ACCOUNT_NAME).is_empty() =>
        {
            let metadata = Path::new("metadata");
            errs.push(FieldError::required(&metadata.child("annotations").key(ACCOUNT_NAME), ""));
        }
        "kubernetes.io/dockercfg" => validate_docker_config(data, ".dockercfg", &path, errs),
        "kubernetes.io/dockerconfigjson" => validate_docker_config(data, ".dockerconfigjson", &path, errs),
        "kubernetes.io/basic-auth" if data.get("username").is_none() && data.get("password").is_none() => {
            required(&["username", "password"]);
        }
        "kubernetes.io/ssh-auth" if data.text("ssh-privatekey").is_empty() => {
            errs.push(FieldError::required(&path.key("ssh-privatekey"), ""));
        }
        "kubernetes.io/tls" => required(&["tls.crt", "tls.key"]),
        _ => {}
    }
}

/// The content must be a JSON object; it is not shown.
fn validate_docker_config(data: &Value, key: &str, path: &Path<'_>, errs: &mut ErrorList) {
    let Some(content) = data.get(key).map(decoded) else {
        errs.push(FieldError::required(&path.key(key), ""));
        return;
    };
    if let Some(message) = json_error(&content) {
        errs.push(FieldError::invalid(&path.key(key), "<secret contents redacted>", message));
    }
}

/// Why Go would not read the bytes as a JSON object.
fn json_error(content: &[u8]) -> Option<String> {
    match serde_json::from_slice::<serde_json::Value>(content) {
        Ok(serde_json::Value::Object(_) | serde_json::Value::Null) => None,
        Ok(other) => {
            let found = match other {
                serde_json::Value::String(_) => "string",
                serde_json::Value::Bool(_) => "bool",
                serde_json::Value::Array(_) => "array",
                _ => "number",
            };
            Some(format!("json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"))
        }
        Err(e) if e.is_eof() => Some("unexpected end of JSON input".to_owned()),
        Err(e) => {
            // serde_json counts columns from 1 and names the place after the character.
            let text = String::from_utf8_lossy(content);
            let line = text.lines().nth(e.line().saturating_sub(1)).unwrap_or("");
            let found = line.chars().nth(e.column().saturating_sub(1)).unwrap_or('\u{fffd}');
            Some(format!("invalid character '{found}' looking for beginning of value"))
        }
    }
}

pub fn validate_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    if new.text("type") != old.text("type") {
        errs.push(FieldError::invalid(&Path::new("type"), new.text("type"), IMMUTABLE));
    }
    validate_frozen(new, old, &["data"], errs);
    validate(new, errs);
}
