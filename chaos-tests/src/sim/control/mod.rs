//! The rest of a control plane in a simulated world: on each master an API server, controllers and
//! scheduler as they are, and machines of hollow nodes.
//!
//! ```text
//!   clients, nodes ──► network ──► API server ──► member of the store, of the same process
//!                                   ▲ in process
//!                       controllers and scheduler
//! ```
//!
//! What is left out: HTTP, TLS and authentication of the way to the API server; requests come with the
//! identity that authentication would have found. Authorization and admission are as they are.

mod api;
mod own;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use anyhow::Result;
use tokio_util::sync::CancellationToken;
use trireme_apiserver::{InProcess, Server, ServerConfig, ServiceAccountKeys, TlsMaterial};
use trireme_client::Transport;
use trireme_controllers::runtime::{Clock, LeaseTiming, MemberWitness, Metrics, Witness, identity};
use trireme_controllers::scheduler;
use trireme_raft::Replica;

use super::kv::Slot as MemberSlot;
use super::remote::Slot;
use own::OwnMember;

pub(super) use api::SimApi;

const AGENT: &str = "trireme-chaos";
/// Hollow nodes on one machine.
const NODES_OF_A_MACHINE: usize = 1;

/// A master's API server while it runs.
pub(super) type ApiSlot = Slot<Server>;

/// What API servers are configured with, and nothing here uses.
#[derive(Clone)]
pub(super) struct Keys {
    certificate_pem: Vec<u8>,
    key_pem: Vec<u8>,
    public_key_pem: Vec<u8>,
}

impl Keys {
    pub(super) fn new() -> Result<Keys> {
        let key = rcgen::KeyPair::generate()?;
        let certificate = rcgen::CertificateParams::new(vec!["localhost".into()])?.self_signed(&key)?;
        Ok(Keys {
            certificate_pem: certificate.pem().into_bytes(),
            key_pem: key.serialize_pem().into_bytes(),
            public_key_pem: key.public_key_pem().into_bytes(),
        })
    }
}

/// Starts the API server, the controllers and the scheduler of a master, in its runtime.
pub(super) fn start(
    name: &str,
    replica: &Replica,
    member: &MemberSlot,
    keys: &Keys,
    slot: &ApiSlot,
) -> Result<()> {
    let server = Server::new(ServerConfig {
        kv: Arc::new(OwnMember(member.clone())),
        tls: TlsMaterial {
            certificate_chain_pem: keys.certificate_pem.clone(),
            private_key_pem: keys.key_pem.clone(),
            client_ca_pem: keys.certificate_pem.clone(),
        },
        service_accounts: ServiceAccountKeys {
            signing_key_pem: keys.key_pem.clone(),
            verifying_keys_pem: vec![keys.public_key_pem.clone()],
            issuer: "https://kubernetes.default.svc.cluster.local".into(),
            audiences: Vec::new(),
        },
        service_cidr: "10.96.0.0/16".into(),
        node_ports: 30_000..=32_767,
        advertise_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        advertise_port: 6443,
        identity: name.to_owned(),
    })?;
    *slot.lock() = Some(server.clone());
    let identity = identity(name, replica.incarnation());
    let (others, own) = (member.clone(), member.clone());
    let is_gone = move |name: &str, incarnation| {
        let replica = others.lock().clone();
        replica.is_some_and(|replica| replica.is_process_gone(name, incarnation))
    };
    let led_for = move || own.lock().clone()?.led_for();
    let witness: Option<Arc<dyn Witness>> = Some(Arc::new(MemberWitness::new(is_gone, led_for)));
    let inside = server.clone();
    tokio::spawn(trireme_controllers::run(trireme_controllers::Config {
        transport_for: Arc::new(move |user| -> Arc<dyn Transport> {
            InProcess::new(inside.clone(), user, &[], AGENT)
        }),
        identity: identity.clone(),
        stop: CancellationToken::new(),
        clock: Clock::system(),
        timing: LeaseTiming::witnessed(),
        options: trireme_controllers::Options::default(),
        metrics: Arc::new(Metrics::default()),
        witness: witness.clone(),
    }));
    let scheduling = scheduler::Config {
        transport: InProcess::new(server, scheduler::USER, &[], AGENT),
        identity,
        witness,
        clock: Clock::system(),
        metrics: Arc::default(),
        counts: Arc::default(),
    };
    tokio::spawn(scheduler::run(scheduling, CancellationToken::new()));
    Ok(())
}

/// Plays the nodes of a machine, the `n`-th, which reach the API servers by `api`.
pub(super) async fn nodes(n: usize, api: impl Fn(&str) -> Arc<dyn Transport> + Send + Sync + 'static) {
    let names: Vec<String> = (1..=NODES_OF_A_MACHINE).map(|node| format!("hollow-{n}-{node}")).collect();
    let config = trireme_node::HollowConfig {
        transport: api(&format!("system:node:{}", names[0])),
        transport_for: Some(Arc::new(move |name: &str| api(&format!("system:node:{name}")))),
        names,
        capacity: trireme_node::Capacity::default(),
        labels: Vec::new(),
        stop: CancellationToken::new(),
    };
    trireme_node::run(config).await;
}
