//! Every planted bug must be found by some world, which without it keeps every promise.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use parking_lot::Mutex;
use trireme_store::planted::{Bug, plant as put_in};

use super::run::HEALS;
use super::{Options, WorldEnded, in_a_process};

#[derive(Args, Clone, Debug)]
pub struct PlantedOptions {
    /// Bugs to plant [default: all]
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// Worlds that a bug is given to show in
    #[arg(long, default_value_t = 80)]
    pub worlds: u64,
    /// Simulated minutes of each
    #[arg(long, default_value_t = 1)]
    pub minutes: u64,
}

fn named(name: &str) -> Result<Bug> {
    Bug::ALL.iter().copied().find(|bug| bug.name() == name).with_context(|| {
        format!(
            "no bug is named {name:?}: {}",
            Bug::ALL.iter().map(|bug| bug.name()).collect::<Vec<_>>().join(", ")
        )
    })
}

/// Plants the bug of this name in this process.
pub(super) fn plant(name: Option<&str>) -> Result<()> {
    put_in(name.map(named).transpose()?);
    Ok(())
}

/// What a bug was found by.
struct Found {
    worlds: u64,
    by: String,
    took: Duration,
}

/// Bugs that are told by nothing but that a world does not come to rest, or that the code itself asserts what
/// they break. Of every other one a checker must tell: that a world does not heal may have many reasons.
const WITHOUT_A_CHECKER: [Bug; 5] =
    [Bug::VoteNotWritten, Bug::AppendNotTaken, Bug::JointStays, Bug::GarbageStays, Bug::GarbageTakesOwned];

/// Worlds without a bug that were run for comparison, by kind and seed: whether they kept every promise.
type Sound = Mutex<BTreeMap<(bool, u64), bool>>;

/// Plants one bug after the other until a world finds it; whether all were found.
pub fn run(options: &PlantedOptions) -> Result<bool> {
    let bugs: Vec<Bug> = match options.only.is_empty() {
        true => Bug::ALL.to_vec(),
        false => options.only.iter().map(|name| named(name)).collect::<Result<_>>()?,
    };
    let todo = Mutex::new(bugs.clone().into_iter());
    let (found, sound) = (Mutex::new(BTreeMap::new()), Sound::default());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(bug) = { todo.lock().next() } {
                    let outcome = find(bug, options, &sound);
                    match &outcome {
                        Some(found) => println!(
                            "{}: found in world {} after {:.1} s: {}",
                            bug.name(),
                            found.worlds,
                            found.took.as_secs_f64(),
                            found.by
                        ),
                        None => println!("{}: NOT FOUND in {} worlds", bug.name(), options.worlds),
                    }
                    found.lock().insert(bug.name(), outcome);
                }
            });
        }
    });
    let found = found.into_inner();
    println!("\n| bug | what is wrong | found by | worlds | s |\n|---|---|---|---|---|");
    for bug in &bugs {
        match found.get(bug.name()).and_then(Option::as_ref) {
            Some(found) => println!(
                "| {} | {} | {} | {} | {:.1} |",
                bug.name(),
                bug.what(),
                found.by,
                found.worlds,
                found.took.as_secs_f64()
            ),
            None => println!("| {} | {} | **nothing** | {} | |", bug.name(), bug.what(), options.worlds),
        }
    }
    Ok(found.values().all(Option::is_some))
}

fn find(bug: Bug, options: &PlantedOptions, sound: &Sound) -> Option<Found> {
    let begun = Instant::now();
    let world = Options {
        seed: None,
        seeds: None,
        minutes: options.minutes,
        control_plane: bug.is_of_api(),
        without: Vec::new(),
        from_step: None,
        to_step: None,
        twice: false,
        verbose: false,
        lying_disks: false,
        jobs: None,
        record: None,
        history: None,
        no_shrink: true,
        in_this_process: false,
        plant: Some(bug.name().to_owned()),
    };
    let needs_a_checker = !WITHOUT_A_CHECKER.contains(&bug);
    for seed in 1..=options.worlds {
        let by = match in_a_process(seed, &world) {
            Ok(verdict) => {
                let mut violations = verdict.violations;
                if needs_a_checker {
                    violations.retain(|(promise, _)| promise != HEALS);
                }
                if violations.is_empty() {
                    continue;
                }
                words(violations)
            }
            // An assertion of the code itself, or a loop.
            Err(error) => match error.downcast_ref() {
                Some(WorldEnded::Aborted | WorldEnded::Endless(_)) if needs_a_checker => continue,
                Some(WorldEnded::Aborted | WorldEnded::Endless(_)) => format!("{error:#}"),
                _ => {
                    println!("{}: world {seed} could not be run: {error:#}", bug.name());
                    return None;
                }
            },
        };
        if is_sound(seed, &world, sound) {
            return Some(Found { worlds: seed, by, took: begun.elapsed() });
        }
        println!("{}: world {seed} fails without it as well, and finds nothing", bug.name());
    }
    None
}

/// The first promise that was broken, and how many more were. Of a world that does not heal, the first that
/// is not as it should be.
fn words(violations: Vec<(String, Vec<String>)>) -> String {
    let more = violations.len().saturating_sub(1);
    let Some((promise, wrong)) = violations.into_iter().next() else { return String::new() };
    let first = match promise.as_str() {
        HEALS => wrong.first().and_then(|why| why.split(';').next()).map_or(promise, str::to_owned),
        _ => promise,
    };
    if more == 0 { first } else { format!("{first}, and {more} more") }
}

/// Whether the world keeps every promise without the bug.
fn is_sound(seed: u64, planted: &Options, sound: &Sound) -> bool {
    let key = (planted.control_plane, seed);
    if let Some(known) = sound.lock().get(&key) {
        return *known;
    }
    let without = Options { plant: None, ..planted.clone() };
    let is = in_a_process(seed, &without).is_ok_and(|verdict| verdict.violations.is_empty());
    sound.lock().insert(key, is);
    is
}
