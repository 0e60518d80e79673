//! Faults done and taken back.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::process::Child;
use trireme_store::{Error, Op, PutRequest, TxnRequest};

use super::balancers::Balancers;
use super::cgroups::Groups;
use super::disk::{Injected, Syncs};
use super::effect::Evidence;
use super::masters::{Master, Masters};
use super::network::{self, CLIENTS, Network, Rules};
use super::plan::{Fault, Kind, Whom};
use super::tools;
use super::wire::{Line, Wire};

/// For all to be well again after the data of all was put back.
const HEAL_TIMEOUT: Duration = Duration::from_secs(60);
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(30);
const ENDS_POLL: Duration = Duration::from_millis(50);
const ENDS_POLLS: u32 = 40;
/// Above what it has, in a group that is to have no more.
const MEMORY_LEFT_BYTES: u64 = 2 << 20;
/// Clients' writes that come between a copy and its being put back.
const COPY_AGES: Duration = Duration::from_millis(1_500);

/// Beside the traffic's keys.
const BALLAST_KEY: &str = "/ballast";
const BALLAST_VALUE_BYTES: usize = 512 << 10;
/// More than a segment of the log.
const BALLAST_VALUES_MAX: usize = 160;
const BALLAST_TIME: Duration = Duration::from_secs(15);

/// All that faults act on.
pub(super) struct World {
    pub network: Network,
    pub masters: Masters,
    pub balancers: Balancers,
    pub groups: Groups,
}

/// A fault at work; what it takes to take it back.
pub(super) enum Active {
    /// Over by itself.
    Over,
    Stopped(usize),
    Frozen(usize),
    Memory(usize, Option<Child>),
    Cpu(usize),
    /// What the switch is told less.
    Rules(Box<dyn FnOnce(&mut Rules) + Send>),
    Narrow(String),
    Wire(Box<Wire>),
    HostLink(String),
    SwitchLink(String),
    Full(usize),
    Failed(usize),
    Syncs(Injected),
    Clock(usize),
    Balancer(usize),
}

/// A fault that was begun.
pub(super) struct Begun {
    /// What was done to whom.
    pub words: String,
    pub active: Active,
    /// Where it is to be seen that it took hold.
    pub evidence: Evidence,
}

impl Begun {
    fn new(words: impl Into<String>, active: Active, evidence: Evidence) -> Begun {
        Begun { words: words.into(), active, evidence }
    }
}

