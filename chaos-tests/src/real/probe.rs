//! What this machine can do, found out by doing it once, before anything is started. What it lacks is
//! told by name, and so are the faults that cannot be had for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::cgroups::{Controller, Groups};
use super::network::{self, CLIENTS, Network, Rules, cut_name, lost_name, twice_name};
use super::plan::Kind;
use super::tools::{need, run};
use super::wire::{Line, Wire};
use super::{clock, disk};

/// The host that the probes of the network are made on.
const HOST: &str = "p1";
const PORT: u16 = 9;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// What has not come by then, does not come: it is a matter of microseconds.
const CUT_TIMEOUT: Duration = Duration::from_millis(300);
const BURST_FRAMES: u64 = 40;
const BURST_FRAME_BYTES: usize = 1_000;
/// A line that such a burst is on for a second.
const NARROW_KBIT: u32 = 320;

#[derive(Debug, Default)]
pub(super) struct Probed {
    /// By name: present, or why not.
    found: BTreeMap<&'static str, Result<(), String>>,
    pub clock: Option<PathBuf>,
}

/// What a kind of fault needs, and whether it is there.
pub(super) struct Missing {
    pub kind: Kind,
    pub reason: String,
}

impl Probed {
    pub(super) fn has(&self, name: &str) -> bool {
        self.found.get(name).is_some_and(Result::is_ok)
    }

    fn note(&mut self, name: &'static str, found: Result<(), String>) {
        self.found.insert(name, found);
    }

    /// Those of `kinds` that cannot be had here, each with its reason.
    pub(super) fn missing(&self, kinds: &[Kind]) -> Vec<Missing> {
        kinds
            .iter()
            .filter_map(|kind| {
                let reason = kind.needs().iter().find_map(|name| match self.found.get(name) {
                    Some(Ok(())) => None,
                    // All of it is told of what is lacking.
                    Some(Err(reason)) => Some(reason.lines().next().unwrap_or_default().to_owned()),
                    None => Some(format!("{name} was not looked for")),
                })?;
                Some(Missing { kind: *kind, reason })
            })
            .collect()
    }

    /// What is not there, by name.
    pub(super) fn lacking(&self) -> Vec<(&'static str, &str)> {
        self.found.iter().filter_map(|(name, found)| Some((*name, found.as_ref().err()?.as_str()))).collect()
    }
}

/// Does everything once, and leaves nothing behind.
pub(super) async fn probe(dir: &Path, groups: &Groups, older: Option<&Path>) -> Result<Probed> {
    let mut probed = Probed::default();
    std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    for (controller, name) in
        [(Controller::Freezer, "freezer"), (Controller::Memory, "memory"), (Controller::Cpu, "cpu")]
    {
        probed.note(name, try_group(groups, controller));
    }
    probed.note("strace", need("strace", "strace").and(traces().await));
    match clock::library(dir).await {
        Ok(library) => {
            probed.clock = Some(library);
            probed.note("clock", Ok(()));
        }
        Err(error) => probed.note("clock", Err(format!("{error:#}"))),
    }
    probed.note("loop", file_system(dir, disk::Kind::Loop).await);
    probed.note("mount", file_system(dir, disk::Kind::Memory).await);
    probed.note("keepalived", need("keepalived", "keepalived"));
    probed.note("kubectl", need("kubectl", "kubernetes-client"));
    probed.note("etcdctl", need("etcdctl", "etcd-client"));
    probed.note("older", release(older).await);
    network(dir, &mut probed).await?;
    Ok(probed)
}

async fn release(older: Option<&Path>) -> Result<(), String> {
    let older = older.ok_or("no older release is given (--older)")?;
    words(run(&older.to_string_lossy(), &["--version"]).await.map(|_| ()))
}

fn words(found: Result<()>) -> Result<(), String> {
    found.map_err(|error| format!("{error:#}"))
}

fn try_group(groups: &Groups, controller: Controller) -> Result<(), String> {
    let make = || {
        groups.make(controller, HOST)?;
        match controller {
            Controller::Freezer => {
                groups.freeze(HOST, true)?;
                ensure!(groups.is_frozen(HOST)?, "a group that is frozen is not");
                groups.freeze(HOST, false)
            }
            Controller::Memory => groups.limit_memory(HOST, Some(1 << 30)),
            Controller::Cpu => groups.limit_cpu(HOST, Some(50)),
        }
    };
    words(make())
}

/// Whether a sync that is to fail does.
async fn traces() -> Result<(), String> {
    let fails = ["-o", "/dev/null", "-e", "inject=fsync:error=EIO", "sync", "/proc/self/exe"];
    match run("strace", &fails).await {
        Err(error) if format!("{error:#}").contains("Input/output error") => Ok(()),
        Err(error) => Err(format!("{error:#}")),
        Ok(_) => Err("a sync that strace is to fail succeeds".to_owned()),
    }
}

async fn file_system(dir: &Path, kind: disk::Kind) -> Result<(), String> {
    let name = if kind == disk::Kind::Loop { "probe-loop" } else { "probe-memory" };
    let attempt = async {
        let disk = disk::Disk::new(kind, dir.join(name)).await?;
        let tried = if kind == disk::Kind::Loop { disk.fail().await } else { Ok(()) };
        disk.unmount().await?;
        tried
    };
    let found = words(attempt.await);
    let _ = std::fs::remove_file(dir.join(name).with_extension("img"));
    let _ = std::fs::remove_dir(dir.join(name));
    found
}

