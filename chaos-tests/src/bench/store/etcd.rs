//! Debian's etcd as three members on loopback, TLS between all, default settings.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::unistd::Pid;

use super::client::Client;

const MEMBERS: u16 = 3;
const START_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) struct Etcd {
    children: Vec<tokio::process::Child>,
    /// `ca.crt`, `member.crt`, `member.key`: one certificate for members and clients.
    pub pki: PathBuf,
    /// `host:port` of each member.
    pub endpoints: Vec<String>,
}

impl Etcd {
    pub(super) async fn start(dir: &Path, port: u16) -> Result<Etcd> {
        let pki = dir.join("etcd-pki");
        make_certificates(&pki)?;
        let peer = |n: u16| format!("https://127.0.0.1:{}", port + n * 10 + 1);
        let members: Vec<String> = (0..MEMBERS).map(|n| format!("e{n}={}", peer(n))).collect();
        let (mut children, mut endpoints) = (Vec::new(), Vec::new());
        for n in 0..MEMBERS {
            let client = format!("127.0.0.1:{}", port + n * 10);
            let url = format!("https://{client}");
            let log = std::fs::File::create(dir.join(format!("etcd-{n}.log"))).context("log")?;
            let mut command = tokio::process::Command::new("etcd");
            command
                .args(["--name", &format!("e{n}"), "--initial-cluster", &members.join(",")])
                .arg("--data-dir")
                .arg(dir.join(format!("etcd-{n}")))
                .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
                .args(["--listen-peer-urls", &peer(n), "--initial-advertise-peer-urls", &peer(n)])
                .args(["--quota-backend-bytes", "8000000000", "--logger", "zap", "--log-level", "error"])
                .args(["--client-cert-auth", "--peer-client-cert-auth"]);
            for side in ["", "peer-"] {
                command
                    .arg(format!("--{side}cert-file"))
                    .arg(pki.join("member.crt"))
                    .arg(format!("--{side}key-file"))
                    .arg(pki.join("member.key"))
                    .arg(format!("--{side}trusted-ca-file"))
                    .arg(pki.join("ca.crt"));
            }
            command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
            children.push(command.spawn().context("run etcd (Debian's package etcd-server)")?);
            endpoints.push(client);
        }
        let etcd = Etcd { children, pki, endpoints };
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let write = async {
                let mut client = Client::connect(&etcd.pki, "ca.crt", "member", &etcd.endpoints[0]).await?;
                Ok::<_, anyhow::Error>(client.put(b"ready".into(), Vec::new()).await?)
            };
            match tokio::time::timeout(Duration::from_secs(2), write).await {
                Ok(Ok(_)) => return Ok(etcd),
                outcome if Instant::now() > deadline => bail!("etcd did not start: {outcome:?}"),
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    pub(super) fn pids(&self) -> Vec<Pid> {
        let ids = self.children.iter().filter_map(|child| i32::try_from(child.id()?).ok());
        ids.map(Pid::from_raw).collect()
    }

    pub(super) async fn stop(mut self) -> Result<()> {
        for child in &mut self.children {
            child.kill().await.context("stop etcd")?;
        }
        Ok(())
    }
}

/// With openssl, as an operator would: P-256 as in our own.
pub(super) fn make_certificates(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).context("folder of certificates")?;
    std::fs::write(
        dir.join("ext"),
        "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n",
    )?;
    let run = |arguments: &[&str]| -> Result<()> {
        let output =
            Command::new("openssl").args(arguments).current_dir(dir).output().context("run openssl")?;
        anyhow::ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let mut ca =
        vec!["req", "-x509", "-days", "10", "-subj", "/CN=bench-ca", "-keyout", "ca.key", "-out", "ca.crt"];
    ca.extend(key);
    run(&ca)?;
    let mut request = vec!["req", "-subj", "/CN=bench", "-keyout", "member.key", "-out", "member.csr"];
    request.extend(key);
    run(&request)?;
    run(&[
        "x509",
        "-req",
        "-in",
        "member.csr",
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "10",
        "-extfile",
        "ext",
        "-out",
        "member.crt",
    ])
}