/// Does it, while `leader` leads.
pub(super) async fn begin(world: &World, fault: &Fault, leader: usize) -> Result<Begun> {
    let masters = &world.masters.all;
    let followers: Vec<usize> = (0..masters.len()).filter(|n| *n != leader).collect();
    let n = match fault.whom {
        Whom::Leader => leader,
        Whom::Follower(k) => followers.get(k % followers.len().max(1)).copied().unwrap_or(leader),
    };
    let master = &masters[n];
    let role = if n == leader { "the leader" } else { "a follower" };
    let to = format!("{}, {role}", master.name);
    let amount = u32::try_from(fault.amount.unsigned_abs()).unwrap_or(0);
    let percent = u8::try_from(amount.min(100)).unwrap_or(100);
    match fault.kind {
        Kind::Kill => {
            let evidence = Evidence::ends([&master.service]);
            master.service.signal(Signal::SIGKILL)?;
            Ok(Begun::new(to, Active::Over, evidence))
        }
        Kind::KillAll => {
            let evidence = Evidence::ends(masters.iter().map(|master| &master.service));
            for master in masters {
                master.service.signal(Signal::SIGKILL)?;
            }
            Ok(Begun::new("all masters", Active::Over, evidence))
        }
        Kind::Stop => {
            master.service.signal(Signal::SIGSTOP)?;
            Ok(Begun::new(to, Active::Stopped(n), Evidence::Stopped(master.service.clone())))
        }
        Kind::Freeze => {
            world.groups.freeze(&master.host, true)?;
            Ok(Begun::new(to, Active::Frozen(n), Evidence::Frozen(master.host.clone())))
        }
        Kind::Cpu => {
            let evidence = Evidence::Throttled(master.host.clone(), world.groups.throttled(&master.host)?);
            world.groups.limit_cpu(&master.host, Some(amount.max(1)))?;
            Ok(Begun::new(format!("{to}: {amount}% of a core"), Active::Cpu(n), evidence))
        }
        Kind::Memory => {
            let refused = world.groups.memory_refused(&master.host)?;
            tighten(world, master)?;
            Ok(Begun::new(to, Active::Memory(n, None), Evidence::Refused(master.host.clone(), refused)))
        }
        Kind::OutOfMemory => {
            let evidence = Evidence::ends([&master.service]);
            Ok(Begun::new(to, out_of_memory(world, n).await?, evidence))
        }
        Kind::Isolate | Kind::Split | Kind::OneWay | Kind::Bridge => {
            let (words, pairs) = partition(masters, n, &followers, fault);
            cut(world, words, pairs).await
        }
        Kind::Loss => {
            let (host, words) = (master.host.clone(), format!("{to}: {percent}%"));
            let evidence = Evidence::frames(world, vec![network::lost_name(&host)]).await?;
            world.network.change(|rules| _ = rules.lost_percent.insert(host.clone(), percent)).await?;
            let undo = Active::Rules(Box::new(move |rules| _ = rules.lost_percent.remove(&host)));
            Ok(Begun::new(words, undo, evidence))
        }
        Kind::Twice => {
            let (host, words) = (master.host.clone(), format!("{to}: {percent}%"));
            let evidence = Evidence::frames(world, vec![network::twice_name(&host)]).await?;
            world.network.change(|rules| _ = rules.twice_percent.insert(host.clone(), percent)).await?;
            let undo = Active::Rules(Box::new(move |rules| _ = rules.twice_percent.remove(&host)));
            Ok(Begun::new(words, undo, evidence))
        }
        Kind::Narrow => {
            world.network.narrow(&master.host, Some(amount)).await?;
            let host = master.host.clone();
            let words = format!("{to}: {amount} kbit/s");
            Ok(Begun::new(words, Active::Narrow(host.clone()), Evidence::Waited(host)))
        }
        Kind::Delay | Kind::Reorder => {
            let delay = Duration::from_millis(amount.into());
            let line = Line {
                delay,
                jitter: delay / 2,
                reorders: fault.kind == Kind::Reorder,
                seed: fault.amount.unsigned_abs(),
            };
            let wire = Wire::begin(&master.host, line).await?;
            let most = (delay + line.jitter).as_millis();
            let words = format!("{to}: {amount} to {most} ms each way");
            let evidence = Evidence::Carried(wire.carried());
            Ok(Begun::new(words, Active::Wire(Box::new(wire)), evidence))
        }
        Kind::Reset => {
            let ended = world.network.reset(&master.host).await?;
            let evidence = if ended > 0 { Evidence::ItsOwn } else { Evidence::Nobody };
            Ok(Begun::new(format!("{to}: {ended} connections"), Active::Over, evidence))
        }
        Kind::HostLink => {
            world.network.host_link(&master.host, false).await?;
            Ok(Begun::new(to, Active::HostLink(master.host.clone()), Evidence::Down(master.host.clone())))
        }
        Kind::SwitchLink => {
            world.network.switch_link(&master.host, false).await?;
            Ok(Begun::new(to, Active::SwitchLink(master.host.clone()), Evidence::Down(master.host.clone())))
        }
        Kind::DiskFull => {
            let bytes = master.disk.fill()?;
            let said = use_up(world).await;
            let words = format!("{to}: {} MiB of ballast, {said}", bytes >> 20);
            Ok(Begun::new(words, Active::Full(n), Evidence::ItsOwn))
        }
        Kind::DiskFails => {
            master.disk.fail().await?;
            Ok(Begun::new(to, Active::Failed(n), Evidence::ItsOwn))
        }
        Kind::SyncFails | Kind::SyncSlow | Kind::SyncHangs => syncs(master, to, fault).await,
        Kind::Clock => {
            let clock = master.clock.as_ref().context("a clock that can be moved")?;
            let evidence = Evidence::Told(clock.clone(), clock.told()?);
            clock.set(fault.amount)?;
            Ok(Begun::new(format!("{to}: {:+} s", fault.amount), Active::Clock(n), evidence))
        }
        Kind::Wipe => {
            master.service.down().await?;
            remove(&master.disk.dir.join("data")).await?;
            master.service.up();
            Ok(Begun::new(to, Active::Over, Evidence::ItsOwn))
        }
        Kind::OldCopy => {
            put_back_an_old_copy(master).await?;
            Ok(Begun::new(to, Active::Over, Evidence::ItsOwn))
        }
        Kind::Upgrade => {
            master.service.down().await?;
            let older = || masters.iter().filter(|master| master.is_older.load(Ordering::Relaxed)).count();
            // Once all are newer they may have agreed on what no older one understands.
            let becomes_older = !master.is_older.load(Ordering::Relaxed) && older() > 0;
            let was_older = master.is_older.swap(becomes_older, Ordering::Relaxed);
            master.service.up();
            let older = older();
            let words = match (was_older, becomes_older) {
                (true, _) => "to the newer release",
                (false, true) => "back to the older release",
                (false, false) => "the newer release again",
            };
            let words = format!("{to}, {words}; {older} of {} are older", masters.len());
            let evidence = Evidence::Runs(master.service.clone(), master.program().to_owned());
            Ok(Begun::new(words, Active::Over, evidence))
        }
        Kind::Balancer => {
            let n = world.balancers.holder(&world.network, ADDRESS_TIMEOUT).await?;
            let balancer = &world.balancers.all[n];
            balancer.haproxy.down().await?;
            Ok(Begun::new(balancer.haproxy.name.clone(), Active::Balancer(n), Evidence::Moved(n)))
        }
        Kind::Address => {
            let n = world.balancers.holder(&world.network, ADDRESS_TIMEOUT).await?;
            let host = world.balancers.all[n].host.clone();
            world.network.switch_link(&host, false).await?;
            Ok(Begun::new(host.clone(), Active::SwitchLink(host), Evidence::Moved(n)))
        }
    }
}

