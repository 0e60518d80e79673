//! The `trireme` binary: composition and command line. What it composes lives in the other crates.

mod agent;
mod backup;
mod balancer;
mod chaos;
mod down;
mod exit;
mod forms;
mod import;
mod in_process;
mod join;
mod kubeconfig;
mod lifetime;
mod member;
mod past;
mod pki;
mod probe;
mod progress;
mod reach;
mod recover;
mod restore;
mod server;
mod status;
mod store_client;
mod unfinished;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// For RocksDB's C++ as well: docs/decisions/0013-allocator.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A Kubernetes control plane in one binary
#[derive(Parser, Debug)]
#[command(name = "trireme", version, max_term_width = 100)]
struct Cli {
    /// What to log: a level, or `target=level` pairs with commas between them
    #[arg(
        long,
        global = true,
        env = "TRIREME_LOG",
        default_value = "info,openraft=error",
        value_name = "FILTER"
    )]
    log: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run a whole cluster on this machine, as separate processes
    Up(up::Options),
    /// Stop the cluster that `up` started
    Down(down::Options),
    /// Show every member of the store, and who leads what
    Status(status::Options),
    /// Make the authorities of a new cluster, before its first master starts
    Pki(pki::Options),
    /// Run a master: store, API server, controllers, scheduler
    Server(server::Options),
    /// Become a master of a cluster that runs
    Join(join::Options),
    /// Let machines in, with `trireme join`
    Token(join::token::Options),
    /// Show and change who belongs to the store's cluster
    Member(member::Options),
    /// Run an API server alone, on any masters' store
    Apiserver(server::StatelessOptions),
    /// Run nodes
    Agent(agent::Options),
    /// Run a TCP balancer in front of API servers
    Balancer(balancer::Options),
    /// Back the cluster up, continuously or into one file
    Backup(backup::Options),
    /// Show what an object went through
    History(past::HistoryOptions),
    /// Show what differs between two moments
    Diff(past::DiffOptions),
    /// Make a part of a cluster that runs again what it was, or a new cluster out of a backup
    Restore(past::RestoreOptions),
    /// Take over the objects of another cluster
    Import(import::Options),
    /// Make a new cluster out of an old one's state: `trireme restore --from`
    #[command(name = forms::RESTORE_FROM)]
    RestoreFrom(restore::Options),
    /// Have things go wrong on a cluster for tests, and judge what its clients were told
    Chaos(chaos::Options),
    /// Print the version
    Version,
}

fn main() -> ExitCode {
    let cli = forms::parse(std::env::args_os().collect());
    if let Err(error) = start_logging(&cli.log) {
        return exit::code(Err(error));
    }
    exit::code(run(cli.command))
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up(options) => small_runtime()?.block_on(up::run(options)),
        Command::Down(options) => small_runtime()?.block_on(down::run(options)),
        Command::Status(options) => small_runtime()?.block_on(status::run(options)),
        Command::Pki(options) => pki::run(&options),
        Command::Server(options) => server::run(options),
        Command::Join(options) => join::run(options),
        Command::Token(options) => small_runtime()?.block_on(join::token::run(options)),
        Command::Member(options) => small_runtime()?.block_on(member::run(options)),
        Command::Apiserver(options) => server::run_stateless(options),
        Command::Agent(options) => small_runtime()?.block_on(async {
            let stop = lifetime::watch_for_end()?.stop;
            agent::run(options, stop).await
        }),
        Command::Balancer(options) => small_runtime()?.block_on(async {
            let stop = lifetime::watch_for_end()?.stop;
            balancer::run(options, stop).await
        }),
        Command::Backup(options) => small_runtime()?.block_on(backup::run(options)),
        Command::History(options) => small_runtime()?.block_on(past::history(options)),
        Command::Diff(options) => small_runtime()?.block_on(past::diff(options)),
        Command::Restore(options) => small_runtime()?.block_on(past::restore(options)),
        Command::Import(options) => small_runtime()?.block_on(import::run(options)),
        Command::RestoreFrom(options) => restore::run(&options),
        Command::Chaos(options) => small_runtime()?.block_on(chaos::run(options)),
        Command::Version => {
            println!("trireme {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    }
}

/// One thread: for commands that wait more than they work.
fn small_runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn start_logging(filter: &str) -> anyhow::Result<()> {
    use exit::ConfigContext;
    let filter = EnvFilter::try_new(filter).map_err(|e| anyhow::anyhow!("--log {filter:?}: {e}")).config()?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    Ok(())
}
