//! Hosts of their own on this machine: network namespaces, each with an address, joined by a bridge in
//! a namespace of its own, the switch.
//!
//! ```text
//!   clients .2 ── eth0 ══ port "clients" ─┐
//!   m1 .11 ────── eth0 ══ port "m1" ──────┤ bridge in "switch": what it drops is a table of nftables
//!   m2 .12 ────── eth0 ══ port "m2" ──────┤ that is swapped as a whole
//!   b1 .21 ────── eth0 ══ port "b1" ──────┘
//! ```
//!
//! All of it lies in the run's own network and mount namespaces, so that names need not be unique on
//! the machine and nothing of it outlives the run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use serde_json::Value;

use super::tools::{run, run_in};

pub(super) const SWITCH: &str = "switch";
pub(super) const BRIDGE: &str = "bridge0";
/// Where the harness itself, and with it the clients, are.
pub(super) const CLIENTS: &str = "clients";
/// As the shipped configurations of HAProxy and keepalived have it.
pub(super) const VIRTUAL_ADDRESS: &str = "10.0.0.10";

pub(super) fn address(host: &str) -> String {
    let (kind, n) = host.split_at(1);
    let n: u8 = n.parse().unwrap_or(0);
    match kind {
        "m" => format!("10.0.0.{}", 10 + n),
        "b" => format!("10.0.0.{}", 20 + n),
        "p" => format!("10.0.0.{}", 30 + n),
        _ => "10.0.0.2".to_owned(),
    }
}

/// Both ends of a host's cable, as `ip` and `tc` take them.
fn ends(host: &str) -> [[&str; 3]; 2] {
    [["-n", SWITCH, host], ["-n", host, "eth0"]]
}

/// What the switch does to frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    /// From the first to the second nothing comes through.
    pub cut: BTreeSet<(String, String)>,
    /// Of what goes to or comes from a host, so many percent are lost.
    pub lost_percent: BTreeMap<String, u8>,
    /// Of what goes to a host, so many percent come twice.
    pub twice_percent: BTreeMap<String, u8>,
}

impl Rules {
    /// As one transaction of nftables: what was there is gone, and what is wanted holds, at once. Rules
    /// count what they meet under their names, and go on counting from script to script.
    fn script(&self) -> String {
        let mut text = String::from("table bridge chaos {\n chain forward {\n");
        let _ = writeln!(text, "  type filter hook forward priority 0; policy accept;\n }}\n}}");
        let _ = writeln!(text, "flush chain bridge chaos forward");
        let mut drops = |name: String, matches: String| {
            let _ = writeln!(text, "add counter bridge chaos {name}");
            let _ = writeln!(text, "add rule bridge chaos forward {matches} counter name \"{name}\" drop");
        };
        for (from, to) in &self.cut {
            drops(cut_name(from, to), format!("iifname \"{from}\" oifname \"{to}\""));
        }
        for (host, percent) in &self.lost_percent {
            for end in ["iifname", "oifname"] {
                drops(lost_name(host), format!("{end} \"{host}\" {}", dice(*percent)));
            }
        }
        let _ = writeln!(text, "table netdev chaos\ndelete table netdev chaos");
        if !self.twice_percent.is_empty() {
            let _ = writeln!(text, "table netdev chaos {{");
            for (host, percent) in &self.twice_percent {
                let name = twice_name(host);
                let _ = writeln!(text, " counter {name} {{ }}\n chain {host} {{");
                let _ =
                    writeln!(text, "  type filter hook egress device \"{host}\" priority 0; policy accept;");
                let dice = dice(*percent);
                let _ = writeln!(text, "  {dice} counter name \"{name}\" dup to \"{host}\"\n }}");
            }
            let _ = writeln!(text, "}}");
        }
        text
    }
}

/// What takes so many percent of the frames; nftables has no word for all of them.
fn dice(percent: u8) -> String {
    if percent < 100 { format!("numgen random mod 100 < {percent}") } else { String::new() }
}

/// The names by which rules count.
pub(super) fn cut_name(from: &str, to: &str) -> String {
    format!("cut-{from}-{to}")
}

pub(super) fn lost_name(host: &str) -> String {
    format!("lost-{host}")
}