/// Takes it back.
pub(super) async fn end(world: &World, active: Active) -> Result<()> {
    let master = |n: usize| world.masters.all.get(n).context("a master");
    match active {
        Active::Over => Ok(()),
        Active::Stopped(n) => master(n)?.service.signal(Signal::SIGCONT),
        Active::Frozen(n) => world.groups.freeze(&master(n)?.host, false),
        Active::Cpu(n) => world.groups.limit_cpu(&master(n)?.host, None),
        Active::Memory(n, eater) => {
            world.groups.limit_memory(&master(n)?.host, None)?;
            if let Some(mut eater) = eater {
                eater.kill().await.context("end what eats memory")?;
            }
            Ok(())
        }
        Active::Rules(take_back) => world.network.change(take_back).await,
        Active::Narrow(host) => world.network.narrow(&host, None).await,
        Active::Wire(wire) => wire.end().await,
        Active::HostLink(host) => world.network.host_link(&host, true).await,
        Active::SwitchLink(host) => world.network.switch_link(&host, true).await,
        Active::Full(n) => master(n)?.disk.empty(),
        Active::Failed(n) => {
            let master = master(n)?;
            master.service.down().await?;
            master.disk.mend().await?;
            master.service.up();
            Ok(())
        }
        Active::Syncs(injected) => injected.end().await,
        Active::Clock(n) => master(n)?.clock.as_ref().map_or(Ok(()), |clock| clock.set(0)),
        Active::Balancer(n) => {
            world.balancers.all.get(n).context("a balancer")?.haproxy.up();
            Ok(())
        }
    }
}

/// From host to host, one direction each.
type Pairs = BTreeSet<(String, String)>;

