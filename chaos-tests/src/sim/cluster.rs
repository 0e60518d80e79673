//! The members of a world: started, ended, started again, and built anew where they lost their data.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use trireme_client::Transport;
use trireme_raft::log::SimDir;
use trireme_raft::{Join, MemberChange, MemberError, MemberId, PeerPort, Replica, Role, Tls};
use trireme_store::Kv;
use trireme_store::log::FEATURE_LEVEL;

use super::Options;
use super::control::{self, Keys, SimApi};
use super::faults::Undo;
use super::fuse::Fuse;
use super::host::{End, Member, Refused, address, name};
use super::kv::{Repeats, SimKv};
use super::load::Told;
use super::network::{FAIR, Host, Incoming, Socket};
use super::plan::Whom;
use super::promises::Promises;
use super::remote::Remotes;
use super::world::World;
use crate::history::{Recorder, Sample};

/// Machines that can be members.
pub(super) const HOSTS: usize = 5;
/// The machine of clients and operators.
pub(super) const CLIENTS: Host = HOSTS;
/// Machines of nodes, where there is a control plane: from the first of these numbers up to the second.
pub(super) const NODES: Range<Host> = HOSTS + 1..HOSTS + 4;
/// A process that has ended is started again after this, as its supervisor would.
const RESTART: Duration = Duration::from_millis(500);
/// How much a lying disk may lose.
const LIE_MS: u128 = 100;
/// Between two looks at what no client sees.
const LOOK_EVERY_MS: u128 = 20;
/// Between two tries to take a member out.
const LEAVE_AGAIN: Duration = Duration::from_secs(1);

/// One of the machines of nodes.
pub(super) fn node_machine(n: usize) -> Host {
    NODES.start + n % NODES.len()
}

/// A member that is taken out: until it is known to be out, it is asked for again.
pub(super) struct Leaving {
    pub host: Host,
    pub id: MemberId,
    pub ask_at: Duration,
    pub is_out: Arc<Mutex<bool>>,
}

pub(super) struct Sim {
    pub options: Options,
    pub world: World,
    pub members: Vec<Member>,
    pub founders: usize,
    pub random: StdRng,
    /// Of the plan, so far.
    pub steps: usize,
    /// What was inflicted, and how often.
    pub faults: BTreeMap<String, usize>,
    /// What is taken back, and when.
    pub undo: Vec<(Duration, Undo)>,
    pub leaving: Option<Leaving>,
    pub promises: Promises,
    /// What clients tell of themselves while they work.
    pub load: Arc<Told>,
    recorder: Arc<Recorder>,
    addresses: Arc<BTreeMap<String, Host>>,
    tls: Tls,
    /// Where there is a control plane.
    pub keys: Option<Keys>,
    /// What clients wait between calls.
    think: Duration,
}

impl Sim {
    pub(super) fn new(
        seed: u64,
        dir: &Path,
        tls: Tls,
        keys: Option<Keys>,
        recorder: Arc<Recorder>,
        options: Options,
    ) -> Sim {
        let mut random = StdRng::seed_from_u64(seed);
        let founders = if random.random_bool(0.7) { 3 } else { 5 };
        let world = World::begin(seed, NODES.end);
        let mut members: Vec<_> = (0..HOSTS).map(|host| Member::new(dir, host)).collect();
        let is_old = random.random_bool(0.3);
        for member in &mut members[..founders] {
            member.is_member = true;
            member.feature_level = if is_old { FEATURE_LEVEL - 1 } else { FEATURE_LEVEL };
        }
        let addresses = Arc::new((0..HOSTS).map(|host| (address(host), host)).collect());
        let think = Duration::from_millis([5, 20, 50, 200].choose(&mut random).copied().unwrap_or(5));
        Sim {
            options,
            world,
            members,
            founders,
            random,
            steps: 0,
            faults: BTreeMap::new(),
            undo: Vec::new(),
            leaving: None,
            promises: Promises::default(),
            load: Arc::default(),
            recorder,
            addresses,
            tls,
            keys,
            think,
        }
    }

    pub(super) fn say(&self, what: &str) {
        if self.options.verbose {
            eprintln!("{:>10.3} s  {what}", self.world.now().as_secs_f64());
        }
    }

    /// Those that are in the cluster, or on their way into it.
    pub(super) fn present(&self) -> Vec<Host> {
        (0..HOSTS).filter(|host| self.members[*host].is_member).collect()
    }

    pub(super) fn replica(&self, host: Host) -> Option<Replica> {
        self.members[host].slot.lock().clone()
    }

