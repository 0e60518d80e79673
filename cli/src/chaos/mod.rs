//! `trireme chaos`: things go wrong on a cluster that runs, on purpose, and what its clients were told
//! is judged.
//!
//! ```text
//!   command ── orders (ConfigMaps in kube-system) ──► each master's own process ── does it to itself
//!      │  ◄──────────── answers: begun, ended, who leads, how it stands ────────────┘
//!      └── a client like any other: writes, reads, a watch ──► verdicts ──► a page
//! ```
//!
//! A kubeconfig reaches the API behind a balancer, and no chosen master: so masters look for orders
//! that name them. Whoever may write ConfigMaps in `kube-system` may give them. Everything that is done
//! is over at a moment that the master has fixed when it began, whether or not the command, the network
//! or the API is still there.
//!
//! **Invariant**: nothing is done to a machine, a disk or a clock that the master's own process does not
//! have, and nothing is done that the plan does not say.

pub(crate) mod again;
mod board;
mod compare;
mod course;
mod drill;
mod gate;
mod judge;
mod load;
mod order;
mod scenario;
mod show;
mod subject;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use tokio_util::sync::CancellationToken;
use trireme_chaos_report::Report;
use trireme_client::Kubeconfig;
use trireme_raft::FAULT_LASTS_MAX;

use crate::exit::CouldNot;
use board::{Board, Roll};
use course::Course;
use drill::Drill;
use scenario::{Plan, Scenario};
pub(crate) use subject::{GROUP, Subject, USER};

/// Further than that no clock is set.
const CLOCK_MAX: Duration = Duration::from_secs(3_600);

#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Show what can be played, and whether this cluster can do it now
    List(Box<ListOptions>),
    /// Play a scenario on a cluster that is not production, judge it, and write a page about it
    Run(Box<RunOptions>),
}

#[derive(Args, Debug)]
struct Target {
    /// As an administrator of the cluster
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    kubeconfig: PathBuf,
    /// [default: the kubeconfig's current one]
    #[arg(long)]
    context: Option<String>,
}

#[derive(Args, Debug)]
struct ListOptions {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    source: drill::Source,
}

#[derive(Args, Debug)]
struct RunOptions {
    scenario: Scenario,
    #[command(flatten)]
    target: Target,
    /// To whom it is done, by name [default: who leads the store]
    #[arg(long, value_name = "NAME")]
    member: Option<String>,
    /// For how long: a kill, a partition, a full disk, a wrong clock
    #[arg(long = "for", value_parser = lasts, value_name = "SECONDS")]
    lasts: Option<Duration>,
    /// How far a clock jumps, such as 600 or -600
    #[arg(long, default_value = "600", allow_hyphen_values = true, value_parser = clock, value_name = "SECONDS")]
    by: (Duration, bool),
    /// How long writes may stay away
    #[arg(long, default_value = "15", value_parser = lasts, value_name = "SECONDS")]
    within: Duration,
    /// Where the page goes [default: chaos-SCENARIO-TIME.html here]
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Also on a cluster that counts as production
    #[arg(long)]
    insist: bool,
    #[command(flatten)]
    source: drill::Source,
}

fn seconds(text: &str, most: Duration) -> Result<Duration, String> {
    let wrong = || format!("{text:?}: seconds are expected, above 0 and at most {}", most.as_secs());
    let number: f64 = text.strip_suffix('s').unwrap_or(text).parse().map_err(|_| wrong())?;
    let seconds = Duration::try_from_secs_f64(number).map_err(|_| wrong())?;
    if seconds < Duration::from_millis(1) || seconds > most { Err(wrong()) } else { Ok(seconds) }
}

fn lasts(text: &str) -> Result<Duration, String> {
    seconds(text, FAULT_LASTS_MAX)
}

/// How far, and whether backwards.
fn clock(text: &str) -> Result<(Duration, bool), String> {
    let (back, far) = match text.strip_prefix('-') {
        Some(far) => (true, far),
        None => (false, text),
    };
    Ok((seconds(far, CLOCK_MAX)?, back))
}

