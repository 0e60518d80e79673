//! A master that lost its disk, and one whose disk lies: how long until that is found, and until it has
//! everything again and votes.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::process::Command;

use super::store::{Side, fill};
use super::table::Table;
use super::usage;
use crate::cluster::{Cluster, binary};

const VALUE_BYTES: usize = 8192;
const POLL: Duration = Duration::from_millis(200);
const GIVE_UP: Duration = Duration::from_secs(600);
/// What a member's last words are when it has found damage.
/// What a member says whose check of the disk finds it, and what one says that is started after it met
/// the damage otherwise, such as in a compaction.
const DAMAGE_LINES: [&str; 2] =
    ["the state on this member's disk is damaged", "this master's data is damaged"];

pub(super) async fn measure(gib: f64, table: &mut Table) -> Result<Value> {
    let folder = tempfile::tempdir().context("temporary folder")?;
    let side = Side::trireme(folder.path(), 3).await?;
    let cluster = side.cluster().context("a cluster of ours")?;
    let keys = (gib * (1_u64 << 30) as f64 / VALUE_BYTES as f64) as usize;
    let begun = Instant::now();
    // What RocksDB cannot make smaller.
    fill(&side, keys, |n| (format!("/rebuilt/{n:09}").into_bytes(), noise(n))).await?;
    println!("  {gib} GiB written in {:.1} s", begun.elapsed().as_secs_f64());
    cluster.wait_healed().await?;
    let leader = cluster.leader().await?;
    let victim = cluster.masters().into_iter().find(|m| m.name != leader).context("a follower")?.name;
    let old = member(cluster, &victim).await?.id;
    let data = cluster.dir.join(&victim).join("data/store");
    let lost = data.with_extension("lost");
    let begun = Instant::now();
    cluster.kill(cluster.pid(&victim)?)?;
    // At once out of the way of the process that is started next.
    std::fs::rename(&data, &lost).with_context(|| format!("move {} away", data.display()))?;
    loop {
        if member(cluster, &victim).await.is_ok_and(|now| now.id != old && now.votes_and_is_level()) {
            break;
        }
        if begun.elapsed() > GIVE_UP {
            bail!("{victim} does not vote again after {GIVE_UP:?}: {:?}", member(cluster, &victim).await);
        }
        tokio::time::sleep(POLL).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("  {victim} without a disk: voting again after {seconds:.1} s");
    let note = format!("restart after 2 s included; load average {}", usage::load_average());
    table.figure(
        &format!("a lost disk of {gib} GiB, s until it votes again"),
        format!("{seconds:.1}"),
        &note,
    );
    let (found, mended) = damage(cluster, &victim).await?;
    let note = format!("checks of the whole disk follow each other; load average {}", usage::load_average());
    table.figure(&format!("a flipped bit in {gib} GiB, s until it is found"), format!("{found:.1}"), &note);
    table.figure(
        &format!("a flipped bit in {gib} GiB, s until it votes again"),
        format!("{mended:.1}"),
        &note,
    );
    side.stop().await?;
    Ok(json!({ "gib": gib, "seconds": seconds, "damage_found_s": found, "damage_mended_s": mended }))
}

/// Seconds until a bit flipped in the largest table of `victim` has ended it, and until it votes again.
async fn damage(cluster: &Cluster, victim: &str) -> Result<(f64, f64)> {
    cluster.wait_healed().await?;
    let old = member(cluster, victim).await?.id;
    let log = cluster.dir.join(victim).join("log");
    let told = || {
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        DAMAGE_LINES.iter().map(|line| log.matches(line).count()).sum::<usize>()
    };
    let before = told();
    let table = largest_table(&cluster.dir.join(victim).join("data/store/state"))?;
    flip_in_the_middle(&table).with_context(|| format!("flip a bit in {}", table.display()))?;
    let begun = Instant::now();
    let mut found = None;
    loop {
        if found.is_none() && told() > before {
            found = Some(begun.elapsed().as_secs_f64());
            println!("  {victim} with a flipped bit: found after {:.1} s", begun.elapsed().as_secs_f64());
        }
        if let (Some(found), Ok(now)) = (found, member(cluster, victim).await)
            && now.id != old
            && now.votes_and_is_level()
        {
            let mended = begun.elapsed().as_secs_f64();
            println!("  {victim} with a flipped bit: voting again after {mended:.1} s");
            return Ok((found, mended));
        }
        if begun.elapsed() > GIVE_UP {
            bail!("{victim} is not mended after {GIVE_UP:?}: {:?}", member(cluster, victim).await);
        }
        tokio::time::sleep(POLL).await;
    }
}

fn largest_table(state: &Path) -> Result<PathBuf> {
    let mut tables = Vec::new();
    for generation in std::fs::read_dir(state).with_context(|| format!("read {}", state.display()))? {
        let files = std::fs::read_dir(generation?.path()).into_iter().flatten().flatten();
        tables.extend(files.filter(|file| file.path().extension().is_some_and(|ending| ending == "sst")));
    }
    let size = |file: &std::fs::DirEntry| file.metadata().map_or(0, |meta| meta.len());
    let largest = tables.iter().max_by_key(|file| size(file));
    Ok(largest.with_context(|| format!("no table in {}", state.display()))?.path())
}

fn flip_in_the_middle(table: &Path) -> std::io::Result<()> {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(table)?;
    let at = file.metadata()?.len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 0x10], at)?;
    file.sync_all()
}

/// Bytes that differ from key to key and in themselves.
fn noise(n: usize) -> Vec<u8> {
    let mut state = n as u64 + 1;
    let mut next = || {
        // xorshift64*, by Vigna.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes()
    };
    (0..VALUE_BYTES / 8).flat_map(|_| next()).collect()
}

#[derive(Debug)]
struct Member {
    id: String,
    follows: bool,
    healthy: bool,
    behind: u64,
}

impl Member {
    fn votes_and_is_level(&self) -> bool {
        self.follows && self.healthy && self.behind < 1000
    }
}

/// What `trireme status` tells of it.
async fn member(cluster: &Cluster, name: &str) -> Result<Member> {
    let mut command = Command::new(binary()?);
    command.args(["status", "-o", "json", "--dir"]).arg(&cluster.dir);
    let output = command.output().await.context("run trireme status")?;
    let status: Value = serde_json::from_slice(&output.stdout).context("what trireme status answers")?;
    let members = status["members"].as_array().context("members")?;
    let member = members.iter().find(|m| m["name"] == name).with_context(|| format!("{name} in {status}"))?;
    Ok(Member {
        id: member["memberId"].as_str().with_context(|| format!("a member id in {member}"))?.to_owned(),
        follows: member["role"] == "follower",
        healthy: member["healthy"] == true,
        behind: member["lag"].as_u64().unwrap_or(u64::MAX),
    })
}