    pub(super) fn start(&mut self, host: Host) {
        self.say(&format!("{} starts", name(host)));
        let member = &mut self.members[host];
        member.restart_at = None;
        member.must_refuse = member.disks.log.astray();
        member.reads_flip = std::mem::take(&mut member.is_flipped);
        member.fuse = Fuse::default();
        member.disks.watch(&member.fuse);
        let (fatal, fuse, disks) = (self.world.fatal.clone(), member.fuse.clone(), member.disks.clone());
        let on_fatal = move |why: &str| {
            // A process that must end does nothing more; what it had not synced is at risk. After a failed
            // sync the next one finds all that was written, of which the disk lacks a part.
            let disks = disks.clone();
            let end = if disks.log.failed_syncs() > 0 { End::Kill } else { End::PowerLoss };
            fuse.light(0, Box::new(move || disks.after(end, 0)));
            fuse.burn();
            fuse.blow();
            fatal.lock().push((host, why.to_owned()));
        };
        let config = member.config(host, 0..self.founders, self.tls.clone(), on_fatal);
        let (slot, refused) = (member.slot.clone(), member.refused.clone());
        let (api, keys) = (member.api.clone(), self.keys.clone());
        let mut incoming = self.world.network.up(host, member.fuse.clone());
        let network = self.world.network.clone();
        let answers = Arc::new(Mutex::new(None));
        let addresses = self.addresses.clone();
        let socket = Socket { network: network.clone(), host, addresses, answers: answers.clone() };
        self.world.start(host, async move {
            let starting = async {
                match Replica::start(config, PeerPort::Simulated(Arc::new(socket))).await {
                    Ok(replica) => {
                        *slot.lock() = Some(replica.clone());
                        if let Some(keys) = keys
                            && let Err(error) = control::start(&name(host), &replica, &slot, &keys, &api)
                        {
                            *refused.lock() = Some(Refused {
                                why: format!("{error:#}"),
                                is_damage: false,
                                is_permanent: true,
                            });
                        }
                    }
                    Err(error) => {
                        let (is_damage, is_permanent) = (error.is_damage(), error.is_permanent());
                        *refused.lock() = Some(Refused { why: error.to_string(), is_damage, is_permanent });
                    }
                }
            };
            // While it starts it is called, too, and does not answer yet.
            let serving = async {
                while let Some(incoming) = incoming.recv().await {
                    match incoming {
                        Incoming::Call { id, request } => {
                            let answers = answers.lock().clone();
                            match answers {
                                Some(answers) => network.handle(id, *request, &answers),
                                None => network.refuse(id),
                            }
                        }
                        Incoming::Job(job) => drop(tokio::spawn(job())),
                    }
                }
            };
            tokio::join!(starting, serving);
        });
    }

    /// Ends a member's process now, or where its fuse has ended it; it is started again.
    pub(super) fn end(&mut self, host: Host, end: End) {
        let seed = self.random.random();
        let now = self.world.now();
        let member = &mut self.members[host];
        let ended_itself = member.fuse.take_disks();
        member.fuse.blow();
        let mut disks = ended_itself.unwrap_or_else(|| member.disks.after(end, seed));
        (member.ends_as, member.may_fail) = (End::PowerLoss, false);
        // Where nothing came behind what went astray, nothing tells that it is missing: such a log is no log.
        if disks.log.astray().is_some_and(|astray| !astray.is_inside) {
            (disks.log, member.may_refuse) = (SimDir::default(), true);
        }
        if let Some(old) = &member.believed {
            disks.log = old.after_power_loss_between_pages(seed);
        }
        member.forget_process();
        member.disks = disks;
        member.restart_at = Some(now + RESTART);
        self.world.kill(host, end == End::Kill);
    }

    /// Lets `time` pass; whoever ended is started again, and what is over is taken back.
    pub(super) fn pass(&mut self, time: Duration) -> Result<()> {
        let until = self.world.now() + time;
        while self.world.now() < until {
            self.world.step();
            let now = self.world.now();
            if self.options.lying_disks && now.as_millis().is_multiple_of(LIE_MS) {
                for member in &mut self.members {
                    member.believed = Some(member.disks.log.after_power_loss());
                }
            }
            for host in 0..HOSTS {
                self.follow(host)?;
            }
            self.follow_leaving();
            while let Some(place) = self.undo.iter().position(|(at, _)| *at <= now) {
                let (_, undo) = self.undo.remove(place);
                self.take_back(undo);
            }
            if now.as_millis().is_multiple_of(LOOK_EVERY_MS) {
                self.look();
                self.look_at_room();
            }
        }
        Ok(())
    }