/// Exits with 0 when every promise was kept, with 1 when one was broken, with 2 when it could not be
/// played.
pub(crate) async fn run(options: Options) -> Result<()> {
    let kept = match options.command {
        Command::List(options) => list(&options).await.map(|()| true),
        Command::Run(options) => play(*options).await,
    };
    match kept {
        Ok(true) => Ok(()),
        Ok(false) => bail!("a promise was broken"),
        Err(error) => Err(CouldNot(error).into()),
    }
}

impl Target {
    fn board(&self) -> Result<Arc<Board>> {
        let config = Kubeconfig::load(&self.kubeconfig, self.context.as_deref())?;
        Ok(Arc::new(Board::new(Arc::new(config))?))
    }
}

/// How the masters stand; an error where there are none that know of this.
async fn roll_call(board: &Board) -> Result<Roll> {
    let roll = board.roll_call(false).await.with_context(|| format!("ask {}", board.server()))?;
    ensure!(
        !roll.masters.is_empty(),
        "no master of {} answered: it is no cluster of Trireme, or its version knows nothing of `trireme chaos`",
        board.server()
    );
    Ok(roll)
}

async fn list(options: &ListOptions) -> Result<()> {
    let board = options.target.board()?;
    let for_tests = gate::is_for_tests(&board).await?;
    let roll = roll_call(&board).await?;
    let leader = roll.leader().map_or("nobody", |leader| leader.name.as_str());
    let mut names: Vec<&str> = roll.masters.iter().map(|master| master.name.as_str()).collect();
    names.sort_unstable();
    println!("{}: {}; {leader} leads the store", board.server(), names.join(", "));
    if !for_tests {
        println!("{}", order::production("it"));
    }
    for scenario in Scenario::ALL {
        let mut why = scenario.obstacles(&roll);
        if scenario == Scenario::RestoreDrill
            && let Err(error) = options.source.words()
        {
            why.push(format!("{error:#}"));
        }
        println!("\n{:<16} {}", scenario.name(), scenario.summary());
        if why.is_empty() {
            println!("                 can be played now");
        }
        for why in why {
            println!("                 not now: {why}");
        }
    }
    Ok(())
}

async fn play(options: RunOptions) -> Result<bool> {
    let scenario = options.scenario;
    check(&options)?;
    let board = options.target.board()?;
    if !gate::is_for_tests(&board).await? && !options.insist {
        bail!("{}", order::production(board.server()));
    }
    let roll = roll_call(&board).await?;
    let obstacles = scenario.obstacles(&roll);
    ensure!(obstacles.is_empty(), "{} cannot be played now: {}", scenario.name(), obstacles.join("; "));
    let (plan, cluster) = plan(&options, &board, &roll)?;
    print!("{}", plan.text());
    if !options.yes {
        show::confirm()?;
    }
    let drill = match scenario {
        Scenario::RestoreDrill => Some(Drill::new(options.source.clone())?),
        _ => None,
    };
    let page = options.report.clone().unwrap_or_else(|| {
        let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
        format!("chaos-{}-{time}.html", scenario.name()).into()
    });
    // Whether it can be written is known before anything is done.
    std::fs::write(&page, "").with_context(|| format!("--report {}", page.display()))?;
    let stop = interrupted();
    let course = Course::new(board, plan, drill, cluster, options.insist, repeat(&options), stop);
    let report = match course.run().await {
        Ok(report) => report,
        Err(error) => {
            let _ = std::fs::remove_file(&page);
            return Err(error);
        }
    };
    std::fs::write(&page, report.page()).with_context(|| format!("write {}", page.display()))?;
    tell(&report, &page);
    Ok(report.passed())
}

/// What does not go together.
fn check(options: &RunOptions) -> Result<()> {
    let name = options.scenario.name();
    if let Some(member) = options.member.as_ref().filter(|_| !options.scenario.is_for_one()) {
        bail!("--member {member}: {name} is not done to one master");
    }
    if options.lasts.is_some() && !options.scenario.has_length() {
        bail!("--for: {name} has no length of its own");
    }
    Ok(())
}

