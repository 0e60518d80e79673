//! The command lines of a cluster's processes.

use std::ffi::OsString;
use std::path::Path;

use super::PKI_DIR;
use super::layout::Layout;
use super::process::Spec;

pub(super) const BALANCER: &str = "balancer";
pub(super) const NODES: &str = "nodes";

/// In the order in which they are stopped: who depends on others first.
pub(super) fn groups(dir: &Path, layout: &Layout, restart: bool) -> Vec<Vec<Spec>> {
    let pki = dir.join(PKI_DIR);
    let masters = layout.masters();
    let replicas = layout.replicas();
    let spec = |name: &str, arguments: Arguments| Spec {
        name: name.to_owned(),
        dir: dir.join(name),
        arguments: arguments.0,
        restart,
    };
    let advertise = advertise_address();

    let mut nodes = Vec::new();
    if layout.nodes > 0 {
        let arguments = Arguments::new("agent")
            .with("--server", format!("https://{}", layout.balancer()))
            .with("--pki-dir", &pki)
            .with("--data-dir", dir.join(NODES).join("data"))
            .with("--hollow", layout.nodes.to_string());
        nodes.push(spec(NODES, arguments));
    }

    let mut balancer =
        Arguments::new("balancer").with("--listen", layout.balancer()).with("--ca", pki.join("ca.crt"));
    for address in masters.iter().map(|m| &m.api).chain(replicas.iter().map(|(_, address)| address)) {
        balancer = balancer.with("--backend", address);
    }

    let endpoints: Vec<String> = masters.iter().map(|m| m.client.clone()).collect();
    let stateless = replicas
        .iter()
        .map(|(name, address)| {
            let arguments = Arguments::new("apiserver")
                .with("--name", name)
                .with("--data-dir", dir.join(name).join("data"))
                .with("--pki-dir", &pki)
                .with("--api-listen", address)
                .with("--advertise-address", &advertise)
                .with("--store", endpoints.join(","));
            spec(name, arguments)
        })
        .collect();

    let members: Vec<String> = masters.iter().map(|m| format!("{}={}", m.name, m.peer)).collect();
    let servers = masters
        .iter()
        .map(|master| {
            let arguments = Arguments::new("server")
                .with("--name", &master.name)
                .with("--data-dir", dir.join(&master.name).join("data"))
                .with("--pki-dir", &pki)
                .with("--peer-listen", &master.peer)
                .with("--client-listen", &master.client)
                .with("--api-listen", &master.api)
                .with("--advertise-address", &advertise)
                .with("--initial-cluster", members.join(","));
            spec(&master.name, arguments)
        })
        .collect();
    vec![nodes, vec![spec(BALANCER, balancer)], stateless, servers]
}

struct Arguments(Vec<OsString>);

impl Arguments {
    fn new(command: &str) -> Arguments {
        Arguments(vec![command.into()])
    }

    fn with(mut self, flag: &str, value: impl AsRef<std::ffi::OsStr>) -> Arguments {
        self.0.push(flag.into());
        self.0.push(value.as_ref().into());
        self
    }
}

/// This machine's own address, which the `kubernetes` endpoints show since they may hold no
/// loopback address; loopback where there is no other. Nothing is sent to find it.
fn advertise_address() -> String {
    // The documentation range: any address outside the machine picks the outgoing interface.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    socket.map_or_else(|_| "127.0.0.1".to_owned(), |address| address.ip().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_depends_on_others_stops_first() {
        let layout = Layout { masters: 3, nodes: 2, port: 6443, api_replicas: 1 };
        let groups = groups(Path::new("/c"), &layout, true);
        let names: Vec<Vec<&str>> =
            groups.iter().map(|g| g.iter().map(|s| s.name.as_str()).collect()).collect();
        assert_eq!(
            names,
            [vec!["nodes"], vec!["balancer"], vec!["apiserver-1"], vec!["master-1", "master-2", "master-3"]]
        );
        let balancer = &groups[1][0].arguments;
        assert_eq!(balancer.iter().filter(|a| *a == "--backend").count(), 4);
    }
}
