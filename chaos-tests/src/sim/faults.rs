//! What each fault does to a world, and how it is taken back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use trireme_raft::Role;
use trireme_store::log::FEATURE_LEVEL;

use super::cluster::{CLIENTS, HOSTS, Leaving, NODES, Sim, node_machine};
use super::host::{End, name};
use super::network::{FAIR, Host};
use super::plan::{Fault, Step, Whom};

/// An old copy that was started has been told of by then.
const SETTLE: Duration = Duration::from_secs(3);

/// How long a member hears nothing before the others are lost.
const LAG: Duration = Duration::from_secs(1);
/// Time for an election without those who know.
const LEADERLESS: Duration = Duration::from_secs(3);

/// What ends by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Undo {
    /// From the first to the second, each.
    Ways(BTreeSet<(Host, Host)>),
    Weather,
    SlowDisk(Host),
    StuckDisk(Host),
    Syncs(Host),
    Room(Vec<Host>),
    NodeStart(Host),
}

impl Sim {
    /// Does what `step` says, if it can be done now; what lasts is taken back later.
    pub(super) fn inflict(&mut self, step: Step, is_alone: bool) -> Result<()> {
        self.say(&format!("{:?} for {:?}", step.fault, step.lasts));
        if !step.fault.is_of_nodes() {
            self.promises.healed();
        }
        if !self.is_done(step, is_alone)? {
            self.say("  which cannot be now");
            return Ok(());
        }
        *self.faults.entry(step.fault.kind().to_owned()).or_default() += 1;
        Ok(())
    }

    fn is_done(&mut self, step: Step, is_alone: bool) -> Result<bool> {
        let all = self.present();
        let now = self.world.now();
        let until = now + step.lasts;
        match step.fault {
            Fault::Kill(whom, count) => return Ok(self.light(whom, count, End::Kill)),
            Fault::PowerLoss(whom, count) => return Ok(self.light(whom, count, End::PowerLoss)),
            Fault::PowerLossOfAll => {
                for host in all {
                    if self.world.runs(host) {
                        self.end(host, End::PowerLoss);
                    }
                }
            }
            Fault::Freeze(whom) => {
                let host = self.find(whom);
                if !self.world.runs(host) {
                    return Ok(false);
                }
                self.world.freeze(host, step.lasts);
            }
            Fault::Isolate(whom) | Fault::Mute(whom) | Fault::Deafen(whom) => {
                let host = self.find(whom);
                // From the other members, and sometimes from all who ask.
                let mut others = all;
                if self.random.random_bool(0.5) {
                    others.extend(NODES.chain([CLIENTS]));
                }
                let mut ways = BTreeSet::new();
                for other in others.into_iter().filter(|other| *other != host) {
                    if !matches!(step.fault, Fault::Deafen(_)) {
                        ways.insert((host, other));
                    }
                    if !matches!(step.fault, Fault::Mute(_)) {
                        ways.insert((other, host));
                    }
                }
                self.cut(ways, until);
            }
            Fault::Bridge => {
                let (one, other) = (self.find(Whom::Leader), self.find(Whom::Follower(0)));
                self.cut([(one, other), (other, one)].into(), until);
            }
            Fault::Split(seed) => {
                let mut random = StdRng::seed_from_u64(seed);
                let side: Vec<bool> = (0..HOSTS).map(|_| random.random_bool(0.5)).collect();
                let pairs = all.iter().flat_map(|one| all.iter().map(move |other| (*one, *other)));
                let ways: BTreeSet<_> = pairs.filter(|(one, other)| side[*one] != side[*other]).collect();
                if ways.is_empty() {
                    return Ok(false);
                }
                self.cut(ways, until);
            }
            Fault::Reset(whom) => self.world.network.reset(self.find(whom)),
            Fault::Weather(weather) => {
                self.world.network.set_weather(weather);
                self.undo.push((until, Undo::Weather));
            }
            Fault::SlowDisk(whom, most) => {
                let host = self.find(whom);
                self.world.slow_disk(host, most);
                self.undo.push((until, Undo::SlowDisk(host)));
            }
            Fault::StuckDisk(whom) => {
                let host = self.find(whom);
                let Some(status) = self.replica(host).map(|replica| replica.status()) else {
                    return Ok(false);
                };
                self.members[host].may_fail = true;
                self.world.stick_disk(host, step.lasts);
                self.undo.push((until, Undo::StuckDisk(host)));
                if is_alone && status.role == Role::Leader && self.is_whole() {
                    self.promises.stuck(now, host, status.term);
                }
            }
            Fault::FailSync(whom) => {
                let host = self.find(whom);
                if !self.world.runs(host) {
                    return Ok(false);
                }
                self.members[host].may_fail = true;
                self.members[host].disks.log.fail_syncs(true);
                self.undo.push((until, Undo::Syncs(host)));
            }
            Fault::FullDisk(whom, left, of_all) => {
                let hosts = if of_all { all } else { vec![self.find(whom)] };
                let (was_whole, done) = (self.is_whole(), self.load.done());
                for host in &hosts {
                    let member = &mut self.members[*host];
                    member.is_full = true;
                    member.disks.log.fill_but(left);
                }
                self.undo.push((until, Undo::Room(hosts)));
                self.load.probe(true);
                if is_alone && was_whole && self.undo.len() == 1 {
                    self.promises.full(now, done);
                }
            }
            Fault::NodeKill(n) => {
                let host = node_machine(n);
                if !self.world.runs(host) {
                    return Ok(false);
                }
                self.world.kill(host, true);
                self.undo.push((until, Undo::NodeStart(host)));
            }
            Fault::NodeFreeze(n) => self.world.freeze(node_machine(n), step.lasts),
            Fault::NodeCut(n) => {
                let host = node_machine(n);
                self.cut((0..HOSTS).flat_map(|other| [(host, other), (other, host)]).collect(), until);
            }
            Fault::MoveLeader => return Ok(self.hand_over()),
            Fault::Upgrade => return Ok(self.upgrade()),
            Fault::Drift(whom, ppm) => {
                let host = self.find(whom);
                self.world.drift(host, ppm);
            }
            Fault::Jump(whom, ahead_ms) => {
                let host = self.find(whom);
                self.world.jump(host, ahead_ms);
            }
            Fault::FlipBit(..)
            | Fault::Wipe(_)
            | Fault::LoseLog(_)
            | Fault::LoseLogAndLeader
            | Fault::OldCopyAndLeader
            | Fault::OldCopy(_)
            | Fault::Misdirected(..)
            | Fault::Join
            | Fault::Leave(_) => return self.lose(step.fault),
        }
        Ok(true)
    }

