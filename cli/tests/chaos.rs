//! `trireme chaos` on a cluster of `trireme up`: what is played is over afterwards, is never done twice,
//! and is refused where it should be.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use serde_json::Value;
use support::{Cluster, TRIREME, eventually, text, trireme};

const SELECTOR: &str = "trireme.io/chaos=order";
/// Seconds: two cores may be shared with a build.
const PATIENCE: &str = "120";

/// A cluster for tests, by its label, and the right to be alone with it.
struct Alone {
    cluster: &'static Cluster,
    _turn: MutexGuard<'static, ()>,
}

/// A run in the background; killed where its test does not come to the end.
struct Run(Child);

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn alone() -> Alone {
    static TURN: Mutex<()> = Mutex::new(());
    static LABELLED: OnceLock<()> = OnceLock::new();
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = support::shared();
    LABELLED.get_or_init(|| label(cluster, "trireme.io/environment=test"));
    Alone { cluster, _turn }
}

fn label(cluster: &Cluster, label: &str) {
    cluster.kubectl_ok(&["label", "namespace", "kube-system", "--overwrite", label]);
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

impl Alone {
    fn page(&self, name: &str) -> PathBuf {
        self.cluster.dir.join(format!("{name}.html"))
    }

    fn arguments(&self, scenario: &str, more: &[&str]) -> Vec<String> {
        let (kubeconfig, page) = (self.cluster.kubeconfig(), self.page(scenario));
        let fixed = ["chaos", "run", scenario, "--kubeconfig", path(&kubeconfig), "--report", path(&page)];
        fixed.iter().chain(more).map(|word| (*word).to_owned()).collect()
    }

    fn run(&self, scenario: &str, more: &[&str]) -> Output {
        let arguments = self.arguments(scenario, more);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        trireme(&arguments)
    }

    fn start(&self, scenario: &str, more: &[&str]) -> Run {
        let said = std::fs::File::create(self.cluster.dir.join("run.log")).expect("log");
        let child = Command::new(TRIREME)
            .args(self.arguments(scenario, more))
            .stdin(Stdio::null())
            .stdout(said.try_clone().expect("log"))
            .stderr(said)
            .spawn()
            .expect("run trireme");
        Run(child)
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.cluster.dir.join("run.log")).unwrap_or_default()
    }

    /// Plays it, with every promise kept; what the page says.
    fn play(&self, scenario: &str, more: &[&str]) -> String {
        let output = self.run(scenario, &[&["--yes", "--within", PATIENCE], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        self.is_undone();
        let page = std::fs::read_to_string(self.page(scenario)).expect("a page");
        for found in
            ["every promise was kept", "The plan", "Members at the end", "no acknowledged write is lost"]
        {
            assert!(page.contains(found), "{found} is not in the page");
        }
        assert!(!page.contains("<script"), "{page}");
        page
    }

    fn is_well(&self) {
        eventually("every member to be well", || {
            let status = self.cluster.status();
            let members = status["members"].as_array().cloned().unwrap_or_default();
            let well = members.len() == 3 && members.iter().all(|member| member["healthy"] == true);
            well.then_some(()).ok_or_else(|| status.to_string())
        });
    }

    /// Every member is well, and nothing of a run is left.
    fn is_undone(&self) {
        let cluster = self.cluster;
        self.is_well();
        let orders =
            cluster.kubectl_ok(&["-n", "kube-system", "get", "configmaps", "-l", SELECTOR, "-o", "name"]);
        assert_eq!(orders, "", "orders are left");
        eventually("the namespace to go", || {
            let output = cluster.kubectl(&["get", "namespace", "trireme-chaos"]);
            if text(&output).contains("NotFound") { Ok(()) } else { Err(text(&output)) }
        });
    }

    fn log(&self, master: &str) -> String {
        std::fs::read_to_string(self.cluster.dir.join(master).join("log")).expect("a log")
    }

    /// Gives an order by hand; its name.
    fn order(&self, order: &Value, more: &[(String, String)]) -> String {
        let mut object = serde_json::json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "generateName": "by-hand-",
                "namespace": "kube-system",
                "labels": {"trireme.io/chaos": "order"},
            },
            "data": {"order": order.to_string()},
        });
        for (key, value) in more {
            object["data"][key] = value.as_str().into();
        }
        let file = self.cluster.dir.join("order.json");
        std::fs::write(&file, object.to_string()).expect("write");
        let made = self.cluster.kubectl_ok(&["create", "-f", path(&file), "-o", "name"]);
        made.trim().rsplit('/').next().expect("a name").to_owned()
    }

    fn read(&self, order: &str) -> Value {
        let said = self.cluster.kubectl_ok(&["-n", "kube-system", "get", "configmap", order, "-o", "json"]);
        serde_json::from_str::<Value>(&said).expect("JSON")["data"].clone()
    }

    /// The answer of a member to an order, once it is in that state.
    fn answer(&self, order: &str, member: &str, state: &str) -> Value {
        eventually(&format!("{member} to say {state}"), || {
            let data = self.read(order);
            let answers =
                data.as_object().expect("data").iter().filter(|(key, _)| key.starts_with("member."));
            let mut answers =
                answers.filter_map(|(_, text)| serde_json::from_str::<Value>(text.as_str()?).ok());
            let found = answers.find(|answer| answer["name"] == member && answer["state"] == state);
            found.ok_or_else(|| data.to_string())
        })
    }

    fn forget(&self, order: &str) {
        self.cluster.kubectl_ok(&["-n", "kube-system", "delete", "configmap", order]);
    }

    /// How a master answers a roll call.
    fn standing(&self, member: &str) -> Value {
        let order =
            self.order(&serde_json::json!({"version": 1, "deed": {"roll-call": {"hash": false}}}), &[]);
        let answer = self.answer(&order, member, "here");
        self.forget(&order);
        answer
    }

    fn follower(&self) -> String {
        let leader = self.cluster.leader();
        (1..=3).map(|n| format!("master-{n}")).find(|name| *name != leader).expect("a follower")
    }

    fn kill_order(&self, member: &str, cluster: &Value) -> Value {
        serde_json::json!({"version": 1, "deed": "kill", "member": member, "cluster": cluster, "lastsMs": 500})
    }

    fn carried_out(&self, member: &str) -> usize {
        self.log(member).matches("an order is carried out").count()
    }

    fn member_key(&self, member: &str) -> String {
        let status = self.cluster.status();
        let members = status["members"].as_array().expect("members").clone();
        let found = members.iter().find(|found| found["name"] == member).expect("the member");
        format!("member.{}", found["memberId"].as_str().expect("an id"))
    }

    /// Waits until `trireme status` shows a problem of a member.
    fn shows(&self, member: &str, problem: &str) {
        eventually(problem, || {
            let status = self.cluster.status();
            let members = status["members"].as_array().cloned().unwrap_or_default();
            let found = members.iter().find(|found| found["name"] == member).cloned().unwrap_or_default();
            if found["problems"].to_string().contains(problem) {
                return Ok(());
            }
            Err(format!("{found} {}", self.said()))
        });
    }
}

