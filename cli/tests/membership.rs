//! Masters that come and go by one command each, while the cluster serves.

mod support;

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use support::writers::Writers;
use support::{Cluster, TRIREME, eventually, say, text, trireme};

/// A further master, ended with its standard input.
struct Joined {
    process: Child,
    data_dir: std::path::PathBuf,
}

impl Drop for Joined {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The flags of a master on ports that the cluster of three leaves free.
fn flags(cluster: &Cluster, name: &str, place: u16, data_dir: &Path) -> Vec<String> {
    let address = |n: u16| format!("127.0.0.1:{}", cluster.port + 10 * place + n);
    let flags = [
        ("--data-dir", data_dir.to_str().expect("UTF-8").to_owned()),
        ("--name", name.to_owned()),
        ("--api-listen", address(0)),
        ("--client-listen", address(1)),
        ("--peer-listen", address(2)),
    ];
    flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
}

fn start(cluster: &Cluster, command: &[&str], name: &str, place: u16) -> Joined {
    let data_dir = cluster.dir.join("joined").join(name);
    std::fs::create_dir_all(&data_dir).expect("folder");
    let log = std::fs::OpenOptions::new().create(true).append(true).open(data_dir.join("log")).expect("log");
    let process = Command::new(TRIREME)
        .args(command)
        .args(flags(cluster, name, place, &data_dir))
        .env("TRIREME_SUPERVISED", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("run trireme");
    Joined { process, data_dir }
}

fn run(cluster: &Cluster, command: &[&str]) -> Output {
    let mut arguments = command.to_vec();
    arguments.extend(["--dir", cluster.dir.to_str().expect("UTF-8")]);
    trireme(&arguments)
}

fn ok(cluster: &Cluster, command: &[&str]) -> String {
    let output = run(cluster, command);
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Name and vote of each member; what was said, where nobody answers.
fn members(cluster: &Cluster) -> Result<Vec<(String, String)>, String> {
    let output = run(cluster, &["member", "list"]);
    if !output.status.success() {
        return Err(text(&output));
    }
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    let rows = table.lines().skip(1).map(|row| {
        let mut columns = row.split_whitespace().skip(1).map(str::to_owned);
        (columns.next().unwrap_or_default(), columns.next().unwrap_or_default())
    });
    Ok(rows.collect())
}

fn wait_for_voters(cluster: &Cluster, wanted: &[&str]) {
    eventually("the members to be these voters", || {
        let mut found = members(cluster)?;
        found.sort();
        let wanted: Vec<_> = wanted.iter().map(|name| ((*name).to_owned(), "yes".to_owned())).collect();
        if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
    });
}

/// Loses the disk of a master that its supervisor starts again, and waits until it votes anew.
fn wipe(cluster: &Cluster, master: &str) {
    let id = || -> Result<String, String> {
        let output = run(cluster, &["member", "list"]);
        let table = String::from_utf8_lossy(&output.stdout).into_owned();
        let row = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
        let mut voting = row.filter(|row| row.get(1..3) == Some(&[master, "yes"]));
        voting.next().map(|row| row[0].to_owned()).ok_or_else(|| text(&output))
    };
    let before = id().expect("it votes");
    cluster.kill(master);
    std::fs::remove_dir_all(cluster.dir.join(master).join("data/store")).expect("wipe");
    eventually("the wiped master to vote under a new identity", || match id()? {
        now if now != before => Ok(()),
        _ => Err("it is the old one still".into()),
    });
}

/// The URL and the token of the line that `token create` prints.
fn join_line(cluster: &Cluster) -> (String, String) {
    let line = ok(cluster, &["token", "create", "--ttl", "10m"]);
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(&words[..2], ["trireme", "join"], "{line}");
    assert_eq!(words[3], "--token", "{line}");
    (words[2].to_owned(), words[4].to_owned())
}

#[test]
fn a_master_joins_with_a_token_and_leaves_again() {
    let cluster = Cluster::start(3, 0);
    let (url, token) = join_line(&cluster);
    assert_eq!(url, cluster.server());
    let three = ["master-1", "master-2", "master-3"];
    let four = ["master-1", "master-2", "master-3", "master-4"];

    // A token that is not good, and one that trusts another authority.
    let data_dir = cluster.dir.join("joined").join("nobody");
    let refused = |token: &str| {
        let mut command = vec!["join", &url, "--token", token, "--prepare-only"];
        let flags = flags(&cluster, "nobody", 5, &data_dir);
        command.extend(flags.iter().map(String::as_str));
        let output = trireme(&command);
        assert!(!output.status.success(), "{token} was taken");
        text(&output)
    };
    let (bearer, pin) = token.rsplit_once('.').expect("a pin");
    let wrong = format!("{bearer}0.{pin}");
    assert!(refused(&wrong).contains("wrong or has run out"), "{}", refused(&wrong));
    let elsewhere = format!("{bearer}.{}", "0".repeat(pin.len()));
    assert!(refused(&elsewhere).contains("UnknownIssuer"), "{}", refused(&elsewhere));
    assert!(refused("abc").contains("ID.SECRET.HASH"));
    assert!(!data_dir.join("pki").exists());

    let command = ["join", &url, "--token", &token];
    let joined = start(&cluster, &command, "master-4", 4);
    wait_for_voters(&cluster, &four);
    cluster.kubectl_ok(&["create", "configmap", "seen", "--from-literal=a=b"]);
    let key = std::fs::metadata(joined.data_dir.join("pki/store-ca.key")).expect("a key");
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777, 0o600);
    let secret = token.split('.').nth(1).expect("a secret");
    for file in ["log", "join.json"] {
        let text = std::fs::read_to_string(joined.data_dir.join(file)).expect(file);
        assert!(!text.contains(secret), "{file} holds the secret");
    }
    assert!(ok(&cluster, &["token", "list"]).contains(token.split('.').next().expect("an id")));

    // Killed, and started with the same words, and as the service would start it.
    let data_dir = joined.data_dir.clone();
    drop(joined);
    let again = start(&cluster, &command, "master-4", 4);
    let api = format!("127.0.0.1:{}", cluster.port + 40);
    let target = format!("master-4=127.0.0.1:{}/{api}", cluster.port + 41);
    let pki = cluster.dir.join("pki");
    let healthy = || {
        let pki = pki.to_str().expect("UTF-8");
        let status = trireme(&["status", "--pki-dir", pki, "--members", &target]);
        if status.status.success() { Ok(()) } else { Err(text(&status)) }
    };
    eventually("it to be healthy", healthy);
    drop(again);
    let _served = start(&cluster, &["server"], "master-4", 4);
    eventually("it to be healthy", healthy);
    wait_for_voters(&cluster, &four);

    ok(&cluster, &["member", "move-leader", "master-2"]);
    assert_eq!(cluster.leader(), "master-2");
    let unknown = run(&cluster, &["member", "remove", "master-9"]);
    assert!(text(&unknown).contains("there are master-"), "{}", text(&unknown));

    ok(&cluster, &["member", "remove", "master-4"]);
    wait_for_voters(&cluster, &three);
    eventually("it to know that it was removed", || {
        let log = std::fs::read_to_string(data_dir.join("log")).expect("log");
        if log.contains("was removed from the cluster") { Ok(()) } else { Err(log) }
    });
    let id = token.split('.').next().expect("an id");
    ok(&cluster, &["token", "delete", id]);
    assert!(refused(&token).contains("wrong or has run out"));
    cluster.kubectl_ok(&["get", "configmap", "seen"]);
}

#[test]
fn a_dead_master_is_replaced_by_one_of_another_name_and_a_wiped_one_comes_back() {
    let cluster = Cluster::start(3, 0);
    cluster.kubectl_ok(&["create", "configmap", "kept", "--from-literal=a=b"]);
    let (url, token) = join_line(&cluster);

    // The supervisor starts it again on an empty disk.
    let data = cluster.dir.join("master-3").join("data/store");
    cluster.kill("master-3");
    std::fs::remove_dir_all(&data).expect("wipe");
    eventually("the wiped master to be healthy", || {
        let status = cluster.status();
        let third =
            status["members"].as_array().and_then(|m| m.iter().find(|m| m["name"] == "master-3").cloned());
        match third {
            Some(third) if third["healthy"] == true && third["lag"].as_u64() < Some(100) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    wait_for_voters(&cluster, &["master-1", "master-2", "master-3"]);

    // One that stays dead: its process is frozen, so that nobody starts it again.
    let pid = cluster.pid("master-2").expect("a pid");
    let signal = |name: &str| {
        let status = Command::new("kill").args([name, &pid.to_string()]).status().expect("kill");
        assert!(status.success());
    };
    signal("-STOP");
    let _joined = start(&cluster, &["join", &url, "--token", &token, "--replace", "master-2"], "master-4", 4);
    wait_for_voters(&cluster, &["master-1", "master-3", "master-4"]);
    cluster.kubectl_ok(&["get", "configmap", "kept"]);
    signal("-CONT");
    let log = cluster.dir.join("master-2").join("log");
    eventually("the replaced master to know it", || {
        let log = std::fs::read_to_string(&log).expect("log");
        if log.contains("was removed from the cluster") { Ok(()) } else { Err("it does not say so".into()) }
    });
    wait_for_voters(&cluster, &["master-1", "master-3", "master-4"]);
}

#[test]
fn a_founder_that_was_configured_alone_and_lost_its_disk_asks_those_who_came_later() {
    let cluster = Cluster::start(1, 0);
    cluster.kubectl_ok(&["create", "configmap", "kept", "--from-literal=a=b"]);
    let (url, token) = join_line(&cluster);
    let command = ["join", url.as_str(), "--token", &token];
    let _joined = ["master-2", "master-3"].map(|name| {
        let place = if name == "master-2" { 2 } else { 4 };
        start(&cluster, &command, name, place)
    });
    wait_for_voters(&cluster, &["master-1", "master-2", "master-3"]);
    let known = cluster.pki("masters.json");
    eventually("the founder to know the others", || {
        let text = std::fs::read_to_string(&known).unwrap_or_default();
        if text.contains("master-2") && text.contains("master-3") { Ok(()) } else { Err(text) }
    });

    wipe(&cluster, "master-1");
    wait_for_voters(&cluster, &["master-1", "master-2", "master-3"]);
    cluster.kubectl_ok(&["get", "configmap", "kept"]);
}

/// Writes that must have been acknowledged in a phase before the next one begins.
const WRITES_PER_PHASE: usize = 300;

#[test]
fn three_become_five_and_three_again_while_they_serve() {
    let cluster = Cluster::start(3, 0);
    let (url, token) = join_line(&cluster);
    let pki = cluster.dir.join("pki");
    let writers = Writers::new("/membership/");
    let go_on = |phase: &str| {
        writers.mark(phase);
        let begun = writers.acknowledged();
        eventually("writes", || {
            let more = writers.acknowledged() - begun;
            if more >= WRITES_PER_PHASE { Ok(()) } else { Err(format!("{more} in {phase}")) }
        });
    };
    let remove = |name: &str| {
        let began = std::time::Instant::now();
        ok(&cluster, &["member", "remove", name]);
        say(&format!("member remove {name} took {} ms", began.elapsed().as_millis()));
    };
    // Some know one master alone, and stay with it whatever becomes of it.
    writers.start(&pki, (1..=5).map(|n| cluster.store(n)).collect());
    for n in 1..=3 {
        writers.start(&pki, vec![cluster.store(n)]);
    }
    go_on("three masters");

    writers.mark("from three to five");
    let command = ["join", &url, "--token", &token];
    let joined =
        [(4, "master-4"), (5, "master-5")].map(|(place, name)| start(&cluster, &command, name, place));
    wait_for_voters(&cluster, &["master-1", "master-2", "master-3", "master-4", "master-5"]);
    for n in 4..=5 {
        writers.start(&pki, vec![cluster.store(n)]);
    }
    go_on("five masters");

    // One that joined may lead by now; the one that goes is one of the first.
    ok(&cluster, &["member", "move-leader", "master-2"]);
    assert_eq!(cluster.leader(), "master-2");
    writers.mark("without the leader");
    remove("master-2");
    wait_for_voters(&cluster, &["master-1", "master-3", "master-4", "master-5"]);
    go_on("four masters");
    writers.mark("from four to three");
    remove("master-1");
    wait_for_voters(&cluster, &["master-3", "master-4", "master-5"]);
    go_on("three masters again");
    cluster.kubectl_ok(&["create", "configmap", "later", "--from-literal=a=b"]);

    let written = writers.stop();
    written.tell();
    written.assert_failures_may_be_repeated();
    written.assert_kept(&pki, [3, 4, 5].map(|n| cluster.store(n)).to_vec());
    for gone in ["master-1", "master-2"] {
        let log = cluster.dir.join(gone).join("log");
        eventually("who was removed to know it", || {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            if log.contains("was removed from the cluster") { Ok(()) } else { Err(log) }
        });
    }
    // Whom it was configured with are gone: it asks those it knew last.
    wipe(&cluster, "master-3");
    wait_for_voters(&cluster, &["master-3", "master-4", "master-5"]);
    cluster.kubectl_ok(&["get", "configmap", "later"]);
    // The folder's addresses begin with those that were removed: a change does not wait for them.
    remove("master-5");
    wait_for_voters(&cluster, &["master-3", "master-4"]);
    drop(joined);
}