    /// What became of a member's process in the last step.
    fn follow(&mut self, host: Host) -> Result<()> {
        let refused = self.members[host].refused.lock().take();
        if refused.is_none()
            && self.replica(host).is_some()
            && let Some(astray) = self.members[host].must_refuse.take()
        {
            self.promises.started_astray(host, format!("{astray:?}"));
        }
        if refused.is_none() && self.replica(host).is_some() {
            let member = &mut self.members[host];
            if std::mem::take(&mut member.reads_flip) {
                member.may_refuse = false;
            }
        }
        if let Some(Refused { why, is_damage, is_permanent }) = refused {
            if !is_permanent {
                self.say(&format!("{} does not start yet: {why}", name(host)));
                self.end(host, End::Kill);
                return Ok(());
            }
            ensure!(is_damage && self.members[host].may_refuse, "{} does not start: {why}", name(host));
            self.say(&format!("{} is built anew: {why}", name(host)));
            self.world.kill(host, true);
            return self.join(host);
        }
        let said: Vec<String> = {
            let mut fatal = self.world.fatal.lock();
            let (of_it, others) = std::mem::take(&mut *fatal).into_iter().partition(|(of, _)| *of == host);
            *fatal = others;
            of_it.into_iter().map(|(_, why): (Host, String)| why).collect()
        };
        if let Some(why) = said.first() {
            let member = &mut self.members[host];
            ensure!(member.may_fail || member.may_refuse, "{} says that it cannot go on: {why}", name(host));
            self.say(&format!("{} ends: {why}", name(host)));
        }
        let member = &self.members[host];
        if member.fuse.is_blown() && self.world.runs(host) {
            let end = member.ends_as;
            self.say(&format!("{} has ended", name(host)));
            self.end(host, end);
        }
        let member = &self.members[host];
        if member.is_member && member.restart_at.is_some_and(|at| at <= self.world.now()) {
            self.start(host);
        }
        Ok(())
    }

    /// Looks at what clients do not see, and at who has come back.
    fn look(&mut self) {
        let now = self.world.now();
        for host in self.present() {
            let works = self.world.runs(host) && !self.world.is_frozen(host);
            self.promises.runs_on(now, host, works && self.members[host].disks.log.failed_syncs() > 0);
            let Some(replica) = self.replica(host) else { continue };
            let (role, term) = replica.role();
            let applied = replica.store().applied();
            let now_tick = self.recorder.tick();
            let sample = Sample {
                asked: now_tick,
                tick: now_tick,
                member: replica.member().to_string(),
                term,
                leads: role == Role::Leader,
                applied_index: applied.position.map_or(0, |position| position.index),
                revision: applied.revision.0,
                state_hash: format!("{:032x}", applied.hash),
            };
            futures::executor::block_on(self.recorder.sample(sample));
            if role == Role::Leader {
                self.promises.leads(now, host, term);
            }
            let member = &mut self.members[host];
            if member.is_lost && replica.votes() && *replica.caught_up().borrow() {
                (member.is_lost, member.may_refuse) = (false, false);
                self.say(&format!("{} votes", name(host)));
            }
        }
    }

    /// Whether writes are refused for want of room where there is some, and whether the rest goes on.
    fn look_at_room(&mut self) {
        let now = self.world.now();
        let present = self.present();
        let full = present.iter().filter(|host| self.members[**host].is_full).count();
        // One that was deposed and has not heard of it refuses, too.
        let leads = |host: Host| self.replica(host).is_some_and(|replica| replica.role().0 == Role::Leader);
        let leader_is_full = present.iter().any(|host| self.members[*host].is_full && leads(*host));
        // Nor does one that stands still with its disk know that it has room again.
        let stands = self.undo.iter().any(|(_, undo)| matches!(undo, Undo::StuckDisk(_)));
        let lacks = leader_is_full || stands || (present.len() - full) * 2 <= present.len();
        self.promises.refused(now, self.load.no_space.load(Ordering::Relaxed), lacks);
        self.promises.done(now, self.load.done());
    }

    /// Has members whose log may be damaged read it, by starting again.
    pub(super) fn look_at_logs(&mut self) -> Result<()> {
        for host in self.present() {
            let member = &self.members[host];
            if member.may_refuse && !member.is_lost && self.world.runs(host) {
                self.end(host, End::Kill);
                self.pass(RESTART)?;
            }
        }
        Ok(())
    }

