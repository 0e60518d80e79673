//! Debian's etcd, as a process of the test's own.

use std::process::{Child, Command, Stdio};
use std::time::Instant;

use tonic::transport::{Channel, Endpoint};

use crate::cluster::{WAIT, free_listener};

pub(crate) struct Etcd {
    process: Child,
    port: u16,
    _data: tempfile::TempDir,
}

impl Etcd {
    /// Starts one member on free ports of the loopback; `None`, said by name, where it is not
    /// installed.
    pub(crate) fn start() -> Option<Self> {
        let data = tempfile::tempdir().unwrap();
        let port = || free_listener().local_addr().unwrap().port();
        let (clients, peers) = (port(), port());
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let started = Command::new("etcd")
            .arg("--data-dir")
            .arg(data.path())
            .args(["--name", "judge", "--log-level", "error"])
            .args(["--listen-client-urls", &url(clients), "--advertise-client-urls", &url(clients)])
            .args(["--listen-peer-urls", &url(peers), "--initial-advertise-peer-urls", &url(peers)])
            .args(["--initial-cluster", &format!("judge={}", url(peers))])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match started {
            Ok(process) => Some(Self { process, port: clients, _data: data }),
            Err(_) => {
                let test = std::thread::current().name().unwrap_or("?").to_owned();
                // Past the capture of what tests that pass print.
                let _ = std::io::Write::write_fmt(
                    &mut std::io::stderr(),
                    format_args!("skipped: {test}: etcd is not installed (package etcd-server)\n"),
                );
                None
            }
        }
    }

    pub(crate) async fn connect(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", self.port)).unwrap();
        let deadline = Instant::now() + WAIT;
        loop {
            match endpoint.connect().await {
                Ok(channel) => return channel,
                Err(error) => assert!(Instant::now() < deadline, "etcd does not answer: {error}"),
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
