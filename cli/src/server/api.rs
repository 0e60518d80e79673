//! The API server and those who work through it: controllers and scheduler.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trireme_apiserver::{InProcess, Server, ServerConfig, ServiceAccountKeys, TlsMaterial};
use trireme_client::Transport;
use trireme_controllers::runtime::{Clock, LeaseTiming, MemberWitness, Metrics, Witness, identity};
use trireme_controllers::scheduler;
use trireme_raft::{MemberError, Replica};
use trireme_store::Kv;

use super::ApiOptions;
use crate::chaos;
use crate::in_process::in_process;
use crate::join::{self, Doorkeeper, FindPeers};
use crate::lifetime::End;
use crate::pki::{Files, Pki, Renewer};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// Leases that are not given up by then run out, where the whole cluster ends.
const GIVE_UP_WITH_ALL: Duration = Duration::from_millis(500);
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;

/// What an API server of this process works with.
pub(super) struct Serving<'a> {
    pub pki: &'a Arc<Pki>,
    pub kv: Arc<dyn Kv>,
    pub peers: FindPeers,
    pub end: &'a End,
    /// A member of the store in this process: controllers and scheduler run beside it.
    pub member: Option<Replica>,
}

/// Serves until its end, then drains.
pub(super) async fn serve(
    options: &ApiOptions,
    serving: Serving<'_>,
    listener: std::net::TcpListener,
    mut renewer: Renewer,
) -> Result<()> {
    let Serving { pki, kv, peers, end, member } = serving;
    let doorkeeper =
        Doorkeeper { kv: kv.clone(), pki: pki.clone(), peers, service_cidr: options.service_cidr.clone() };
    let (dir, names) = (options.certificates_dir(), options.names());
    let serving = renewer.keep(move |pki| pki.api_server(&dir, &names))?;
    let server = Server::new(ServerConfig {
        kv,
        tls: material(pki, &serving)?,
        service_accounts: ServiceAccountKeys {
            signing_key_pem: read(pki, "sa.key")?,
            verifying_keys_pem: vec![read(pki, "sa.pub")?],
            issuer: ISSUER.into(),
            audiences: Vec::new(),
        },
        service_cidr: options.service_cidr.clone(),
        node_ports: NODE_PORTS,
        advertise_address: options.advertise_address.unwrap_or_else(|| match options.api_listen.ip() {
            ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            ip => ip,
        }),
        advertise_port: options.api_listen.port(),
        identity: options.name.clone(),
    })
    .context("API server")?;
    server.open_gate(Arc::new(doorkeeper));
    server.tell_of_slower_than(Duration::from_millis(options.slow_request_ms));
    renewer.after({
        let (server, pki) = (server.clone(), pki.clone());
        move || {
            let reloaded = material(&pki, &serving).and_then(|tls| Ok(server.reload_tls(&tls)?));
            if let Err(error) = reloaded {
                tracing::error!(error = format!("{error:#}"), "the API server keeps its old certificate");
            }
        }
    });
    tokio::spawn(renewer.run(end.stop.clone()));

    let listener = TcpListener::from_std(listener).context("listening socket")?;
    tracing::info!(address = %options.api_listen, name = options.name, "serving the API");
    let mut tasks = JoinSet::new();
    let serving = server.clone();
    let mut serving = tokio::spawn(async move { serving.serve(listener).await });
    let lead = CancellationToken::new();
    if let Some(member) = &member {
        start_leaders(options, pki, &server, member, &lead, &mut tasks);
        let agent = concat!("trireme-master/", env!("CARGO_PKG_VERSION"));
        let orders = InProcess::new(server.clone(), chaos::USER, &[chaos::GROUP], agent);
        tokio::spawn(chaos::Subject::new(member.clone(), orders, end.clone()).run());
        tokio::spawn(join::show(member.clone(), end.stop.clone()));
    }
    tokio::select! {
        () = end.stop.cancelled() => {}
        ended = &mut serving => return ended.context("the API server panicked")?.context("API server"),
    }
    if let Some(member) = member.filter(|_| !end.everyone.is_cancelled()) {
        // Before the Leases: who leads the store next takes them, too.
        match member.hand_over(None).await {
            Ok(_) | Err(MemberError::NotLeading { .. }) => {}
            Err(error) => tracing::info!(%error, "the store is still led here"),
        }
    }
    // Leases are given up while the API still takes the writes: another master leads at once.
    lead.cancel();
    let given_up = async { while tasks.join_next().await.is_some() {} };
    if end.everyone.is_cancelled() {
        // The others stop as well, and with them the quorum that takes the writes.
        let _ = tokio::time::timeout(GIVE_UP_WITH_ALL, given_up).await;
        tasks.abort_all();
        // No balancer is left that would have to notice.
        server.stop();
    } else {
        given_up.await;
        server.shutdown().await;
    }
    serving.await.context("the API server panicked")?.context("API server")
}

fn material(pki: &Pki, files: &Files) -> Result<TlsMaterial> {
    let (mut certificate_chain_pem, private_key_pem) = files.read()?;
    // Clients know the authority, but for a machine that joins: it knows its hash alone.
    certificate_chain_pem.extend_from_slice(pki.ca.certificate_pem().as_bytes());
    let client_ca_pem = pki.ca.certificate_pem().into();
    Ok(TlsMaterial { certificate_chain_pem, private_key_pem, client_ca_pem })
}

fn read(pki: &Pki, file: &str) -> Result<Vec<u8>> {
    let path = pki.path(file);
    std::fs::read(&path).with_context(|| format!("read {}", path.display()))
}

fn start_leaders(
    options: &ApiOptions,
    pki: &Pki,
    server: &Server,
    member: &Replica,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) {
    let identity = identity(&options.name, member.incarnation());
    let shift_ms = member.clock_shift_ms();
    Server::shift_clock({
        let shift_ms = shift_ms.clone();
        move || shift_ms() / 1_000
    });
    let clock = Clock::from_fn(move || {
        let now = jiff::Timestamp::now();
        now.saturating_add(jiff::SignedDuration::from_millis(shift_ms())).unwrap_or(now)
    });
    let (gone, leading) = (member.clone(), member.clone());
    let witness: Option<Arc<dyn Witness>> = Some(Arc::new(MemberWitness::new(
        move |name: &str, incarnation| gone.is_process_gone(name, incarnation),
        move || leading.led_for(),
    )));
    let metrics = Arc::new(Metrics::default());
    let counted = metrics.clone();
    server.serve_metrics_of(Arc::new(move || counted.render()));
    let inside = server.clone();
    tasks.spawn(trireme_controllers::run(trireme_controllers::Config {
        transport_for: Arc::new(move |user| -> Arc<dyn Transport> { in_process(inside.clone(), user) }),
        identity: identity.clone(),
        stop: stop.clone(),
        clock: clock.clone(),
        timing: LeaseTiming::witnessed(),
        options: trireme_controllers::Options {
            root_ca_pem: pki.ca.certificate_pem().to_owned(),
            ..trireme_controllers::Options::default()
        },
        metrics: metrics.clone(),
        witness: witness.clone(),
    }));
    let config = scheduler::Config {
        transport: in_process(server.clone(), scheduler::USER),
        identity,
        witness,
        clock,
        metrics,
        counts: Arc::default(),
    };
    tasks.spawn(scheduler::run(config, stop.clone()));
}
