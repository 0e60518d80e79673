//! Certificates and a store in memory, for tests and the example.
#![allow(dead_code, unreachable_pub)]

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use base64::Engine as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use trireme_apiserver::{Server, ServerConfig, ServiceAccountKeys, TlsMaterial};
use trireme_store::engine::Model;
use trireme_store::{
    Error as StoreError, Kv, LeaseGrant, LeaseId, LeaseTimeToLive, Local, RangeRequest, RangeResponse,
    Revision, Status, Store, TxnRequest, TxnResponse, WatchRequest, WatchStream,
};

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
        pki.server =
            pki.issue("kube-apiserver", None, &["127.0.0.1", "localhost", "kubernetes.default.svc"], false)?;
        pki.admin = pki.issue("admin", Some("system:masters"), &[], true)?;
        Ok(pki)
    }

    /// A certificate and its key, as PEM.
    pub fn issue(
        &self,
        name: &str,
        group: Option<&str>,
        hosts: &[&str],
        client: bool,
    ) -> Result<(String, String)> {
        self.issue_from(Duration::ZERO, name, group, hosts, client)
    }

    /// The same, good from a time since 1970 on.
    pub fn issue_from(
        &self,
        not_before: Duration,
        name: &str,
        group: Option<&str>,
        hosts: &[&str],
        client: bool,
    ) -> Result<(String, String)> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(hosts.iter().map(|h| (*h).to_owned()).collect::<Vec<_>>())?;
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + not_before;
        params.distinguished_name.push(DnType::CommonName, name);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![if client {
            ExtendedKeyUsagePurpose::ClientAuth
        } else {
            ExtendedKeyUsagePurpose::ServerAuth
        }];
        let issuer = Issuer::from_params(&self.ca_params, &self.ca_key);
        let cert = params.signed_by(&key, &issuer)?;
        Ok((cert.pem(), key.serialize_pem()))
    }

    /// What a server runs on, with the clients of these authorities.
    pub fn material(&self, client_ca_pem: String) -> TlsMaterial {
        TlsMaterial {
            certificate_chain_pem: self.server.0.clone().into_bytes(),
            private_key_pem: self.server.1.clone().into_bytes(),
            client_ca_pem: client_ca_pem.into_bytes(),
        }
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
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
    });
    Ok(Local::new(Store::open(Arc::new(Model::new()))?, clock)?)
}

type StoreResult<T> = std::result::Result<T, StoreError>;

/// A store whose writes and barriers take as long as they are told to, and of whose writes nothing is heard
/// when that is asked for.
pub struct Troubled {
    local: Local,
    pub txn_ms: AtomicU64,
    pub barrier_ms: AtomicU64,
    /// The next write of a ConfigMap is done, and its answer is lost.
    pub loses_answer: AtomicBool,
}

impl Troubled {
    pub fn new() -> Result<Troubled> {
        Ok(Troubled {
            local: memory_store()?,
            txn_ms: AtomicU64::new(0),
            barrier_ms: AtomicU64::new(0),
            loses_answer: AtomicBool::new(false),
        })
    }
}

async fn pause(ms: &AtomicU64) {
    tokio::time::sleep(Duration::from_millis(ms.load(Ordering::SeqCst))).await;
}

#[async_trait]
impl Kv for Troubled {
    async fn range(&self, request: RangeRequest) -> StoreResult<RangeResponse> {
        self.local.range(request).await
    }
    async fn txn(&self, request: TxnRequest) -> StoreResult<TxnResponse> {
        pause(&self.txn_ms).await;
        let is_asked_for =
            request.compare.iter().any(|c| c.range.start.starts_with(b"/registry/configmaps/default/"));
        let answer = self.local.txn(request).await;
        if is_asked_for && self.loses_answer.swap(false, Ordering::SeqCst) {
            return Err(StoreError::OutcomeUnknown);
        }
        answer
    }
    async fn watch(&self, request: WatchRequest) -> StoreResult<WatchStream> {
        self.local.watch(request).await
    }
    async fn compact(&self, revision: Revision, physical: bool) -> StoreResult<Revision> {
        self.local.compact(revision, physical).await
    }
    async fn lease_grant(&self, id: LeaseId, ttl_s: i64) -> StoreResult<LeaseGrant> {
        self.local.lease_grant(id, ttl_s).await
    }
    async fn lease_revoke(&self, id: LeaseId) -> StoreResult<Revision> {
        self.local.lease_revoke(id).await
    }
    async fn lease_keep_alive(&self, id: LeaseId) -> StoreResult<i64> {
        self.local.lease_keep_alive(id).await
    }
    async fn lease_time_to_live(&self, id: LeaseId, keys: bool) -> StoreResult<LeaseTimeToLive> {
        self.local.lease_time_to_live(id, keys).await
    }
    async fn leases(&self) -> StoreResult<Vec<LeaseId>> {
        self.local.leases().await
    }
    async fn barrier(&self) -> StoreResult<Revision> {
        pause(&self.barrier_ms).await;
        self.local.barrier().await
    }
    async fn status(&self) -> StoreResult<Status> {
        self.local.status().await
    }
}

