//! `trireme server`: a master. `trireme apiserver`: the API alone, on any masters' store.
//!
//! ```text
//!   runtime "store": raft replica, peers, etcd face      ← nothing else may delay these
//!   runtime "api":   API server, controllers, scheduler
//! ```

mod api;
mod known;
pub(crate) mod master;
mod rebuild;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use trireme_raft::Join;
use trireme_raft::etcd::Backend;

use crate::backup::{Keeper, ServerOptions};
use crate::chaos::again;
use crate::exit::ConfigContext;
use crate::join::{Facts, FindPeers};
use crate::pki::{Pki, Renewer};
use crate::store_client::StoreClient;
use known::Known;
use master::Master;

/// Leaves that this process issued for itself, under its data directory.
const CERTIFICATES_DIR: &str = "certificates";
pub(crate) const STORE_DIR: &str = "store";
/// Checkpoints and test restores of the backup, in the store's directory: on one file system with it.
const BACKUP_DIR: &str = "backup";
/// Threads of one runtime at most: encoding and raft share the machine, but neither takes the other's.
const RUNTIME_THREADS_MAX: usize = 16;
/// What still runs when everything was stopped in order is cut off after this.
const RUNTIME_END: Duration = Duration::from_secs(1);
const DEFAULT_SERVICE_CIDR: &str = "10.96.0.0/12";

#[derive(Args, Clone, Debug)]
pub(crate) struct ApiOptions {
    /// Folder of this process's state
    #[arg(long)]
    data_dir: PathBuf,
    /// This process's name, unique in the cluster
    #[arg(long)]
    name: String,
    /// The cluster's authorities, alike on every master [default: <data-dir>/pki]
    #[arg(long)]
    pki_dir: Option<PathBuf>,
    /// Address of the API
    #[arg(long, default_value = "0.0.0.0:6443")]
    api_listen: SocketAddr,
    /// Where others reach this machine; goes into certificates and the `kubernetes` endpoints
    #[arg(long)]
    advertise_address: Option<IpAddr>,
    /// A further name or address in the API server's certificate, such as the balancer's; repeat
    #[arg(long = "api-san", value_name = "NAME")]
    api_names: Vec<String>,
    /// Addresses of Services
    #[arg(long, default_value = DEFAULT_SERVICE_CIDR)]
    service_cidr: String,
    /// Requests to the API and to the store that take longer are told of in the log, with where their
    /// time went
    #[arg(long, default_value_t = 100, value_name = "MILLISECONDS",
          value_parser = clap::value_parser!(u64).range(1..))]
    slow_request_ms: u64,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    api: ApiOptions,
    /// Address for the other masters
    #[arg(long, default_value = "127.0.0.1:2380")]
    peer_listen: SocketAddr,
    /// Address of the store for API servers and etcdctl
    #[arg(long, default_value = "127.0.0.1:2379")]
    client_listen: SocketAddr,
    /// Every master the cluster starts with, this one included: NAME=HOST:PORT,… [default: this
    /// one alone]
    #[arg(long, value_delimiter = ',', value_name = "NAME=HOST:PORT")]
    initial_cluster: Vec<String>,
    #[command(flatten)]
    backup: ServerOptions,
}

#[derive(Args, Debug)]
pub(crate) struct StatelessOptions {
    #[command(flatten)]
    api: ApiOptions,
    /// Stores of masters, HOST:PORT,…
    #[arg(long, value_delimiter = ',', required = true, value_name = "HOST:PORT")]
    store: Vec<String>,
}

impl ApiOptions {
    fn certificates_dir(&self) -> PathBuf {
        self.data_dir.join(CERTIFICATES_DIR)
    }

    fn open_pki(&self) -> Result<Arc<Pki>> {
        private_dir(&self.data_dir)?;
        Ok(Arc::new(Pki::open_or_create(&self.pki_dir())?))
    }

    fn pki_dir(&self) -> PathBuf {
        self.pki_dir.clone().unwrap_or_else(|| self.data_dir.join("pki"))
    }

    /// Names and addresses beyond loopback and the `kubernetes` service's.
    fn names(&self) -> Vec<String> {
        let mut names = self.api_names.clone();
        names.extend(self.advertise_address.map(|ip| ip.to_string()));
        if !self.api_listen.ip().is_unspecified() {
            names.push(self.api_listen.ip().to_string());
        }
        names
    }
}

