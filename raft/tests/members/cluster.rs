//! Members in one process, over real sockets and TLS.

#![allow(unreachable_pub)]

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use tokio_util::sync::CancellationToken;
use trireme_raft::{
    Certificates, Join, Limits, Remote, RemoteConfig, Replica, ReplicaConfig, Role, StartError, Tls, etcd,
};
use trireme_store::engine::{Engine, RocksEngine, RocksOptions};
use trireme_store::{Error, Kv, PutRequest, Revision, TxnRequest};

/// How long a test waits for what must come.
pub const WAIT: Duration = Duration::from_secs(60);

pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

impl Ca {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test CA");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A member's certificate.
    pub fn issue(&self, name: &str) -> Certificates {
        self.issue_for(name, vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth])
    }

    /// A certificate of a client of the store.
    pub fn issue_client(&self, name: &str) -> Certificates {
        self.issue_for(name, vec![ExtendedKeyUsagePurpose::ClientAuth])
    }

    /// A certificate of a client with these URIs among its names.
    pub fn issue_limited(&self, name: &str, uris: Vec<String>) -> Certificates {
        self.issue_with(name, vec![ExtendedKeyUsagePurpose::ClientAuth], uris)
    }

    pub fn issue_for(&self, name: &str, usages: Vec<ExtendedKeyUsagePurpose>) -> Certificates {
        self.issue_with(name, usages, Vec::new())
    }

    fn issue_with(
        &self,
        name: &str,
        usages: Vec<ExtendedKeyUsagePurpose>,
        uris: Vec<String>,
    ) -> Certificates {
        let mut params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
        let uris = uris.into_iter().map(|uri| SanType::URI(uri.try_into().unwrap()));
        params.subject_alt_names.extend(uris);
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = usages;
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Certificates {
            ca_pem: self.pem.clone().into_bytes(),
            cert_pem: cert.pem().into_bytes(),
            key_pem: key.serialize_pem().into_bytes(),
        }
    }
}

/// A member and what serves its clients.
pub struct Running {
    pub replica: Replica,
    client_stop: CancellationToken,
}

pub struct Member {
    pub config: ReplicaConfig,
    /// Where it listens for the others; what they are told is in `config`.
    pub listen_on: String,
    pub client_address: String,
    pub running: Option<Running>,
}

pub struct Cluster {
    pub ca: Ca,
    pub tls: Tls,
    pub members: Vec<Member>,
    /// Its members' ends are no news any more: their directories go away.
    over: Arc<AtomicBool>,
    _dir: tempfile::TempDir,
    pub dir: PathBuf,
}

/// Small enough that a test sees segments, flushes and purges.
pub fn small_limits() -> Limits {
    Limits {
        log_segment_bytes: 256 * 1024,
        log_cache_bytes: 256 * 1024,
        log_keep_bytes: 512 * 1024,
        flush_log_bytes: 512 * 1024,
        ..Limits::default()
    }
}

