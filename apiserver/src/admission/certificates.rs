//! Certificate requests: who asks is the server's word, and approving or signing for a signer
//! needs that signer's permission.

use trireme_api::tree::Map;
use trireme_api::{Key, Value};

use super::{Operation, Request};
use crate::authz::{self, Attributes};
use crate::status::Result;

const GROUP: &str = "certificates.k8s.io";

/// The requester's identity in a new CertificateSigningRequest.
pub(super) fn fill_requester(request: &Request<'_>, value: &mut Value) {
    if !request.creates(GROUP, "certificatesigningrequests") {
        return;
    }
    let user = &request.call.user;
    let spec = value.make(&["spec"]);
    for key in ["username", "uid", "groups", "extra"] {
        spec.remove(key);
    }
    spec.set("username", user.name.as_str());
    if !user.uid.is_empty() {
        spec.set("uid", user.uid.as_str());
    }
    spec.set("groups", user.groups.clone());
    if !user.extra.is_empty() {
        let extra: Map =
            user.extra.iter().map(|(k, v)| (Key::from(k.as_str()), Value::from(v.clone()))).collect();
        spec.set("extra", extra);
    }
}

pub(super) fn check(request: &Request<'_>, new: &Value, old: Option<&Value>) -> Result<()> {
    if !request.is(GROUP, "certificatesigningrequests") {
        return Ok(());
    }
    let signer = new["spec"]["signerName"].str_or_empty();
    let verb = match (request.operation, request.subresource()) {
        (Operation::Update, "approval") => "approve",
        (Operation::Update, "status")
            if old.is_some_and(|o| o["status"]["certificate"] != new["status"]["certificate"]) =>
        {
            "sign"
        }
        (Operation::Create, "") => return no_masters(request, new, signer),
        _ => return Ok(()),
    };
    let allowed = |name: &str| {
        let attributes = Attributes::resource(verb, GROUP, "signers", "", name);
        authz::authorize(request.core(), &request.call.user, &attributes).allowed
    };
    let domain = signer.split('/').next().unwrap_or("");
    if allowed(signer) || allowed(&format!("{domain}/*")) {
        return Ok(());
    }
    Err(request.refuse(format!("user not permitted to {verb} requests with signerName {signer:?}")))
}

/// CertificateSubjectRestriction: no client certificate for `system:masters` this way.
fn no_masters(request: &Request<'_>, new: &Value, signer: &str) -> Result<()> {
    use base64::Engine;
    use x509_parser::prelude::FromDer;
    if signer != "kubernetes.io/kube-apiserver-client" {
        return Ok(());
    }
    let pem = base64::engine::general_purpose::STANDARD
        .decode(new["spec"]["request"].str_or_empty())
        .unwrap_or_default();
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(&pem) else { return Ok(()) };
    let Ok((_, csr)) = x509_parser::certification_request::X509CertificationRequest::from_der(&pem.contents)
    else {
        return Ok(());
    };
    let subject = &csr.certification_request_info.subject;
    let masters =
        subject.iter_organization().any(|o| o.as_str().is_ok_and(|o| o == crate::identity::SYSTEM_MASTERS));
    if masters {
        return Err(request.refuse(format!(
            "use of {signer} signer with {} group is not allowed",
            crate::identity::SYSTEM_MASTERS
        )));
    }
    Ok(())
}
