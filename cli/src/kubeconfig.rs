//! Writes a kubeconfig with everything inside it.

use std::path::Path;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::pki::{LeafFile, Pki, write_private};

/// One cluster, one user, one context, named `trireme`. `server` is a URL.
pub(crate) fn write(path: &Path, server: &str, pki: &Pki, user: &LeafFile<'_>) -> Result<()> {
    let (certificate, key) = user.files.read()?;
    let text = format!(
        "apiVersion: v1\n\
         kind: Config\n\
         clusters:\n\
         - name: trireme\n\
         \x20 cluster:\n\
         \x20   server: {server}\n\
         \x20   certificate-authority-data: {ca}\n\
         users:\n\
         - name: admin\n\
         \x20 user:\n\
         \x20   client-certificate-data: {cert}\n\
         \x20   client-key-data: {key}\n\
         contexts:\n\
         - name: trireme\n\
         \x20 context:\n\
         \x20   cluster: trireme\n\
         \x20   user: admin\n\
         current-context: trireme\n",
        ca = STANDARD.encode(pki.ca.certificate_pem()),
        cert = STANDARD.encode(certificate),
        key = STANDARD.encode(key),
    );
    write_private(path, text.as_bytes())
}