/// To whom it was done, as a page says it.
fn whom(page: &str) -> String {
    let masters = (1..=3).map(|n| format!("master-{n}"));
    let mut done = masters.filter(|name| page.contains(&format!("<td>{name} (")));
    done.next().unwrap_or_else(|| panic!("to nobody: {page}"))
}

/// Terms with a leader in a page.
fn elections(page: &str) -> usize {
    let table = page.split("<h2>Leaders</h2>").nth(1).and_then(|rest| rest.split("</table>").next());
    table.expect("the leaders").matches("<tr><td").count()
}

#[test]
fn a_leader_that_is_killed_comes_back_by_itself() {
    let alone = alone();
    let masters = || (1..=3).map(|n| alone.cluster.pid(&format!("master-{n}"))).collect::<Vec<_>>();
    let (pids, told) = (masters(), alone.cluster.told());
    let page = alone.play("leader-kill", &["--for", "2"]);
    let killed = whom(&page);
    assert!(elections(&page) >= 2 && page.contains("the process that began with it has ended"), "{page}");
    assert!(alone.log(&killed).contains("this master stays down for a while"));
    assert_eq!(masters(), pids, "supervisors are not needed");
    assert_eq!(alone.cluster.told(), told);
}

#[test]
fn masters_restart_one_after_the_other_and_no_write_fails() {
    let alone = alone();
    let before: Vec<Value> = (1..=3).map(|n| alone.standing(&format!("master-{n}"))).collect();
    let page = alone.play("rolling-restart", &[]);
    assert!(page.contains("no write fails"), "{page}");
    for before in before {
        let name = before["name"].as_str().expect("a name");
        assert_ne!(alone.standing(name)["process"], before["process"], "{name} did not restart");
    }
}

#[test]
fn a_leader_that_is_cut_off_is_followed_by_another() {
    let alone = alone();
    let page = alone.play("partition", &["--for", "6"]);
    let cut = whom(&page);
    assert!(elections(&page) >= 2 && page.contains(&format!("{cut} (its time was over)")), "{page}");
    assert!(alone.log(&cut).contains("no leader is heard of"), "it was not cut off");
}

