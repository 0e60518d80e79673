//! HAProxy in front of the masters, with the configuration that is shipped; with keepalived on two
//! hosts, and an address that moves between them.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use super::network::{Network, VIRTUAL_ADDRESS, address};
use super::probe::Probed;
use super::process::Service;
use super::tools::{find, namespace_path, run};

const HAPROXY: &str = include_str!("../../../deploy/haproxy/haproxy.cfg");
const KEEPALIVED: &str = include_str!("../../../deploy/keepalived/keepalived.conf");
const POLL: Duration = Duration::from_millis(50);

pub(super) struct Balancer {
    pub host: String,
    pub haproxy: Service,
    keepalived: Option<Service>,
}

pub(super) struct Balancers {
    pub all: Vec<Balancer>,
}

/// Two with keepalived, else one.
pub(super) fn hosts(probed: &Probed) -> Vec<String> {
    let count = if probed.has("keepalived") { 2 } else { 1 };
    (1..=count).map(|n| format!("b{n}")).collect()
}

impl Balancers {
    pub(super) async fn start(dir: &Path, masters: usize, probed: &Probed) -> Result<Balancers> {
        let haproxy = dir.join("haproxy.cfg");
        std::fs::write(&haproxy, haproxy_configuration(masters)).context("HAProxy's configuration")?;
        let mut all = Vec::new();
        for host in hosts(probed) {
            let (namespace, file) = (format!("--net={}", namespace_path(&host)), haproxy.clone());
            let program = find("haproxy").context("there is no haproxy")?;
            let log = dir.join(format!("{host}-haproxy.log"));
            let service = Service::start(&format!("haproxy of {host}"), log, {
                let namespace = namespace.clone();
                move || {
                    let mut command = Command::new("nsenter");
                    command.args([&namespace, "--"]).arg(&program).args(["-db", "-f"]).arg(&file);
                    command
                }
            });
            let keepalived = match find("keepalived").filter(|_| probed.has("keepalived")) {
                Some(program) => Some(keepalived(dir, &host, namespace, program)?),
                None => {
                    let address = format!("{VIRTUAL_ADDRESS}/24");
                    run("ip", &["-n", &host, "address", "add", &address, "dev", "eth0"]).await?;
                    None
                }
            };
            all.push(Balancer { host, haproxy: service, keepalived });
        }
        Ok(Balancers { all })
    }

    /// Place in `all` of the one that has the address.
    pub(super) async fn holder(&self, network: &Network, within: Duration) -> Result<usize> {
        let deadline = Instant::now() + within;
        loop {
            for (n, balancer) in self.all.iter().enumerate() {
                if network.has_virtual_address(&balancer.host).await? {
                    return Ok(n);
                }
            }
            if Instant::now() > deadline {
                bail!("no balancer has {VIRTUAL_ADDRESS} after {} s", within.as_secs());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Whether another than this one comes to have the address.
    pub(super) async fn moves_from(&self, network: &Network, from: usize, within: Duration) -> Result<bool> {
        let deadline = Instant::now() + within;
        loop {
            for (n, balancer) in self.all.iter().enumerate() {
                if n != from && network.has_virtual_address(&balancer.host).await? {
                    return Ok(true);
                }
            }
            if Instant::now() > deadline {
                return Ok(false);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    pub(super) async fn stop(&self) -> Result<()> {
        for balancer in &self.all {
            if let Some(keepalived) = &balancer.keepalived {
                keepalived.stop().await?;
            }
            balancer.haproxy.stop().await?;
        }
        Ok(())
    }
}

fn keepalived(dir: &Path, host: &str, namespace: String, program: std::path::PathBuf) -> Result<Service> {
    let file = dir.join(format!("{host}-keepalived.conf"));
    std::fs::write(&file, keepalived_configuration(host)).context("keepalived's configuration")?;
    let (pid, vrrp) = (dir.join(format!("{host}-keepalived.pid")), dir.join(format!("{host}-vrrp.pid")));
    let log = dir.join(format!("{host}-keepalived.log"));
    Ok(Service::start(&format!("keepalived of {host}"), log, move || {
        let mut command = Command::new("nsenter");
        command
            .args([&namespace, "--"])
            .arg(&program)
            .args(["--dont-fork", "--log-console", "--vrrp", "--use-file"])
            .arg(&file)
            .arg("--pid")
            .arg(&pid)
            .arg("--vrrp_pid")
            .arg(&vrrp);
        command
    }))
}

/// As shipped, which is for three masters, and a line for each further one.
fn haproxy_configuration(masters: usize) -> String {
    let mut text = HAPROXY.to_owned();
    for n in 4..=masters {
        text.push_str(&format!("    server master-{n} \"{}:6443\"\n", address(&format!("m{n}"))));
    }
    text
}

/// As shipped, with the priority that its head asks for.
fn keepalived_configuration(host: &str) -> String {
    let priority = if host == "b1" { "priority 102" } else { "priority 101" };
    KEEPALIVED.replace("priority 100", priority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_configurations_fit_this_network() {
        assert!(HAPROXY.contains(&format!("{}:6443", address("m3"))));
        assert!(haproxy_configuration(5).contains("server master-5 \"10.0.0.15:6443\""));
        assert_eq!(haproxy_configuration(3), HAPROXY);
        assert!(KEEPALIVED.contains(VIRTUAL_ADDRESS));
        assert_ne!(keepalived_configuration("b1"), keepalived_configuration("b2"));
    }
}
