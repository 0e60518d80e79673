//! What the continuous backup costs writes, how far it is behind, and how long it stands still when
//! who writes it dies: three masters on this machine. The same load in turns with and without it;
//! prints writes per second and CPU of the masters per write of each round, and the ratios of the
//! medians.
//!
//! `backup_cost PATH-OF-TRIREME [ROUNDS] [SECONDS] [CLIENTS] [VALUE-BYTES] [KILLS]`

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use trireme_backup::{Archive, KeySource, Location};
use trireme_raft::{Certificates, Remote, RemoteConfig, Tls};
use trireme_store::{Kv, Op, PutRequest, TxnRequest};

const PORT: u16 = 18_400;
const MASTERS: u16 = 3;
const SETTLE: Duration = Duration::from_secs(3);
/// Between two looks at how far the archive is.
const LOOK: Duration = Duration::from_millis(200);
/// How long an idle cluster's objects are counted.
const IDLE: Duration = Duration::from_secs(30);
const TAKEOVER_MAX: Duration = Duration::from_secs(60);
/// Of the times in /proc, on every Linux that this runs on.
const TICKS_PER_S: f64 = 100.0;

/// What is measured, and the load's shape.
struct Bench {
    trireme: String,
    dir: PathBuf,
    archive_dir: String,
    key: String,
    remotes: Vec<Remote>,
    clients: u64,
    bytes: u64,
    seconds: u64,
}

/// Of one round.
#[derive(Clone, Copy)]
struct Round {
    writes_per_s: f64,
    cpu_ms: f64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let trireme = arguments.next().context("the path of the trireme binary is expected")?;
    let mut number = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    let (rounds, seconds, clients, bytes, kills) =
        (number(8)?, number(6)?, number(64)?, number(1024)?, number(5)?);
    let folder = tempfile::tempdir()?;
    let path =
        |name: &str| Ok::<_, anyhow::Error>(folder.path().join(name).to_str().context("UTF-8")?.to_owned());
    let dir = folder.path().join("cluster");
    std::fs::create_dir(&dir)?;
    let mut up = start(&trireme, &dir)?;
    let key = path("key")?;
    ensure!(Command::new(&trireme).args(["backup", "key", &key]).status()?.success(), "no key");
    let remotes = connect(&dir)?;
    let archive_dir = path("archive")?;
    let bench = Bench { trireme, dir, archive_dir, key, remotes, clients, bytes, seconds };
    bench.start()?;
    bench.load().await?;
    bench.compare(rounds).await?;
    // A new configuration makes another start archiving: not what is measured.
    tokio::time::sleep(SETTLE * 2).await;
    bench.lag().await?;
    bench.idle().await?;
    bench.takeovers(kills).await?;
    drop(up.stdin.take());
    up.wait()?;
    Ok(())
}