/// The plan, and the id of the store's cluster.
fn plan(options: &RunOptions, board: &Board, roll: &Roll) -> Result<(Plan, String)> {
    let leader = roll.leader().context("nobody leads the store")?;
    let members = match (options.scenario, &options.member) {
        (Scenario::RestoreDrill, _) => Vec::new(),
        (Scenario::RollingRestart, _) => {
            // Who leads comes last: leadership changes hands once.
            let mut names: Vec<String> = leader.members.clone();
            names.sort_by_key(|name| (*name == leader.name, name.clone()));
            names
        }
        (_, None) => vec![leader.name.clone()],
        (_, Some(name)) => {
            let mut known: Vec<&str> = roll.masters.iter().map(|master| master.name.as_str()).collect();
            known.sort_unstable();
            ensure!(roll.find(name).is_some(), "--member {name}: the members are {}", known.join(", "));
            vec![name.clone()]
        }
    };
    let source = match options.scenario {
        Scenario::RestoreDrill => options.source.words()?,
        _ => String::new(),
    };
    let plan = Plan {
        scenario: options.scenario,
        cluster: board.server().to_owned(),
        members,
        to_leader: options.member.is_none() && options.scenario.is_for_one(),
        leader: leader.name.clone(),
        lasts: options.lasts.unwrap_or_else(|| options.scenario.lasts()),
        by: options.by.0,
        back: options.by.1,
        source,
        within: options.within,
    };
    Ok((plan, leader.cluster.clone()))
}

/// The command that does the same again, but for what it has from the environment.
fn repeat(options: &RunOptions) -> String {
    let mut line = format!(
        "trireme chaos run {} --kubeconfig {}",
        options.scenario.name(),
        options.target.kubeconfig.display()
    );
    if let Some(context) = &options.target.context {
        line += &format!(" --context {context}");
    }
    if options.insist {
        line += " --insist";
    }
    line += &format!(" --within {}", options.within.as_secs_f64());
    if options.scenario == Scenario::RestoreDrill {
        line += &options.source.repeat();
    }
    if let Some(member) = &options.member {
        line += &format!(" --member {member}");
    }
    if let Some(lasts) = options.lasts {
        line += &format!(" --for {}", lasts.as_secs_f64());
    }
    if options.scenario == Scenario::ClockJump {
        line += &format!(" --by {}{}", if options.by.1 { "-" } else { "" }, options.by.0.as_secs_f64());
    }
    line
}

/// Cancelled by Ctrl-C and SIGTERM; a second one leaves at once.
fn interrupted() -> CancellationToken {
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        let Ok(end) = crate::lifetime::watch_for_end() else { return };
        end.stop.cancelled().await;
        eprintln!("interrupted: what was done is taken back, and judged; again to leave at once");
        told.cancel();
        let _ = tokio::signal::ctrl_c().await;
        eprintln!("trireme: left: masters end by their own timers what they have begun");
        std::process::exit(i32::from(crate::exit::COULD_NOT));
    });
    stop
}

fn tell(report: &Report, page: &std::path::Path) {
    for line in &report.lead {
        println!("{line}");
    }
    print!("{}", report.words());
    println!("report: {}", page.display());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_read_and_wrong_ones_named() {
        assert_eq!(lasts("10"), Ok(Duration::from_secs(10)));
        assert_eq!(lasts("2.5s"), Ok(Duration::from_millis(2_500)));
        for wrong in ["0", "301", "-1", "soon", "", "NaN", "inf"] {
            assert!(lasts(wrong).is_err_and(|error| error.contains(&format!("{wrong:?}"))), "{wrong}");
        }
        assert_eq!(clock("-600"), Ok((Duration::from_secs(600), true)));
        assert_eq!(clock("600"), Ok((Duration::from_secs(600), false)));
        assert!(clock("--600").is_err() && clock("3601").is_err());
    }
}
