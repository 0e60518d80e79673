//! Leaders that are killed while objects are created and watched.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use trireme_api::Object;
use trireme_client::{Resource, resource};

use super::{MASTERS, PREFIX, etcdctl, names, object, runtime, store, text_of, upstream};
use crate::kube_apiserver::KubeApiserver;
use crate::support::eventually;

/// Objects on each side of a kill that must be acknowledged, of each kind.
const ACKNOWLEDGED_MIN: usize = 100;
/// Who create objects while the leader is killed.
const WRITERS: usize = 4;
/// The object that is created after all others.
const LAST: &str = "z-last";
/// How long one watch lasts at most, and how many follow each other at most.
const WATCH_S: u64 = 120;
const WATCHES_MAX: usize = 50;
/// Bound of what one of them creates.
const OBJECTS_MAX: usize = 20_000;

/// What a watch saw: each object's name and how often, in order of their revisions.
#[derive(Default)]
struct Seen {
    added: BTreeMap<String, usize>,
    /// How often the watch had to be made again.
    resumed: usize,
    problems: Vec<String>,
}

/// Writers and watches, which would outlive an assertion that fails.
struct Running {
    /// Writers have done enough.
    enough: AtomicBool,
    /// None once all have ended.
    watches: Mutex<Option<Vec<Child>>>,
}

impl Running {
    fn end(&self) {
        self.enough.store(true, Ordering::SeqCst);
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner).take();
        for mut watch in watches.into_iter().flatten() {
            let _ = watch.kill();
            let _ = watch.wait();
        }
    }

    /// What a watch says, line by line; nothing once all have ended.
    fn watch(
        &self,
        server: &KubeApiserver,
        path: &str,
        from: &str,
    ) -> Option<impl Iterator<Item = String> + use<>> {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let watches = watches.as_mut()?;
        let mut watch = server.watch(path, from, WATCH_S);
        let mut child = watch.stdout(Stdio::piped()).spawn().expect("run kubectl");
        let lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        watches.push(child);
        Some(lines.map_while(Result::ok))
    }
}

/// Ends them when dropped.
struct EndOfScope<'a>(&'a Running);

impl Drop for EndOfScope<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Watches until the object [`LAST`] comes, and goes on from the last revision seen when the server
/// ends the watch, as every informer does.
fn watch_on(running: &Running, server: &KubeApiserver, collection: &str, mut from: String) -> Seen {
    let mut seen = Seen::default();
    for round in 0..WATCHES_MAX {
        let Some(lines) = running.watch(server, collection, &from) else { break };
        seen.resumed = round;
        for line in lines {
            let Ok(event) = serde_json::from_str::<Value>(&line) else {
                seen.problems.push(format!("no event: {line}"));
                continue;
            };
            match event["type"].as_str() {
                Some("ADDED") => {
                    let name = text_of(&event, "/object/metadata/name").to_owned();
                    let revision = text_of(&event, "/object/metadata/resourceVersion").to_owned();
                    let number = |text: &str| text.parse::<u64>().expect("a revision");
                    if number(&revision) <= number(&from) {
                        seen.problems.push(format!("{name} at {revision} comes after {from}"));
                    }
                    from = revision;
                    let last = name == LAST;
                    *seen.added.entry(name).or_default() += 1;
                    if last {
                        return seen;
                    }
                }
                // A watch that ends for want of a leader is made again; one from a revision that is
                // gone has missed something.
                Some("ERROR") if event["object"]["code"] != 410 => {}
                _ => seen.problems.push(line),
            }
        }
    }
    seen
}

/// Creates objects until that is enough; those that were acknowledged.
async fn write_on(
    client: &trireme_client::Client,
    kind: &Resource,
    writer: usize,
    running: &Running,
    count: &AtomicUsize,
) -> BTreeSet<String> {
    let mut acknowledged = BTreeSet::new();
    for i in 0..OBJECTS_MAX {
        if running.enough.load(Ordering::SeqCst) {
            break;
        }
        let name = format!("w{writer}-{i}");
        if client.create(kind, "killed", &Object(object(kind, "killed", &name).into())).await.is_ok() {
            count.fetch_add(1, Ordering::SeqCst);
            acknowledged.insert(name);
        }
    }
    acknowledged
}

