//! Who sends a request.

use std::fmt;

pub const SYSTEM_MASTERS: &str = "system:masters";
pub const SYSTEM_AUTHENTICATED: &str = "system:authenticated";
pub const SYSTEM_UNAUTHENTICATED: &str = "system:unauthenticated";
pub const SYSTEM_ANONYMOUS: &str = "system:anonymous";
pub const SYSTEM_NODES: &str = "system:nodes";
pub const SYSTEM_NODE_PREFIX: &str = "system:node:";
pub const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";
pub const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";

/// An authenticated user, as authorization, admission and audit see it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Identity {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    /// Further facts by key, in order.
    pub extra: Vec<(String, Vec<String>)>,
}

/// Names and groups only: extra may hold what a credential said.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("name", &self.name).field("groups", &self.groups).finish()
    }
}

impl Identity {
    /// A user with its groups; `system:authenticated` is added.
    pub fn user<S: Into<String>>(name: impl Into<String>, groups: impl IntoIterator<Item = S>) -> Identity {
        let mut groups: Vec<String> = groups.into_iter().map(Into::into).collect();
        if !groups.iter().any(|g| g == SYSTEM_AUTHENTICATED) {
            groups.push(SYSTEM_AUTHENTICATED.into());
        }
        Identity { name: name.into(), uid: String::new(), groups, extra: Vec::new() }
    }

    /// The identity that a service account's token gives.
    pub fn service_account(namespace: &str, name: &str) -> Identity {
        Identity::user(
            format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}"),
            [SERVICE_ACCOUNTS.to_owned(), format!("{SERVICE_ACCOUNTS}:{namespace}")],
        )
    }

    pub fn anonymous() -> Identity {
        Identity {
            name: SYSTEM_ANONYMOUS.into(),
            uid: String::new(),
            groups: vec![SYSTEM_UNAUTHENTICATED.into()],
            extra: Vec::new(),
        }
    }

    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// The node's name when this is a kubelet's identity.
    pub fn node_name(&self) -> Option<&str> {
        self.in_group(SYSTEM_NODES).then(|| self.name.strip_prefix(SYSTEM_NODE_PREFIX)).flatten()
    }

    pub fn is_service_account(&self) -> bool {
        self.name.starts_with(SERVICE_ACCOUNT_PREFIX)
    }
}
