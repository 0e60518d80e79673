//! `trireme-chaos-planted all` puts one bug after the other into simulated worlds, and fails where one is
//! not found; `sim` runs worlds with one. Not shipped.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;
use trireme_chaos::sim;

/// Plants bugs in simulated worlds, which must find them
#[derive(Parser, Debug)]
#[command(name = "trireme-chaos-planted", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Plant each bug until a world finds it
    All(sim::planted::PlantedOptions),
    /// Run simulated worlds with a bug
    Sim(sim::Options),
}

fn main() -> ExitCode {
    // What a world's members say goes to standard error, by TRIREME_LOG; without it nothing does.
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_env("TRIREME_LOG").unwrap_or_else(|_| EnvFilter::new("off")))
        .with_writer(std::io::stderr)
        .init();
    let outcome = match Cli::parse().command {
        Command::All(options) => sim::planted::run(&options),
        Command::Sim(options) => sim::run(&options),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("trireme-chaos-planted: {error:#}");
            ExitCode::from(2)
        }
    }
}
