//! A master that is cut off from the others by a real network: each has a namespace of its own behind
//! one bridge. Who leads everything loses it, nothing of its own lands afterwards, and it follows when
//! the network is whole again.

mod support;

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use support::clock::{Beat, came_to_lead, logged_at};
use support::deeds::{Done, LEASES, NAMESPACE, Through, assert_nothing_landed_after, parse};
use support::machines::{Machines, name, number};
use support::network::{Cut, Network};
use support::writers::Writers;
use support::{eventually, say, text};

const MASTERS: u8 = 3;
/// What goes on after the network is whole, so that the deposed leader has occasion to write.
const AFTERMATH: Duration = Duration::from_secs(6);
/// From a leader of the store to the next write of those who were waiting.
const AFTER_THE_ELECTION: Duration = Duration::from_millis(600);
/// Those that have a part in it, one after the other.
const WAKEN_THREADS: u32 = 4;
/// Elections that a busy machine may cause by itself. One that is cut off and asks for votes without end
/// would have raised the term by some fifty.
const TERMS_MAX: u64 = 5;
/// A member that asks for votes all the time would do so some twenty times.
const FOLLOWER_AWAY: Duration = Duration::from_secs(4);
/// Two of these clusters at a time would be in each other's way.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[test]
fn a_master_whose_port_at_the_switch_goes_down_loses_leadership() {
    cut_off(Cut::Port);
}

#[test]
fn a_master_whose_own_interface_goes_down_loses_leadership() {
    cut_off(Cut::Interface);
}

#[test]
fn a_master_whose_packets_vanish_loses_leadership() {
    cut_off(Cut::Silence);
}

fn cut_off(how: Cut) {
    let _alone = ONE_AT_A_TIME.lock();
    let network = match Network::new(MASTERS) {
        Ok(network) => network,
        Err(reason) => return say(&format!("skipped: {reason}")),
    };
    let mut machines = Machines::start(network, MASTERS);
    let (leader, identity) = leads_everything(&machines);
    let (_, incarnation) = parse(&identity);
    let others: Vec<u8> = (1..=MASTERS).filter(|n| *n != leader).collect();

    let writers = Writers::new("/network/");
    writers.start(&machines.pki(), others.iter().map(|n| machines.store(*n)).collect());
    for n in &others {
        writers.start(&machines.pki(), vec![machines.store(*n)]);
    }
    // No call goes to the leader's own master: what that writes, it writes by itself.
    let through = through(&machines, others[0]);
    through.prepare();
    let busy = AtomicBool::new(true);
    let mut waits = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| through.keep_busy(&busy));
        let done = Done(&busy);
        through.await_work();
        for lease in LEASES {
            assert_eq!(through.holder(lease).as_deref(), Ok(identity.as_str()), "leadership has moved");
        }
        let beat = Beat::start();
        let begun = writers.mark(&format!("{how:?}, from the cut until others lead everything"));
        let (cut_at, cut) = (Timestamp::now(), machines.network.cut(leader - 1, how));
        let led_after = taken_over(&machines, &through, &others, &identity, cut_at);
        let ended = writers.mark("cut off");
        waits.push((begun, ended, led_after, beat.late_at_most()));
        alone(&machines, leader);
        // What the one that is cut off believes to be wanted is wanted no more.
        eventually("the work is scaled down", || through.scale(1).then_some(()).ok_or_else(String::new));
        let before = machines.leader(&others).expect("a leader");
        let term = term(&machines, &others);
        writers.mark("whole again");
        drop(cut);
        machines.await_health();
        std::thread::sleep(AFTERMATH);
        drop(done);
        returned(&machines, before, term);
    });
    let (before, term) = eventually("a leader", || Ok((machines.leader(&others)?, term(&machines, &others))));
    let follower = (1..=MASTERS).find(|n| *n != before).expect("a follower");
    let cut = machines.network.cut(follower - 1, how);
    std::thread::sleep(FOLLOWER_AWAY);
    drop(cut);
    machines.await_health();
    returned(&machines, before, term);
    let lost = machines.kubectl(others[0], &["get", "configmap", "lost"]);
    assert!(text(&lost).contains("NotFound"), "a write in the minority was done: {}", text(&lost));
    through.await_new_leaders_work();
    let written = writers.stop();
    written.tell();
    for (begun, ended, led_after, late) in waits {
        // What was under way to the one that is cut off goes to who leads next, and waits for no timeout.
        let gap = written.longest_gap(begun, ended + AFTER_THE_ELECTION);
        let allowed = led_after + AFTER_THE_ELECTION + late * WAKEN_THREADS;
        assert!(gap <= allowed, "no write for {gap:?}, and the store was led after {led_after:?}");
    }
    written.assert_failures_may_be_repeated();
    let all = (1..=MASTERS).map(|n| machines.store(n)).collect();
    written.assert_kept(&machines.pki(), all);
    machines.stop();

    let cluster = std::fs::read_to_string(machines.pki().join("cluster")).expect("the cluster's name");
    assert_nothing_landed_after(&machines.store_dir(others[0]), cluster.trim(), incarnation);
}

