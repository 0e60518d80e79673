//! `core/v1.ConfigMap`, and what it shares with Secret: keys, size, immutability.

use base64::Engine;

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::fields::{Fields, invalid_each, same};
use crate::types::format;
use crate::types::meta::object_meta::{self, Scope};

/// All values together, in bytes.
pub const DATA_BYTES_MAX: usize = 1024 * 1024;
const FROZEN: &str = "field is immutable when `immutable` is set";

/// The bytes that a base64 field stands for; what is not base64 was refused by the codec.
pub fn decoded(value: &Value) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(value.str_or_empty()).unwrap_or_default()
}

pub fn validate(map: &Value, errs: &mut ErrorList) {
    object_meta::validate(&map["metadata"], Scope::Namespaced, NameRule::DnsSubdomain, errs);
    let mut size = 0;
    let path = Path::new("data");
    for (key, value) in map.pairs("data") {
        invalid_each(errs, &path.key(key), key, format::config_key(key));
        if map["binaryData"].get(key).is_some() {
            errs.push(FieldError::invalid(&path.key(key), &**key, "duplicate of key present in binaryData"));
        }
        size += value.str_or_empty().len();
    }
    let path = Path::new("binaryData");
    for (key, value) in map.pairs("binaryData") {
        invalid_each(errs, &path.key(key), key, format::config_key(key));
        size += decoded(value).len();
    }
    if size > DATA_BYTES_MAX {
        // No field: the whole object is too large.
        errs.push(FieldError::too_long(&Path::new("[]"), DATA_BYTES_MAX));
    }
}

pub fn validate_update(new: &Value, old: &Value, errs: &mut ErrorList) {
    object_meta::validate_update(&new["metadata"], &old["metadata"], errs);
    validate_frozen(new, old, &["data", "binaryData"], errs);
    validate(new, errs);
}

/// What `immutable: true` froze.
pub fn validate_frozen(new: &Value, old: &Value, fields: &[&str], errs: &mut ErrorList) {
    if !old.flag("immutable") {
        return;
    }
    if !new.flag("immutable") {
        errs.push(FieldError::forbidden(&Path::new("immutable"), FROZEN));
    }
    for field in fields {
        if !same(&new[*field], &old[*field]) {
            errs.push(FieldError::forbidden(&Path::new(field), FROZEN));
        }
    }
}
