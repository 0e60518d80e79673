//! CertificateSigningRequest.

use crate::kinds::{selectable, Kind, Rules, Served, Subresource};

const RULES: Rules = Rules::generic(true, false);

pub static KIND: Kind = Kind {
    group: "certificates.k8s.io",
    kind: "CertificateSigningRequest",
    plural: "certificatesigningrequests",
    singular: "certificatesigningrequest",
    short_names: &["csr"],
    namespaced: false,
    storage_prefix: "/registry/certificatesigningrequests",
    versions: &[Served { group: "certificates.k8s.io", version: "v1", message: "certificates/v1.CertificateSigningRequest", ..Served::HUB }],
    subresources: &[
        Subresource {
            name: "approval",
            kind: "CertificateSigningRequest",
            group_version: None,
            verbs: &["get", "patch", "update"],
        },
        Subresource::status("CertificateSigningRequest"),
    ],
    selectable: &[
        ("spec.signerName", |o| selectable::text(o, &["spec", "signerName"])),
    ],
    rules: RULES,
    ..Kind::ROW
};
