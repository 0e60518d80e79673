//! Every planted bug must be found by some world, and none where there is none.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use parking_lot::Mutex;
use trireme_store::planted::{Bug, plant as put_in};

use super::{Options, in_a_process};

#[derive(Args, Clone, Debug)]
pub struct PlantedOptions {
    /// Bugs to plant [default: all]
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// Worlds that a bug is given to show in
    #[arg(long, default_value_t = 40)]
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

/// Plants one bug after the other until a world finds it; whether all were found.
pub fn run(options: &PlantedOptions) -> Result<bool> {
    let bugs: Vec<Bug> = match options.only.is_empty() {
        true => Bug::ALL.to_vec(),
        false => options.only.iter().map(|name| named(name)).collect::<Result<_>>()?,
    };
    let todo = Mutex::new(bugs.clone().into_iter());
    let found = Mutex::new(BTreeMap::new());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(bug) = { todo.lock().next() } {
                    let outcome = find(bug, options);
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

fn find(bug: Bug, options: &PlantedOptions) -> Option<Found> {
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
        no_shrink: true,
        in_this_process: false,
        plant: Some(bug.name().to_owned()),
    };
    for seed in 1..=options.worlds {
        let by = match in_a_process(seed, &world) {
            Ok(verdict) => {
                let Some((name, first)) = verdict.violations.into_iter().next() else { continue };
                match name.as_str() {
                    // The first of what is not as it should be.
                    "the world heals" => {
                        first.first().and_then(|why| why.split(';').next()).map_or(name, str::to_owned)
                    }
                    _ => name,
                }
            }
            // An assertion of the code itself.
            Err(error) => format!("{error:#}"),
        };
        return Some(Found { worlds: seed, by, took: begun.elapsed() });
    }
    None
}
