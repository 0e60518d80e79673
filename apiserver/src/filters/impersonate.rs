//! Acting as somebody else, where RBAC allows it.

use super::{Call, percent_decode};
use crate::authz::{self, Attributes};
use crate::identity::{
    Identity, SERVICE_ACCOUNT_PREFIX, SERVICE_ACCOUNTS, SYSTEM_ANONYMOUS, SYSTEM_AUTHENTICATED,
    SYSTEM_UNAUTHENTICATED,
};
use crate::status::{ApiError, Result};

const EXTRA_PREFIX: &str = "impersonate-extra-";

/// The identity the request asks to act as; `None` when it does not ask.
pub(super) fn impersonate(call: &Call) -> Result<Option<Identity>> {
    let user = call.header("impersonate-user");
    let groups: Vec<&str> =
        call.headers.get_all("impersonate-group").iter().filter_map(|v| v.to_str().ok()).collect();
    let uid = call.header("impersonate-uid");
    let mut extra: Vec<(String, Vec<String>)> = Vec::new();
    for (name, value) in &call.headers {
        if let Some(key) = name.as_str().strip_prefix(EXTRA_PREFIX) {
            let (key, value) = (percent_decode(key, false), value.to_str().unwrap_or_default().to_owned());
            match extra.iter_mut().find(|(k, _)| *k == key) {
                Some((_, values)) => values.push(value),
                None => extra.push((key, vec![value])),
            }
        }
    }
    if user.is_empty() {
        if groups.is_empty() && uid.is_empty() && extra.is_empty() {
            return Ok(None);
        }
        return Err(ApiError::internal("requested impersonation without impersonating a user"));
    }

    let check = |group: &str, resource: &str, namespace: &str, name: &str| {
        let a = Attributes::resource("impersonate", group, resource, namespace, name);
        authz::require(&call.core, &call.user, &a)
    };
    let account = user.strip_prefix(SERVICE_ACCOUNT_PREFIX).and_then(|rest| rest.split_once(':'));
    match account {
        Some((namespace, name)) => check("", "serviceaccounts", namespace, name)?,
        None => check("", "users", "", user)?,
    }
    for group in &groups {
        check("", "groups", "", group)?;
    }
    for (key, values) in &extra {
        for value in values {
            check("authentication.k8s.io", &format!("userextras/{key}"), "", value)?;
        }
    }
    if !uid.is_empty() {
        check("authentication.k8s.io", "uids", "", uid)?;
    }

    let mut groups: Vec<String> = groups.into_iter().map(str::to_owned).collect();
    if groups.is_empty()
        && let Some((namespace, _)) = account
    {
        groups.extend([SERVICE_ACCOUNTS.to_owned(), format!("{SERVICE_ACCOUNTS}:{namespace}")]);
    }
    let everyone = if user == SYSTEM_ANONYMOUS { SYSTEM_UNAUTHENTICATED } else { SYSTEM_AUTHENTICATED };
    if !groups.iter().any(|g| g == SYSTEM_AUTHENTICATED || g == SYSTEM_UNAUTHENTICATED) {
        groups.push(everyone.into());
    }
    Ok(Some(Identity { name: user.to_owned(), uid: uid.to_owned(), groups, extra }))
}
