//! Real processes of the release binary on hosts of their own, broken in every way that this machine
//! knows, and judged as all worlds are.
//!
//! ```text
//!   outside: what killed runs left is removed ─► namespaces of this run ─► what it left is removed
//!                                                   │
//!   inside:  probe ─► hosts and switch ─► masters, balancers, nodes ─► load ◄─ plan ─► inflict, take back
//!                                                                       │
//!                                        page and words ◄─ summary ◄─ checkers, elections, meter
//! ```
//!
//! The run lives in network, mount and process namespaces of its own, whose first process is the
//! harness: when that ends, in whatever way, the kernel ends all processes, mounts and networks of
//! the run. What lies outside of namespaces, cgroups and the run's folder, carries its number and is
//! removed by who started it, or by the next run.
//!
//! **Invariant**: nothing is done to a process, network or file that the run did not make.

mod archive;
mod balancers;
mod cgroups;
mod clock;
mod course;
mod disk;
mod effect;
mod elections;
mod inflict;
mod kubectl;
mod load;
mod masters;
mod meter;
mod network;
mod outside;
mod plan;
mod probe;
mod process;
mod summary;
mod tools;
mod whole;
mod wire;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

pub use outside::unavailable;
use plan::Kind;

#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Decides which faults come, when, to whom, and what clients do [default: the time]
    #[arg(long)]
    pub seed: Option<u64>,
    /// For how long faults come; setting up and judging come on top
    #[arg(long, default_value_t = 10.0, value_parser = minutes)]
    pub minutes: f64,
    /// Kinds of faults, by name [default: all]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    faults: Vec<Kind>,
    /// Masters: 3 or 5
    #[arg(long, default_value_t = 3, value_parser = masters)]
    pub masters: u8,
    /// Clients of the store, and half as many of the API
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=50))]
    pub clients: u32,
    /// Where the report goes, a page of HTML
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// Write what was survived into the row of this commit of the table in FILE, such as docs/survived.md
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Begin with this older release of trireme, to which masters are upgraded one by one
    #[arg(long, value_name = "BINARY")]
    pub older: Option<PathBuf>,
    /// Where disks, logs and the history go, a folder that is new or empty; kept afterwards [default: a
    /// temporary one, kept after a failure]
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Put the data of all masters back to an older copy at the end, which must be found
    #[arg(long, hide = true)]
    rolled_back: bool,
    /// This process is the first of its namespaces: the number of the run
    #[arg(long, hide = true, requires = "dir", value_name = "RUN")]
    inside: Option<u32>,
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(minutes) if (0.0..=10_000.0).contains(&minutes) => Ok(minutes),
        _ => Err("a number of minutes, from 0 to 10000".into()),
    }
}

fn masters(text: &str) -> Result<u8, String> {
    match text {
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err("3 or 5".into()),
    }
}

/// Runs, and prints the outcome; whether every promise was kept. An error is a failure of the harness
/// itself.
pub fn run(options: &Options) -> Result<bool> {
    match (options.inside, &options.dir) {
        (Some(run), Some(dir)) => {
            let seed = options.seed.unwrap_or_default();
            let runtime = tokio::runtime::Runtime::new()?;
            let summary = runtime.block_on(course::run(options, seed, dir, run));
            // Who reads standard input does not end by itself.
            runtime.shutdown_background();
            let summary = summary?;
            println!("{summary}");
            Ok(summary.passed())
        }
        _ => outside::run(options),
    }
}
