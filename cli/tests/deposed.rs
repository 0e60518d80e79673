//! A leader that is paused while others go on without it. Who wrote what is read from the raft
//! log: each process's proposals carry a number drawn when it started, and the Lease shows that
//! of its holder. The log is applied again, so that what landed is known and not guessed.

mod support;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::{Cluster, eventually, text};
use trireme_store::engine::Model;
use trireme_store::log::{Entry, EntryBody, Outcome};
use trireme_store::{Error, Op, Store, TxnRequest};

const NAMESPACE: &str = "deposed";
const LEASES: [&str; 2] = ["kube-controller-manager", "kube-scheduler"];
/// What goes on after the leader was let go, so that it has occasion to write.
const AFTERMATH: Duration = Duration::from_secs(6);
/// Writes of a leader before it is paused: below it, the pause came before the work.
const WRITES_MIN: usize = 20;

const WORK: &str = r#"{"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{"name":"work","namespace":"deposed"},
"spec":{"replicas":4,"selector":{"matchLabels":{"app":"work"}},"template":{"metadata":{"labels":{"app":"work"}},
"spec":{"terminationGracePeriodSeconds":0,"containers":[{"name":"c","image":"i"}]}}}}"#;

/// Nodes without an agent: pods are bound, and nobody but leaders writes of them.
const NODE: &str = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"empty"},"status":{
"capacity":{"cpu":"64","memory":"64Gi","pods":"500"},"allocatable":{"cpu":"64","memory":"64Gi","pods":"500"},
"conditions":[{"type":"Ready","status":"True","reason":"Said","message":"so"}]}}"#;

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

/// Calls through one master's API and no other's.
struct Through<'c> {
    cluster: &'c Cluster,
    server: String,
}

impl Through<'_> {
    fn run(&self, arguments: &[&str]) -> std::process::Output {
        let server = format!("--server={}", self.server);
        let mut all = vec![server.as_str(), "--request-timeout=5s"];
        all.extend_from_slice(arguments);
        self.cluster.kubectl(&all)
    }

    fn create(&self, file: &str, object: &str) {
        let path = self.cluster.dir.join(file);
        std::fs::write(&path, object).expect("write");
        eventually("an object is made", || {
            let output = self.run(&["apply", "--server-side", "-f", path.to_str().expect("UTF-8")]);
            output.status.success().then_some(()).ok_or_else(|| text(&output))
        });
    }

    fn holder(&self, lease: &str) -> Result<String, String> {
        let output =
            self.run(&["-n", "kube-system", "get", "lease", lease, "-o", "jsonpath={.spec.holderIdentity}"]);
        let holder = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() && !holder.is_empty() { Ok(holder) } else { Err(text(&output)) }
    }

    fn scale(&self, replicas: u32) -> bool {
        let replicas = format!("--replicas={replicas}");
        self.run(&["-n", NAMESPACE, "scale", "replicaset", "work", &replicas]).status.success()
    }
}

/// The master and the number that an identity shows.
fn parse(identity: &str) -> (String, u64) {
    let (name, number) = identity.rsplit_once('_').expect("master_number");
    (name.to_owned(), u64::from_str_radix(number, 16).expect("a number"))
}

/// The number of a master, `master-<n>`.
fn ordinal(master: &str) -> u16 {
    master.rsplit('-').next().and_then(|n| n.parse().ok()).expect("master-<n>")
}

/// What one process did, by the log.
#[derive(Default, Debug)]
struct Deeds {
    fenced: usize,
    /// Changes of what only leaders write, without a fence.
    unfenced: Vec<String>,
    refused: usize,
    after_takeover: Vec<String>,
}

fn puts_and_deletes(txn: &TxnRequest) -> Vec<(String, Option<String>)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut all = Vec::new();
    for op in &txn.success {
        match op {
            Op::Put(put) => all.push((text(&put.key), Some(text(&put.value)))),
            Op::Delete(delete) => all.push((text(&delete.range.start), None)),
            Op::Range(_) => {}
            Op::Txn(inner) => all.extend(puts_and_deletes(inner)),
        }
    }
    all
}

/// Whether only controllers and the scheduler write this key in this test.
fn is_leaders(key: &str) -> bool {
    let others = ["/registry/namespaces/", "/registry/replicasets/"];
    key.split('/').any(|part| part == NAMESPACE) && !others.iter().any(|prefix| key.starts_with(prefix))
}

