//! Over S3's protocol against a server that others made: moto's, which `deploy/packages.sh test`
//! installs. Between it and the archive stands one that cuts connections.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use trireme_backup::{Archive, ArchiverConfig, Point, Retention};

use crate::member::{CLUSTER, Member, Working, config, eventually, key};
use crate::s3::location;

const VERSION: &str = "5.2.5";
/// Small, so that lists take several.
const PAGE: &str = "7";
const HOUR_MS: i64 = 3_600_000;

/// The server; ended when dropped.
struct Moto {
    child: Child,
    port: u16,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `$TRIREME_MOTO`, or where it is installed; said where it is not.
fn program() -> Option<PathBuf> {
    let installed = || {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache")))?;
        Some(cache.join(format!("trireme/moto-{VERSION}/bin/moto_server")))
    };
    let program = std::env::var_os("TRIREME_MOTO").map(PathBuf::from).or_else(installed)?;
    if program.exists() {
        return Some(program);
    }
    // Past the capture of what tests that pass print.
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    let told = format!("skipped: {name}: {} is not here\n", program.display());
    let _ = std::io::stderr().write_all(told.as_bytes());
    None
}

impl Moto {
    async fn start(dir: &Path) -> Option<Moto> {
        let program = program()?;
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = std::fs::File::create(dir.join("moto.log")).unwrap();
        let child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .env("MOTO_S3_DEFAULT_MAX_KEYS", PAGE)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("run moto_server");
        let moto = Moto { child, port };
        eventually("a bucket", async || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
            let put = format!("PUT /backups HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(put.as_bytes()).await.ok()?;
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).await.ok()?;
            answer.ends_with(b"200").then_some(())
        })
        .await;
        Some(moto)
    }
}

/// What happens to the next uploads.
#[derive(Default)]
struct Cuts {
    /// The connection goes in the middle of the object.
    body: AtomicUsize,
    /// The object arrives, and the answer does not.
    answer: AtomicUsize,
    made: AtomicUsize,
}

fn take(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
}

/// Stands between; its port.
async fn between(server: u16, cuts: Arc<Cuts>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let cuts = cuts.clone();
            tokio::spawn(async move {
                // The server closes after each answer: a connection is a call.
                let _ = pass(client, server, &cuts).await;
            });
        }
    });
    port
}

async fn pass(mut client: TcpStream, server: u16, cuts: &Cuts) -> std::io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", server)).await?;
    let mut first = vec![0; 64 << 10];
    let n = client.read(&mut first).await?;
    let is_upload = first.starts_with(b"PUT ");
    if is_upload && take(&cuts.body) {
        cuts.made.fetch_add(1, Ordering::Relaxed);
        let head = first.windows(4).position(|w| w == b"\r\n\r\n").map_or(n, |at| at + 4);
        return server.write_all(&first[..head + (n - head) / 2]).await;
    }
    server.write_all(&first[..n]).await?;
    if is_upload && take(&cuts.answer) {
        cuts.made.fetch_add(1, Ordering::Relaxed);
        let (mut from_client, mut to_server) = (client, server);
        let (mut answers, mut calls) = to_server.split();
        let mut answer = [0; 1];
        tokio::select! {
            _ = tokio::io::copy(&mut from_client, &mut calls) => {}
            _ = answers.read(&mut answer) => {}
        }
        return Ok(());
    }
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_lives_in_a_stock_server_whatever_becomes_of_uploads() {
    let dir = tempfile::tempdir().unwrap();
    let Some(moto) = Moto::start(dir.path()).await else { return };
    let cuts = Arc::new(Cuts::default());
    let port = between(moto.port, cuts.clone()).await;
    let location = location(dir.path(), port, "keeper", 0o600);
    let open = || Archive::of_cluster(&location, key(), CLUSTER).unwrap();
    let member = Member::new(&dir.path().join("state"));
    member.write(40);
    // The base, its manifest and each object of log meet both kinds of cuts.
    let mut one = Working::start(open(), &member, config(&dir.path().join("one")));
    for round in 0..12 {
        cuts.body.fetch_add(usize::from(round % 4 == 0), Ordering::Relaxed);
        cuts.answer.fetch_add(usize::from(round % 4 == 2), Ordering::Relaxed);
        member.write(15);
        one.reaches(member.last_index()).await;
    }
    drop(one);
    assert!(cuts.made.load(Ordering::Relaxed) == 6, "not all uploads were cut");
    let archive = Archive::open(&location, key()).await.unwrap();
    let points = archive.points().await.unwrap();
    assert_eq!((points.spans.len(), points.gaps.len()), (1, 0), "{points:?}");
    assert!(points.log_objects > PAGE.parse().unwrap(), "lists were not in pages: {points:?}");
    let all_there = async |name: &str| {
        let made = archive.materialize(Point::Latest, &dir.path().join(name), &|_| {}).await;
        assert_eq!(made.unwrap(), member.applied(), "{name}");
        let verified = archive.verify(&dir.path().join("verify"), &|_, _| {}).await.unwrap();
        assert!(verified.problems.is_empty(), "{name}: {verified:?}");
    };
    all_there("cut").await;
    let middle = &member.history()[90];
    let into = dir.path().join("middle");
    let made = archive.materialize(Point::Revision(middle.applied.revision.0), &into, &|_| {}).await;
    assert_eq!(made.unwrap().revision, middle.applied.revision);

    // A second archiver, with a base of its own, beside what the first left.
    let soon = ArchiverConfig { base_every: Duration::from_millis(1), ..config(&dir.path().join("two")) };
    let mut two = Working::start(open(), &member, soon);
    eventually("a second base", async || {
        member.write(1);
        let bases = archive.points().await.unwrap().bases;
        (bases.len() > 1 && bases[1].good == Some(true)).then_some(())
    })
    .await;
    two.reaches(member.last_index()).await;
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let merged = archive.merge(now_ms + HOUR_MS / 2).await.unwrap();
    assert!(merged.made >= 1 && merged.problems.is_empty(), "{merged:?}");
    let removed = archive.merge(now_ms + HOUR_MS).await.unwrap();
    assert!(removed.removed >= merged.of, "{removed:?}");
    let pruned = archive.prune(Retention { keep: Duration::ZERO }, i64::MAX, false).await.unwrap();
    assert!(pruned.bases >= 1, "{pruned:?}");
    let points = archive.points().await.unwrap();
    assert!(points.gaps.is_empty() && points.log_objects < PAGE.parse().unwrap(), "{points:?}");

    // The server goes: it is told, and nothing waits for it.
    drop(moto);
    member.write(5);
    two.until("the problem", |told| told.problem.is_some()).await;
}