pub(super) fn twice_name(host: &str) -> String {
    format!("twice-{host}")
}

pub(super) struct Network {
    rules: Mutex<Rules>,
    dir: std::path::PathBuf,
}

impl Network {
    /// The switch, and these hosts beside that of the clients. `dir` is for what `nft` reads.
    pub(super) async fn new(hosts: &[String], dir: &std::path::Path) -> Result<Network> {
        run("ip", &["link", "set", "lo", "up"]).await?;
        run("ip", &["netns", "add", SWITCH]).await?;
        run("ip", &["-n", SWITCH, "link", "add", "name", BRIDGE, "type", "bridge", "mcast_snooping", "0"])
            .await?;
        run("ip", &["-n", SWITCH, "link", "set", "dev", BRIDGE, "up"]).await?;
        let network = Network { rules: Mutex::default(), dir: dir.to_owned() };
        // The harness is the first process of its namespaces.
        network.join(CLIENTS, "1").await?;
        run("ip", &["address", "add", &format!("{}/24", address(CLIENTS)), "dev", "eth0"]).await?;
        run("ip", &["link", "set", "dev", "eth0", "up"]).await?;
        for host in hosts {
            run("ip", &["netns", "add", host]).await?;
            network.join(host, host).await?;
            let address = format!("{}/24", address(host));
            run("ip", &["-n", host, "address", "add", &address, "dev", "eth0"]).await?;
            run("ip", &["-n", host, "link", "set", "dev", "lo", "up"]).await?;
            run("ip", &["-n", host, "link", "set", "dev", "eth0", "up"]).await?;
        }
        Ok(network)
    }

    async fn join(&self, port: &str, namespace: &str) -> Result<()> {
        run(
            "ip",
            &["-n", SWITCH, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace],
        )
        .await?;
        run("ip", &["-n", SWITCH, "link", "set", "dev", port, "master", BRIDGE, "up"]).await.map(|_| ())
    }

    /// Changes what the switch does, all at once.
    pub(super) async fn change(&self, change: impl FnOnce(&mut Rules)) -> Result<()> {
        let mut rules = self.rules.lock().clone();
        change(&mut rules);
        let file = self.dir.join("switch.nft");
        std::fs::write(&file, rules.script()).with_context(|| format!("write {}", file.display()))?;
        run_in(SWITCH, &["nft", "-f", &file.to_string_lossy()]).await?;
        *self.rules.lock() = rules;
        Ok(())
    }

    /// How many frames each rule has met, by its name.
    pub(super) async fn met(&self) -> Result<BTreeMap<String, u64>> {
        let said = run_in(SWITCH, &["nft", "-j", "list", "counters"]).await?;
        let said: Value = serde_json::from_str(&said).context("what nft counts")?;
        let counters = said["nftables"].as_array().into_iter().flatten();
        let named =
            |counter: &Value| Some((counter["name"].as_str()?.to_owned(), counter["packets"].as_u64()?));
        Ok(counters.filter_map(|object| named(&object["counter"])).collect())
    }

    /// How many frames have come to a host.
    pub(super) async fn received(&self, host: &str) -> Result<u64> {
        let said = run("ip", &["-n", host, "-s", "-j", "link", "show", "dev", "eth0"]).await?;
        let said: Value = serde_json::from_str(&said).context("what ip counts")?;
        said[0]["stats64"]["rx"]["packets"].as_u64().context("ip counts no frames")
    }

    /// How many frames have had to wait on the narrow line of a host, in both directions.
    pub(super) async fn waited(&self, host: &str) -> Result<u64> {
        let mut frames = 0;
        for [flag, namespace, device] in ends(host) {
            let said = run("tc", &["-s", "-j", flag, namespace, "qdisc", "show", "dev", device]).await?;
            let said: Value = serde_json::from_str(&said).context("what tc counts")?;
            frames += said[0]["overlimits"].as_u64().unwrap_or(0);
        }
        Ok(frames)
    }

    /// The cable at the switch's end: the host sees that its link is down.
    pub(super) async fn switch_link(&self, host: &str, up: bool) -> Result<()> {
        let state = if up { "up" } else { "down" };
        run("ip", &["-n", SWITCH, "link", "set", "dev", host, state]).await.map(|_| ())
    }