fn start(trireme: &str, dir: &Path) -> Result<Child> {
    let mut up = Command::new(trireme)
        .args(["up", "--masters", &MASTERS.to_string(), "--nodes", "0", "--port", &PORT.to_string(), "--dir"])
        .arg(dir)
        .env("TRIREME_SUPERVISED", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut lines = BufReader::new(up.stdout.take().context("stdout")?).lines();
    while !lines.next().context("the cluster did not come up")??.contains("export KUBECONFIG=") {}
    std::thread::spawn(move || lines.for_each(drop));
    Ok(up)
}

fn connect(dir: &Path) -> Result<Vec<Remote>> {
    let read = |file| std::fs::read(dir.join("pki").join(file));
    let (ca_pem, cert_pem) = (read("store-ca.crt")?, read("store-client.crt")?);
    let tls = Tls::new(&Certificates { ca_pem, cert_pem, key_pem: read("store-client.key")? })?;
    let one = |_| {
        let endpoints = (1..=MASTERS).map(|n| format!("127.0.0.1:{}", PORT + 10 * n + 1)).collect();
        Ok(Remote::connect(RemoteConfig { endpoints, tls: tls.client() })?)
    };
    (0..4).map(one).collect()
}

impl Bench {
    fn backup(&self, arguments: &[&str]) -> Result<Vec<u8>> {
        let output =
            Command::new(&self.trireme).arg("backup").args(arguments).arg("--dir").arg(&self.dir).output()?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(output.stdout)
    }

    fn start(&self) -> Result<()> {
        self.backup(&["start", "--to", &self.archive_dir, "--key-file", &self.key]).map(drop)
    }

    async fn archive(&self) -> Result<Archive> {
        let location: Location = self.archive_dir.parse()?;
        Ok(Archive::open(&location, KeySource::File(self.key.clone().into()).read()?).await?)
    }

    /// Seconds of CPU that the masters have used.
    fn cpu(&self) -> f64 {
        (1..=MASTERS).filter_map(|n| cpu(&self.dir.join(format!("master-{n}")))).sum()
    }

    async fn compare(&self, rounds: u64) -> Result<()> {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            // Which comes first changes: what drifts falls on both.
            for on in [round % 2 == 0, round % 2 == 1] {
                if on {
                    self.start()?
                } else {
                    drop(self.backup(&["stop"])?)
                }
                tokio::time::sleep(SETTLE).await;
                let found = self.load().await?;
                let what = if on { "with   " } else { "without" };
                println!("{what} {:.0} writes/s, {:.4} CPU ms per write", found.writes_per_s, found.cpu_ms);
                if on {
                    with.push(found)
                } else {
                    without.push(found)
                }
                if !on {
                    self.start()?;
                }
            }
        }
        for (what, of) in [
            ("writes/s", (|round| round.writes_per_s) as fn(&Round) -> f64),
            ("CPU ms per write", |round| round.cpu_ms),
        ] {
            let (on, off) = (median(with.iter().map(of)), median(without.iter().map(of)));
            println!("{what}: median with {on:.4}, without {off:.4}: ratio {:.3}", on / off);
        }
        Ok(())
    }

    /// Writes of all clients for the time of a round.
    async fn load(&self) -> Result<Round> {
        let (done, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let tasks = self.writers(&done, &stop);
        let (began, before) = (Instant::now(), self.cpu());
        tokio::time::sleep(Duration::from_secs(self.seconds)).await;
        let writes = done.load(Ordering::Relaxed) as f64;
        let (took, used) = (began.elapsed().as_secs_f64(), self.cpu() - before);
        stop.store(true, Ordering::Relaxed);
        for task in tasks {
            let _ = task.await;
        }
        Ok(Round { writes_per_s: writes / took, cpu_ms: used * 1000.0 / writes.max(1.0) })
    }

    fn writers(&self, done: &Arc<AtomicU64>, stop: &Arc<AtomicBool>) -> Vec<tokio::task::JoinHandle<()>> {
        let one = |client: u64| {
            let remote = self.remotes[client as usize % self.remotes.len()].clone();
            let (done, stop, bytes) = (done.clone(), stop.clone(), self.bytes);
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
        };
        (0..self.clients).map(one).collect()
    }

    /// How old the oldest write is that is not in the archive, under the same load.
    async fn lag(&self) -> Result<()> {
        let archive = self.archive().await?;
        let (done, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let tasks = self.writers(&done, &stop);
        let objects_before = archive.points().await?.log_objects;
        let (began, mut missing, mut lags) = (Instant::now(), Vec::new(), Vec::new());
        let took = Duration::from_secs(self.seconds * 5);
        while began.elapsed() < took {
            missing.push((self.remotes[0].barrier().await?.0, Instant::now()));
            tokio::time::sleep(LOOK).await;
            let archived = archive.points().await?.end().map_or(0, |end| end.last_revision);
            missing.retain(|(revision, _)| *revision > archived);
            if began.elapsed() > SETTLE {
                lags.push(missing.first().map_or(0.0, |(_, since)| since.elapsed().as_secs_f64()));
            }
        }
        stop.store(true, Ordering::Relaxed);
        for task in tasks {
            let _ = task.await;
        }
        let objects = archive.points().await?.log_objects - objects_before;
        let per_hour = objects as f64 * 3600.0 / took.as_secs_f64();
        let worst = lags.iter().copied().fold(0.0, f64::max);
        println!(
            "behind: median {:.2} s, worst {worst:.2} s of {} looks",
            median(lags.iter().copied()),
            lags.len()
        );
        println!("objects of log: {per_hour:.0} an hour under this load, before they are merged");
        Ok(())
    }

    async fn idle(&self) -> Result<()> {
        let archive = self.archive().await?;
        tokio::time::sleep(SETTLE).await;
        let before = archive.points().await?.log_objects;
        tokio::time::sleep(IDLE).await;
        let objects = archive.points().await?.log_objects - before;
        println!("objects of log: {:.0} an hour idle", objects as f64 * 3600.0 / IDLE.as_secs_f64());
        Ok(())
    }

    /// From the death of who archives to the first write after it in the archive.
    async fn takeovers(&self, kills: u64) -> Result<()> {
        let archive = self.archive().await?;
        let mut took = Vec::new();
        for n in 0..kills {
            let member = self.member().await?;
            let pid = std::fs::read_to_string(self.dir.join(&member).join("pid"))?;
            ensure!(Command::new("kill").args(["-9", pid.trim()]).status()?.success(), "kill -9 {pid}");
            let killed = Instant::now();
            let put = Op::Put(PutRequest::new(format!("/after/{n}"), "x"));
            let request = TxnRequest { success: vec![put], ..TxnRequest::default() };
            let revision = loop {
                match self.remotes[0].txn(request.clone()).await {
                    Ok(done) => break done.revision.0,
                    Err(_) => tokio::time::sleep(LOOK / 10).await,
                }
                ensure!(killed.elapsed() < TAKEOVER_MAX, "nothing can be written");
            };
            while archive.points().await?.end().is_none_or(|end| end.last_revision < revision) {
                ensure!(killed.elapsed() < TAKEOVER_MAX, "nobody took over from {member}");
                tokio::time::sleep(LOOK / 10).await;
            }
            let seconds = killed.elapsed().as_secs_f64();
            println!("{member} killed: what was written next is archived after {seconds:.2} s");
            took.push(seconds);
            // The dead one is back, and keeps up.
            tokio::time::sleep(SETTLE * 2).await;
        }
        let worst = took.iter().copied().fold(0.0, f64::max);
        println!("takeover: median {:.2} s, worst {worst:.2} s", median(took.into_iter()));
        Ok(())
    }

    /// Who archives.
    async fn member(&self) -> Result<String> {
        for _ in 0..100 {
            let status: serde_json::Value = serde_json::from_slice(&self.backup(&["status", "-o", "json"])?)?;
            if let Some(member) = status["member"].as_str() {
                return Ok(member.to_owned());
            }
            tokio::time::sleep(LOOK).await;
        }
        bail!("nobody archives")
    }
}

/// Seconds of CPU of the process whose id lies in the folder.
fn cpu(dir: &Path) -> Option<f64> {
    let pid = std::fs::read_to_string(dir.join("pid")).ok()?;
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).ok()?;
    // Behind the name, which may hold anything: user and system time are the 12th and 13th.
    let mut times = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || times.next()?.parse::<f64>().ok();
    Some((next()? + next()?) / TICKS_PER_S)
}

fn median(of: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = of.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