/// A master, until it is told to stop.
pub(crate) fn run(options: Options) -> Result<()> {
    let store_runtime = runtime("store", store_threads())?;
    let api_runtime = runtime("api", api_threads())?;
    let outcome = api_runtime.block_on(run_master(options, store_runtime.handle().clone()));
    api_runtime.shutdown_timeout(RUNTIME_END);
    store_runtime.shutdown_timeout(RUNTIME_END);
    match outcome? {
        Next::End => Ok(()),
        Next::Again => Err(again::start_over(Duration::ZERO)),
    }
}

/// What comes after a master has stopped in order.
enum Next {
    End,
    /// It was told to start again: `trireme chaos run rolling-restart`.
    Again,
}

async fn run_master(mut options: Options, store_runtime: tokio::runtime::Handle) -> Result<Next> {
    let end = crate::lifetime::watch_for_end()?;
    if again::stay_down(&end).await {
        return Ok(Next::End);
    }
    crate::unfinished::refuse(&options.api.data_dir).config()?;
    let pki = options.api.open_pki().config()?;
    let joined = Facts::read(&options.api.data_dir).config()?;
    let known = Known::read(&options.api.pki_dir(), &pki.cluster, &options.api.name).config()?;
    if let Some(facts) = &joined {
        options.api.service_cidr.clone_from(&facts.service_cidr);
    } else if let Some(known) = &known
        && options.api.service_cidr == DEFAULT_SERVICE_CIDR
    {
        options.api.service_cidr.clone_from(&known.service_cidr);
    }
    let members = match &joined {
        // The cluster was there before this master, and says who belongs to it.
        Some(_) => BTreeMap::new(),
        None => members(&options).config()?,
    };
    let backup = options.backup.wanted().config()?;
    // Every port before any work, so that a busy one is told at once and nothing is half up.
    let api_listener = bind(options.api.api_listen, "--api-listen").config()?;
    let peer_listener = bind(options.peer_listen, "--peer-listen").config()?;
    let client_listener = bind(options.client_listen, "--client-listen").config()?;

    let mut renewer = Renewer::new(pki.clone());
    let (dir, name) = (options.api.certificates_dir(), options.api.name.clone());
    let names = options.peer_names(&members);
    let peer = renewer.keep(move |pki| pki.peer(&dir, &name, &names))?;
    let peer_address = match members.get(&options.api.name) {
        Some(address) => address.clone(),
        None => options.peer_listen.to_string(),
    };
    let (members, join) = way_in(members, joined, known.unwrap_or_default());
    let master = Master {
        data_dir: options.api.data_dir.join(STORE_DIR),
        cluster: pki.cluster.clone(),
        name: options.api.name.clone(),
        peer_address,
        client_address: options.client_listen.to_string(),
        members,
        join,
        ca_pem: pki.store_ca.certificate_pem().into(),
        peer,
        slow_request: Duration::from_millis(options.api.slow_request_ms),
        say_lost: format!(
            "trireme member recover --data-dir {} --pki-dir {}",
            options.api.data_dir.display(),
            options.api.pki_dir().display()
        ),
    };
    let store = store_runtime
        .spawn(master.start(peer_listener, client_listener))
        .await
        .context("the store's start panicked")??;
    let held = store.clone();
    renewer.after(move || held.reload());
    let replica = store.replica();
    let peers: FindPeers = Arc::new(move || {
        let members = replica.members().into_iter().map(|member| member.peer_address).collect();
        Box::pin(std::future::ready(Ok(members)))
    });
    let keeper = Keeper {
        replica: store.replica(),
        name: options.api.name.clone(),
        scratch: options.api.data_dir.join(STORE_DIR).join(BACKUP_DIR),
        key_command: options.backup.key_command(),
        wanted: backup,
    };
    let known = Known {
        cluster: pki.cluster.clone(),
        service_cidr: options.api.service_cidr.clone(),
        ..Known::default()
    };
    let knowing = tokio::spawn(known.keep(options.api.pki_dir(), store.replica()));
    // Ends before the store does: until then it holds on to it.
    let keep = end.stop.child_token();
    let keeping = tokio::spawn(keeper.run(keep.clone()));
    let serving = api::Serving { pki: &pki, kv: store.kv(), peers, end: &end, member: Some(store.replica()) };
    let served = api::serve(&options.api, serving, api_listener, renewer).await;
    keep.cancel();
    knowing.abort();
    let _ = tokio::time::timeout(RUNTIME_END, keeping).await;
    let handover = !end.everyone.is_cancelled();
    store_runtime.spawn(store.shutdown(handover)).await.context("the store's end panicked")?;
    served?;
    Ok(if end.again.load(Ordering::Acquire) { Next::Again } else { Next::End })
}

