//! `trireme restore` of a cluster that runs: a namespace or an object becomes again what it was.
//!
//! ```text
//!   then, now ──► plan ──► shown, with the server's word to a dry run ──► confirmed ──► written
//!                  ▲                                                                      │
//!                  └───────────── somebody else wrote: once more for that object ─────────┘
//! ```
//!
//! It can be run again: what is done is then as it was.

mod clean;
mod keep;
mod observe;
mod owners;
mod plan;
mod report;
mod volumes;
mod write;

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use http::Method;
use indicatif::ProgressBar;
use tokio::time::{Instant, sleep};
use trireme_client::{Client, Kubeconfig};

use super::kinds::{Kinds, ObjectId};
use super::moment::{When, parse};
use super::now_ms;
use super::open::{Pasts, Source, State, describe};
use crate::exit::ConfigContext;
use crate::forms;
use crate::progress::{Bar, Unit};
use observe::{Absent, Scope, World, observe};
use plan::{Action, Plan, Step, Verdict, Wishes};
use write::{Check, Failure, Writer};

/// Between looks at a namespace that is going.
const POLL: Duration = Duration::from_millis(200);

#[derive(Args, Debug)]
#[command(override_usage = forms::USAGE, after_help = forms::ABOUT)]
pub(crate) struct Options {
    /// One object: deployment/web. Without it, all of --namespace
    #[arg(value_name = "KIND/NAME")]
    target: Option<String>,
    /// The namespace to restore, or the one that the object is in
    #[arg(short, long)]
    namespace: Option<String>,
    /// The moment: 2026-11-20T10:42:00Z, -2h, "10m ago", revision:N
    #[arg(long, value_parser = parse, allow_hyphen_values = true, value_name = "MOMENT")]
    at: Option<When>,
    /// The same as --at revision:N
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..), conflicts_with = "at")]
    revision: Option<i64>,
    /// Delete what was not there
    #[arg(long)]
    delete_new: bool,
    /// Delete and create what cannot be changed
    #[arg(long)]
    recreate: bool,
    /// Go on although the server refuses some of it
    #[arg(long)]
    skip_refused: bool,
    /// Show the plan and end
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Show each change line by line
    #[arg(long)]
    full: bool,
    /// Seconds to wait for what is still being deleted
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=3600))]
    wait: u64,
    /// Whose rights it is done with. Without it: the administrator's of the cluster in --dir, else
    /// what $KUBECONFIG names
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
}

impl Options {
    /// Whether it says what is to be restored.
    pub(crate) fn names_something(&self) -> bool {
        self.target.is_some() || self.namespace.is_some()
    }

    fn scope(&self) -> Result<Scope> {
        match (&self.target, &self.namespace) {
            (Some(target), namespace) => {
                Ok(Scope::Object(target.clone(), namespace.clone().unwrap_or_else(|| "default".into())))
            }
            (None, Some(namespace)) if !namespace.is_empty() && !namespace.contains('/') => {
                Ok(Scope::Namespace(namespace.clone()))
            }
            (None, Some(namespace)) => {
                bail!("--namespace {namespace:?}: the name of a namespace is expected")
            }
            (None, None) => {
                bail!("what is to be restored? KIND/NAME or --namespace is missing\n{}", forms::BOTH)
            }
        }
    }

    fn moment(&self) -> Result<When> {
        match (self.at, self.revision) {
            (Some(at), _) => Ok(at),
            (None, Some(revision)) => Ok(When::Revision(revision)),
            (None, None) => bail!("--at MOMENT or --revision N is needed: what it was when?"),
        }
    }
}

pub(super) async fn run(options: Options) -> Result<()> {
    let (scope, moment) = (options.scope().config()?, options.moment().config()?);
    let pasts = options.source.open()?;
    let client = client(&options, &pasts)?;
    same_cluster(&client, &pasts).await?;
    let at = moment.from(now_ms());
    let then = pasts.at(at).await?;
    let wishes = Wishes { recreate: options.recreate, delete_new: options.delete_new };
    let world = observe(&scope, &then, &pasts.now().await?).await?;
    let planned = plan::plan(&world.kinds, &world.observed, wishes);
    let patience = Duration::from_secs(options.wait);
    let refused = show(&client, &world, &planned, &options).await?;
    if planned.steps.is_empty() {
        println!("nothing is to be done: all that can be restored is as it was at {}", describe(at));
        return Ok(());
    }
    if refused > 0 && !options.skip_refused {
        let message = format!(
            "{refused} writes would be refused: nothing was changed; --skip-refused restores the rest"
        );
        if options.dry_run {
            println!("{message}");
            return Ok(());
        }
        bail!(message);
    }
    if !confirmed(&options)? {
        println!("nothing was changed");
        return Ok(());
    }
    let restore = Restore { scope, then, pasts, client, wishes, patience, options };
    restore.carry_out(world, planned).await
}

