//! Masters whose disks hang or fail, as real processes: strace makes the syncs of the raft log's own
//! thread slow, or has them fail.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::{Cluster, eventually, text};

/// How long a sync hangs: longer than any test waits.
const HANGS_US: u64 = 3_600_000_000;
/// What the leader had synced before may be acknowledged this long after.
const CALLS_UNDER_WAY: Duration = Duration::from_millis(300);
/// How a client that gets no answer is treated.
const CLIENT_TIMEOUT: &str = "4s";

/// strace at work on one thread; let go when dropped.
struct Fault(Child);

impl Drop for Fault {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lets the syncs of `process`' raft log meet with `injected`; why not, where that cannot be done.
fn inject(cluster: &Cluster, process: &str, injected: &str) -> Result<Fault, String> {
    let pid = cluster.pid(process).ok_or("no process")?;
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).map_err(|error| error.to_string())?;
    let writer = tasks.flatten().find(|task| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "raft-log")
    });
    let writer = writer.ok_or("no thread that writes the log")?.file_name();
    let mut strace = Command::new("strace")
        .args(["-e", "trace=fdatasync", "-e", &format!("inject=fdatasync:{injected}"), "-p"])
        .arg(&writer)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("strace: {error}"))?;
    let mut said = String::new();
    let mut lines = BufReader::new(strace.stderr.take().ok_or("no output")?);
    let _ = lines.read_line(&mut said);
    let fault = Fault(strace);
    if !said.contains("attached") {
        return Err(format!("strace: {}", said.trim()));
    }
    // Read on, or it would wait for its reader.
    std::thread::spawn(move || {
        let mut rest = Vec::new();
        let _ = std::io::Read::read_to_end(&mut lines, &mut rest);
    });
    Ok(fault)
}

/// Says by name what is not tested here and why, past the capture of what tests that pass print.
fn skipped(reason: &str) {
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    let _ = writeln!(std::io::stderr(), "skipped: {name}: {reason}");
}

fn etcdctl(cluster: &Cluster, masters: &[u16], arguments: &[&str]) -> Output {
    let endpoints: Vec<_> = masters.iter().map(|n| cluster.store(*n)).collect();
    Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", &endpoints.join(","), "--command-timeout", CLIENT_TIMEOUT])
        .arg("--cacert")
        .arg(cluster.pki("store-ca.crt"))
        .arg("--cert")
        .arg(cluster.pki("store-client.crt"))
        .arg("--key")
        .arg(cluster.pki("store-client.key"))
        .args(arguments)
        .output()
        .expect("run etcdctl")
}

/// Writes one key after the other until told to stop; those that were acknowledged, and when.
fn write_on(
    cluster: &Arc<Cluster>,
    masters: Vec<u16>,
    stop: &Arc<AtomicBool>,
) -> std::thread::JoinHandle<Vec<(u32, Instant)>> {
    let (cluster, stop) = (cluster.clone(), stop.clone());
    std::thread::spawn(move || {
        let mut acknowledged = Vec::new();
        for i in 0..100_000 {
            if stop.load(Ordering::SeqCst) {
                break;
            }
            let value = format!("v{i}");
            if etcdctl(&cluster, &masters, &["put", &format!("/disk/{i}"), &value]).status.success() {
                acknowledged.push((i, Instant::now()));
            }
        }
        acknowledged
    })
}

fn number(master: &str) -> u16 {
    master.rsplit_once('-').and_then(|(_, n)| n.parse().ok()).expect("master-N")
}

fn assert_kept(cluster: &Cluster, acknowledged: &[(u32, Instant)]) {
    let found = etcdctl(cluster, &[1, 2, 3], &["get", "--prefix", "/disk/"]);
    assert!(found.status.success(), "{}", text(&found));
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    let lines: Vec<_> = found.lines().collect();
    let has = |i: &u32| lines.chunks(2).any(|kv| kv == [format!("/disk/{i}"), format!("v{i}")]);
    let lost: Vec<_> = acknowledged.iter().map(|(i, _)| i).filter(|i| !has(i)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?} of {}", acknowledged.len());
}