/// The API alone, until it is told to stop.
pub(crate) fn run_stateless(options: StatelessOptions) -> Result<()> {
    let runtime = runtime("api", api_threads())?;
    let outcome = runtime.block_on(async {
        let end = crate::lifetime::watch_for_end()?;
        let pki = options.api.open_pki().config()?;
        let listener = bind(options.api.api_listen, "--api-listen").config()?;
        let mut renewer = Renewer::new(pki.clone());
        let dir = options.api.certificates_dir();
        let files = renewer.keep(move |pki| pki.store_client_in(&dir))?;
        let client = StoreClient::new(pki.store_ca.certificate_pem(), &files, options.store.clone())?;
        let (kv, remote) = (client.kv.clone(), client.remote.clone());
        renewer.after(move || client.reload());
        let peers: FindPeers = Arc::new(move || {
            let remote = remote.clone();
            Box::pin(async move {
                Ok(remote.members().await?.into_iter().map(|member| member.peer_address).collect())
            })
        });
        let serving = api::Serving { pki: &pki, kv, peers, end: &end, member: None };
        api::serve(&options.api, serving, listener, renewer).await
    });
    runtime.shutdown_timeout(RUNTIME_END);
    outcome
}

impl Options {
    pub(crate) fn data_dir(&self) -> &Path {
        &self.api.data_dir
    }

    pub(crate) fn pki_dir(&self) -> PathBuf {
        self.api.pki_dir()
    }

    /// For a master whose peers are on other machines: what listens on loopback by default listens
    /// on the advertised address.
    pub(crate) fn settle_addresses(&mut self) -> Result<()> {
        if !self.initial_cluster.is_empty() {
            bail!("--initial-cluster is for a new cluster: this one says who belongs to it");
        }
        if let Some(own) = self.api.advertise_address.filter(|own| !own.is_loopback()) {
            for address in [&mut self.peer_listen, &mut self.client_listen] {
                if address.ip().is_loopback() {
                    address.set_ip(own);
                }
            }
        }
        if self.peer_listen.ip().is_unspecified() {
            bail!("--peer-listen {}: the others must be able to reach it", self.peer_listen);
        }
        Ok(())
    }

    /// The command that starts this master again.
    pub(crate) fn command_line(&self) -> String {
        let api = &self.api;
        let mut line = format!(
            "trireme server --data-dir {} --name {} --peer-listen {} --client-listen {} --api-listen {}",
            api.data_dir.display(),
            api.name,
            self.peer_listen,
            self.client_listen,
            api.api_listen
        );
        for (flag, value) in [
            ("--pki-dir", api.pki_dir.as_ref().map(|dir| dir.display().to_string())),
            ("--advertise-address", api.advertise_address.map(|ip| ip.to_string())),
        ] {
            line += &value.map(|value| format!(" {flag} {value}")).unwrap_or_default();
        }
        for name in &api.api_names {
            line += &format!(" --api-san {name}");
        }
        line += &self.backup.command_line();
        line
    }

    /// What the other masters and the store's clients may call this one.
    fn peer_names(&self, members: &BTreeMap<String, String>) -> Vec<String> {
        let mut names = vec![self.peer_listen.ip().to_string(), self.client_listen.ip().to_string()];
        names.extend(self.api.advertise_address.map(|ip| ip.to_string()));
        let own = members.get(&self.api.name).and_then(|address| address.rsplit_once(':'));
        names.extend(own.map(|(host, _)| host.to_owned()));
        names.retain(|name| !matches!(name.as_str(), "0.0.0.0" | "::"));
        names
    }
}

/// How a master comes into its cluster: with the others of a new one, or by asking `known`, whom it
/// last knew, and then those of the document that it `joined` with or of a new cluster's configuration.
/// Who had others must not make a new cluster when it has lost its data: not alone, and not with those
/// of its configuration, which may have been removed since and be empty as well. Without any to ask it
/// was left alone by a recovery.
fn way_in(
    members: BTreeMap<String, String>,
    joined: Option<Facts>,
    known: Known,
) -> (BTreeMap<String, String>, Option<Join>) {
    if joined.is_none() && known.masters.is_empty() {
        return (members, None);
    }
    let Facts { peers, replaces, .. } = joined.unwrap_or_default();
    let mut asked: Vec<String> = known.masters.into_values().collect();
    asked.extend(peers);
    asked.extend(members.into_values());
    let mut seen = BTreeSet::new();
    asked.retain(|peer| seen.insert(peer.clone()));
    let join = (!asked.is_empty()).then_some(Join { peers: asked, replaces });
    (BTreeMap::new(), join)
}