/// The API, with the rights of whoever restores.
fn client(options: &Options, pasts: &Pasts) -> Result<Client> {
    let own = options.kubeconfig.clone().or_else(|| pasts.reached.kubeconfig.clone());
    let path = own.or_else(|| std::env::var_os("KUBECONFIG").map(PathBuf::from));
    let path = path
        .context("--kubeconfig is needed: changes go through the API, with the rights of somebody")
        .config()?;
    let kubeconfig = Kubeconfig::load(&path, None).config()?;
    let transport = kubeconfig.transport(concat!("trireme-restore/", env!("CARGO_PKG_VERSION"))).config()?;
    Ok(Client::new(transport))
}

/// The kubeconfig may be of another cluster than the store: what is compared here would be written
/// there.
async fn same_cluster(client: &Client, pasts: &Pasts) -> Result<()> {
    let named = "kube-system";
    let written = client.raw(Method::GET, &format!("/api/v1/namespaces/{named}"), None).await;
    let written = written.context("the API server does not answer")?;
    let (kinds, now) = (Kinds::built_in(), pasts.now().await?);
    let row = kinds.find("namespaces").map_err(anyhow::Error::msg)?;
    let read = observe::one(row, &ObjectId::new("namespaces", "", named), &now).await?;
    if read.is_none_or(|read| read.uid() != written.uid()) {
        return Err(anyhow::anyhow!(
            "the kubeconfig leads to another cluster than the store: give --kubeconfig"
        ))
        .config();
    }
    Ok(())
}

/// Prints the plan; how many of its writes the server would refuse.
async fn show(client: &Client, world: &World, planned: &Plan, options: &Options) -> Result<usize> {
    let checks = check(client, world, planned).await?;
    Ok(report::plan(planned, &checks, options.full))
}

/// The server's word to each write, in the plan's order.
async fn check(client: &Client, world: &World, planned: &Plan) -> Result<Vec<Check>> {
    let writer = Writer { client, kinds: &world.kinds, patience: Duration::ZERO, uids: Default::default() };
    let bar = Bar::new("dry run", planned.steps.len() as u64, Unit::Things("objects"));
    let mut checks = Vec::with_capacity(planned.steps.len());
    for step in &planned.steps {
        let check = match premature(world, planned, step) {
            Some(why) => Check::Unchecked(why),
            None => writer.check(step).await,
        };
        checks.push(check);
        bar.inc(1);
    }
    bar.end();
    Ok(checks)
}

/// Why the server cannot judge a write before others were made.
fn premature(world: &World, planned: &Plan, step: &Step) -> Option<&'static str> {
    let makes = |resource: &str, name: &str| {
        let made = |other: &&Step| other.id.resource == resource && other.id.name == name;
        planned.steps.iter().find(made).is_some_and(|other| other.action == Action::Create)
    };
    if !step.id.namespace.is_empty() && world.namespace.as_ref().is_some_and(|(_, absent)| absent.is_some()) {
        return Some("their namespace is not there");
    }
    if makes("customresourcedefinitions.apiextensions.k8s.io", &step.id.resource) {
        return Some("their kind is not defined");
    }
    let account = step.object["spec"]["serviceAccountName"].str_or_empty();
    if step.id.resource == "pods" && makes("serviceaccounts", account) {
        return Some("their ServiceAccount is not there");
    }
    None
}