/// Who does not reach whom, and that in words.
fn partition(masters: &[Master], n: usize, followers: &[usize], fault: &Fault) -> (String, Pairs) {
    let hosts: Vec<&str> = masters.iter().map(|master| master.host.as_str()).collect();
    let (whole, name) = (hosts[n], &masters[n].name);
    let others = || hosts.iter().copied().filter(|host| *host != whole);
    let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    let mut pairs = Pairs::new();
    let words = match fault.kind {
        Kind::Isolate => {
            for other in others().chain([CLIENTS, "b1", "b2"]) {
                pairs.extend([pair(whole, other), pair(other, whole)]);
            }
            format!("{name} is alone")
        }
        Kind::OneWay => {
            let deaf = fault.amount % 2 == 0;
            let far = others().chain(if fault.amount % 3 == 0 { vec![CLIENTS, "b1", "b2"] } else { vec![] });
            pairs.extend(far.map(|other| if deaf { pair(other, whole) } else { pair(whole, other) }));
            format!("{name} {}", if deaf { "hears nothing" } else { "is not heard" })
        }
        Kind::Bridge => {
            let other = followers.iter().copied().find(|other| *other != n).unwrap_or(n);
            pairs.extend([pair(whole, hosts[other]), pair(hosts[other], whole)]);
            format!("{name} and {}", masters[other].name)
        }
        // By the bits of the amount, with `n` on the first side and never all of them.
        _ => {
            let near = |k: usize| k == n || (fault.amount >> k) & 1 == 1;
            let mut sides: Vec<bool> = (0..hosts.len()).map(near).collect();
            if sides.iter().all(|near| *near) {
                sides = (0..hosts.len()).map(|k| k == n).collect();
            }
            for (a, one) in hosts.iter().enumerate() {
                for (b, other) in hosts.iter().enumerate() {
                    if sides[a] != sides[b] {
                        pairs.insert(pair(one, other));
                    }
                }
            }
            let side = |which: bool| {
                let names = masters.iter().zip(&sides).filter(|(_, near)| **near == which);
                names.map(|(master, _)| master.name.as_str()).collect::<Vec<_>>().join(" ")
            };
            format!("{} | {}", side(true), side(false))
        }
    };
    (words, pairs)
}

async fn cut(world: &World, words: String, pairs: Pairs) -> Result<Begun> {
    let names = pairs.iter().map(|(from, to)| network::cut_name(from, to)).collect();
    let evidence = Evidence::frames(world, names).await?;
    let mut before = Pairs::new();
    world
        .network
        .change(|rules| {
            before.clone_from(&rules.cut);
            rules.cut.extend(pairs.iter().cloned());
        })
        .await?;
    let own: Pairs = pairs.difference(&before).cloned().collect();
    let undo = Active::Rules(Box::new(move |rules| rules.cut.retain(|pair| !own.contains(pair))));
    Ok(Begun::new(words, undo, evidence))
}

fn tighten(world: &World, master: &Master) -> Result<()> {
    let used = world.groups.memory_used(&master.host)?;
    world.groups.limit_memory(&master.host, Some(used + MEMORY_LEFT_BYTES))
}

/// In the master's group, whose memory is about to end, something eats what is left; the kernel is
/// told to take the master for it.
async fn out_of_memory(world: &World, n: usize) -> Result<Active> {
    let master = &world.masters.all[n];
    let pid = master.service.pid().with_context(|| format!("{} does not run", master.name))?;
    tools::put(format!("/proc/{pid}/oom_score_adj"), "1000")?;
    let group = world.groups.make(super::cgroups::Controller::Memory, &master.host)?;
    tighten(world, master)?;
    let mut eater = tokio::process::Command::new("sh");
    eater
        .args(["-c", "echo $$ > \"$0/cgroup.procs\"; exec tail /dev/zero"])
        .arg(group)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    Ok(Active::Memory(n, Some(eater.spawn().context("run what eats memory")?)))
}