#[test]
fn nothing_is_lost_when_the_leader_is_killed() {
    let _alone = MASTERS.write().unwrap_or_else(PoisonError::into_inner);
    let Some(server) = upstream() else { return };
    server.kubectl_ok(&["create", "namespace", "killed"]);
    let kinds = [&resource::CONFIG_MAPS, &resource::SECRETS];
    let collection = |kind: &Resource| format!("/api/v1/namespaces/killed/{}", kind.plural);
    let running = Running { enough: AtomicBool::new(false), watches: Mutex::new(Some(Vec::new())) };
    let counts = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let client = server.client();
    std::thread::scope(|scope| {
        let _end = EndOfScope(&running);
        let running = &running;
        let watches = kinds.map(|kind| {
            let list = server.json(&collection(kind));
            let from = text_of(&list, "/metadata/resourceVersion").to_owned();
            scope.spawn(move || watch_on(running, server, &collection(kind), from))
        });
        let writers = std::array::from_fn::<_, 2, _>(|i| {
            let (client, count) = (&client, &counts[i]);
            scope.spawn(move || {
                let all = (0..WRITERS).map(|writer| write_on(client, kinds[i], writer, running, count));
                runtime().block_on(futures::future::join_all(all)).into_iter().flatten().collect()
            })
        });
        let more = |since: [usize; 2]| {
            eventually("objects that are acknowledged", || {
                server.assert_runs();
                let now = [0, 1].map(|i: usize| counts[i].load(Ordering::SeqCst));
                if (0..2).all(|i| now[i] >= since[i] + ACKNOWLEDGED_MIN) {
                    Ok(now)
                } else {
                    Err(format!("{now:?}"))
                }
            })
        };
        let mut now = more([0, 0]);
        for _ in 0..2 {
            let leader = store().leader();
            store().kill(&leader);
            now = more(now);
            eventually("the members to be well again", || {
                let status = store().status();
                let members = status["members"].as_array().cloned().unwrap_or_default();
                let well = members.len() == 3 && members.iter().all(|member| member["healthy"] == true);
                if well { Ok(()) } else { Err(status.to_string()) }
            });
        }
        more(now);
        running.enough.store(true, Ordering::SeqCst);
        let acknowledged: [BTreeSet<String>; 2] = writers.map(|writer| writer.join().expect("a writer"));

        let mut there = Vec::new();
        for (kind, acknowledged) in kinds.iter().zip(&acknowledged) {
            let list = server.json(&collection(kind));
            let found: BTreeSet<String> = names(&list).into_iter().map(str::to_owned).collect();
            let lost: Vec<_> = acknowledged.difference(&found).collect();
            assert!(lost.is_empty(), "acknowledged and lost, of {}: {lost:?}", acknowledged.len());
            let prefix = format!("{PREFIX}/{}/killed/", kind.plural);
            for master in 1..=3 {
                let keys = etcdctl(store(), master, &["get", "--prefix", &prefix, "--keys-only"]);
                let keys: BTreeSet<_> =
                    keys.lines().filter_map(|key| key.strip_prefix(&prefix)).map(str::to_owned).collect();
                assert_eq!(keys, found, "of master {master}");
            }
            there.push(found);
        }
        for kind in kinds {
            let last = object(kind, "killed", LAST).to_string();
            let file = server.file(&format!("{}-last.json", kind.plural), &last);
            server.kubectl_ok(&["create", "-f", &file]);
        }
        for ((watch, mut found), acknowledged) in watches.into_iter().zip(there).zip(acknowledged) {
            let seen = watch.join().expect("a watch");
            found.insert(LAST.to_owned());
            assert!(seen.problems.is_empty(), "{:?}", seen.problems);
            let shown: BTreeSet<_> = seen.added.keys().cloned().collect();
            let (missed, invented) = (&found - &shown, &shown - &found);
            assert!(missed.is_empty() && invented.is_empty(), "missed {missed:?}, invented {invented:?}");
            let twice: Vec<_> = seen.added.iter().filter(|(_, times)| **times != 1).collect();
            assert!(twice.is_empty(), "more than once: {twice:?}");
            let _ = writeln!(
                std::io::stderr(),
                "two leaders killed: {} objects, {} acknowledged, each seen once by a watch made {} times",
                found.len() - 1,
                acknowledged.len(),
                seen.resumed + 1
            );
        }
    });
    server.assert_runs();
    assert_eq!(server.get("/readyz").as_deref(), Ok("ok"));
}