/// Name → peer address of the masters that a new cluster starts with.
fn members(options: &Options) -> Result<BTreeMap<String, String>> {
    let name = &options.api.name;
    if options.initial_cluster.is_empty() {
        return Ok(BTreeMap::from([(name.clone(), options.peer_listen.to_string())]));
    }
    let mut members = BTreeMap::new();
    for item in &options.initial_cluster {
        let Some((member, address)) = item.split_once('=') else {
            bail!("--initial-cluster {item:?}: NAME=HOST:PORT is expected");
        };
        if address.rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err())
        {
            bail!("--initial-cluster {item:?}: {address:?} is not HOST:PORT");
        }
        if members.insert(member.to_owned(), address.to_owned()).is_some() {
            bail!("--initial-cluster names {member:?} twice");
        }
    }
    if !members.contains_key(name) {
        let known: Vec<&str> = members.keys().map(String::as_str).collect();
        bail!("--name {name:?} is not among --initial-cluster ({})", known.join(", "));
    }
    Ok(members)
}

/// A listening socket that any runtime can take over.
fn bind(address: SocketAddr, flag: &str) -> Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address).with_context(|| format!("{flag} {address}"))?;
    listener.set_nonblocking(true).context("listening socket")?;
    Ok(listener)
}

pub(crate) fn private_dir(dir: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("--data-dir {}", dir.display()))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A call to the store waits for other threads more than it computes, and each thread that it goes on
/// in is one to wake.
fn store_threads() -> usize {
    (cores() / 2).clamp(1, RUNTIME_THREADS_MAX)
}

/// Encoding lists is work; two at least, so that a long one does not hold up all others.
fn api_threads() -> usize {
    cores().clamp(2, RUNTIME_THREADS_MAX)
}

fn runtime(name: &str, threads: usize) -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name(name)
        .enable_all()
        .build()
        .context("start a runtime")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn who_had_others_asks_them() {
        let strings = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let alone = || BTreeMap::from([("a".to_owned(), "h1:2380".to_owned())]);
        let facts = |peers| Facts { peers: strings(peers), ..Facts::default() };
        let peers = |join: Option<Join>| join.map(|join| join.peers);
        let known = |peers| {
            let masters = strings(peers).into_iter().map(|peer| (format!("at {peer}"), peer)).collect();
            Known { masters, ..Known::default() }
        };
        assert_eq!(way_in(alone(), None, known(&[])), (alone(), None));
        let (members, join) = way_in(alone(), None, known(&["h2:2380"]));
        assert!(members.is_empty(), "it would make a new cluster");
        assert_eq!(peers(join), Some(strings(&["h2:2380", "h1:2380"])));
        let (_, join) =
            way_in(BTreeMap::new(), Some(facts(&["h1:2380", "h2:2380"])), known(&["h1:2380", "h3:2380"]));
        assert_eq!(peers(join), Some(strings(&["h1:2380", "h3:2380", "h2:2380"])));
        assert_eq!(way_in(BTreeMap::new(), Some(facts(&[])), known(&[])), (BTreeMap::new(), None));
        let mut three = alone();
        three.insert("b".to_owned(), "h2:2380".to_owned());
        assert_eq!(way_in(three.clone(), None, known(&[])), (three.clone(), None));
        let (members, join) = way_in(three, None, known(&["h3:2380"]));
        assert!(members.is_empty(), "it would make a new cluster with others that were removed");
        assert_eq!(peers(join), Some(strings(&["h3:2380", "h1:2380", "h2:2380"])));
    }

    fn parse(more: &[&str]) -> Result<BTreeMap<String, String>, String> {
        let mut arguments = vec!["server", "--data-dir", "/d", "--name", "a"];
        arguments.extend_from_slice(more);
        let cli = Cli::try_parse_from(arguments).map_err(|e| e.to_string())?;
        members(&cli.options).map_err(|e| e.to_string())
    }

    #[test]
    fn a_wrong_initial_cluster_is_named() {
        assert_eq!(parse(&[]).unwrap().len(), 1);
        let three = parse(&["--initial-cluster", "a=h:1,b=h:2,c=h:3"]).unwrap();
        assert_eq!(three["b"], "h:2");
        let message = |value| parse(&["--initial-cluster", value]).unwrap_err();
        assert!(message("a").contains("NAME=HOST:PORT"));
        assert!(message("a=h").contains("\"h\" is not HOST:PORT"));
        assert!(message("a=h:1,a=h:2").contains("twice"));
        assert!(message("b=h:1").contains("--name \"a\" is not among"));
    }
}