pub fn free_listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn open_engine(dir: &Path) -> Result<Arc<dyn Engine>, trireme_store::engine::EngineError> {
    let options =
        RocksOptions { write_buffer_bytes: 4 << 20, block_cache_bytes: 4 << 20, ..RocksOptions::default() };
    Ok(Arc::new(RocksEngine::open(dir, options)?))
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

impl Cluster {
    /// A new cluster of `count` members, started.
    pub async fn start(count: usize, limits: Limits) -> Self {
        let mut cluster = Self::prepare(count, limits);
        for i in 0..count {
            cluster.start_member(i).await;
        }
        cluster
    }

    pub fn prepare(count: usize, limits: Limits) -> Self {
        let ca = Ca::new();
        let tls = Tls::new(&ca.issue("member")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let over = Arc::new(AtomicBool::new(false));
        // Ports are found by binding, and bound again when the member starts.
        let ports: Vec<_> = (0..count).map(|_| (free_listener(), free_listener())).collect();
        let address = |listener: &TcpListener| format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
        let initial: BTreeMap<String, String> =
            ports.iter().enumerate().map(|(i, (peer, _))| (format!("m{i}"), address(peer))).collect();
        let members = ports
            .iter()
            .enumerate()
            .map(|(i, (peer, client))| {
                let name = format!("m{i}");
                let mut config =
                    ReplicaConfig::new(path.join(&name), "test", &name, tls.clone(), Arc::new(open_engine));
                config.peer_address = address(peer);
                config.client_address = address(client);
                config.initial_members = initial.clone();
                config.limits = limits.clone();
                let (over, own) = (over.clone(), name.clone());
                config.on_fatal = Arc::new(move |reason| {
                    if !over.load(Ordering::SeqCst) {
                        let _ = writeln!(std::io::stderr(), "{own} cannot go on: {reason}");
                        std::process::abort();
                    }
                });
                let client_address = config.client_address.clone();
                Member { listen_on: address(peer), config, client_address, running: None }
            })
            .collect();
        Self { ca, tls, members, over, _dir: dir, dir: path }
    }

    /// A further member, of no cluster yet, that is to start with `join`. Not started.
    pub fn add(&mut self, name: &str, join: Option<Join>) -> usize {
        let ports = [free_listener(), free_listener()];
        let address = |i: usize| format!("127.0.0.1:{}", ports[i].local_addr().unwrap().port());
        let mut config = self.members[0].config.clone();
        config.data_dir = self.dir.join(format!("{name}-{}", self.members.len()));
        config.name = name.into();
        config.peer_address = address(0);
        config.client_address = address(1);
        config.initial_members.clear();
        config.join = join;
        let (listen_on, client_address) = (address(0), address(1));
        self.members.push(Member { config, listen_on, client_address, running: None });
        self.members.len() - 1
    }

    /// Where the members that the cluster began with are reached.
    pub fn join(&self) -> Option<Join> {
        let peers = self.members.iter().map(|member| member.config.peer_address.clone()).collect();
        Some(Join { peers, replaces: None })
    }

    pub async fn start_member(&mut self, i: usize) {
        let tls = self.tls.server();
        let member = &mut self.members[i];
        let deadline = Instant::now() + WAIT;
        let replica = loop {
            let listener = bind(&member.listen_on).await;
            match Replica::start(member.config.clone(), listener).await {
                Ok(replica) => break replica,
                // What this process held of it before may take a moment to go.
                Err(error @ (StartError::Identity(_) | StartError::Store(_))) => {
                    assert!(Instant::now() < deadline, "{}: {error}", member.config.name);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => panic!("{}: {error}", member.config.name),
            }
        };
        let listener = bind(&member.client_address).await;
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let client_stop = CancellationToken::new();
        let serve = etcd::ServeConfig { listener, tls, stop: client_stop.clone() };
        let backend = Arc::new(replica.clone());
        tokio::spawn(async move { etcd::serve(backend, serve).await });
        member.running = Some(Running { replica, client_stop });
    }

    pub fn replica(&self, i: usize) -> &Replica {
        &self.members[i].running.as_ref().unwrap().replica
    }

    pub async fn stop_member(&mut self, i: usize, handover: bool) {
        let running = self.members[i].running.take().unwrap();
        running.client_stop.cancel();
        running.replica.shutdown(handover).await;
    }

    pub fn running(&self) -> impl Iterator<Item = (usize, &Replica)> {
        let members = self.members.iter().enumerate();
        members.filter_map(|(i, member)| Some((i, &member.running.as_ref()?.replica)))
    }

    /// Waits for a leader that the running members agree on.
    pub async fn leader(&self) -> usize {
        let running: Vec<_> = self.running().map(|(i, _)| i).collect();
        self.leader_of(&running).await
    }

    /// Waits for a leader that these members agree on.
    pub async fn leader_of(&self, members: &[usize]) -> usize {
        wait_for("a leader", || {
            let those = || self.running().filter(|(i, _)| members.contains(i));
            let leader = those().find(|(_, replica)| replica.status().role == Role::Leader)?;
            let id = leader.1.member();
            those().all(|(_, replica)| replica.status().leader == Some(id)).then_some(leader.0)
        })
        .await
    }

    pub fn remote(&self) -> Remote {
        let endpoints = self.members.iter().map(|member| member.client_address.clone()).collect();
        Remote::connect(RemoteConfig { endpoints, tls: self.tls.client() }).unwrap()
    }

    /// Waits until all running members have applied the same, and compares their hashes.
    pub async fn assert_same_state(&self) {
        wait_for("the members to have one state", || {
            let mut all = self.running().map(|(_, replica)| replica.status());
            let first = all.next()?;
            all.all(|other| {
                other.applied_index == first.applied_index && first.applied_index == first.last_log_index
            })
            .then_some(())
        })
        .await;
        let hashes: Vec<_> = self
            .running()
            .map(|(_, replica)| replica.store().applied())
            .map(|applied| (applied.position, applied.revision, applied.hash))
            .collect();
        assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "{hashes:?}");
    }

    pub async fn stop(mut self) {
        for i in 0..self.members.len() {
            if self.members[i].running.is_some() {
                self.stop_member(i, false).await;
            }
        }
    }
}

/// Listens where a member did before. Meanwhile a connection of another test may have got the port for
/// its own end.
async fn bind(address: &str) -> TcpListener {
    let deadline = Instant::now() + WAIT;
    loop {
        match TcpListener::bind(address) {
            Ok(listener) => return listener,
            Err(error) => assert!(Instant::now() < deadline, "{address}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Polls until `check` gives something.
pub async fn wait_for<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WAIT;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub fn put(key: impl Into<bytes::Bytes>, value: impl Into<bytes::Bytes>) -> TxnRequest {
    TxnRequest { success: vec![trireme_store::Op::Put(PutRequest::new(key, value))], ..TxnRequest::default() }
}

/// Writes until it is acknowledged; what failed for sure is repeated.
pub async fn put_surely(kv: &dyn Kv, key: &str, value: &str) -> Revision {
    let deadline = Instant::now() + WAIT;
    loop {
        match kv.txn(put(key.to_owned(), value.to_owned())).await {
            Ok(response) => return response.revision,
            Err(Error::NoLeader | Error::Unavailable(_) | Error::TooManyRequests) => {
                assert!(Instant::now() < deadline, "{key} could not be written");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{key}: {error}"),
        }
    }
}
