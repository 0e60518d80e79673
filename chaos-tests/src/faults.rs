//! What is done to the cluster while clients work.

use std::time::Duration;

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::cluster::Cluster;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    KillLeader,
    KillFollower,
    /// Every master at once: what is left is what was on the disks.
    KillAll,
    /// The leader stands still, its connections stay open.
    FreezeLeader,
}

const KINDS: [Fault; 4] = [Fault::KillLeader, Fault::KillFollower, Fault::KillAll, Fault::FreezeLeader];
const FREEZE: Duration = Duration::from_secs(3);

/// The faults of a run, and how long clients work in peace before each: a function of the seed.
/// Every kind comes once before any comes again.
pub fn plan(seed: u64, count: usize) -> Vec<(Duration, Fault)> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut plan = Vec::with_capacity(count);
    let mut kinds: Vec<Fault> = Vec::new();
    while plan.len() < count {
        if kinds.is_empty() {
            kinds = KINDS.to_vec();
        }
        let fault = kinds.swap_remove(random.random_range(0..kinds.len()));
        plan.push((Duration::from_millis(random.random_range(500..2_500)), fault));
    }
    plan
}

/// Does it to the cluster; says to whom.
pub async fn inflict(cluster: &Cluster, fault: Fault, choice: u64) -> Result<String> {
    let masters = cluster.masters();
    match fault {
        Fault::KillAll => {
            let mut pids = Vec::new();
            for master in &masters {
                pids.push(cluster.pid(&master.name)?);
            }
            for pid in pids {
                cluster.kill(pid)?;
            }
            Ok("all masters".into())
        }
        Fault::KillLeader | Fault::FreezeLeader => {
            let leader = cluster.leader().await?;
            let pid = cluster.pid(&leader)?;
            if fault == Fault::KillLeader {
                cluster.kill(pid)?;
            } else {
                cluster.freeze(pid, FREEZE).await?;
            }
            Ok(leader)
        }
        Fault::KillFollower => {
            let leader = cluster.leader().await?;
            let followers: Vec<_> = masters.iter().filter(|m| m.name != leader).collect();
            anyhow::ensure!(!followers.is_empty(), "a cluster of one has no follower");
            let follower = &followers[usize::try_from(choice % followers.len() as u64)?].name;
            cluster.kill(cluster.pid(follower)?)?;
            Ok(follower.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_plan_with_every_kind() {
        let a = plan(7, 9);
        assert_eq!(a, plan(7, 9));
        assert_ne!(a, plan(8, 9));
        for kind in KINDS {
            assert!(a[..4].iter().any(|(_, fault)| *fault == kind), "{kind:?} is missing: {a:?}");
        }
    }
}