fn confirmed(options: &Options) -> Result<bool> {
    if options.yes || options.dry_run {
        return Ok(options.yes);
    }
    if !std::io::stdin().is_terminal() {
        println!("this was a dry run: --yes does it");
        return Ok(false);
    }
    print!("do this? Type yes: ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

struct Restore {
    scope: Scope,
    then: State,
    pasts: Pasts,
    client: Client,
    wishes: Wishes,
    patience: Duration,
    options: Options,
}

/// What became of the steps.
#[derive(Default)]
struct Outcome {
    done: Vec<String>,
    /// With the reason.
    not_done: Vec<String>,
}

impl Restore {
    async fn carry_out(&self, world: World, planned: Plan) -> Result<()> {
        let (world, planned, mut outcome) = match world.namespace.clone() {
            Some((name, Some(absent))) => self.open_namespace(&name, absent, world, planned).await?,
            _ => (world, planned, Outcome::default()),
        };
        let (client, kinds) = (&self.client, &world.kinds);
        let mut writer = Writer { client, kinds, patience: self.patience, uids: Default::default() };
        let bar = Bar::new("restoring", planned.steps.len() as u64, Unit::Things("objects"));
        for step in &planned.steps {
            self.one(&mut writer, &world, step, &mut outcome).await;
            bar.inc(1);
        }
        bar.end();
        finish(&outcome, &planned)
    }

    /// Makes the namespace, so that the server can be asked about what is to come into it.
    async fn open_namespace(
        &self,
        name: &str,
        absent: Absent,
        world: World,
        planned: Plan,
    ) -> Result<(World, Plan, Outcome)> {
        if absent == Absent::Ending {
            self.await_namespace(name).await?;
        }
        let mut outcome = Outcome::default();
        let mut writer = Writer {
            client: &self.client,
            kinds: &world.kinds,
            patience: self.patience,
            uids: Default::default(),
        };
        let own = planned.steps.iter().find(|step| step.id.resource == "namespaces");
        if let Some(step) = own {
            self.one(&mut writer, &world, step, &mut outcome).await;
        }
        if let Some(refused) = outcome.not_done.first() {
            bail!("{refused}: nothing was changed");
        }
        let world = observe(&self.scope, &self.then, &self.pasts.now().await?).await?;
        let planned = plan::plan(&world.kinds, &world.observed, self.wishes);
        let checks = check(&self.client, &world, &planned).await?;
        let refused = |(step, check): (&Step, &Check)| match check {
            Check::Refused(why) => Some(format!("{}: {why}", step.id)),
            _ => None,
        };
        let refused: Vec<String> = planned.steps.iter().zip(&checks).filter_map(refused).collect();
        if !refused.is_empty() && !self.options.skip_refused {
            refused.iter().for_each(|line| println!("WOULD BE REFUSED: {line}"));
            bail!(
                "the namespace {name} was made, and nothing in it: {} writes would be refused; --skip-refused \
                 restores the rest",
                refused.len()
            );
        }
        Ok((world, planned, outcome))
    }

    async fn await_namespace(&self, name: &str) -> Result<()> {
        let deadline = Instant::now() + self.patience;
        let path = format!("/api/v1/namespaces/{name}");
        let bar = ProgressBar::new_spinner();
        bar.set_message(format!("the namespace {name} is still being deleted"));
        loop {
            bar.tick();
            match self.client.raw(Method::GET, &path, None).await {
                Err(error) if error.is_not_found() => return Ok(()),
                Ok(found) if Instant::now() >= deadline => {
                    let told = found.status()["conditions"].items().iter();
                    let told = told.filter(|condition| condition["status"] == *"True");
                    let told: Vec<&str> = told.map(|condition| condition["message"].str_or_empty()).collect();
                    bail!(
                        "the namespace {name} is still being deleted, nothing was changed: {}",
                        if told.is_empty() {
                            "run this again when it is gone".to_owned()
                        } else {
                            told.join("; ")
                        }
                    );
                }
                Ok(_) => sleep(POLL).await,
                Err(error) => return Err(error).context("the namespace"),
            }
        }
    }

    /// Does one step; once more, planned anew, if somebody else wrote in between.
    async fn one(&self, writer: &mut Writer<'_>, world: &World, step: &Step, outcome: &mut Outcome) {
        let failure = match writer.carry_out(step).await {
            Ok(()) => {
                outcome.done.push(format!("{} {}", step.action.done(), step.id));
                return;
            }
            Err(failure) => failure,
        };
        let why = match failure {
            Failure::Refused(why) => format!("{}: refused: {why}", step.id),
            Failure::Blocked(why) => format!("{}: {why}", step.id),
            Failure::Again(why) => match self.again(writer, world, step).await {
                Ok(what) => {
                    outcome.done.push(format!("{what} {}", step.id));
                    return;
                }
                Err(error) => format!("{}: {why}; planned once more: {error:#}", step.id),
            },
        };
        outcome.not_done.push(why);
    }

    /// Plans one object anew, from what there is now, and does that. What was done.
    async fn again(&self, writer: &mut Writer<'_>, world: &World, step: &Step) -> Result<&'static str> {
        let row = world.kinds.get(&step.id.resource).context("its kind is not known")?;
        let now = self.pasts.now().await?;
        let mut observed = world.observed.clone();
        observed.now.remove(&step.id);
        if let Some(is) = observe::one(row, &step.id, &now).await? {
            observed.now.insert(step.id.clone(), is);
        }
        let made = writer.uids.keys().cloned().collect();
        match plan::plan_one(&world.kinds, &observed, &made, self.wishes, &step.id) {
            Verdict::Same | Verdict::Nothing => {
                if let Some(is) = observed.now.get(&step.id) {
                    writer.uids.insert(step.id.clone(), is.uid().to_owned());
                }
                Ok("as it was:")
            }
            Verdict::Leave(why) => bail!(why),
            Verdict::Do(step) => match writer.carry_out(&step).await {
                Ok(()) => Ok(step.action.done()),
                Err(Failure::Again(why) | Failure::Refused(why) | Failure::Blocked(why)) => bail!(why),
            },
        }
    }
}

fn finish(outcome: &Outcome, planned: &Plan) -> Result<()> {
    outcome.done.iter().for_each(|line| println!("{line}"));
    outcome.not_done.iter().for_each(|line| println!("NOT DONE {line}"));
    println!(
        "{} done, {} not done, {} left, {} were as they should be",
        outcome.done.len(),
        outcome.not_done.len(),
        planned.left.len(),
        planned.same
    );
    if !outcome.not_done.is_empty() {
        bail!("{} writes were not done: running this again continues", outcome.not_done.len());
    }
    Ok(())
}