#[test]
fn a_leader_without_room_refuses_writes_and_takes_them_again() {
    let alone = alone();
    let page = alone.play("disk-full", &["--for", "3"]);
    assert!(
        page.contains("no space left") && page.contains("no disk and no machine&#39;s clock was touched"),
        "{page}"
    );
}

#[test]
fn a_clock_that_jumped_shows_in_objects_and_is_right_again() {
    let alone = alone();
    let leader = alone.cluster.leader();
    let number: u16 = leader.trim_start_matches("master-").parse().expect("a number");
    let server = format!("--server=https://{}", alone.cluster.api(number));
    let made = |name: &str| -> jiff::Timestamp {
        let time = "jsonpath={.metadata.creationTimestamp}";
        let said = alone.cluster.kubectl_ok(&[&server, "create", "configmap", name, "-o", time]);
        said.parse().expect("a time")
    };
    let ahead = |made: jiff::Timestamp| (made - jiff::Timestamp::now()).total(jiff::Unit::Second).expect("s");
    let mut run =
        alone.start("clock-jump", &["--for", "12", "--yes", "--within", PATIENCE, "--member", &leader]);
    alone.shows(&leader, "its clock is off by 600 s");
    let shifted = ahead(made("shifted"));
    assert!(shifted > 500.0, "{shifted}");
    let ended = run.0.wait().expect("its end");
    assert!(ended.success(), "{}", alone.said());
    alone.is_undone();
    assert!(ahead(made("right-again")) < 60.0);
    alone.cluster.kubectl_ok(&["delete", "configmap", "shifted", "right-again"]);
}

