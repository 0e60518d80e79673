//! CertificateSigningRequest.

use crate::kinds::Through;
use crate::kinds::{Kind, Rules, Served, Subresource, selectable};
use crate::types::certificates;
use crate::types::errors;

const RULES: Rules = Rules {
    validate: |o| errors(|e| certificates::validate(o, e)),
    validate_update: |new, old| errors(|e| certificates::validate_update(new, old, e)),
    validate_status: |new, old| errors(|e| certificates::validate_status(new, old, e)),
    ..Rules::generic(true, false)
};

pub(in crate::kinds) const APPROVAL: Through = Through {
    prepare: certificates::prepare_approval,
    validate: |new, old| errors(|e| certificates::validate_approval(new, old, e)),
};

pub static KIND: Kind = Kind {
    group: "certificates.k8s.io",
    kind: "CertificateSigningRequest",
    plural: "certificatesigningrequests",
    singular: "certificatesigningrequest",
    short_names: &["csr"],
    namespaced: false,
    storage_prefix: "/registry/certificatesigningrequests",
    versions: &[Served {
        group: "certificates.k8s.io",
        version: "v1",
        message: "certificates/v1.CertificateSigningRequest",
        ..Served::HUB
    }],
    subresources: &[
        Subresource {
            name: "approval",
            kind: "CertificateSigningRequest",
            group_version: None,
            verbs: &["get", "patch", "update"],
        },
        Subresource::status("CertificateSigningRequest"),
    ],
    selectable: &[("spec.signerName", |o| selectable::text(o, &["spec", "signerName"]))],
    rules: RULES,
    ..Kind::ROW
};
