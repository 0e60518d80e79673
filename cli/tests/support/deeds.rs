//! What leaders did, by the raft log: each process's proposals carry a number drawn when it started,
//! and the Lease shows that of its holder. The log is applied again, so that what landed is known and
//! not guessed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use trireme_store::engine::Model;
use trireme_store::log::{Entry, EntryBody, Outcome};
use trireme_store::{Error, Op, Store, TxnRequest};

use super::{eventually, kubectl_with, say, text};

pub const NAMESPACE: &str = "deposed";
pub const LEASES: [&str; 2] = ["kube-controller-manager", "kube-scheduler"];
/// Writes of a leader before it is stopped: below it, that came before the work.
pub const WRITES_MIN: usize = 20;

const WORK: &str = r#"{"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{"name":"work","namespace":"deposed"},
"spec":{"replicas":4,"selector":{"matchLabels":{"app":"work"}},"template":{"metadata":{"labels":{"app":"work"}},
"spec":{"terminationGracePeriodSeconds":0,"containers":[{"name":"c","image":"i"}]}}}}"#;

/// Nodes without an agent: pods are bound, and nobody but leaders writes of them.
const NODE: &str = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"empty"},"status":{
"capacity":{"cpu":"64","memory":"64Gi","pods":"500"},"allocatable":{"cpu":"64","memory":"64Gi","pods":"500"},
"conditions":[{"type":"Ready","status":"True","reason":"Said","message":"so"}]}}"#;

/// Work for leaders through one master's API and no other's.
pub struct Through {
    pub server: String,
    pub kubeconfig: PathBuf,
    /// For what it puts into files.
    pub dir: PathBuf,
}

impl Through {
    pub fn run(&self, arguments: &[&str]) -> Output {
        let server = format!("--server={}", self.server);
        kubectl_with(&self.kubeconfig, &[&[server.as_str(), "--request-timeout=5s"], arguments].concat())
    }

    fn create(&self, file: &str, object: &str) {
        let path = self.dir.join(file);
        std::fs::write(&path, object).expect("write");
        eventually("an object is made", || {
            let output = self.run(&["apply", "--server-side", "-f", path.to_str().expect("UTF-8")]);
            output.status.success().then_some(()).ok_or_else(|| text(&output))
        });
    }

    /// A node that nobody runs, and a set of pods.
    pub fn prepare(&self) {
        self.create("node.json", NODE);
        self.create("work.json", WORK);
    }

    pub fn holder(&self, lease: &str) -> Result<String, String> {
        let output =
            self.run(&["-n", "kube-system", "get", "lease", lease, "-o", "jsonpath={.spec.holderIdentity}"]);
        let holder = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() && !holder.is_empty() { Ok(holder) } else { Err(text(&output)) }
    }

    /// Who holds all Leases.
    pub fn holder_of_all(&self) -> String {
        eventually("both Leases at one master", || {
            let holders = [self.holder(LEASES[0])?, self.holder(LEASES[1])?];
            if holders[0] == holders[1] { Ok(holders[0].clone()) } else { Err(format!("{holders:?}")) }
        })
    }

    pub fn scale(&self, replicas: u32) -> bool {
        let replicas = format!("--replicas={replicas}");
        self.run(&["-n", NAMESPACE, "scale", "replicaset", "work", &replicas]).status.success()
    }

    /// Up and down without rest while `busy`: leaders always have writes under way.
    pub fn keep_busy(&self, busy: &AtomicBool) {
        for replicas in [30, 3].into_iter().cycle() {
            if !busy.load(Ordering::Relaxed) {
                return;
            }
            self.scale(replicas);
        }
    }

    pub fn await_work(&self) {
        eventually("some pods come and go", || {
            let output = self.run(&["-n", NAMESPACE, "get", "events", "-o", "name"]);
            let events = output.stdout.iter().filter(|byte| **byte == b'\n').count();
            if events > 2 * WRITES_MIN { Ok(()) } else { Err(format!("{events} events")) }
        });
    }

    /// The leaders of now bind two pods.
    pub fn await_new_leaders_work(&self) {
        eventually("the work is scaled", || self.scale(2).then_some(()).ok_or_else(String::new));
        eventually("the new leader does the work", || {
            let output =
                self.run(&["-n", NAMESPACE, "get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}"]);
            let bound = String::from_utf8_lossy(&output.stdout).split_whitespace().count();
            if bound == 2 { Ok(()) } else { Err(format!("{bound} pods are bound")) }
        });
    }
}

/// Ends the work when dropped, also by a failed assertion.
pub struct Done<'b>(pub &'b AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The master and the number that an identity shows.
pub fn parse(identity: &str) -> (String, u64) {
    let (name, number) = identity.rsplit_once('_').expect("master_number");
    (name.to_owned(), u64::from_str_radix(number, 16).expect("a number"))
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

/// Nothing of the process with `number` landed after it lost its Leases, by the log in `store_dir`,
/// and others have led after it.
pub fn assert_nothing_landed_after(store_dir: &Path, cluster: &str, number: u64) {
    let entries = trireme_raft::read_log(store_dir, cluster).expect("the log is read");
    for lease in LEASES {
        let deeds = judge(entries.clone(), lease, number);
        let own = &deeds[&number];
        say(&format!("{lease}: {} writes landed, {} were refused", own.fenced, own.refused));
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
