//! Certificates and a store in memory, for tests and the example.
#![allow(dead_code, unreachable_pub)]

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use trireme_apiserver::{Server, ServerConfig, ServiceAccountKeys, TlsMaterial};
use trireme_store::engine::Model;
use trireme_store::{Kv, Local, Store};

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A CA and what it signs.
pub struct Pki {
    ca_key: KeyPair,
    ca_params: CertificateParams,
    pub ca_pem: String,
    pub server: (String, String),
    pub admin: (String, String),
    pub service_account_key: KeyPair,
}

impl Pki {
    pub fn new() -> Result<Pki> {
        let ca_key = KeyPair::generate()?;
        let mut ca_params = CertificateParams::new(Vec::<String>::new())?;
        ca_params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca_params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        ca_params.distinguished_name.push(DnType::CommonName, "trireme-test-ca");
        let ca_pem = ca_params.self_signed(&ca_key)?.pem();
        let mut pki = Pki {
            ca_key,
            ca_params,
            ca_pem,
            server: Default::default(),
            admin: Default::default(),
            service_account_key: KeyPair::generate()?,
        };
        pki.server = pki.issue("kube-apiserver", None, &["127.0.0.1", "localhost", "kubernetes.default.svc"], false)?;
        pki.admin = pki.issue("admin", Some("system:masters"), &[], true)?;
        Ok(pki)
    }

    /// A certificate and its key, as PEM.
    pub fn issue(&self, name: &str, group: Option<&str>, hosts: &[&str], client: bool) -> Result<(String, String)> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(hosts.iter().map(|h| (*h).to_owned()).collect::<Vec<_>>())?;
        params.distinguished_name.push(DnType::CommonName, name);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![if client { ExtendedKeyUsagePurpose::ClientAuth } else { ExtendedKeyUsagePurpose::ServerAuth }];
        let issuer = Issuer::from_params(&self.ca_params, &self.ca_key);
        let cert = params.signed_by(&key, &issuer)?;
        Ok((cert.pem(), key.serialize_pem()))
    }

    /// Writes what a client needs into a directory.
    pub fn write(&self, dir: &Path, address: SocketAddr) -> Result<()> {
        let file = |name: &str, text: &str| write_private(&dir.join(name), text);
        file("ca.crt", &self.ca_pem)?;
        file("admin.crt", &self.admin.0)?;
        file("admin.key", &self.admin.1)?;
        let b64 = |s: &str| base64::engine::general_purpose::STANDARD.encode(s);
        let config = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: t\ncontexts:\n- name: t\n  context: {{cluster: t, user: admin}}\n\
             clusters:\n- name: t\n  cluster:\n    server: https://{address}\n    certificate-authority-data: {}\n\
             users:\n- name: admin\n  user:\n    client-certificate-data: {}\n    client-key-data: {}\n",
            b64(&self.ca_pem),
            b64(&self.admin.0),
            b64(&self.admin.1)
        );
        file("admin.kubeconfig", &config)
    }
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file =
        std::fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(())
}

/// A store that forgets everything when the process ends.
pub fn memory_store() -> Result<Local> {
    let clock: trireme_store::Clock = Arc::new(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
    });
    Ok(Local::new(Store::open(Arc::new(Model::new()))?, clock)?)
}

/// An API server over `kv`. Must be called within a runtime.
pub fn server(kv: Arc<dyn Kv>, pki: &Pki) -> Result<Server> {
    Ok(Server::new(ServerConfig {
        kv,
        tls: TlsMaterial {
            certificate_chain_pem: pki.server.0.clone().into_bytes(),
            private_key_pem: pki.server.1.clone().into_bytes(),
            client_ca_pem: pki.ca_pem.clone().into_bytes(),
        },
        service_accounts: ServiceAccountKeys {
            signing_key_pem: pki.service_account_key.serialize_pem().into_bytes(),
            verifying_keys_pem: vec![pki.service_account_key.public_key_pem().into_bytes()],
            issuer: "https://kubernetes.default.svc.cluster.local".into(),
            audiences: Vec::new(),
        },
        service_cidr: "10.96.0.0/16".into(),
        node_ports: 30000..=32767,
        advertise_address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        advertise_port: 6443,
        identity: "apiserver-test".into(),
    })?)
}
