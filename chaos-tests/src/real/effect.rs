//! Whether a fault took hold, asked before it is taken back: what does nothing is survived by anybody.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use super::clock::Clock;
use super::disk::Met;
use super::inflict::World;
use super::process::Service;
use super::wire::Carried;

/// The address is with another balancer within this.
const MOVE_TIMEOUT: Duration = Duration::from_secs(15);

/// What a fault came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Effect {
    /// Empty where there is nothing to say.
    pub words: String,
    pub took_hold: bool,
}

/// Where it is to be seen.
pub(super) enum Evidence {
    /// What was done failed, or was done: there is nothing more to see.
    ItsOwn,
    /// There was nobody to do it to.
    Nobody,
    /// These processes ended, which had ended so many times before.
    Ends(Vec<(Service, u64)>),
    /// This one stands still.
    Stopped(Service),
    /// The group of this host stands still.
    Frozen(String),
    /// The group of this host had to wait for its share of the cores, so many times before.
    Throttled(String, u64),
    /// The group of this host was refused memory, so many times before.
    Refused(String, u64),
    /// The switch's rules with these names met frames; what they had met before.
    Frames(Vec<String>, u64),
    /// Frames waited on the line of this host.
    Waited(String),
    Carried(Carried),
    Syncs(Met),
    /// The line of this host is down.
    Down(String),
    /// Another balancer than this one has the address.
    Moved(usize),
    /// Programs were told a wrong time by this clock, so many times before.
    Told(Clock, u64),
    /// The process is this program.
    Runs(Service, PathBuf),
}

impl Evidence {
    /// That these processes end.
    pub(super) fn ends<'a>(services: impl IntoIterator<Item = &'a Service>) -> Evidence {
        Evidence::Ends(services.into_iter().map(|service| (service.clone(), service.ends())).collect())
    }

    /// That the switch's rules with these names meet frames from now on.
    pub(super) async fn frames(world: &World, names: Vec<String>) -> Result<Evidence> {
        let met = met(&world.network.met().await?, &names);
        Ok(Evidence::Frames(names, met))
    }

    /// What the fault has come to by now.
    pub(super) async fn effect(&self, world: &World) -> Result<Effect> {
        let (words, took_hold) = match self {
            Evidence::ItsOwn => (String::new(), true),
            Evidence::Nobody => ("nobody was there".to_owned(), false),
            Evidence::Ends(services) => {
                let lives = services.iter().find(|(service, before)| service.ends() == *before);
                match lives {
                    Some((service, _)) => (format!("{} did not end", service.name), false),
                    None => (String::new(), true),
                }
            }
            Evidence::Stopped(service) => told(service.stands_still(), "it did not stand still"),
            Evidence::Frozen(host) => told(world.groups.is_frozen(host)?, "it did not stand still"),
            Evidence::Throttled(host, before) => {
                let times = world.groups.throttled(host)?.saturating_sub(*before);
                (format!("it waited {times} times"), times > 0)
            }
            Evidence::Refused(host, before) => {
                let times = world.groups.memory_refused(host)?.saturating_sub(*before);
                (format!("refused {times} times"), times > 0)
            }
            Evidence::Frames(names, before) => {
                frames(met(&world.network.met().await?, names).saturating_sub(*before), "met")
            }
            Evidence::Waited(host) => frames(world.network.waited(host).await?, "had to wait"),
            Evidence::Carried(carried) => frames(carried.frames(), "were carried"),
            Evidence::Down(host) => told(world.network.is_down(host).await?, "its line is up"),
            Evidence::Moved(from) => {
                // A short fault lasts until it has: the address is what is at stake.
                let moved = world.balancers.moves_from(&world.network, *from, MOVE_TIMEOUT).await?;
                told(moved, "the address did not move")
            }
            Evidence::Told(clock, before) => {
                let times = clock.told()?.saturating_sub(*before);
                (format!("told {times} times"), times > 0)
            }
            Evidence::Runs(service, program) => told(service.is(program), "another program runs"),
            Evidence::Syncs(met) => match met.count() {
                0 if met.hangs() => ("one hangs".to_owned(), true),
                count => (format!("{count} syncs"), count > 0),
            },
        };
        Ok(Effect { words, took_hold })
    }
}

fn told(took_hold: bool, or: &str) -> (String, bool) {
    (if took_hold { String::new() } else { or.to_owned() }, took_hold)
}

fn frames(count: u64, what: &str) -> (String, bool) {
    (format!("{count} frames {what}"), count > 0)
}

fn met(counted: &BTreeMap<String, u64>, names: &[String]) -> u64 {
    names.iter().filter_map(|name| counted.get(name)).sum()
}
