//! A leader that is paused while others go on without it: nothing of its own lands after the takeover.

mod support;

use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use support::deeds::{Done, LEASES, NAMESPACE, Through, assert_nothing_landed_after, parse};
use support::{Cluster, eventually, say};

/// What goes on after the leader was let go, so that it has occasion to write.
const AFTERMATH: Duration = Duration::from_secs(6);

fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([name, &pid.to_string()]).status().expect("kill");
    assert!(status.success(), "kill {name} {pid}");
}

/// Lets a paused process go on, whatever becomes of the test.
struct Paused(u32);

impl Drop for Paused {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-CONT", &self.0.to_string()]).status();
    }
}

/// The number of a master, `master-<n>`.
fn ordinal(master: &str) -> u16 {
    master.rsplit('-').next().and_then(|n| n.parse().ok()).expect("master-<n>")
}

#[test]
fn a_paused_leader_writes_nothing_after_the_takeover() {
    let mut cluster = Cluster::start(3, 0);
    cluster.namespace(NAMESPACE);
    let through =
        |server: String| Through { server, kubeconfig: cluster.kubeconfig(), dir: cluster.dir.clone() };
    let identity = through(cluster.server()).holder_of_all();
    let (leader, number) = parse(&identity);
    let other = (1..=3).find(|n| *n != ordinal(&leader)).expect("three masters");
    let pid = cluster.pid(&leader).expect("a pid");
    // No call goes to the leader's own master: what that writes, it writes by itself.
    let through = through(format!("https://{}", cluster.api(other)));
    through.prepare();
    let busy = AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| through.keep_busy(&busy));
        let done = Done(&busy);
        through.await_work();
        for lease in LEASES {
            assert_eq!(through.holder(lease).as_deref(), Ok(identity.as_str()), "leadership has moved");
        }
        let paused = Paused(pid);
        signal(pid, "-STOP");
        let began = Instant::now();
        for lease in LEASES {
            eventually("another master takes over", || match through.holder(lease) {
                Ok(holder) if holder != identity => Ok(()),
                held => Err(format!("{held:?}")),
            });
            say(&format!("{lease} was taken over {:?} after the pause", began.elapsed()));
        }
        // What the paused one believes to be wanted is wanted no more.
        eventually("the work is scaled down", || through.scale(1).then_some(()).ok_or_else(String::new));
        std::thread::sleep(Duration::from_secs(1));
        drop(paused);
        std::thread::sleep(AFTERMATH);
        drop(done);
    });
    through.await_new_leaders_work();
    assert!(cluster.stop().success());

    let name = std::fs::read_to_string(cluster.pki("cluster")).expect("the cluster's name");
    let store_dir = cluster.dir.join(format!("master-{other}/data/store"));
    assert_nothing_landed_after(&store_dir, name.trim(), number);
}
