//! `trireme-chaos run` breaks a cluster and checks it; `trireme-chaos bench` measures one.

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
    /// Kill processes of a cluster under load and check what clients were told
    Run(trireme_chaos::run::Options),
    /// Measure against Debian's etcd on this machine
    Bench(trireme_chaos::bench::Options),
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("TRIREME_LOG").unwrap_or_else(|_| EnvFilter::new("error"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let outcome = match Cli::parse().command {
        Command::Run(options) => match trireme_chaos::run::run(&options).await {
            Ok(report) => {
                println!("{report}");
                Ok(report.passed())
            }
            Err(error) => Err(error),
        },
        Command::Bench(options) => trireme_chaos::bench::run(&options).await.map(|()| true),
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