/// On a network with one host, which is gone afterwards: the run makes its own.
async fn network(dir: &Path, probed: &mut Probed) -> Result<()> {
    probed.note("nftables", need("nft", "nftables"));
    probed.note("twice", need("nft", "nftables"));
    let network = Network::new(&[HOST.to_owned()], dir).await.context("a network of namespaces")?;
    if probed.has("nftables") {
        probed.note("nftables", words(cuts(&network).await));
        probed.note("twice", words(doubles(&network).await));
    }
    probed.note(
        "tbf",
        match need("tc", "iproute2") {
            Ok(()) => words(narrow_line(&network).await),
            missing => missing,
        },
    );
    probed.note("tap", words(slow_line().await));
    probed.note("sockets", kills_sockets(&network).await);
    network.remove(&[HOST.to_owned()]).await
}

/// Whether the host's kernel says within `patience` that nobody listens there: frames come and go.
async fn answers(patience: Duration) -> Result<bool> {
    let connect = tokio::net::TcpStream::connect((network::address(HOST), PORT));
    match tokio::time::timeout(patience, connect).await {
        Err(_) => Ok(false),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(true),
        Ok(Err(error)) => Err(error).context("reach a host"),
        Ok(Ok(_)) => anyhow::bail!("somebody listens at port {PORT} of a host that has just been made"),
    }
}

/// Whether nothing passes where the switch is told to drop it, in either way of telling, whether that
/// is counted, and whether everything passes again afterwards.
async fn cuts(network: &Network) -> Result<()> {
    let (host, clients) = (HOST.to_owned(), CLIENTS.to_owned());
    let ways = [
        (cut_name(CLIENTS, HOST), Rules { cut: [(clients, host.clone())].into(), ..Rules::default() }),
        (lost_name(HOST), Rules { lost_percent: [(host, 100)].into(), ..Rules::default() }),
    ];
    for (name, wanted) in ways {
        ensure!(answers(ANSWER_TIMEOUT).await?, "a host does not answer before anything is cut");
        network.change(|rules| *rules = wanted).await?;
        ensure!(!answers(CUT_TIMEOUT).await?, "{name}: what is cut passes");
        let met = network.met().await?;
        ensure!(met.get(&name).is_some_and(|frames| *frames > 0), "{name}: what is cut is not counted");
        network.change(|rules| *rules = Rules::default()).await?;
    }
    ensure!(answers(ANSWER_TIMEOUT).await?, "a host does not answer after a cut was taken back");
    Ok(())
}

/// Sends datagrams to the host, of which so many have come before the last is on its way.
async fn burst(network: &Network) -> Result<u64> {
    let socket = tokio::net::UdpSocket::bind((network::address(CLIENTS), 0)).await?;
    let before = network.received(HOST).await?;
    for _ in 0..BURST_FRAMES {
        socket.send_to(&[0; BURST_FRAME_BYTES], (network::address(HOST), PORT)).await?;
    }
    Ok(network.received(HOST).await? - before)
}

/// Whether a frame comes twice where it is to.
async fn doubles(network: &Network) -> Result<()> {
    let twice = Rules { twice_percent: [(HOST.into(), 100)].into(), ..Rules::default() };
    network.change(|rules| *rules = twice).await?;
    let received = burst(network).await?;
    let met = network.met().await?.get(&twice_name(HOST)).copied().unwrap_or(0);
    network.change(|rules| *rules = Rules::default()).await?;
    ensure!(
        received >= 2 * BURST_FRAMES && met >= BURST_FRAMES,
        "of {BURST_FRAMES} frames that were to come twice {received} came, and {met} were counted"
    );
    Ok(())
}

/// Whether what is sent over a narrow line has to wait.
async fn narrow_line(network: &Network) -> Result<()> {
    network.narrow(HOST, Some(NARROW_KBIT)).await?;
    let at_once = burst(network).await?;
    let waited = network.waited(HOST).await?;
    network.narrow(HOST, None).await?;
    ensure!(
        at_once < BURST_FRAMES && waited > 0,
        "a narrow line is as wide as any: {at_once} frames came at once"
    );
    Ok(())
}

/// Whether a line through this program carries frames, as late as it is to.
async fn slow_line() -> Result<()> {
    let delay = Duration::from_millis(20);
    let line = Line { delay, jitter: Duration::ZERO, reorders: false, seed: 0 };
    let wire = Wire::begin(HOST, line).await?;
    let begin = Instant::now();
    let answered = answers(ANSWER_TIMEOUT).await;
    let (took, carried) = (begin.elapsed(), wire.carried());
    wire.end().await?;
    ensure!(answered? && carried.frames() > 0, "a slow line carries nothing");
    ensure!(took >= 2 * delay, "a slow line is not slow: {} ms", took.as_millis());
    Ok(())
}

/// Whether the kernel ends a connection that it is told to end.
async fn kills_sockets(network: &Network) -> Result<(), String> {
    let attempt = async {
        let listener = tokio::net::TcpListener::bind((network::address(CLIENTS), 0)).await?;
        let address = listener.local_addr()?;
        let (client, _server) =
            tokio::try_join!(tokio::net::TcpStream::connect(address), async { listener.accept().await })?;
        network.reset_own().await?;
        let mut byte = [0];
        let read = tokio::time::timeout(std::time::Duration::from_secs(1), async {
            client.readable().await?;
            client.try_read(&mut byte)
        });
        match read.await {
            Ok(Err(_)) => Ok(()),
            Ok(Ok(_)) | Err(_) => {
                anyhow::bail!("ss -K leaves connections as they are (CONFIG_INET_DIAG_DESTROY)")
            }
        }
    };
    words(attempt.await)
}
