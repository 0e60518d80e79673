//! ServiceAccount: every pod runs as an account of its namespace and gets a token for it.

use super::Refused;
use crate::tree::Value;
use crate::types::core::pod::MIRROR;
use crate::types::fields::{Fields, Fill};
use crate::value;

pub const DEFAULT_ACCOUNT: &str = "default";
const TOKEN_MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
pub const TOKEN_VOLUME_PREFIX: &str = "kube-api-access-";
/// An hour, and enough to tell these tokens from those that ask for an hour.
const TOKEN_SECONDS: i64 = 3607;
/// 0644
const FILE_MODE: i64 = 0o644;

/// The account to look up for a pod.
pub fn account_name(pod: &Value) -> &str {
    match pod["spec"].text("serviceAccountName") {
        "" => DEFAULT_ACCOUNT,
        name => name,
    }
}

/// Admits a new pod. `account` is the account of [`account_name`], `volume_name` a fresh name
/// with [`TOKEN_VOLUME_PREFIX`] for the token's volume, used where one is needed.
///
/// # Errors
/// The account does not exist, or a mirror pod uses one.
pub fn admit(pod: &mut Value, account: Option<&Value>, volume_name: &str) -> Result<(), Refused> {
    if pod["metadata"]["annotations"].has(MIRROR) {
        return check_mirror(pod);
    }
    let name = account_name(pod).to_owned();
    let Some(account) = account else {
        let namespace = pod["metadata"].text("namespace");
        return Err(Refused(format!(
            "error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found"
        )));
    };
    let spec = pod.message("spec");
    spec.put("serviceAccountName", name.as_str());
    spec.put("serviceAccount", name);
    let mounts =
        spec.opt_flag("automountServiceAccountToken").or(account.opt_flag("automountServiceAccountToken"));
    if mounts.unwrap_or(true) {
        mount_token(spec, volume_name);
    }
    if spec.list("imagePullSecrets").is_empty() && !account.list("imagePullSecrets").is_empty() {
        spec.put("imagePullSecrets", account["imagePullSecrets"].clone());
    }
    Ok(())
}

fn check_mirror(pod: &Value) -> Result<(), Refused> {
    let refuse = |what: &str| Err(Refused(format!("a mirror pod may not {what}")));
    if !pod["spec"].text("serviceAccountName").is_empty() {
        return refuse("reference service accounts");
    }
    for v in pod["spec"].list("volumes") {
        if v.has("secret") {
            return refuse("reference secrets");
        }
        if v["projected"].list("sources").iter().any(|s| s.has("serviceAccountToken")) {
            return refuse("reference service account token volumes");
        }
    }
    Ok(())
}

fn mount_token(spec: &mut Value, volume_name: &str) {
    let existing = spec
        .list("volumes")
        .iter()
        .find(|v| v.text("name").starts_with(TOKEN_VOLUME_PREFIX))
        .map(|v| v.text("name").to_owned());
    let name = existing.clone().unwrap_or_else(|| volume_name.to_owned());
    let mut needed = false;
    for field in ["initContainers", "containers"] {
        spec.each(field, |c| {
            if c.list("volumeMounts").iter().any(|m| m.text("mountPath") == TOKEN_MOUNT) {
                return;
            }
            needed = true;
            let mut mounts = c.list("volumeMounts").to_vec();
            mounts.push(value!({"name": name.as_str(), "readOnly": true, "mountPath": TOKEN_MOUNT}));
            c.put("volumeMounts", Value::Array(mounts));
        });
    }
    if needed && existing.is_none() {
        let mut volumes = spec.list("volumes").to_vec();
        volumes.push(token_volume(volume_name));
        spec.put("volumes", Value::Array(volumes));
    }
}

fn token_volume(name: &str) -> Value {
    value!({
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [
                    {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
                ]}},
            ],
            "defaultMode": FILE_MODE,
        },
    })
}
