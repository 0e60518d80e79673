//! `trireme-chaos real` and `sim` break clusters and check them; `trireme-chaos bench` measures one.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Breaks real clusters and checks what they promised; measures them
#[derive(Parser, Debug)]
#[command(name = "trireme-chaos", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Break real processes, networks, disks and clocks under load, and check what clients were told
    Real(trireme_chaos::real::Options),
    /// Run simulated worlds: raft and store on a simulated network, disk and clock
    Sim(trireme_chaos::sim::Options),
    /// Measure against Debian's etcd on this machine
    Bench(trireme_chaos::bench::Options),
    /// Take writes and keep nothing: what `bench` compares stores with
    #[command(hide = true)]
    ServeNothing(trireme_chaos::bench::NothingOptions),
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    // What simulated members complain of is the world's doing.
    let default = if matches!(command, Command::Sim(_)) { "off" } else { "error" };
    let filter = EnvFilter::try_from_env("TRIREME_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let outcome = match command {
        // Without a runtime: it begins with namespaces.
        Command::Real(options) => trireme_chaos::real::run(&options),
        Command::Sim(options) => trireme_chaos::sim::run(&options),
        Command::Bench(options) => block_on(trireme_chaos::bench::run(&options)).map(|()| true),
        Command::ServeNothing(options) => trireme_chaos::bench::serve_nothing(&options).map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("trireme-chaos: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Runtime::new()?.block_on(work)
}