    /// Starts the nodes of a machine.
    pub(super) fn start_nodes(&mut self, host: Host) {
        let servers: Vec<_> = (0..HOSTS).map(|host| (host, self.members[host].api.clone())).collect();
        let network = self.world.network.clone();
        let api = move |user: &str| -> Arc<dyn Transport> {
            SimApi::new(network.clone(), host, servers.clone(), host, user, &["system:nodes"])
        };
        self.world.start(host, control::nodes(host - NODES.start, api));
    }

    /// Begins anew with empty disks, as a member that joins.
    pub(super) fn join(&mut self, host: Host) -> Result<()> {
        let peers = self.present().into_iter().filter(|other| *other != host).map(address).collect();
        let now = self.world.now();
        let member = &mut self.members[host];
        member.forget_process();
        member.wipe()?;
        member.join = Some(Join { peers, replaces: None });
        (member.is_member, member.is_lost) = (true, true);
        member.restart_at = Some(now + RESTART);
        Ok(())
    }

    /// All members are there, vote and have what was committed: one of them may lose its data.
    pub(super) fn is_whole(&self) -> bool {
        let present = self.present();
        present.len() >= 3
            && self.leaving.is_none()
            && present.iter().all(|host| {
                let member = &self.members[*host];
                let level = |replica: Replica| {
                    let status = replica.status();
                    replica.votes() && status.caught_up && status.applied_index + 50 >= status.committed_index
                };
                !member.is_lost && !member.may_refuse && self.replica(*host).is_some_and(level)
            })
            && self.all_vote_and_nobody_else()
    }

    /// Not so while a change of members is half done, or one that is gone still counts: another loss may
    /// then be one too many.
    fn all_vote_and_nobody_else(&self) -> bool {
        let replicas: Option<Vec<_>> = self.present().into_iter().map(|host| self.replica(host)).collect();
        let Some(replicas) = replicas else { return false };
        let ids: BTreeSet<_> = replicas.iter().map(Replica::member).collect();
        replicas.iter().all(|replica| {
            let members = replica.status().members.into_iter();
            members.filter(|member| member.votes).map(|member| member.id).collect::<BTreeSet<_>>() == ids
        })
    }

