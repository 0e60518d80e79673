//! A network of machines on this one: network namespaces behind a bridge, whose cables can be pulled.
//!
//! ```text
//!   this namespace ── bridge .1 ──┬── port ══ veth ══ eth0 .11 ── namespace of host 0
//!                                 ├── port ══ veth ══ eth0 .12 ── namespace of host 1
//!                                 └── …
//! ```
//!
//! Names carry the number of this process. They go with [`Network`], after a panic too; what a killed
//! process left is removed by the next one that makes a network.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Of all names here. An interface's name has 15 bytes at most.
const PREFIX: &str = "tr";
/// Of the first host; the bridge is `.1`.
const FIRST_HOST: u8 = 11;
/// Networks that are tried until one is found that this machine has no route to.
const SUBNETS_MAX: u32 = 64;

/// How a host is cut off from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Its port at the bridge goes down: its cable was pulled at the other end.
    Port,
    /// Its own interface goes down: calls fail at once with "unreachable".
    Interface,
    /// The bridge drops what comes from it and what goes to it; nobody sees a link go down.
    Silence,
}

pub struct Network {
    bridge: String,
    subnet: [u8; 3],
    hosts: Vec<Host>,
}

struct Host {
    namespace: String,
    /// Its end at the bridge.
    port: String,
}

impl Network {
    /// A network of so many hosts that reach each other and this process. `Err` says why that cannot
    /// be had here.
    pub fn new(hosts: u8) -> Result<Network, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        sweep();
        let id = format!("{PREFIX}{}n{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut network = Network { bridge: format!("{id}b"), subnet: free_subnet()?, hosts: Vec::new() };
        ip(&["link", "add", &network.bridge, "type", "bridge"])?;
        let own = format!("{}/24", network.gateway());
        ip(&["address", "add", &own, "dev", &network.bridge])?;
        ip(&["link", "set", &network.bridge, "up"])?;
        for n in 0..hosts {
            network.add(&id, n)?;
        }
        Ok(network)
    }

    fn add(&mut self, id: &str, n: u8) -> Result<(), String> {
        let host = Host { namespace: format!("{id}h{n}"), port: format!("{id}p{n}") };
        let (namespace, port) = (host.namespace.clone(), host.port.clone());
        ip(&["netns", "add", &namespace])?;
        // From here on its end is this network's.
        self.hosts.push(host);
        ip(&["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &namespace])?;
        ip(&["link", "set", &port, "master", &self.bridge, "up"])?;
        let address = format!("{}/24", self.address(n));
        let inside = |arguments: &[&str]| ip(&[&["-n", namespace.as_str()], arguments].concat());
        inside(&["address", "add", &address, "dev", "eth0"])?;
        inside(&["link", "set", "lo", "up"])?;
        inside(&["link", "set", "eth0", "up"])
    }

    /// Where hosts reach this process.
    pub fn gateway(&self) -> Ipv4Addr {
        let [a, b, c] = self.subnet;
        Ipv4Addr::new(a, b, c, 1)
    }

    pub fn address(&self, host: u8) -> Ipv4Addr {
        let [a, b, c] = self.subnet;
        Ipv4Addr::new(a, b, c, FIRST_HOST + host)
    }

    /// A program on a host. The process is the program's own.
    pub fn command(&self, host: u8, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.host(host).namespace]).arg(program);
        command
    }

    /// Cuts a host off from everyone, in both directions, until the answer is dropped.
    #[must_use = "the host is cut off for as long as this lives"]
    pub fn cut(&self, host: u8, how: Cut) -> CutOff<'_> {
        self.set(host, how, false).expect("cut");
        CutOff { network: self, host, how }
    }

    fn set(&self, host: u8, how: Cut, connected: bool) -> Result<(), String> {
        let Host { namespace, port } = self.host(host);
        let state = if connected { "up" } else { "down" };
        match how {
            Cut::Port => ip(&["link", "set", port, state]),
            Cut::Interface => ip(&["-n", namespace, "link", "set", "eth0", state]),
            Cut::Silence => {
                run("bridge", &["link", "set", "dev", port, "state", if connected { "3" } else { "0" }])
            }
        }
    }

    fn host(&self, host: u8) -> &Host {
        self.hosts.get(usize::from(host)).expect("a host of this network")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in &self.hosts {
            // With it goes the pair of interfaces, as soon as no process is left in it.
            let _ = ip(&["link", "delete", &host.port]);
            let _ = ip(&["netns", "delete", &host.namespace]);
        }
        let _ = ip(&["link", "delete", &self.bridge]);
    }
}

/// Ends the cut when dropped.
pub struct CutOff<'n> {
    network: &'n Network,
    host: u8,
    how: Cut,
}

impl Drop for CutOff<'_> {
    fn drop(&mut self) {
        let healed = self.network.set(self.host, self.how, true);
        // A test that fails already says why.
        assert!(healed.is_ok() || std::thread::panicking(), "{healed:?}");
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    run("ip", arguments)
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {}: {}", arguments.join(" "), said.trim()))
}

/// A network of 256 addresses in 10.128.0.0/9 that this machine knows no route to but the default.
fn free_subnet() -> Result<[u8; 3], String> {
    let routes = Command::new("ip").args(["-4", "route", "show"]).output();
    let routes = routes.map_err(|error| format!("ip: {error}"))?;
    let routes = String::from_utf8_lossy(&routes.stdout).into_owned();
    for n in 0..SUBNETS_MAX {
        let at = std::process::id().wrapping_mul(31).wrapping_add(n);
        let (b, c) = (128 + (at >> 8 & 127) as u8, (at & 255) as u8);
        if !routes.lines().any(|route| route.starts_with(&format!("10.{b}.{c}."))) {
            return Ok([10, b, c]);
        }
    }
    Err("no network is free".into())
}

/// Removes what processes left that were killed.
fn sweep() {
    let dead = |name: &str| {
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('n')).map(|(pid, _)| pid);
        let pid = pid.filter(|pid| !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()));
        pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
    };
    for entry in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        if let Some(name) = entry.file_name().to_str().filter(|name| dead(name)) {
            let _ = ip(&["netns", "delete", name]);
        }
    }
    for entry in std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten() {
        if let Some(name) = entry.file_name().to_str().filter(|name| dead(name)) {
            let _ = ip(&["link", "delete", name]);
        }
    }
}
