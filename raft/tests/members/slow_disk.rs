//! A log whose disk is slow, and one that forgets.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use trireme_raft::Limits;
use trireme_raft::log::{LogDir, LogFile, OsDir};

use crate::cluster::{Cluster, WAIT, put, put_surely, small_limits};
use trireme_store::{Kv, LeaseId};

/// A directory whose files take long to sync.
struct SlowDir {
    dir: OsDir,
    /// Milliseconds added to each sync.
    delay_ms: Arc<AtomicU64>,
}

struct SlowFile {
    file: Arc<dyn LogFile>,
    delay_ms: Arc<AtomicU64>,
}

impl SlowDir {
    fn slow(&self, file: Arc<dyn LogFile>) -> Arc<dyn LogFile> {
        Arc::new(SlowFile { file, delay_ms: self.delay_ms.clone() })
    }
}

impl LogDir for SlowDir {
    fn list(&self) -> io::Result<Vec<String>> {
        self.dir.list()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        Ok(self.slow(self.dir.open(name)?))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        Ok(self.slow(self.dir.create(name)?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.dir.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.dir.sync()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.dir.free_bytes()
    }
}

impl LogFile for SlowFile {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    fn sync(&self) -> io::Result<()> {
        std::thread::sleep(Duration::from_millis(self.delay_ms.load(Ordering::SeqCst)));
        self.file.sync()
    }
}

/// Puts the logs of members that have not started yet on disks that can be made slow; the milliseconds
/// that each takes longer for a sync.
fn slow_disks(cluster: &mut Cluster) -> Vec<Arc<AtomicU64>> {
    let slowed = cluster.members.iter_mut().map(|member| {
        let delay = Arc::new(AtomicU64::new(0));
        let delay_ms = delay.clone();
        member.config.open_log = Arc::new(move |path: &Path| {
            Ok(Arc::new(SlowDir { dir: OsDir::open(path)?, delay_ms: delay_ms.clone() }) as Arc<dyn LogDir>)
        });
        delay
    });
    slowed.collect()
}

/// Lines of the log of this whole program.
fn told() -> &'static Mutex<Vec<u8>> {
    static TOLD: OnceLock<Mutex<Vec<u8>>> = OnceLock::new();
    TOLD.get_or_init(|| {
        struct Writer;
        impl io::Write for Writer {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                told().lock().expect("no panic").extend_from_slice(bytes);
                if std::env::var_os("TRIREME_TEST_LOG").is_some() {
                    io::stderr().write_all(bytes)?;
                }
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(|| Writer);
        subscriber.with_max_level(tracing::Level::WARN).init();
        Mutex::default()
    })
}

/// The lines about slow requests of a key.
fn slow_lines(key: &str) -> Vec<String> {
    let text = String::from_utf8_lossy(&told().lock().expect("no panic")).into_owned();
    let lines = text.lines().filter(|line| line.contains("a request was slow"));
    lines.filter(|line| line.contains(&format!("key=\"{key}\""))).map(str::to_owned).collect()
}

/// Milliseconds of a step in a line; none where it is not named: the leader's own sync is not, where
/// the others were a majority before it ended.
fn step(line: &str, name: &str) -> f64 {
    let steps = line.split("steps=\"").nth(1).and_then(|rest| rest.split('"').next()).expect(line);
    let found = steps.split(' ').find_map(|step| step.strip_prefix(name)?.strip_prefix('='));
    found.map_or(0.0, |millis| millis.parse().expect(line))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_write_says_where_its_time_went() {
    told();
    const DELAY_MS: u64 = 400;
    let mut cluster = Cluster::prepare(3, Limits::default());
    let delays = slow_disks(&mut cluster);
    for member in &mut cluster.members {
        member.config.slow_request = Duration::from_millis(150);
    }
    for i in 0..3 {
        cluster.start_member(i).await;
    }
    let leader = cluster.leader().await;
    put_surely(cluster.replica(leader), "warm", "v").await;
    // Every disk: one alone is outvoted, and nobody waits for it.
    let slow = |ms: u64| delays.iter().for_each(|delay| delay.store(ms, Ordering::SeqCst));
    slow(DELAY_MS);
    put_surely(cluster.replica(leader), "at-the-leader", "secret").await;
    put_surely(cluster.replica((leader + 1) % 3), "at-a-follower", "secret").await;
    slow(0);

    let lines = slow_lines("at-the-leader");
    let line = lines.last().expect("a line");
    assert!(line.contains("request=\"put\"") && line.contains("role=\"leader\""), "{line}");
    assert!(!line.contains("secret"), "{line}");
    // The disk's time is the disk's; a follower that was later makes the rest of it.
    let disks = step(line, "log_sync") + step(line, "quorum");
    assert!(disks >= DELAY_MS as f64, "{line}");
    assert!(!line.contains("log_sync=") || step(line, "log_sync") >= DELAY_MS as f64 / 2.0, "{line}");

    let lines = slow_lines("at-a-follower");
    let of = |role: &str| lines.iter().find(|line| line.contains(&format!("role=\"{role}\""))).cloned();
    let follower = of("follower").unwrap_or_else(|| panic!("{lines:?}"));
    assert!(step(&follower, "forwarded") >= DELAY_MS as f64, "{follower}");
    let led = of("leader").unwrap_or_else(|| panic!("{lines:?}"));
    assert!(step(&led, "log_sync") + step(&led, "quorum") >= DELAY_MS as f64, "{led}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_lease_ends_early_while_disks_stand_still() {
    const TTL: Duration = Duration::from_secs(2);
    const STALL_MS: u64 = 4000;
    let mut cluster = Cluster::prepare(3, Limits::default());
    let delays = slow_disks(&mut cluster);
    for member in &mut cluster.members {
        // The end's proposal is given up long before the disks answer.
        member.config.timing.request = Duration::from_millis(500);
    }
    for i in 0..3 {
        cluster.start_member(i).await;
    }
    let leader = cluster.leader().await;
    let lead = cluster.replica(leader).clone();
    put_surely(&lead, "warm", "v").await;
    let granted = lead.lease_grant(LeaseId(7), TTL.as_secs() as i64).await.unwrap();
    let term = lead.status().term;
    tokio::time::sleep(TTL * 9 / 10).await;
    for (_, delay) in delays.iter().enumerate().filter(|(i, _)| *i != leader) {
        delay.store(STALL_MS, Ordering::SeqCst);
    }
    // Its time is up by now, and its end on the way to disks that do not answer.
    tokio::time::sleep(TTL / 5 + Duration::from_millis(600)).await;
    let mut kept_until = Instant::now();
    let deadline = Instant::now() + WAIT;
    while lead.store().lease(granted.id).unwrap().is_some() {
        assert!(Instant::now() < deadline, "it did not end");
        let asked = Instant::now();
        if lead.lease_keep_alive(granted.id).await.is_ok() {
            kept_until = asked + TTL;
        }
    }
    let early = kept_until.saturating_duration_since(Instant::now());
    assert_eq!(early, Duration::ZERO, "a lease ended that much too early");
    assert_eq!(lead.status().term, term, "the leader that proposed its end decides");
    delays.iter().for_each(|delay| delay.store(0, Ordering::SeqCst));
    drop(lead);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bit_that_flips_in_a_closed_segment_ends_the_member_while_it_runs() {
    // Nothing is purged: the segment that is damaged would be gone before it is read.
    let mut cluster = Cluster::prepare(3, Limits { log_keep_bytes: 1 << 30, ..small_limits() });
    let reasons: Vec<_> = (0..3).map(|_| Arc::new(Mutex::new(String::new()))).collect();
    let ended: Vec<_> = (0..3).map(|_| Arc::new(AtomicBool::new(false))).collect();
    for (i, member) in cluster.members.iter_mut().enumerate() {
        member.config.timing.disk_check = Duration::from_millis(200);
        let (reason, ended) = (reasons[i].clone(), ended[i].clone());
        member.config.on_fatal = Arc::new(move |why| {
            *reason.lock().expect("no panic") = why.to_owned();
            ended.store(true, Ordering::SeqCst);
        });
    }
    for i in 0..3 {
        cluster.start_member(i).await;
    }
    let leader = cluster.leader().await;
    let victim = (leader + 1) % 3;
    let value = "x".repeat(8000);
    for i in 0..120 {
        put_surely(cluster.replica(leader), &format!("k{i}"), &value).await;
    }
    cluster.assert_same_state().await;
    let dir = cluster.members[victim].config.data_dir.join("log");
    let mut segments: Vec<_> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some())
        .collect();
    segments.sort();
    assert!(segments.len() >= 3, "{segments:?}");
    // The oldest: nobody reads it any more.
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&segments[0]).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 20_000).unwrap();
    file.write_all_at(&[byte[0] ^ 16], 20_000).unwrap();
    file.sync_all().unwrap();

    let deadline = Instant::now() + WAIT;
    let mut n = 0;
    while !ended[victim].load(Ordering::SeqCst) {
        assert!(Instant::now() < deadline, "the damage was not found");
        let _ = cluster.replica(leader).txn(put(format!("more{n}"), "v")).await;
        n += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let reason = reasons[victim].lock().expect("no panic").clone();
    let name = segments[0].file_stem().unwrap().to_string_lossy().into_owned();
    let number = u64::from_str_radix(&name, 16).unwrap();
    assert!(reason.contains(&format!("raft log is damaged in segment {number} ")), "{reason}");
    assert!(
        cluster.members[victim].config.data_dir.join("DAMAGED").exists(),
        "the next start goes on with it"
    );
    for i in (0..3).filter(|i| *i != victim) {
        assert!(!ended[i].load(Ordering::SeqCst), "a sound member ended: {:?}", reasons[i]);
    }
    cluster.stop().await;
}
