//! Old copies of a disk: a directory that comes back from a backup has forgotten votes and entries
//! that it gave its word for, and must not go on as if it remembered.
//!
//! ```text
//!   start n ──► BOOTS (n, durable) ──► peers: "member m starts for the nth time, up to entry i"
//!                                        │ note the highest n of m, durably ◄── they answer what
//!                                        └► seen n already, or entry i and more acknowledged: old
//! ```
//!
//! Each start of a directory has a number. One that a peer has seen before, by another process, is
//! the second life of an old copy. Where the copy was made without a start in between, the leader
//! still knows how far that member had acknowledged. What nobody reachable knows is not found: peers
//! that are gone, or that are old copies themselves.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use parking_lot::Mutex;
use trireme_store::planted::{self, Bug};

use super::{Inner, disk_check};
use crate::peer::pb;
use crate::peer::{Lane, Peers};
use crate::types::MemberId;

/// How often this directory was started.
const BOOTS: &str = "BOOTS";
/// The last start that was seen of each other member.
const SEEN: &str = "BOOTS.seen";
/// A peer that has not answered by then is asked later.
const ASK_TIMEOUT: Duration = Duration::from_millis(500);
/// Between two rounds of telling those that have not answered: the first pause, doubling to the last.
const TELL_AGAIN_MIN: Duration = Duration::from_secs(1);
const TELL_AGAIN_MAX: Duration = Duration::from_secs(30);

/// What a member says of its start.
#[derive(Clone, Debug)]
pub(super) struct Boot {
    pub(super) member: MemberId,
    /// Counts from one.
    pub(super) number: u64,
    /// Tells this process from every other.
    pub(super) incarnation: u64,
    /// It has this entry, and all before.
    pub(super) last_index: u64,
}

/// Counts a start of `dir`, durably; its number.
pub(super) fn count(dir: &Path) -> io::Result<u64> {
    let before = match std::fs::read_to_string(dir.join(BOOTS)) {
        Ok(text) => text.trim().parse().map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} holds no number", dir.join(BOOTS).display()),
            )
        })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0u64,
        Err(error) => return Err(error),
    };
    replace(dir, BOOTS, &format!("{}\n", before + 1))?;
    Ok(before + 1)
}