/// Name of the leader as the members other than `not` see it.
fn leader_but(cluster: &Cluster, not: &str) -> Option<String> {
    let status = cluster.status();
    let members = status["members"].as_array()?.clone();
    let leads = members.iter().find(|m| m["role"] == "leader" && m["name"] != not)?;
    leads["name"].as_str().map(str::to_owned)
}

fn all_healthy(cluster: &Cluster) {
    eventually("all members to be well again", || {
        let status = cluster.status();
        let members = status["members"].as_array().cloned().unwrap_or_default();
        let well = members.len() == 3 && members.iter().all(|member| member["healthy"] == true);
        if well { Ok(()) } else { Err(status.to_string()) }
    });
}

#[test]
fn a_leader_whose_disk_hangs_gives_leadership_away_and_ends() {
    let cluster = Arc::new(Cluster::start(3, 0));
    let leader = cluster.leader();
    let pid = cluster.pid(&leader);
    let others: Vec<u16> = [1, 2, 3].into_iter().filter(|n| *n != number(&leader)).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = write_on(&cluster, others, &stop);
    let fault = match inject(&cluster, &leader, &format!("delay_enter={HANGS_US}")) {
        Ok(fault) => fault,
        Err(reason) => {
            stop.store(true, Ordering::SeqCst);
            let _ = writer.join();
            return skipped(&reason);
        }
    };
    let hung = Instant::now();
    let next = eventually("another leader", || leader_but(&cluster, &leader).ok_or("the same".into()));
    assert_ne!(next, leader);
    let log = cluster.dir.join(&leader).join("log");
    let told = || std::fs::read_to_string(&log).unwrap_or_default();
    assert!(told().contains("the disk does not answer"), "{}", told());
    // What stays stuck is no member: it ends, and is started again on a disk that answers. Its thread
    // that hangs keeps the process from being gone before, as a disk's would.
    eventually("the stuck member to end", || {
        if told().contains("a sync of the raft log is stuck") { Ok(()) } else { Err(told()) }
    });
    drop(fault);
    eventually("the member to be another process", || {
        if cluster.pid(&leader) == pid { Err("the same process".into()) } else { Ok(()) }
    });
    all_healthy(&cluster);
    stop.store(true, Ordering::SeqCst);
    let acknowledged = writer.join().expect("the writer");
    let after = acknowledged.iter().map(|(_, at)| *at).find(|at| *at > hung + CALLS_UNDER_WAY);
    let after = after.expect("a write that was acknowledged after the disk hung");
    // A figure and no bound: two cores may be shared with a build. The time of an etcdctl is in it.
    let _ = writeln!(
        std::io::stderr(),
        "a write through another master was acknowledged {} ms after the disk hung",
        (after - hung).as_millis()
    );
    assert_kept(&cluster, &acknowledged);
}

#[test]
fn a_sync_that_fails_ends_the_member_at_once() {
    let cluster = Arc::new(Cluster::start(3, 0));
    let leader = cluster.leader();
    let pid = cluster.pid(&leader);
    let stop = Arc::new(AtomicBool::new(false));
    let writer = write_on(&cluster, vec![1, 2, 3], &stop);
    // All that follow, too: one that was tried again would be seen to fail again.
    let fault = match inject(&cluster, &leader, "error=EIO") {
        Ok(fault) => fault,
        Err(reason) => {
            stop.store(true, Ordering::SeqCst);
            let _ = writer.join();
            return skipped(&reason);
        }
    };
    eventually("the member to be another process", || {
        if cluster.pid(&leader) == pid { Err("the same process".into()) } else { Ok(()) }
    });
    drop(fault);
    all_healthy(&cluster);
    stop.store(true, Ordering::SeqCst);
    let acknowledged = writer.join().expect("the writer");
    let log = std::fs::read_to_string(cluster.dir.join(&leader).join("log")).expect("log");
    let failed: Vec<_> = log.lines().filter(|line| line.contains("Input/output error")).collect();
    assert_eq!(failed.len(), 1, "it went on after a failed sync: {failed:?}");
    assert!(failed[0].contains("writing segment"), "{failed:?}");
    assert!(!acknowledged.is_empty());
    assert_kept(&cluster, &acknowledged);
}
