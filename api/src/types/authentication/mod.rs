//! `authentication.k8s.io/v1`: TokenRequest.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::tree::Value;
use crate::types::fields::{Fields, Fill};

const SECONDS: i64 = 3600;
const SECONDS_MIN: i64 = 600;

pub fn default_token_request(request: &mut Value) {
    request.message("spec").fill_absent("expirationSeconds", SECONDS);
}

pub fn validate_token_request(request: &Value, errs: &mut ErrorList) {
    let path = Path::new("spec");
    let (seconds, at) = (request["spec"].int("expirationSeconds"), path.child("expirationSeconds"));
    if seconds < SECONDS_MIN {
        errs.push(FieldError::invalid(&at, seconds, "may not specify a duration less than 10 minutes"));
    }
    if seconds > 1 << 32 {
        errs.push(FieldError::invalid(&at, seconds, "may not specify a duration larger than 2^32 seconds"));
    }
}
