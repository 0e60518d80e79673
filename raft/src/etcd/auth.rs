//! etcd's users and roles, which are not kept here: mutual TLS is this store's authentication.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::pb::etcdserverpb as pb;
use super::{Backend, header_now};

/// What every call answers that would need users or roles.
const NOT_KEPT: &str = "etcdserver: there are no users and roles: mutual TLS is this store's authentication, and a client's certificate says what it may do (trireme pki client)";

/// A client that is given a user's name and a password asks for a token first. On etcd's own words
/// for "not enabled" it goes on without one.
const NOT_ENABLED: &str = "etcdserver: authentication is not enabled";

pub(super) struct AuthService(pub(super) Arc<dyn Backend>);

macro_rules! not_kept {
    ($($method:ident($request:ident) -> $response:ident;)*) => {
        #[tonic::async_trait]
        impl pb::auth_server::Auth for AuthService {
            async fn auth_status(
                &self,
                _: Request<pb::AuthStatusRequest>,
            ) -> Result<Response<pb::AuthStatusResponse>, Status> {
                Ok(Response::new(pb::AuthStatusResponse {
                    header: Some(header_now(&*self.0)),
                    enabled: false,
                    auth_revision: 0,
                }))
            }

            async fn authenticate(
                &self,
                _: Request<pb::AuthenticateRequest>,
            ) -> Result<Response<pb::AuthenticateResponse>, Status> {
                Err(Status::failed_precondition(NOT_ENABLED))
            }

            $(
                async fn $method(
                    &self,
                    _: Request<pb::$request>,
                ) -> Result<Response<pb::$response>, Status> {
                    Err(Status::failed_precondition(NOT_KEPT))
                }
            )*
        }
    };
}

not_kept! {
    auth_enable(AuthEnableRequest) -> AuthEnableResponse;
    auth_disable(AuthDisableRequest) -> AuthDisableResponse;
    user_add(AuthUserAddRequest) -> AuthUserAddResponse;
    user_get(AuthUserGetRequest) -> AuthUserGetResponse;
    user_list(AuthUserListRequest) -> AuthUserListResponse;
    user_delete(AuthUserDeleteRequest) -> AuthUserDeleteResponse;
    user_change_password(AuthUserChangePasswordRequest) -> AuthUserChangePasswordResponse;
    user_grant_role(AuthUserGrantRoleRequest) -> AuthUserGrantRoleResponse;
    user_revoke_role(AuthUserRevokeRoleRequest) -> AuthUserRevokeRoleResponse;
    role_add(AuthRoleAddRequest) -> AuthRoleAddResponse;
    role_get(AuthRoleGetRequest) -> AuthRoleGetResponse;
    role_list(AuthRoleListRequest) -> AuthRoleListResponse;
    role_delete(AuthRoleDeleteRequest) -> AuthRoleDeleteResponse;
    role_grant_permission(AuthRoleGrantPermissionRequest) -> AuthRoleGrantPermissionResponse;
    role_revoke_permission(AuthRoleRevokePermissionRequest) -> AuthRoleRevokePermissionResponse;
}
