//! What an API server is given at its start.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use trireme_store::Kv;

use crate::server::TlsMaterial;

/// Everything an API server needs; nothing is read from files or the environment behind it.
pub struct ServerConfig {
    /// The state: in-process with a replica, or a client of any masters.
    pub kv: Arc<dyn Kv>,
    pub tls: TlsMaterial,
    pub service_accounts: ServiceAccountKeys,
    /// Where Services get their addresses from, `10.96.0.0/12`. The first address is the
    /// `kubernetes` Service's.
    pub service_cidr: String,
    /// Where Services get their node ports from.
    pub node_ports: RangeInclusive<u16>,
    /// Where others reach this server: goes into the `kubernetes` endpoints, so it must not be a
    /// loopback address; with one, no endpoint is published and a warning says so.
    pub advertise_address: IpAddr,
    pub advertise_port: u16,
    /// This server's own name, unique in the cluster: `apiserver-m1`.
    pub identity: String,
}

impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig")
            .field("service_cidr", &self.service_cidr)
            .field("node_ports", &self.node_ports)
            .field("advertise_address", &self.advertise_address)
            .field("advertise_port", &self.advertise_port)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// Keys and names of service-account tokens. No `Debug`: it holds a private key.
#[derive(Clone)]
pub struct ServiceAccountKeys {
    /// PEM, RSA (PKCS#1 or PKCS#8) or EC P-256 (PKCS#8): signs tokens.
    pub signing_key_pem: Vec<u8>,
    /// PEM public keys that are accepted, the signing key's own among them.
    pub verifying_keys_pem: Vec<Vec<u8>>,
    /// `https://kubernetes.default.svc.cluster.local`
    pub issuer: String,
    /// Audiences this server answers to; empty: the issuer.
    pub audiences: Vec<String>,
}

/// Why a server could not be made or started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("TLS material: {0}")]
    Tls(String),
    #[error("service-account keys: {0}")]
    Keys(String),
    #[error("service CIDR {0:?}: {1}")]
    ServiceCidr(String, String),
    #[error("the store did not answer: {0}")]
    Store(#[from] trireme_store::Error),
    #[error("i/o: {0}")]
    Io(#[from] std::io::Error),
}