/// Applies the log again and notes what each process did; after `who` has lost `lease`, all of it.
fn judge(entries: Vec<Entry>, lease: &str, who: u64) -> BTreeMap<u64, Deeds> {
    let store = Store::open(Arc::new(Model::new())).expect("an empty store");
    let mut deeds: BTreeMap<u64, Deeds> = BTreeMap::new();
    let lease_key = format!("/registry/leases/kube-system/{lease}");
    let scope = format!("kube-system/{lease}");
    let (mut held, mut lost) = (false, false);
    for entry in entries {
        let body = entry.body.clone();
        let outcome = store.apply(vec![entry]).expect("the log applies").remove(0);
        let EntryBody::Command(command) = body else { continue };
        let trireme_store::log::CommandOp::Txn(txn) = command.op else { continue };
        let author = deeds.entry(command.proposal.client).or_default();
        let landed = matches!(&outcome, Outcome::Txn(answer) if answer.succeeded);
        if matches!(outcome, Outcome::Failed(Error::Fenced { .. })) {
            author.refused += 1;
        }
        if !landed {
            continue;
        }
        let writes = puts_and_deletes(&txn);
        if txn.fences.iter().any(|fence| fence.scope == scope) && !txn.raise_fences.contains(&scope) {
            author.fenced += 1;
        }
        for (key, value) in &writes {
            if is_leaders(key) && txn.fences.is_empty() {
                author.unfenced.push(format!("{key} {value:?}"));
            }
            if lost && command.proposal.client == who && (is_leaders(key) || !txn.fences.is_empty()) {
                author.after_takeover.push(key.clone());
            }
            if *key == lease_key {
                let holder = value.as_deref().map(|v| v.contains(&format!("_{who:016x}"))).unwrap_or(false);
                lost |= held && !holder;
                held |= holder;
            }
        }
    }
    assert!(held && lost, "the log does not show that {scope} was held and lost");
    deeds
}

#[test]
fn a_paused_leader_writes_nothing_after_the_takeover() {
    let mut cluster = Cluster::start(3, 0);
    cluster.namespace(NAMESPACE);
    let first = Through { server: cluster.server(), cluster: &cluster };
    let identity = eventually("both Leases at one master", || {
        let holders = [first.holder(LEASES[0])?, first.holder(LEASES[1])?];
        if holders[0] == holders[1] { Ok(holders[0].clone()) } else { Err(format!("{holders:?}")) }
    });
    let (leader, number) = parse(&identity);
    let other = (1..=3).find(|n| *n != ordinal(&leader)).expect("three masters");
    let pid = cluster.pid(&leader).expect("a pid");
    {
        // No call goes to the leader's own master: what that writes, it writes by itself.
        let through = Through { server: format!("https://{}", cluster.api(other)), cluster: &cluster };
        through.create("node.json", NODE);
        through.create("work.json", WORK);
        let busy = AtomicBool::new(true);
        std::thread::scope(|scope| {
            // Up and down without rest: the leader always has writes under way.
            scope.spawn(|| {
                for replicas in [30, 3].into_iter().cycle() {
                    if !busy.load(Ordering::Relaxed) {
                        return;
                    }
                    through.scale(replicas);
                }
            });
            let done = Done(&busy);
            eventually("some pods come and go", || {
                let output = through.run(&["-n", NAMESPACE, "get", "events", "-o", "name"]);
                let events = output.stdout.iter().filter(|byte| **byte == b'\n').count();
                if events > 2 * WRITES_MIN { Ok(()) } else { Err(format!("{events} events")) }
            });
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
                println!("{lease} was taken over {:?} after the pause", began.elapsed());
            }
            // What the paused one believes to be wanted is wanted no more.
            eventually("the work is scaled down", || through.scale(1).then_some(()).ok_or_else(String::new));
            std::thread::sleep(Duration::from_secs(1));
            drop(paused);
            std::thread::sleep(AFTERMATH);
            drop(done);
        });
        eventually("the work is scaled", || through.scale(2).then_some(()).ok_or_else(String::new));
        eventually("the new leader does the work", || {
            let output =
                through.run(&["-n", NAMESPACE, "get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}"]);
            let bound = String::from_utf8_lossy(&output.stdout).split_whitespace().count();
            if bound == 2 { Ok(()) } else { Err(format!("{bound} pods are bound")) }
        });
    }
    assert!(cluster.stop().success());

    let name = std::fs::read_to_string(cluster.pki("cluster")).expect("the cluster's name");
    let data_dir = cluster.dir.join(format!("master-{other}/data/store"));
    let entries = trireme_raft::read_log(&data_dir, name.trim()).expect("the log is read");
    for lease in LEASES {
        let deeds = judge(entries.clone(), lease, number);
        let own = &deeds[&number];
        println!("{lease}: {} writes landed, {} were refused", own.fenced, own.refused);
        assert_eq!(own.after_takeover, Vec::<String>::new(), "{lease}: written after another took over");
        for (author, deeds) in &deeds {
            assert_eq!(deeds.unfenced, Vec::<String>::new(), "{author:016x} writes unfenced");
        }
        assert!(own.fenced >= WRITES_MIN, "{lease} led, and wrote {} times", own.fenced);
        assert!(
            deeds.iter().any(|(author, deeds)| *author != number && deeds.fenced > 0),
            "{lease}: nobody has led after it"
        );
    }
}

/// Ends the work when dropped, also by a failed assertion.
struct Done<'b>(&'b AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
