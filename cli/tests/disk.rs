//! Masters whose disks hang or fail, as real processes: strace makes the syncs of the raft log's own
//! thread slow, or has them fail.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use support::clock::{Beat, came_to_lead, field, logged_at};
use support::writers::Writers;
use support::{Cluster, eventually, say};
use trireme_raft::Timing;

/// How long a sync hangs: longer than any test waits.
const HANGS_US: u64 = 3_600_000_000;
/// Between two looks of a member at the age of its sync.
const WATCHED_EVERY: Duration = Duration::from_millis(100);
/// From the sync that hangs to another leader: what operators are promised.
const MOVED_WITHIN: Duration = Duration::from_secs(2);
/// Those that have a part in it, one after the other: who watches, the leader's core, the target's, and
/// who hears of it.
const WAKEN_THREADS: u32 = 4;

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

/// At work through these masters: one through all of them, and one through each alone.
fn writers(cluster: &Cluster, masters: &[u16]) -> Writers {
    let writers = Writers::new("/disk/");
    let pki = cluster.dir.join("pki");
    writers.start(&pki, masters.iter().map(|n| cluster.store(*n)).collect());
    for n in masters {
        writers.start(&pki, vec![cluster.store(*n)]);
    }
    writers
}

fn all(cluster: &Cluster) -> Vec<String> {
    [1, 2, 3].map(|n| cluster.store(n)).to_vec()
}

fn number(master: &str) -> u16 {
    master.rsplit_once('-').and_then(|(_, n)| n.parse().ok()).expect("master-N")
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
    let cluster = Cluster::start(3, 0);
    let leader = cluster.leader();
    let pid = cluster.pid(&leader);
    let others: Vec<u16> = [1, 2, 3].into_iter().filter(|n| *n != number(&leader)).collect();
    let writers = writers(&cluster, &others);
    eventually("writes", || if writers.acknowledged() > 100 { Ok(()) } else { Err(String::new()) });
    let beat = Beat::start();
    let fault = match inject(&cluster, &leader, &format!("delay_enter={HANGS_US}")) {
        Ok(fault) => fault,
        Err(reason) => return say(&format!("skipped: {reason}")),
    };
    let hung = writers.mark("from the hang to the end of the member");
    let next = eventually("another leader", || leader_but(&cluster, &leader).ok_or("the same".into()));
    assert_ne!(next, leader);
    let log = cluster.dir.join(&leader).join("log");
    let told = || std::fs::read_to_string(&log).unwrap_or_default();
    let line = |words: &str| {
        let told = told();
        told.lines().find(|line| line.contains(words)).map(str::to_owned).ok_or_else(|| told.clone())
    };
    let noticed = line("the disk does not answer").expect("the leader says what is wrong");
    let offered = line("leadership is offered").expect("the leader offers leadership");
    let led = eventually("the other to say that it leads", || {
        let log = std::fs::read_to_string(cluster.dir.join(&next).join("log")).unwrap_or_default();
        came_to_lead(&log, logged_at(&noticed)).ok_or(log)
    });
    moved_in_time(&noticed, logged_at(&offered), led, beat.late_at_most());
    // What stays stuck is no member: it ends, and is started again on a disk that answers. Its thread
    // that hangs keeps the process from being gone before, as a disk's would.
    eventually("the stuck member to end", || line("a sync of the raft log is stuck"));
    drop(fault);
    eventually("the member to be another process", || {
        if cluster.pid(&leader) == pid { Err("the same process".into()) } else { Ok(()) }
    });
    let ended = writers.mark("while it comes back");
    all_healthy(&cluster);
    let written = writers.stop();
    written.tell();
    let gap = written.longest_gap(hung, ended);
    say(&format!("no write was acknowledged for {} ms at most around the hang", gap.as_millis()));
    assert!(written.acks.iter().any(|ack| ack.at > hung), "nothing was acknowledged after the disk hung");
    written.assert_failures_may_be_repeated();
    written.assert_kept(&cluster.dir.join("pki"), all(&cluster));
}

/// How long the leader had waited for its disk when it noticed, when it offered leadership, and when
/// another led, by their own figure and clock. What this machine was late by is given on top, for each
/// of the threads that had to be woken.
fn moved_in_time(noticed: &str, offered: Timestamp, led: Timestamp, late: Duration) {
    let stuck = Timing::default().sync_stuck;
    let age = Duration::from_millis(field(noticed, "age_ms").expect("the sync's age") as u64);
    let began = logged_at(noticed).as_millisecond() - age.as_millis() as i64;
    let after = |at: Timestamp| Duration::from_millis((at.as_millisecond() - began).max(0) as u64);
    say(&format!(
        "the sync was {} ms old when the leader noticed, {} ms when it offered leadership, and {} ms when another led \
         (here threads were up to {} ms late)",
        age.as_millis(),
        after(offered).as_millis(),
        after(led).as_millis(),
        late.as_millis()
    ));
    assert!(offered >= logged_at(noticed) && led >= offered, "in another order: {offered} {led}");
    assert!(age >= stuck, "{noticed}");
    let allowed = stuck + WATCHED_EVERY + late * 2;
    assert!(age <= allowed, "noticed later than after {allowed:?}: {noticed}");
    let allowed = MOVED_WITHIN + late * WAKEN_THREADS;
    assert!(after(led) <= allowed, "another led later than after {allowed:?}: {led}");
}

#[test]
fn a_sync_that_fails_ends_the_member_at_once() {
    let cluster = Cluster::start(3, 0);
    let leader = cluster.leader();
    let pid = cluster.pid(&leader);
    let writers = writers(&cluster, &[1, 2, 3]);
    // All that follow, too: one that was tried again would be seen to fail again.
    let fault = match inject(&cluster, &leader, "error=EIO") {
        Ok(fault) => fault,
        Err(reason) => return say(&format!("skipped: {reason}")),
    };
    writers.mark("from the failure of the leader's disk until all are well");
    eventually("the member to be another process", || {
        if cluster.pid(&leader) == pid { Err("the same process".into()) } else { Ok(()) }
    });
    drop(fault);
    all_healthy(&cluster);
    let written = writers.stop();
    written.tell();
    let log = std::fs::read_to_string(cluster.dir.join(&leader).join("log")).expect("log");
    let failed: Vec<_> = log.lines().filter(|line| line.contains("Input/output error")).collect();
    assert_eq!(failed.len(), 1, "it went on after a failed sync: {failed:?}");
    assert!(failed[0].contains("writing segment"), "{failed:?}");
    written.assert_failures_may_be_repeated();
    written.assert_kept(&cluster.dir.join("pki"), all(&cluster));
}
