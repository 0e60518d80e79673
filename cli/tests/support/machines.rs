//! Masters as an operator sets them up, each on a machine of its own in a [`Network`].

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use super::network::Network;
use super::{TRIREME, eventually, kubectl_with, text, trireme};

const API_PORT: u16 = 6443;
const STORE_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;

/// Masters `master-1` … on hosts 0 …; ended with this.
pub struct Machines {
    masters: Vec<Child>,
    pub network: Network,
    dir: tempfile::TempDir,
}

impl Machines {
    /// Starts as many masters as the network has hosts, and waits until all are well.
    pub fn start(network: Network, count: u8) -> Machines {
        let dir = tempfile::Builder::new().prefix("trireme-machines-").tempdir().expect("temporary folder");
        let mut machines = Machines { masters: Vec::new(), network, dir };
        let pki = machines.pki();
        let server = machines.server(1);
        let made = trireme(&["pki", "--dir", pki.to_str().expect("UTF-8"), "--server", &server]);
        assert!(made.status.success(), "{}", text(&made));
        let members: Vec<_> =
            (1..=count).map(|n| format!("{}={}:{PEER_PORT}", name(n), machines.address(n))).collect();
        for n in 1..=count {
            let process = machines.spawn(n, &members.join(","));
            machines.masters.push(process);
        }
        machines.await_health();
        machines
    }

    fn spawn(&self, n: u8, members: &str) -> Child {
        let address = self.address(n);
        let log = std::fs::File::create(self.log_of(n)).expect("log");
        self.network
            .command(n - 1, TRIREME)
            .args(["server", "--name", &name(n), "--data-dir"])
            .arg(self.data_dir(n))
            .arg("--pki-dir")
            .arg(self.pki())
            .args(["--advertise-address", &address])
            .args(["--peer-listen", &format!("{address}:{PEER_PORT}")])
            .args(["--client-listen", &format!("{address}:{STORE_PORT}")])
            .args(["--api-listen", &format!("0.0.0.0:{API_PORT}")])
            .args(["--initial-cluster", members])
            .env("TRIREME_SUPERVISED", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("run trireme server")
    }

    /// Of master `n`, counted from one.
    fn address(&self, n: u8) -> String {
        self.network.address(n - 1).to_string()
    }

    pub fn count(&self) -> u8 {
        self.masters.len() as u8
    }

    pub fn server(&self, n: u8) -> String {
        format!("https://{}:{API_PORT}", self.address(n))
    }

    /// `host:port` of a master's store.
    pub fn store(&self, n: u8) -> String {
        format!("{}:{STORE_PORT}", self.address(n))
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn pki(&self) -> PathBuf {
        self.dir.path().join("pki")
    }

    fn data_dir(&self, n: u8) -> PathBuf {
        self.dir.path().join(name(n))
    }

    /// Where the store of a master keeps its data.
    pub fn store_dir(&self, n: u8) -> PathBuf {
        self.data_dir(n).join("store")
    }

    fn log_of(&self, n: u8) -> PathBuf {
        self.dir.path().join(format!("{}.log", name(n)))
    }

    pub fn log(&self, n: u8) -> String {
        std::fs::read_to_string(self.log_of(n)).unwrap_or_default()
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.pki().join("admin.kubeconfig")
    }

    /// kubectl, through one master's API and no other's.
    pub fn kubectl(&self, n: u8, arguments: &[&str]) -> Output {
        let server = format!("--server={}", self.server(n));
        kubectl_with(&self.kubeconfig(), &[&[server.as_str(), "--request-timeout=5s"], arguments].concat())
    }

    /// curl as the administrator, run on the machine of master `n` against its own API. Status and
    /// body; status 0 where there was no answer.
    pub fn curl_inside(&self, n: u8, arguments: &[&str], path: &str) -> (u16, String) {
        let pki = self.pki();
        let output = self
            .network
            .command(n - 1, "curl")
            .args(["--silent", "--max-time", "20", "--write-out", "\n%{http_code}", "--cacert"])
            .arg(pki.join("ca.crt"))
            .arg("--cert")
            .arg(pki.join("admin.crt"))
            .arg("--key")
            .arg(pki.join("admin.key"))
            .args(arguments)
            .arg(format!("https://127.0.0.1:{API_PORT}{path}"))
            .output()
            .expect("run curl");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = said.rsplit_once('\n').unwrap_or(("", "0"));
        (status.parse().unwrap_or(0), body.to_owned())
    }

    /// What `trireme status` says of these masters.
    pub fn status(&self, of: &[u8]) -> serde_json::Value {
        let targets =
            of.iter().map(|n| format!("{}={}/{}:{API_PORT}", name(*n), self.store(*n), self.address(*n)));
        let (pki, targets) = (self.pki(), targets.collect::<Vec<_>>().join(","));
        let pki = pki.to_str().expect("UTF-8");
        let output = trireme(&["status", "-o", "json", "--pki-dir", pki, "--members", &targets]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("trireme status: {}", text(&output)))
    }

    /// Number of the master among `of` that leads the store, as it says itself.
    pub fn leader(&self, of: &[u8]) -> Result<u8, String> {
        let status = self.status(of);
        let members = status["members"].as_array().cloned().unwrap_or_default();
        let leader = members.iter().find(|member| member["role"] == "leader");
        let name = leader.and_then(|member| member["name"].as_str()).ok_or_else(|| status.to_string())?;
        number(name).ok_or_else(|| name.to_owned())
    }

    pub fn await_health(&self) {
        let of: Vec<u8> = (1..=self.count()).collect();
        eventually("all masters to be well", || {
            let status = self.status(&of);
            let members = status["members"].as_array().cloned().unwrap_or_default();
            let well = members.len() == of.len()
                && members
                    .iter()
                    .all(|m| m["healthy"] == true && m["lag"].as_u64().is_none_or(|lag| lag < 100));
            if well { Ok(()) } else { Err(status.to_string()) }
        });
    }

    /// Ends all masters in order, so that their data can be read.
    pub fn stop(&mut self) {
        for master in &self.masters {
            let _ = Command::new("kill").arg(master.id().to_string()).status();
        }
        for master in &mut self.masters {
            let _ = master.wait();
        }
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for n in 1..=self.count() {
                let log = self.log(n);
                let last: Vec<_> = log.lines().rev().take(15).collect();
                eprintln!("the last of {}:", name(n));
                last.iter().rev().for_each(|line| eprintln!("  {line}"));
            }
        }
        for master in &mut self.masters {
            let _ = master.kill();
            let _ = master.wait();
        }
    }
}

pub fn name(n: u8) -> String {
    format!("master-{n}")
}

/// The number of `master-<n>`.
pub fn number(name: &str) -> Option<u8> {
    name.rsplit_once('-')?.1.parse().ok()
}
