//! What the continuous backup costs writes: three masters on this machine, the same load in turns
//! with and without it. Prints writes per second of each round, and the ratio of the medians.
//!
//! `backup_cost PATH-OF-TRIREME [ROUNDS] [SECONDS] [CLIENTS] [VALUE-BYTES]`

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use trireme_raft::{Certificates, Remote, RemoteConfig, Tls};
use trireme_store::{Kv, Op, PutRequest, TxnRequest};

const PORT: u16 = 18_400;
const SETTLE: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let trireme = arguments.next().context("the path of the trireme binary is expected")?;
    let mut number = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    let (rounds, seconds, clients, bytes) = (number(8)?, number(6)?, number(64)?, number(1024)?);
    let folder = tempfile::tempdir()?;
    let dir = folder.path().join("cluster");
    std::fs::create_dir(&dir)?;
    let mut up = Command::new(&trireme)
        .args(["up", "--masters", "3", "--nodes", "0", "--port", &PORT.to_string(), "--dir"])
        .arg(&dir)
        .env("TRIREME_SUPERVISED", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut lines = BufReader::new(up.stdout.take().context("stdout")?).lines();
    while !lines.next().context("the cluster did not come up")??.contains("export KUBECONFIG=") {}
    let backup = |arguments: &[&str]| -> Result<()> {
        let output = Command::new(&trireme).arg("backup").args(arguments).arg("--dir").arg(&dir).output()?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    let key = folder.path().join("key");
    ensure!(Command::new(&trireme).args(["backup", "key"]).arg(&key).status()?.success(), "no key");
    let (to, key) = (folder.path().join("archive"), key.to_str().context("UTF-8")?.to_owned());
    let to = to.to_str().context("UTF-8")?;
    let start = ["start", "--to", to, "--key-file", &key];
    backup(&start)?;
    let read = |file| std::fs::read(dir.join("pki").join(file));
    let (ca_pem, cert_pem) = (read("store-ca.crt")?, read("store-client.crt")?);
    let tls = Tls::new(&Certificates { ca_pem, cert_pem, key_pem: read("store-client.key")? })?;
    let remotes: Vec<Remote> = (0..4)
        .map(|_| {
            let endpoints = (1..=3).map(|n| format!("127.0.0.1:{}", PORT + 10 * n + 1)).collect();
            Remote::connect(RemoteConfig { endpoints, tls: tls.client() })
        })
        .collect::<Result<_, _>>()?;
    load(&remotes, clients, bytes, seconds).await;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        // Which comes first changes: what drifts falls on both.
        for on in [round % 2 == 0, round % 2 == 1] {
            backup(if on { &start } else { &["stop"] })?;
            tokio::time::sleep(SETTLE).await;
            let rate = load(&remotes, clients, bytes, seconds).await;
            println!("{} {rate:.0} writes/s", if on { "with   " } else { "without" });
            if on {
                with.push(rate)
            } else {
                without.push(rate)
            }
            if !on {
                backup(&start)?;
            }
        }
    }
    let (with, without) = (median(with), median(without));
    println!("median with {with:.0}, without {without:.0}: ratio {:.3}", with / without);
    drop(up.stdin.take());
    up.wait()?;
    Ok(())
}

/// Writes per second of so many clients.
async fn load(remotes: &[Remote], clients: u64, bytes: u64, seconds: u64) -> f64 {
    let (done, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let remote = remotes[client as usize % remotes.len()].clone();
            let (done, stop) = (done.clone(), stop.clone());
            tokio::spawn(async move {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    n += 1;
                    // Neither all alike nor all random, as objects are.
                    let value: String =
                        (0..bytes / 16).map(|k| format!("{:08x}:\"field", n * 7919 + k * client)).collect();
                    let put = Op::Put(PutRequest::new(format!("/load/{client}/{}", n % 1000), value));
                    if remote.txn(TxnRequest { success: vec![put], ..TxnRequest::default() }).await.is_ok() {
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let rate = done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        let _ = task.await;
    }
    rate
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