/// Puts a file in place whole: a crash leaves the old one or the new one.
fn replace(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    let draft = dir.join(format!("{name}.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&draft, dir.join(name))?;
    File::open(dir)?.sync_all()
}

/// The last starts that were seen of other members: number and process.
pub(super) struct Seen {
    dir: PathBuf,
    starts: Mutex<BTreeMap<MemberId, (u64, u64)>>,
}

impl Seen {
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let text = match std::fs::read_to_string(dir.join(SEEN)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let parse = |line: &str| {
            let mut fields = line.split_whitespace();
            let id = u64::from_str_radix(fields.next()?, 16).ok()?;
            let number = fields.next()?.parse().ok()?;
            let incarnation = u64::from_str_radix(fields.next()?, 16).ok()?;
            Some((MemberId(id), (number, incarnation)))
        };
        // A line that cannot be read is evidence lost, and no reason not to serve.
        let starts = text.lines().filter_map(parse).collect();
        Ok(Self { dir: dir.to_owned(), starts: Mutex::new(starts) })
    }

    /// Notes a start of `member`, durably before it returns; the number of a start that shows it to be
    /// an old copy's.
    pub(super) fn note(&self, member: MemberId, number: u64, incarnation: u64) -> io::Result<Option<u64>> {
        let mut starts = self.starts.lock();
        match starts.get(&member) {
            Some((seen, by)) if *seen > number || (*seen == number && *by != incarnation) => {
                return Ok(Some(*seen));
            }
            Some((seen, _)) if *seen == number => return Ok(None),
            _ => {}
        }
        let mut after = starts.clone();
        after.insert(member, (number, incarnation));
        let lines: String =
            after.iter().map(|(id, (number, by))| format!("{:016x} {number} {by:016x}\n", id.0)).collect();
        replace(&self.dir, SEEN, &lines)?;
        *starts = after;
        Ok(None)
    }
}

/// Tells the peer at `address` of a start; why that shows an old copy, if it does.
async fn tell(peers: &Peers, cluster: &str, address: &str, boot: &Boot) -> Result<Option<String>, String> {
    let mut client = peers.client(address, Lane::Forward).map_err(|status| status.message().to_owned())?;
    let mut request = tonic::Request::new(pb::BootedRequest {
        cluster: cluster.to_owned(),
        member: boot.member.0,
        number: boot.number,
        incarnation: boot.incarnation,
    });
    request.set_timeout(ASK_TIMEOUT);
    let answer = client.booted(request).await.map_err(|status| status.message().to_owned())?.into_inner();
    if answer.seen > 0 {
        return Ok(Some(format!(
            "this is start {} of it, and the member at {address} has seen start {}",
            boot.number, answer.seen
        )));
    }
    if answer.acknowledged_index > boot.last_index {
        return Ok(Some(format!(
            "it ends at entry {}, and has acknowledged entry {} to the leader at {address}",
            boot.last_index, answer.acknowledged_index
        )));
    }
    Ok(None)
}

/// Words for what was found.
fn old_copy(evidence: &str) -> String {
    format!("this is an old copy of the member's disk: {evidence}")
}

/// Tells all of `addresses` of a start, once. Those that did not answer; or why it must not go on.
pub(super) async fn tell_all(
    peers: &Peers,
    cluster: &str,
    addresses: Vec<String>,
    boot: &Boot,
) -> Result<Vec<String>, String> {
    let told = addresses.into_iter().map(|address| async move {
        let answer = tell(peers, cluster, &address, boot).await;
        (address, answer)
    });
    let mut silent = Vec::new();
    for (address, answer) in futures::future::join_all(told).await {
        match answer {
            Ok(Some(evidence)) => return Err(old_copy(&evidence)),
            Ok(None) => {}
            Err(reason) => {
                tracing::debug!(address, reason, "this start could not be told");
                silent.push(address);
            }
        }
    }
    Ok(silent)
}

impl Inner {
    /// Goes on telling of this start whoever did not hear of it: one that was away may know more.
    pub(super) async fn run_telling(self: Arc<Self>, mut boot: Boot, mut silent: Vec<String>) {
        // It acknowledges anew from now on: what the leader knows of that is no evidence any more.
        boot.last_index = u64::MAX;
        let mut pause = TELL_AGAIN_MIN;
        while !silent.is_empty() {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return,
            }
            pause = (pause * 2).min(TELL_AGAIN_MAX);
            match tell_all(&self.peers, &self.config.cluster, silent, &boot).await {
                Ok(still) => silent = still,
                Err(_) if planted::is(Bug::OldCopyGoesOn) => return,
                Err(what) => {
                    if let Err(error) = disk_check::note(&self.config.data_dir, &what) {
                        tracing::error!(%error, "that the disk is an old copy could not be noted");
                    }
                    (self.config.on_fatal)(&what);
                    return;
                }
            }
        }
    }

    /// Answers another member that tells of its start.
    pub(super) fn heard_of_start(&self, request: &pb::BootedRequest) -> io::Result<pb::BootedResponse> {
        let member = MemberId(request.member);
        let seen = self.seen.note(member, request.number, request.incarnation)?.unwrap_or(0);
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let replication = metrics.replication.as_ref().filter(|_| metrics.state.is_leader());
        let matched = replication.and_then(|all| all.get(&member).copied().flatten());
        Ok(pb::BootedResponse { seen, acknowledged_index: matched.map_or(0, |id| id.index) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_that_another_process_had_is_an_old_copys() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (MemberId(1), MemberId(2));
        let seen = Seen::open(dir.path()).unwrap();
        assert_eq!(seen.note(one, 5, 77).unwrap(), None);
        // Told again by the same process, and by the next.
        assert_eq!(seen.note(one, 5, 77).unwrap(), None);
        assert_eq!(seen.note(one, 6, 78).unwrap(), None);
        assert_eq!(seen.note(two, 1, 79).unwrap(), None);
        for seen in [seen, Seen::open(dir.path()).unwrap()] {
            assert_eq!(seen.note(one, 6, 80).unwrap(), Some(6), "the same start by another process");
            assert_eq!(seen.note(one, 5, 80).unwrap(), Some(6));
            assert_eq!(seen.note(two, 1, 79).unwrap(), None);
        }
    }

    #[test]
    fn starts_are_counted_over_crashes() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(count(dir.path()).unwrap(), 1);
        assert_eq!(count(dir.path()).unwrap(), 2);
        // A crash while the third was noted.
        std::fs::write(dir.path().join("BOOTS.new"), "").unwrap();
        assert_eq!(count(dir.path()).unwrap(), 3);
        std::fs::write(dir.path().join(BOOTS), "x").unwrap();
        assert!(count(dir.path()).is_err());
    }
}