    /// The host's own interface: calls fail at once with "unreachable".
    pub(super) async fn host_link(&self, host: &str, up: bool) -> Result<()> {
        let state = if up { "up" } else { "down" };
        run("ip", &["-n", host, "link", "set", "dev", "eth0", state]).await.map(|_| ())
    }

    /// Whether a host has no line, by its own interface.
    pub(super) async fn is_down(&self, host: &str) -> Result<bool> {
        let said = run("ip", &["-n", host, "-j", "link", "show", "dev", "eth0"]).await?;
        let said: Value = serde_json::from_str(&said).context("what ip says of a line")?;
        Ok(said[0]["operstate"] != "UP")
    }

    /// Narrows what goes to a host and what comes from it to so many kilobits a second; what waits
    /// longer than half a second is dropped. `None`: as fast as it can.
    pub(super) async fn narrow(&self, host: &str, kbit: Option<u32>) -> Result<()> {
        for [flag, namespace, device] in ends(host) {
            match kbit {
                Some(kbit) => {
                    let rate = format!("{kbit}kbit");
                    let shape = ["root", "tbf", "rate", &rate, "burst", "8kb", "latency", "500ms"];
                    let place = [flag, namespace, "qdisc", "replace", "dev", device];
                    run("tc", &[place.as_slice(), shape.as_slice()].concat()).await?;
                }
                None => {
                    run("tc", &[flag, namespace, "qdisc", "delete", "dev", device, "root"]).await?;
                }
            }
        }
        Ok(())
    }

    /// Ends the connections that a host has, as `ss -K` does: both ends are told.
    pub(super) async fn reset(&self, host: &str) -> Result<usize> {
        let said =
            run_in(host, &["ss", "-K", "-H", "-t", "state", "established", "dst", "10.0.0.0/24"]).await?;
        Ok(said.lines().count())
    }

    /// The same among the clients.
    pub(super) async fn reset_own(&self) -> Result<()> {
        run("ss", &["-K", "-H", "-t", "state", "established", "dst", "10.0.0.0/24"]).await.map(|_| ())
    }

    /// Takes everything down again, so that another can be made.
    pub(super) async fn remove(&self, hosts: &[String]) -> Result<()> {
        for host in hosts {
            run("ip", &["-n", SWITCH, "link", "delete", host]).await?;
            run("ip", &["netns", "delete", host]).await?;
        }
        run("ip", &["-n", SWITCH, "link", "delete", CLIENTS]).await?;
        run("ip", &["netns", "delete", SWITCH]).await.map(|_| ())
    }

    /// Whether the host has the address that moves.
    pub(super) async fn has_virtual_address(&self, host: &str) -> Result<bool> {
        let said = run("ip", &["-n", host, "-4", "address", "show", "dev", "eth0"]).await?;
        Ok(said.contains(&format!("inet {VIRTUAL_ADDRESS}/")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_one_transaction_that_replaces_what_was_there() {
        let mut rules = Rules::default();
        assert!(!rules.script().contains("drop"), "{}", rules.script());
        rules.cut.insert(("m1".into(), "m2".into()));
        rules.lost_percent.insert("m3".into(), 7);
        rules.twice_percent.insert("b1".into(), 50);
        let script = rules.script();
        for line in [
            "flush chain bridge chaos forward",
            "iifname \"m1\" oifname \"m2\" counter name \"cut-m1-m2\" drop",
            "oifname \"m3\" numgen random mod 100 < 7 counter name \"lost-m3\" drop",
            "hook egress device \"b1\"",
        ] {
            assert!(script.contains(line), "{line} is not in\n{script}");
        }
        assert!(!script.contains("iifname \"m2\" oifname \"m1\""), "one direction alone:\n{script}");
        assert_eq!(script.matches('{').count(), script.matches('}').count(), "{script}");
    }

    #[test]
    fn addresses_are_those_of_the_shipped_configurations() {
        assert_eq!((address("m1"), address("m5")), ("10.0.0.11".into(), "10.0.0.15".into()));
        assert_eq!((address("b2"), address(CLIENTS)), ("10.0.0.22".into(), "10.0.0.2".into()));
    }
}