/// Who comes back unseats nobody: what it asked for alone has raised no term. A machine with other work
/// may see an election of its own meanwhile.
fn returned(machines: &Machines, leader: u8, term: u64) {
    let all: Vec<u8> = (1..=MASTERS).collect();
    let (led, now) = (machines.leader(&all), self::term(machines, &all));
    if (&led, now) != (&Ok(leader), term) {
        say(&format!(
            "the store was led by {} in term {term}, and is by {led:?} in term {now}",
            name(leader)
        ));
    }
    assert!(now < term + TERMS_MAX, "terms have risen from {term} to {now}");
}

fn through(machines: &Machines, n: u8) -> Through {
    let dir = machines.dir().to_owned();
    Through { server: machines.server(n), kubeconfig: machines.kubeconfig(), dir }
}

/// Makes the namespace, and waits until one master leads store, controllers and scheduler. Its number
/// and its identity.
fn leads_everything(machines: &Machines) -> (u8, String) {
    let first = through(machines, 1);
    eventually("a namespace", || {
        let output = first.run(&["create", "namespace", NAMESPACE]);
        let made = output.status.success() || text(&output).contains("already exists");
        made.then_some(()).ok_or_else(|| text(&output))
    });
    eventually("one master to lead everything", || {
        let leader = machines.leader(&(1..=MASTERS).collect::<Vec<_>>())?;
        let holder = first.holder_of_all();
        if parse(&holder).0 == name(leader) {
            Ok((leader, holder))
        } else {
            Err(format!("{leader}, {holder}"))
        }
    })
}

/// Waits until others lead the store, the controllers and the scheduler, and tells when that was: by
/// their own logs. The time until the store was led.
fn taken_over(
    machines: &Machines,
    through: &Through,
    others: &[u8],
    identity: &str,
    cut_at: Timestamp,
) -> Duration {
    let next = eventually("another to lead the store", || machines.leader(others));
    let led = eventually("the new leader to say so", || {
        let log = machines.log(next);
        came_to_lead(&log, cut_at).ok_or(log)
    });
    let took = led.as_millisecond() - cut_at.as_millisecond();
    say(&format!("{} led the store {took} ms after the cut, by its own log", name(next)));
    for lease in LEASES {
        let holder = eventually("another to take over", || match through.holder(lease) {
            Ok(holder) if holder != identity => Ok(holder),
            held => Err(format!("{held:?}")),
        });
        let (master, _) = parse(&holder);
        let n = number(&master).expect("master-N");
        let scope = format!("lease=\"kube-system/{lease}\"");
        let line = eventually("the new holder to say so", || {
            let log = machines.log(n);
            let lines = log.lines().filter(|line| line.contains("started leading"));
            let found = lines.rev().find(|line| line.contains(&scope) || line.contains(lease));
            let found = found.filter(|line| line.contains(&holder));
            found.map(str::to_owned).ok_or(log.clone())
        });
        let took = logged_at(&line).as_millisecond() - cut_at.as_millisecond();
        assert!(logged_at(&line) >= led, "controllers moved before the store was led: {line}");
        say(&format!("{lease}: {master} started leading {took} ms after the cut, by its own log"));
    }
    Duration::from_millis((led.as_millisecond() - cut_at.as_millisecond()).max(0) as u64)
}

/// What the master that is cut off answers to those on its own machine: no write, no reads that would
/// have to be new, and no readiness; what needs no quorum it serves.
fn alone(machines: &Machines, n: u8) {
    let body = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"lost"}}"#;
    let flags = ["-X", "POST", "-H", "content-type: application/json", "--data-binary", body];
    let (status, said) = machines.curl_inside(n, &flags, MAPS);
    say(&format!("a write in the minority was answered with {status}"));
    assert!(status >= 500, "a write in the minority was answered with {status}: {said}");
    let (status, said) = machines.curl_inside(n, &[], MAPS);
    assert!(status >= 500, "a linearizable read in the minority was answered with {status}: {said}");
    eventually("it not to be ready", || {
        let (status, said) = machines.curl_inside(n, &[], "/readyz");
        if status == 500 { Ok(()) } else { Err(format!("{status}: {said}")) }
    });
    let (status, said) = machines.curl_inside(n, &[], &format!("{MAPS}?resourceVersion=0"));
    assert_eq!(status, 200, "a read from the cache: {said}");
}

/// The highest term that these masters know.
fn term(machines: &Machines, of: &[u8]) -> u64 {
    let status = machines.status(of);
    let members = status["members"].as_array().cloned().unwrap_or_default();
    members.iter().filter_map(|member| member["term"].as_u64()).max().unwrap_or(0)
}