    /// What takes a member's data away, or a member: not while another one lacks its own.
    fn lose(&mut self, fault: Fault) -> Result<bool> {
        if !self.is_whole() {
            return Ok(false);
        }
        match fault {
            Fault::Wipe(whom) => {
                let host = self.find(whom);
                self.end(host, End::PowerLoss);
                self.join(host)?;
            }
            Fault::LoseLog(whom) => {
                let host = self.find(whom);
                self.lose_log(host);
            }
            Fault::LoseLogAndLeader => return self.forget_without_leader(false),
            Fault::OldCopyAndLeader => return self.forget_without_leader(true),
            Fault::FlipBit(whom, seed, is_down) => {
                let host = self.find(whom);
                if is_down {
                    self.end(host, End::Kill);
                }
                let Some(place) = self.members[host].disks.log.flip_bit(seed) else { return Ok(false) };
                self.say(&format!("  {place} of {}", name(host)));
                self.members[host].may_refuse = true;
                self.members[host].is_flipped = true;
            }
            Fault::OldCopy(whom) => {
                let host = self.find(whom);
                if self.members[host].copy.is_none() {
                    // To come back at another time.
                    self.members[host].make_copy()?;
                }
                // One that nobody has seen a later start of, or that nobody can be asked about, is not
                // found: what it forgot is lost.
                if !self.members[host].has_old_copy() || !self.undo.is_empty() {
                    return Ok(false);
                }
                self.bring_back_copy(host)?;
                self.pass(SETTLE)?;
            }
            Fault::Misdirected(whom, seed) => {
                let host = self.find(whom);
                if !self.world.runs(host) || self.world.is_frozen(host) {
                    return Ok(false);
                }
                let log = self.members[host].disks.log.clone();
                log.misdirect_next(Some(seed));
                // What went astray at the end of a log is a torn end: until something is behind it, nothing
                // else happens.
                let until = self.world.now() + SETTLE;
                while self.world.now() < until && !log.astray().is_some_and(|astray| astray.is_inside) {
                    self.pass(Duration::from_millis(10))?;
                }
                log.misdirect_next(None);
                let Some(astray) = log.astray() else { return Ok(false) };
                self.say(&format!("  {astray:?} of {}", name(host)));
                self.members[host].may_refuse = true;
            }
            Fault::Join => {
                let Some(host) = (0..HOSTS).find(|host| !self.members[*host].is_member) else {
                    return Ok(false);
                };
                self.members[host].feature_level = FEATURE_LEVEL;
                self.join(host)?;
            }
            Fault::Leave(whom) => {
                let host = self.find(whom);
                if self.present().len() <= 3 {
                    return Ok(false);
                }
                let Some(id) = self.replica(host).map(|replica| replica.member()) else { return Ok(false) };
                let (ask_at, is_out) = (self.world.now(), Arc::new(Mutex::new(false)));
                self.leaving = Some(Leaving { host, id, ask_at, is_out });
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Has one member forget while nobody is there who knows better: those who lag, and it, are as many as
    /// can elect.
    fn forget_without_leader(&mut self, by_old_copy: bool) -> Result<bool> {
        let Some(leader) = self.leader().filter(|_| self.undo.is_empty()) else { return Ok(false) };
        let followers: Vec<Host> = self.present().into_iter().filter(|host| *host != leader).collect();
        let (lag, others) = followers.split_at(followers.len() / 2);
        let Some((forgets, off)) = others.split_first() else { return Ok(false) };
        if by_old_copy {
            self.members[*forgets].make_copy()?;
            // Those who lag have seen a later start of it.
            self.end(*forgets, End::Kill);
            self.pass(SETTLE)?;
            if !self.members[*forgets].has_old_copy() || self.leader() != Some(leader) {
                return Ok(false);
            }
        }
        let mut ways = BTreeSet::new();
        for host in lag {
            for other in others.iter().chain([&leader]) {
                ways.extend([(*host, *other), (*other, *host)]);
            }
        }
        for (from, to) in &ways {
            self.world.network.cut(*from, *to);
        }
        self.pass(LAG)?;
        if by_old_copy {
            self.bring_back_copy(*forgets)?;
        } else {
            self.lose_log(*forgets);
        }
        let back_at = self.world.now() + LEADERLESS;
        for host in off.iter().chain([&leader]) {
            self.end(*host, End::PowerLoss);
            self.members[*host].restart_at = Some(back_at);
        }
        self.take_back(Undo::Ways(ways));
        self.pass(LEADERLESS - LAG)?;
        self.say(&format!("  {}", self.standing()));
        Ok(true)
    }

    fn bring_back_copy(&mut self, host: Host) -> Result<()> {
        self.end(host, End::PowerLoss);
        let member = &mut self.members[host];
        member.restore_copy()?;
        member.may_refuse = true;
        Ok(())
    }

    fn lose_log(&mut self, host: Host) {
        self.end(host, End::PowerLoss);
        let member = &mut self.members[host];
        member.disks.log = Default::default();
        member.may_refuse = true;
    }

    fn cut(&mut self, ways: BTreeSet<(Host, Host)>, until: Duration) {
        for (from, to) in &ways {
            self.world.network.cut(*from, *to);
        }
        self.undo.push((until, Undo::Ways(ways)));
    }

    /// Ends a member after `count` more of what lasts or is seen.
    fn light(&mut self, whom: Whom, count: u64, end: End) -> bool {
        let host = self.find(whom);
        if !self.world.runs(host) {
            return false;
        }
        let seed = self.random.random();
        let member = &mut self.members[host];
        member.ends_as = end;
        let disks = member.disks.clone();
        member.fuse.light(count, Box::new(move || disks.after(end, seed)))
    }

    /// Has one more member go over to the newer version; now and then one back, while another is old and so
    /// nothing newer can have been agreed on.
    fn upgrade(&mut self) -> bool {
        let running = self.present().into_iter().filter(|host| self.world.runs(*host));
        let (old, new): (Vec<Host>, Vec<Host>) =
            running.partition(|host| self.members[*host].feature_level < FEATURE_LEVEL);
        let Some(first) = old.first().copied() else { return false };
        let back = new.first().copied().filter(|_| self.is_whole() && self.random.random_bool(0.4));
        let (host, level) = back.map_or((first, FEATURE_LEVEL), |host| (host, FEATURE_LEVEL - 1));
        self.say(&format!("  {} goes over to level {level}, {} are old", name(host), old.len()));
        self.end(host, End::Kill);
        self.members[host].feature_level = level;
        true
    }

    pub(super) fn give_room(&mut self, host: Host) {
        let member = &mut self.members[host];
        member.is_full = false;
        member.disks.log.set_space(None);
    }

    /// Takes back what no other fault at work has done as well.
    pub(super) fn take_back(&mut self, undo: Undo) {
        if self.undo.iter().any(|(_, other)| *other == undo) {
            return;
        }
        match undo {
            Undo::Ways(mut ways) => {
                for (_, other) in &self.undo {
                    if let Undo::Ways(cut) = other {
                        ways.retain(|way| !cut.contains(way));
                    }
                }
                self.world.network.join(&ways);
            }
            Undo::Weather => self.world.network.set_weather(FAIR),
            Undo::SlowDisk(host) => self.world.slow_disk(host, Duration::ZERO),
            Undo::StuckDisk(host) => {
                self.promises.healed();
                self.world.stick_disk(host, Duration::ZERO);
            }
            Undo::Room(mut hosts) => {
                self.promises.healed();
                for (_, other) in &self.undo {
                    if let Undo::Room(full) = other {
                        hosts.retain(|host| !full.contains(host));
                    }
                }
                for host in hosts {
                    self.give_room(host);
                }
                self.load.probe(self.members.iter().any(|member| member.is_full));
            }
            Undo::NodeStart(host) => self.start_nodes(host),
            Undo::Syncs(host) => self.members[host].disks.log.fail_syncs(false),
        }
    }
}