#[test]
fn a_backup_is_restored_compared_and_removed() {
    let alone = alone();
    alone.cluster.kubectl_ok(&["create", "configmap", "precious", "--from-literal=a=b"]);
    let page = alone.play("restore-drill", &["--dir", path(&alone.cluster.dir)]);
    alone.cluster.kubectl_ok(&["delete", "configmap", "precious"]);
    assert!(
        page.contains("is what the cluster had at that revision") && page.contains("restored in"),
        "{page}"
    );
    let left = std::fs::read_dir(std::env::temp_dir()).expect("the folder").flatten();
    let left: Vec<_> =
        left.filter(|entry| entry.file_name().to_string_lossy().starts_with("trireme-drill-")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_order_is_carried_out_once_whatever_restarts() {
    let alone = alone();
    let follower = alone.follower();
    let cluster = alone.standing(&follower)["cluster"].clone();
    let before = alone.carried_out(&follower);
    let order = alone.order(&alone.kill_order(&follower, &cluster), &[]);
    alone.answer(&order, &follower, "ended");
    assert_eq!(alone.carried_out(&follower), before + 1);
    // It is still there, and the member starts again.
    alone.cluster.kill(&follower);
    let again = |line: &str| alone.cluster.told().matches(line).count();
    let line = format!("{follower} started again");
    eventually("it to be started again", || {
        (again(&line) > 0).then_some(()).ok_or_else(|| alone.cluster.told())
    });
    alone.is_well();
    assert_eq!(alone.carried_out(&follower), before + 1);
    alone.forget(&order);

    // A process that ended between "begun" and the deed: the next one says that it is over.
    let process = alone.standing(&follower)["process"].clone();
    let begun = serde_json::json!({
        "state": "begun", "name": follower, "process": "0000000000000001", "version": "0", "cluster": cluster,
        "term": 1, "leads": false, "members": [], "voters": [],
    });
    let key = alone.member_key(&follower);
    let order = alone.order(&alone.kill_order(&follower, &cluster), &[(key, begun.to_string())]);
    alone.answer(&order, &follower, "ended");
    assert_eq!(alone.carried_out(&follower), before + 1);
    assert_eq!(alone.standing(&follower)["process"], process, "it was restarted");
    alone.forget(&order);
}

#[test]
fn orders_that_are_not_for_this_cluster_or_make_no_sense_are_refused() {
    let alone = alone();
    let follower = alone.follower();
    let why = |order: &Value| {
        let order = alone.order(order, &[]);
        let why = alone.answer(&order, &follower, "refused")["why"].as_str().expect("a reason").to_owned();
        alone.forget(&order);
        why
    };
    let foreign = alone.kill_order(&follower, &"00000000000000aa".into());
    assert!(why(&foreign).contains("the order is for cluster \"00000000000000aa\""));
    let exploding = serde_json::json!({"version": 1, "deed": "explode", "member": follower});
    assert!(why(&exploding).contains("unknown variant `explode`"));
    let mut long = alone.kill_order(&follower, &alone.standing(&follower)["cluster"]);
    long["lastsMs"] = 10_000_000.into();
    assert!(why(&long).contains("300000 at most"));
}

#[test]
fn production_is_left_alone_unless_insisted() {
    let alone = alone();
    let (cluster, follower) = (alone.cluster, alone.follower());
    label(cluster, "trireme.io/environment=production");
    let refused = alone.run("disk-full", &["--yes", "--for", "2"]);
    let said = text(&refused);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("trireme.io/environment=test") && said.contains("--insist"), "{said}");
    let listed = trireme(&["chaos", "list", "--kubeconfig", path(&cluster.kubeconfig())]);
    assert!(text(&listed).contains("counts as production"), "{}", text(&listed));
    // Who goes past the command meets the masters.
    let order = alone.kill_order(&follower, &alone.standing(&follower)["cluster"]);
    let order = alone.order(&order, &[]);
    let why = alone.answer(&order, &follower, "refused")["why"].to_string();
    assert!(why.contains("counts as production"), "{why}");
    alone.forget(&order);
    alone.play("disk-full", &["--for", "2", "--member", &follower, "--insist"]);
    label(cluster, "trireme.io/environment=test");
}

#[test]
fn ctrl_c_takes_it_back_and_judges() {
    let alone = alone();
    // Where the leader has no room, taking it back must not need any.
    let leader = alone.cluster.leader();
    let flags = ["--yes", "--for", "290", "--within", PATIENCE, "--member", &leader];
    let mut run = alone.start("disk-full", &flags);
    alone.shows(&leader, "it was told that its disk is full");
    let interrupted = Command::new("kill").args(["-INT", &run.0.id().to_string()]).status();
    assert!(interrupted.expect("kill").success());
    let ended = eventually("its end", || run.0.try_wait().expect("its state").ok_or_else(|| alone.said()));
    assert_eq!(ended.code(), Some(0), "{}", alone.said());
    assert!(alone.said().contains("The run was interrupted"), "{}", alone.said());
    alone.is_undone();
}

#[test]
fn what_was_begun_ends_though_nobody_takes_it_back() {
    let alone = alone();
    let leader = alone.cluster.leader();
    let mut run = alone.start("partition", &["--yes", "--for", "8", "--member", &leader]);
    alone.shows(&leader, "it is kept from the other members");
    run.0.kill().expect("kill");
    run.0.wait().expect("its end");
    alone.is_well();
    // The next one finds what is left of it.
    let refused = alone.run("disk-full", &["--yes", "--for", "2"]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    assert!(text(&refused).contains("another run is under way, by process"), "{}", text(&refused));
    alone.cluster.kubectl_ok(&["delete", "namespace", "trireme-chaos"]);
    alone.cluster.kubectl_ok(&["-n", "kube-system", "delete", "configmaps", "-l", SELECTOR]);
    alone.is_undone();
}

#[test]
fn what_cannot_be_is_named_before_anything_is_done() {
    let alone = alone();
    let refuse = |scenario: &str, more: &[&str], words: &str| {
        let refused = alone.run(scenario, more);
        assert_eq!(refused.status.code(), Some(2), "{more:?}: {}", text(&refused));
        assert!(text(&refused).contains(words), "{more:?}: {}", text(&refused));
    };
    refuse("partition", &["--yes", "--member", "nobody"], "--member nobody: the members are master-1");
    refuse("rolling-restart", &["--yes", "--member", "master-1"], "--member master-1: rolling-restart");
    refuse("rolling-restart", &["--yes", "--for", "5"], "--for: rolling-restart has no length");
    refuse("partition", &["--yes", "--for", "301"], "\"301\": seconds are expected");
    refuse("partition", &[], "--yes is needed");
    refuse("restore-drill", &["--yes", "--dir", "/nowhere"], "no cluster was started in /nowhere");
    let listed = trireme(&["chaos", "list", "--kubeconfig", path(&alone.cluster.kubeconfig())]);
    assert!(listed.status.success(), "{}", text(&listed));
    let listed = text(&listed);
    for scenario in
        ["leader-kill", "rolling-restart", "partition", "disk-full", "clock-jump", "restore-drill"]
    {
        assert!(listed.contains(scenario), "{listed}");
    }
    assert_eq!(listed.matches("can be played now").count(), 5, "{listed}");
    assert!(listed.contains("not now: the masters' stores are needed"), "{listed}");
    alone.is_undone();
}
