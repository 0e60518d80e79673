//! Masters whose disks lie: found while they run and when they start, and built anew by the others,
//! without anyone's hand.

mod support;

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use support::{Cluster, eventually, text, trireme};

/// Files below `dir` with this ending, the largest first.
fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => dirs.push(entry.path()),
                _ => found.push(entry.path()),
            }
        }
    }
    found.retain(|path| path.to_string_lossy().ends_with(ending));
    found.sort_by_key(|path| std::cmp::Reverse(path.metadata().map_or(0, |meta| meta.len())));
    found
}

/// Flips bits of one byte.
fn flip(path: &Path, at: u64) {
    let mut file = std::fs::OpenOptions::new().read(true).write(true).open(path).expect("open");
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).expect("seek");
    file.read_exact(&mut byte).expect("read");
    file.seek(SeekFrom::Start(at)).expect("seek");
    file.write_all(&[byte[0] ^ 0x55]).expect("write");
    file.sync_all().expect("sync");
}

fn member_ids(cluster: &Cluster) -> Vec<(String, String)> {
    let output = trireme(&["member", "list", "--dir", cluster.dir.to_str().expect("UTF-8")]);
    assert!(output.status.success(), "{}", text(&output));
    let rows = String::from_utf8_lossy(&output.stdout).into_owned();
    let rows = rows.lines().skip(1).map(|row| {
        let mut columns = row.split_whitespace().map(str::to_owned);
        let id = columns.next().unwrap_or_default();
        (columns.next().unwrap_or_default(), id)
    });
    rows.collect()
}

fn id_of(cluster: &Cluster, name: &str) -> String {
    let members = member_ids(cluster);
    members.iter().find(|(found, _)| found == name).expect("the member").1.clone()
}

/// Waits until `name` is another member than `old`, healthy, and its damaged data is gone.
fn wait_for_rebuild(cluster: &Cluster, name: &str, old: &str) {
    eventually("the member to be built anew", || {
        let new = id_of(cluster, name);
        let status = cluster.status();
        let members = status["members"].as_array().cloned().unwrap_or_default();
        let healthy = members.iter().all(|member| member["healthy"] == true);
        let aside = cluster.dir.join(name).join("data/store.damaged").exists();
        let voters = member_ids(cluster).len();
        match new != old && healthy && !aside && voters == 3 {
            true => Ok(()),
            false => Err(format!("{name} is {new}, aside: {aside}, {voters} members: {status}")),
        }
    });
}

#[test]
fn a_flipped_bit_in_state_or_log_is_found_and_mended_by_the_others() {
    let cluster = Cluster::start(3, 0);
    for i in 0..20 {
        let value = format!("--from-literal=a={}", "x".repeat(20_000 + i));
        cluster.kubectl_ok(&["create", "configmap", &format!("c{i}"), &value]);
    }

    // Of one that runs and leads: what is in its memory is right, what is on its disk is not.
    let leader = cluster.leader();
    let old = id_of(&cluster, &leader);
    let state = cluster.dir.join(&leader).join("data/store/state");
    let table = eventually("the state to be on the disk", || {
        let largest = files(&state, ".sst").into_iter().next();
        largest
            .filter(|path| path.metadata().is_ok_and(|meta| meta.len() > 2_000))
            .ok_or("no table yet".into())
    });
    flip(&table, 500);
    wait_for_rebuild(&cluster, &leader, &old);

    // Of one that is dead: its log says what it voted and acknowledged.
    let victim = cluster.status()["members"]
        .as_array()
        .and_then(|members| members.iter().find(|member| member["role"] == "follower").cloned())
        .and_then(|member| member["name"].as_str().map(str::to_owned))
        .expect("a follower");
    let old = id_of(&cluster, &victim);
    let log = cluster.dir.join(&victim).join("data/store/log");
    let segment = files(&log, "").into_iter().find(|path| !path.ends_with("reserve")).expect("a segment");
    cluster.kill(&victim);
    flip(&segment, 6_000);
    wait_for_rebuild(&cluster, &victim, &old);

    assert_eq!(cluster.kubectl_ok(&["get", "configmap", "-o", "name"]).matches("/c").count(), 20);
    let log = std::fs::read_to_string(cluster.dir.join(&victim).join("log")).expect("log");
    assert!(log.contains("data is damaged"), "{log}");
}

#[test]
fn a_master_that_is_alone_keeps_what_is_left_and_says_so() {
    let cluster = Cluster::start(1, 0);
    cluster.kubectl_ok(&["create", "configmap", "c", "--from-literal=a=b"]);
    let log = cluster.dir.join("master-1").join("data/store/log");
    let segment = files(&log, "").into_iter().find(|path| !path.ends_with("reserve")).expect("a segment");
    cluster.kill("master-1");
    flip(&segment, 6_000);
    eventually("it to be left dead", || {
        let told = std::fs::read_to_string(cluster.dir.join("master-1").join("log")).expect("log");
        if told.contains("the raft log is damaged") { Ok(()) } else { Err(told) }
    });
    assert!(!cluster.dir.join("master-1").join("data/store.damaged").exists());
    assert!(segment.exists());
}