/// An API server over `kv`. Must be called within a runtime.
pub fn server(kv: Arc<dyn Kv>, pki: &Pki) -> Result<Server> {
    Ok(Server::new(ServerConfig {
        kv,
        tls: pki.material(pki.ca_pem.clone()),
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

/// A client's connection.
pub type Connection = hyper::client::conn::http1::SendRequest<http_body_util::Full<bytes::Bytes>>;

/// A server on a loopback port, with clients for it.
pub struct Running {
    pub server: Server,
    pub pki: Arc<Pki>,
    pub address: SocketAddr,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
}

/// How long a test waits for something to become true.
pub const DEADLINE: Duration = Duration::from_secs(20);

impl Running {
    /// Starts over a store of its own, and waits until it is ready.
    pub async fn start() -> Running {
        let kv = Arc::new(memory_store().expect("a store in memory"));
        Running::start_on(kv, Arc::new(Pki::new().expect("certificates"))).await
    }

    /// Starts another server on the same store.
    pub async fn start_on(kv: Arc<dyn Kv>, pki: Arc<Pki>) -> Running {
        let server = server(kv, &pki).expect("a server");
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let serving = tokio::spawn({
            let server = server.clone();
            async move { server.serve(listener).await }
        });
        let running = Running { server, pki, address, serving };
        eventually("readiness", async || running.server.is_ready().then_some(())).await;
        running
    }

    /// One request on a connection of its own, with the administrator's certificate.
    pub async fn request(&self, method: &str, path: &str, body: &str) -> Answer {
        self.request_as(Some(&self.pki.admin), method, path, body, &[]).await.expect("an answer")
    }

    pub async fn request_as(
        &self,
        certificate: Option<&(String, String)>,
        method: &str,
        path: &str,
        body: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer> {
        let mut sender = self.connect(certificate).await?;
        let mut request = http::Request::builder().method(method).uri(path).header("host", "localhost");
        if !headers.iter().any(|(k, _)| k.eq_ignore_ascii_case("content-type")) {
            request = request.header("content-type", "application/json");
        }
        for (key, value) in headers {
            request = request.header(*key, *value);
        }
        let body = http_body_util::Full::new(bytes::Bytes::copy_from_slice(body.as_bytes()));
        let response = sender.send_request(request.body(body)?).await?;
        let (parts, body) = response.into_parts();
        let bytes = http_body_util::BodyExt::collect(body).await?.to_bytes();
        Ok(Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            text: String::from_utf8_lossy(&bytes).into_owned(),
        })
    }

    /// A connection, for requests whose answers are read piece by piece.
    pub async fn connect(&self, certificate: Option<&(String, String)>) -> Result<Connection> {
        use rustls_pki_types::pem::PemObject;
        use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pki.ca_pem.as_bytes())?)?;
        let builder =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots);
        let config = match certificate {
            Some((cert, key)) => builder.with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(cert.as_bytes())?],
                PrivateKeyDer::from_pem_slice(key.as_bytes())?,
            )?,
            None => builder.with_no_client_auth(),
        };
        let stream = tokio::net::TcpStream::connect(self.address).await?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let tls = connector.connect(ServerName::try_from("localhost")?, stream).await?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(tls)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.stop();
        self.serving.abort();
    }
}

/// An answer, read to its end.
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("not JSON ({e}): {}", self.text))
    }
}

/// Polls until there is a value.
pub async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + DEADLINE;
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(tokio::time::Instant::now() < end, "{what} did not come to be");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