    fn follow_leaving(&mut self) {
        let now = self.world.now();
        let Some(leaving) = &mut self.leaving else { return };
        if *leaving.is_out.lock() {
            let host = leaving.host;
            self.leaving = None;
            self.say(&format!("{} is out", name(host)));
            self.world.kill(host, true);
            let member = &mut self.members[host];
            member.forget_process();
            (member.is_member, member.restart_at) = (false, None);
            return;
        }
        if leaving.ask_at > now {
            return;
        }
        leaving.ask_at = now + LEAVE_AGAIN;
        let (id, is_out, not) = (leaving.id, leaving.is_out.clone(), leaving.host);
        let Some(to) = self.leader().filter(|leader| *leader != not) else {
            // It leads itself: another is to take over first.
            let _ = self.hand_over();
            return;
        };
        let slot = self.members[to].slot.clone();
        let job = move || -> BoxFuture<'static, ()> {
            Box::pin(async move {
                let Some(replica) = slot.lock().clone() else { return };
                match replica.change_members(MemberChange::Remove(id)).await {
                    Ok(_) | Err(MemberError::Unknown(_)) => *is_out.lock() = true,
                    Err(_) => {}
                }
            })
        };
        self.world.network.ask(CLIENTS, to, job, || {});
    }

    /// Has the leader give leadership away; `false`: nobody leads.
    pub(super) fn hand_over(&mut self) -> bool {
        let Some(host) = self.leader() else { return false };
        let slot = self.members[host].slot.clone();
        let job = move || -> BoxFuture<'static, ()> {
            Box::pin(async move {
                let replica = slot.lock().clone();
                if let Some(replica) = replica {
                    let _ = replica.hand_over(None).await;
                }
            })
        };
        self.world.network.ask(CLIENTS, host, job, || {});
        true
    }

    pub(super) fn leader(&self) -> Option<Host> {
        let leads = |host: Host| {
            let (role, term) = self.replica(host)?.role();
            (role == Role::Leader).then_some((term, host))
        };
        self.present().into_iter().filter_map(leads).max().map(|(_, host)| host)
    }

    pub(super) fn find(&self, whom: Whom) -> Host {
        let present = self.present();
        let leader = self.leader().unwrap_or(present[0]);
        let place = present.iter().position(|host| *host == leader).unwrap_or(0);
        match whom {
            Whom::Leader => leader,
            Whom::Follower(n) => present[(place + 1 + n % (present.len() - 1)) % present.len()],
        }
    }

    /// The same as [`client`](Self::client) for one who does not wait between calls.
    pub(super) fn quick_client(&self, at: usize) -> Arc<dyn Kv> {
        self.kv(0..HOSTS, at, Duration::ZERO, None)
    }

    /// Begins with one member, and goes on to the next after every error.
    pub(super) fn client(&self, at: usize) -> Arc<dyn Kv> {
        self.client_of(0..HOSTS, at)
    }

    pub(super) fn client_of(&self, hosts: Range<Host>, at: usize) -> Arc<dyn Kv> {
        self.kv(hosts, at, self.think, None)
    }

    /// One that takes its writes to the next member when the way to one stands still, as a stateless API
    /// server does.
    pub(super) fn repeating_client(&self, at: usize) -> Arc<dyn Kv> {
        self.kv(0..HOSTS, at, self.think, Some(Repeats::new(at)))
    }

    fn kv(&self, hosts: Range<Host>, at: usize, think: Duration, repeats: Option<Repeats>) -> Arc<dyn Kv> {
        let members = hosts.map(|host| (host, self.members[host].slot.clone())).collect();
        let members = Remotes::new(self.world.network.clone(), CLIENTS, members, at);
        Arc::new(SimKv { members, think, repeats, no_space: self.load.no_space.clone() })
    }

    /// The API as somebody on machine `from` has it.
    pub(super) fn api(&self, from: Host, at: usize, user: &str, groups: &[&str]) -> Arc<SimApi> {
        let servers = (0..HOSTS).map(|host| (host, self.members[host].api.clone())).collect();
        SimApi::new(self.world.network.clone(), from, servers, at, user, groups)
    }

    pub(super) fn wait(
        &mut self,
        what: &str,
        most: Duration,
        mut is: impl FnMut(&Sim) -> bool,
    ) -> Result<()> {
        let until = self.world.now() + most;
        while !is(self) {
            if self.world.now() >= until {
                bail!("waited {} s for {what}: {}", most.as_secs(), self.standing());
            }
            self.pass(Duration::from_millis(10))?;
        }
        Ok(())
    }

    pub(super) fn standing(&self) -> String {
        let members = self.present().into_iter().map(|host| match self.replica(host).map(|r| r.status()) {
            Some(s) => format!(
                "{}: {} of term {}, applied {} of {}{}",
                name(host),
                s.role.as_str(),
                s.term,
                s.applied_index,
                s.last_log_index,
                s.problems.first().map_or(String::new(), |problem| format!(" ({problem})"))
            ),
            None => format!("{}: down", name(host)),
        });
        members.collect::<Vec<_>>().join("; ")
    }

    pub(super) fn is_level(&self) -> bool {
        let present = self.present();
        let all: Option<Vec<_>> = present.iter().map(|host| Some(self.replica(*host)?.status())).collect();
        all.is_some_and(|all| {
            let leaders: BTreeSet<_> = all.iter().map(|status| status.leader).collect();
            let newest = all.iter().map(|status| status.committed_index).max().unwrap_or(0);
            // Clients go on writing: a few entries are always under way.
            leaders.len() == 1
                && !leaders.contains(&None)
                && all.iter().all(|status| status.caught_up && status.applied_index + 50 >= newest)
                && present.iter().all(|host| !self.members[*host].is_lost)
                && self.leaving.is_none()
                && self.all_vote_and_nobody_else()
        })
    }

    /// Index and hash of every member's state, while all run.
    pub(super) fn states(&self) -> Option<Vec<(u64, u128)>> {
        let state = |host: &Host| {
            let applied = self.replica(*host)?.store().applied();
            Some((applied.position.map_or(0, |position| position.index), applied.hash))
        };
        self.present().iter().map(state).collect()
    }

    pub(super) fn heal(&mut self) {
        self.say("everything is healed");
        self.load.probe(false);
        self.undo.clear();
        self.world.network.join_all();
        self.world.network.set_weather(FAIR);
        for host in 0..HOSTS {
            self.world.slow_disk(host, Duration::ZERO);
            self.world.stick_disk(host, Duration::ZERO);
            self.world.drift(host, 0);
            self.world.freeze(host, Duration::ZERO);
            self.members[host].disks.log.fail_syncs(false);
            self.give_room(host);
        }
        if self.keys.is_some() {
            for host in NODES {
                self.world.freeze(host, Duration::ZERO);
                if !self.world.runs(host) {
                    self.start_nodes(host);
                }
            }
        }
        self.promises.healed();
    }
}