/// Writes large values, over and over the same key, until the store says that it has no space left: a
/// disk that is full does nothing before its log needs the next segment. With a follower's disk full
/// there is no end but this one's.
async fn use_up(world: &World) -> String {
    let Ok(store) = world.masters.store_at(world.masters.endpoints()) else { return String::new() };
    let value = vec![b'x'; BALLAST_VALUE_BYTES];
    let deadline = std::time::Instant::now() + BALLAST_TIME;
    let mut written = 0;
    let mut last = "none refused".to_owned();
    while written < BALLAST_VALUES_MAX && std::time::Instant::now() < deadline {
        let put = Op::Put(PutRequest::new(BALLAST_KEY.to_owned(), value.clone()));
        let request = TxnRequest { success: vec![put], ..TxnRequest::default() };
        match tokio::time::timeout(BALLAST_TIME, store.txn(request)).await {
            Ok(Ok(_)) => written += 1,
            Ok(Err(error)) => {
                last = error.to_string();
                if error == Error::NoSpace {
                    break;
                }
            }
            Err(_) => last = "no answer".to_owned(),
        }
    }
    format!("{} MiB written, {last}", (written * BALLAST_VALUE_BYTES) >> 20)
}

async fn syncs(master: &Master, to: String, fault: &Fault) -> Result<Begun> {
    let delay = Duration::from_millis(fault.amount.unsigned_abs());
    let (words, syncs) = match fault.kind {
        Kind::SyncFails => (to, Syncs::Fail),
        Kind::SyncSlow => (format!("{to}: {} ms each", delay.as_millis()), Syncs::Slow(delay)),
        _ => (to, Syncs::Hang),
    };
    // One that was killed a moment ago has nothing to be attached to: the fault finds nobody.
    let nobody = |words: String| Ok(Begun::new(words, Active::Over, Evidence::Nobody));
    let Some(pid) = master.service.pid() else { return nobody(words) };
    match Injected::new(pid, syncs).await {
        Ok(injected) => {
            let evidence = Evidence::Syncs(injected.met.clone());
            Ok(Begun::new(words, Active::Syncs(injected), evidence))
        }
        Err(error) if ends(master, pid).await => nobody(format!("{words}: it ended meanwhile ({error:#})")),
        Err(error) => Err(error),
    }
}

/// Whether this process of a master is on its way out: what was killed is there until it is reaped.
async fn ends(master: &Master, pid: Pid) -> bool {
    for _ in 0..ENDS_POLLS {
        if master.service.pid() != Some(pid) {
            return true;
        }
        tokio::time::sleep(ENDS_POLL).await;
    }
    false
}

/// What an operator must never do, and a member finds out about.
async fn put_back_an_old_copy(master: &Master) -> Result<()> {
    let (data, copy) = (master.disk.dir.join("data"), master.disk.dir.join("copy"));
    master.service.down().await?;
    copy_dir(&data, &copy).await?;
    master.service.up();
    tokio::time::sleep(COPY_AGES).await;
    master.service.down().await?;
    remove(&data).await?;
    tokio::fs::rename(&copy, &data).await.context("put the copy back")?;
    master.service.up();
    Ok(())
}

/// A copy of the data of all masters, taken while none of them runs.
pub(super) async fn copy_all(world: &World) -> Result<()> {
    let masters = &world.masters.all;
    for master in masters {
        master.service.down().await?;
    }
    for master in masters {
        copy_dir(&master.disk.dir.join("data"), &master.disk.dir.join("copy")).await?;
        master.service.up();
    }
    world.masters.wait_healed(HEAL_TIMEOUT).await
}

/// Puts it back, which no member can find: whoever judges the run must.
pub(super) async fn put_all_back(world: &World) -> Result<()> {
    let masters = &world.masters.all;
    for master in masters {
        master.service.down().await?;
    }
    for master in masters {
        let data = master.disk.dir.join("data");
        remove(&data).await?;
        tokio::fs::rename(master.disk.dir.join("copy"), data).await.context("put the copy back")?;
        master.service.up();
    }
    world.masters.wait_healed(HEAL_TIMEOUT).await
}

async fn copy_dir(from: &Path, to: &Path) -> Result<()> {
    tools::run("cp", &["-a", "--sparse=always", &from.to_string_lossy(), &to.to_string_lossy()])
        .await
        .map(|_| ())
}

async fn remove(dir: &Path) -> Result<()> {
    tokio::fs::remove_dir_all(dir).await.with_context(|| format!("remove {}", dir.display()))
}
