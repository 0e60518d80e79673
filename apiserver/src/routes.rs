//! Which handler answers a path.

use http::{Method, Response, StatusCode};
use trireme_api::value;

use crate::filters::Call;
use crate::negotiate::{self, respond, text};
use crate::server::Body;
use crate::status::{ApiError, Result};
use crate::wire::{self, Format};
use crate::{discovery, health, metrics, openapi, registry};

/// The version this server says it is: the API of that upstream version, by us.
pub(crate) const GIT_VERSION: &str = "v1.36.2+trireme";

pub(crate) async fn dispatch(call: &Call) -> Result<Response<Body>> {
    let parts: Vec<&str> = call.info.path.trim_matches('/').split('/').collect();
    if call.info.is_resource {
        return registry::dispatch(call).await;
    }
    if !matches!(call.method, Method::GET | Method::HEAD) {
        return if is_known(&parts) { Err(ApiError::method_not_allowed()) } else { Ok(page_not_found()) };
    }
    let core = &call.core;
    match parts.as_slice() {
        ["healthz" | "livez" | "readyz", ..] => Ok(health(call, parts[0])),
        ["version"] => Ok(version()),
        ["metrics"] => Ok(text(StatusCode::OK, metrics::render(core))),
        ["api"] => discovery::api(call),
        ["api", "v1"] => discovery::resources(call, "", "v1"),
        ["apis"] => discovery::apis(call),
        ["apis", group] => discovery::group(call, group),
        ["apis", group, version] => discovery::resources(call, group, version),
        ["openapi", "v2"] => openapi::v2(call),
        ["openapi", "v3"] => openapi::v3_index(call),
        ["openapi", "v3", path @ ..] => openapi::v3(call, &path.join("/")),
        [".well-known", "openid-configuration"] => Ok(openid_configuration(call)),
        ["openid", "v1", "jwks"] => {
            let keys = core.tokens.jwks().to_string();
            Ok(negotiate::respond_body(StatusCode::OK, "application/jwk-set+json", Body::Full(keys.into())))
        }
        [""] => Ok(paths()),
        _ => Ok(page_not_found()),
    }
}

fn is_known(parts: &[&str]) -> bool {
    matches!(
        parts.first(),
        Some(&("healthz" | "livez" | "readyz" | "version" | "metrics" | "api" | "apis" | "openapi"))
    )
}

/// What is not served and looks like nothing that is.
pub(crate) fn page_not_found() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

fn health(call: &Call, endpoint: &str) -> Response<Body> {
    let check = call.info.path.trim_matches('/').split_once('/').map(|(_, c)| c);
    let exclude: Vec<&str> = call.query.all("exclude").collect();
    match health::answer(&call.core, endpoint, check, call.query.get("verbose").is_some(), &exclude) {
        Some((code, body)) => {
            text(StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body)
        }
        None => page_not_found(),
    }
}

fn version() -> Response<Body> {
    let v = value!({
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }),
    });
    respond(StatusCode::OK, Format::Json, wire::encode(&v, Format::Json, true, None))
}

fn openid_configuration(call: &Call) -> Response<Body> {
    let issuer = call.core.tokens.issuer();
    let v = value!({
        "issuer": issuer,
        "jwks_uri": format!("https://{}/openid/v1/jwks", call.core.advertise),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256"],
    });
    respond(StatusCode::OK, Format::Json, wire::encode(&v, Format::Json, false, None))
}

/// `/`: every path of the top level that is served.
fn paths() -> Response<Body> {
    let mut paths: Vec<String> =
        vec!["/.well-known/openid-configuration".into(), "/api".into(), "/api/v1".into(), "/apis".into()];
    for gv in trireme_api::kinds::group_versions().iter().filter(|gv| !gv.group.is_empty()) {
        let group = format!("/apis/{}", gv.group);
        if !paths.contains(&group) {
            paths.push(group);
        }
        paths.push(format!("/apis/{}/{}", gv.group, gv.version));
    }
    for p in [
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/openid/v1/jwks",
        "/readyz",
        "/version",
    ] {
        paths.push(p.into());
    }
    paths.sort();
    let v = value!({ "paths": paths });
    respond(StatusCode::OK, Format::Json, wire::encode(&v, Format::Json, true, None))
}
