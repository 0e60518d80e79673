//! As whom this program's components call the API server of their own process.

use std::sync::Arc;

use trireme_apiserver::{InProcess, Server};

/// The program that does the user's work upstream: tools look for its name among field owners.
fn program(user: &str) -> &'static str {
    match user {
        "system:kube-scheduler" => "kube-scheduler",
        _ => "kube-controller-manager",
    }
}

/// Calls `server` as `user`: a component's name or `system:serviceaccount:<namespace>:<name>`.
pub(crate) fn in_process(server: Server, user: &str) -> Arc<InProcess> {
    InProcess::new(server, user, &[], &format!("{}/{}", program(user), env!("CARGO_PKG_VERSION")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_owned_by_upstreams_programs() {
        assert_eq!(program(trireme_controllers::scheduler::USER), "kube-scheduler");
        assert_eq!(
            program("system:serviceaccount:kube-system:deployment-controller"),
            "kube-controller-manager"
        );
    }
}
