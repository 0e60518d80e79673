//! `trireme member recover`: a cluster goes on with what one survivor holds.
//!
//! ```text
//!   <data>/store ──survey──► shown; confirmed?
//!   <data>/store.recovered   made: every entry of the log, the survivor alone, another cluster
//!   <data>/store ──► <data>/store.before-<time>, store.recovered ──► store, <pki>/cluster renamed
//! ```
//!
//! Each step may be interrupted; the same command goes on. Until it is done, a mark keeps the server
//! from starting. Of a survivor whose data is not whole it is told what is lost, and nothing is done.

mod lost;

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use trireme_raft::{Damaged, Founder, Identity, MemberNode, OfflineError, Stopped, Survey};

use crate::exit::ConfigContext;
use crate::join::Facts;
use crate::pki::{Pki, write_private};
use crate::restore::{self, Progress, show};
use crate::server::{STORE_DIR, master::open_engine};
use crate::unfinished::{self, Begun};

const NEW: &str = "store.recovered";
const SCRATCH: &str = "store.recovering";
const SCRATCH_OTHER: &str = "store.comparing";
const BEFORE: &str = "store.before-";
/// All that is lost, in the data directory.
const LOST: &str = "lost.txt";

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Data directory of the survivor, which must not run
    #[arg(long)]
    data_dir: PathBuf,
    /// The cluster's authorities on this machine [default: <data-dir>/pki]
    #[arg(long)]
    pki_dir: Option<PathBuf>,
    /// Data directories of the other survivors, or copies of them, which must not run: what each holds
    /// is shown, and where one holds more than this one, nothing is done
    #[arg(long, value_name = "DIR", value_delimiter = ',')]
    survivors: Vec<PathBuf>,
    /// Where the log is damaged and the state is whole: go on without what is told to be lost
    #[arg(long)]
    accept_loss: bool,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let place = Place::find(options).config()?;
    if let Some(recovered) = place.interrupted()? {
        println!("going on where it was interrupted");
        return place.finish(&recovered);
    }
    let mut progress = Progress::new();
    let stopped = match place.survey(&mut progress)? {
        Ok(stopped) => {
            progress.end();
            print!("{}", report(&stopped.survey));
            if stopped.survey.is_alone() {
                println!("\nnobody is to be forgotten: this member is the only one. Start it.");
                return place.clean();
            }
            place.compare(Some(stopped.survey.last), &options.survivors, &mut progress)?;
            stopped
        }
        Err(damage) => place.tell_lost(&damage, options, &mut progress)?,
    };
    let survey = &stopped.survey;
    println!("\n{}", warning(survey));
    if !options.yes && !confirmed(&survey.cluster)? {
        println!("nothing was changed");
        return place.clean();
    }
    let own = survey.own().map(|own| own.node.clone()).unwrap_or_else(|| place.unknown_node());
    unfinished::mark(&place.data_dir, Begun::Recovery)?;
    let made = place.make(&stopped, own, &mut progress);
    progress.end();
    let (cluster, made) = made?;
    drop(stopped);
    print!("{}", restore::summary(&cluster, &made, &progress.figure()));
    place.finish(&cluster)
}

/// The directories of a master.
struct Place {
    data_dir: PathBuf,
    pki_dir: PathBuf,
}

impl Place {
    fn find(options: &Options) -> Result<Place> {
        let data_dir = crate::up::absolute(&options.data_dir)?;
        let pki_dir = options.pki_dir.clone().unwrap_or_else(|| data_dir.join("pki"));
        let place = Place { data_dir, pki_dir };
        if !unfinished::is_marked(&place.data_dir, Begun::Recovery) {
            unfinished::refuse(&place.data_dir)?;
        }
        if !place.store().exists() && place.set_aside()?.is_none() {
            bail!("--data-dir {}: there is no master's data in it", place.data_dir.display());
        }
        if !Pki::is_complete(&place.pki_dir) {
            bail!("{} holds no authorities of a cluster: give --pki-dir", place.pki_dir.display());
        }
        // Its name must be changed at the end: better to know now that it cannot.
        let probe = place.pki_dir.join(".writable");
        std::fs::write(&probe, "")
            .and_then(|()| std::fs::remove_file(&probe))
            .with_context(|| format!("{} must be writable: it names the cluster", place.pki_dir.display()))?;
        Ok(place)
    }

    fn store(&self) -> PathBuf {
        self.data_dir.join(STORE_DIR)
    }

    fn new_store(&self) -> PathBuf {
        self.data_dir.join(NEW)
    }

    /// What an earlier run has set aside, the newest of it.
    fn set_aside(&self) -> Result<Option<PathBuf>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.data_dir)
            .with_context(|| format!("--data-dir {}", self.data_dir.display()))?
        {
            let path = entry.context("read the data directory")?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with(BEFORE) {
                found.push(path);
            }
        }
        Ok(found.into_iter().max())
    }

    /// The name of a cluster whose making got so far that it is only to be put in place.
    fn interrupted(&self) -> Result<Option<String>> {
        if !unfinished::is_marked(&self.data_dir, Begun::Recovery) {
            return Ok(None);
        }
        let named = |dir: &Path| -> Result<Option<String>> {
            Ok(Identity::read(dir).config()?.map(|identity| identity.cluster))
        };
        if self.store().exists() {
            // Whole and not in place, or in place and its cluster's name not changed yet.
            let name = named(&self.store())?.context("the store has no identity")?;
            let is_old = read_name(&self.pki_dir)? == name;
            let is_new = self.set_aside()?.is_some() && !is_old;
            return Ok(is_new.then_some(name));
        }
        named(&self.new_store())
    }

    /// The survivor, or its damage.
    fn survey(&self, progress: &mut Progress) -> Result<Result<Stopped, OfflineError>> {
        self.clean()?;
        let store = self.store();
        let mut show = |work| progress.did(work);
        match Stopped::open(&store, &self.data_dir.join(SCRATCH), &restore::open_copy, true, &mut show) {
            Err(error) if !error.is_damage() => Err(restore::explain(&store, error)),
            opened => Ok(opened),
        }
    }

    /// Says what is lost. What is left, where that is to be gone on with.
    ///
    /// # Errors
    /// Otherwise, with what can be done next.
    fn tell_lost(
        &self,
        damage: &OfflineError,
        options: &Options,
        progress: &mut Progress,
    ) -> Result<Stopped> {
        progress.end();
        println!("this master's data is damaged: {damage}\n");
        let damaged = look(&self.store(), &self.data_dir.join(SCRATCH), progress)?;
        let (report, file) = (lost::Report::of(&damaged), self.data_dir.join(LOST));
        write_private(&file, report.all().as_bytes())?;
        println!("{}\nall of it: {}", report.shown(&file), file.display());
        let (is_left, rest) = (damaged.rest.is_some(), damaged.rest.filter(|_| options.accept_loss));
        self.compare(rest.as_ref().map(|rest| rest.survey.last), &options.survivors, progress)?;
        if let Some(rest) = rest {
            return Ok(rest);
        }
        self.clean()?;
        let (data, pki) = (self.data_dir.display(), self.pki_dir.display());
        let this = format!("trireme member recover --data-dir {data} --pki-dir {pki}");
        let alone = match is_left {
            true => format!("\n  without what is lost, since the state is whole:\n    {this} --accept-loss"),
            false => String::new(),
        };
        bail!(
            "the data in {data} is not whole, and nothing was changed. What can be done:\n  \
               with another master's data, or a copy of it, which may have what is lost here:\n    \
                 {this} --survivors DIR,…\n  \
               with a backup, into an empty directory:\n    \
                 trireme restore --from LOCATION --key-file FILE --data-dir DIR --name NAME --pki-from {pki}\
               {alone}"
        )
    }

    /// Shows what the other survivors hold, beside the `last` entry here; `None`: this one is damaged.
    ///
    /// # Errors
    /// When one of them holds more: it is the one to go on with.
    fn compare(&self, last: Option<(u64, u64)>, others: &[PathBuf], progress: &mut Progress) -> Result<()> {
        let own = Identity::read(&self.store()).config()?.context("the store has no identity")?;
        let mut better: Option<((u64, u64), &PathBuf)> = None;
        for dir in others {
            let scratch = self.data_dir.join(SCRATCH_OTHER);
            remove(&scratch)?;
            let store =
                Some(dir.join(STORE_DIR)).filter(|store| store.exists()).unwrap_or_else(|| dir.clone());
            let mut show = |work| progress.did(work);
            let opened = Stopped::open(&store, &scratch, &restore::open_copy, true, &mut show);
            progress.end();
            let other = match opened {
                Ok(opened) => opened.survey.clone(),
                Err(error) if error.is_damage() => {
                    let told = look(&store, &scratch, progress).map(|damaged| lost::short(&damaged));
                    let told = told.unwrap_or_else(|_| error.to_string());
                    println!("survivor       {}: damaged: {told}", dir.display());
                    remove(&scratch)?;
                    continue;
                }
                Err(error) => {
                    remove(&scratch)?;
                    return Err(restore::explain(&store, error)).config();
                }
            };
            remove(&scratch)?;
            if other.cluster != own.cluster || other.member == own.member {
                let what = match other.cluster == own.cluster {
                    true => format!("it is member {} too, the one that is to be recovered", other.member),
                    false => format!("it belongs to cluster {}, not to {}", other.cluster, own.cluster),
                };
                return Err(anyhow::anyhow!("--survivors {}: {what}", dir.display())).config();
            }
            let (term, index) = other.last;
            let holds = match last.map(|last| other.last.cmp(&last)) {
                None => "whole",
                Some(std::cmp::Ordering::Greater) => "more than this one",
                Some(std::cmp::Ordering::Equal) => "the same",
                Some(std::cmp::Ordering::Less) => "less",
            };
            println!(
                "survivor       {} ({}): last entry {index} of term {term}, revision {}: {holds}",
                other.own().map_or_else(|| other.member.to_string(), |node| node.node.name.clone()),
                dir.display(),
                other.applied.revision
            );
            if last.is_none_or(|last| last < other.last) && better.is_none_or(|(last, _)| last < other.last) {
                better = Some((other.last, dir));
            }
        }
        let Some((_, dir)) = better else { return Ok(()) };
        self.clean()?;
        let why = if last.is_some() {
            "holds entries that this one lacks"
        } else {
            "is whole, and this one is not"
        };
        bail!(
            "{} {why}: recover there, or leave it out of --survivors if it is lost; nothing was changed",
            dir.display()
        )
    }

    /// Where a member does not find itself in the membership.
    fn unknown_node(&self) -> MemberNode {
        let name = self.data_dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        MemberNode { name, ..MemberNode::default() }
    }

    /// Makes the new member beside the old one.
    fn make(
        &self,
        stopped: &Stopped,
        own: MemberNode,
        progress: &mut Progress,
    ) -> Result<(String, trireme_store::Reborn)> {
        remove(&self.new_store())?;
        let cluster = Pki::draw_name();
        progress.expect(stopped.store.raw_bytes());
        let founder = Founder { data_dir: self.new_store(), node: own };
        let rebirth = restore::rebirth();
        let made = trireme_raft::found(
            &stopped.store,
            &cluster,
            &[founder],
            rebirth,
            &open_engine(),
            &mut |work| progress.did(work),
        )?;
        Ok((cluster, made))
    }

    /// Puts the new member in the old one's place. Each step may have been done before.
    fn finish(&self, cluster: &str) -> Result<()> {
        remove(&self.data_dir.join(SCRATCH))?;
        let (store, new) = (self.store(), self.new_store());
        if new.exists() {
            if store.exists() {
                let aside = self.data_dir.join(format!("{BEFORE}{}", stamp()));
                rename(&store, &aside)?;
                unfinished::sync(&self.data_dir)?;
            }
            rename(&new, &store)?;
            unfinished::sync(&self.data_dir)?;
        }
        Facts::forget_peers(&self.data_dir)?;
        // The last step: from here on the member is that of the cluster that its authorities name.
        Pki::rename(&self.pki_dir, cluster)?;
        unfinished::sync(&self.pki_dir)?;
        unfinished::clear(&self.data_dir)?;
        println!(
            "this master is alone in cluster {cluster} now; what it had is kept in {}\n\
             start it as before, without the others in --initial-cluster; then, for each new master:\n  \
               trireme token create --pki-dir {} --endpoints ADDRESS:2379 --server https://ADDRESS:6443\n\
             a forgotten master can only come back with an empty data directory, by joining",
            self.set_aside()?.unwrap_or_default().display(),
            self.pki_dir.display()
        );
        Ok(())
    }

    fn clean(&self) -> Result<()> {
        remove(&self.data_dir.join(SCRATCH))?;
        remove(&self.new_store())?;
        unfinished::clear(&self.data_dir)
    }
}

/// Looks at damaged data through copies in `scratch`.
fn look(store: &Path, scratch: &Path, progress: &mut Progress) -> Result<Damaged> {
    remove(scratch)?;
    let mut show = |work| progress.did(work);
    let damaged = Damaged::look(store, scratch, &restore::read_damaged, &restore::open_copy, &mut show);
    progress.end();
    damaged.map_err(|error| restore::explain(store, error))
}

fn read_name(pki_dir: &Path) -> Result<String> {
    let path = pki_dir.join("cluster");
    Ok(std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?.trim().to_owned())
}

fn remove(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).with_context(|| format!("move {} to {}", from.display(), to.display()))
}

/// A name for what is set aside: the newest is last.
fn stamp() -> String {
    jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// What a survivor holds, for comparison with the others.
fn report(survey: &Survey) -> String {
    let (term, index) = survey.last;
    let name = survey.own().map_or("not known to the cluster", |own| own.node.name.as_str());
    let vote = survey.voted_for.map_or("nobody".to_owned(), |member| member.to_string());
    let mut text = format!("cluster        {}\n", survey.cluster);
    let mut line = |what: &str, value: String| text += &format!("{what:<14} {value}\n");
    line("member", format!("{} ({name})", survey.member));
    line("term", format!("{}, voted for {vote}", survey.term));
    line(
        "last entry",
        format!(
            "{index} of term {term}   <- the best survivor has the highest term here, then the highest index"
        ),
    );
    line("committed", format!("{} as it last heard", survey.committed));
    line(
        "on the disk",
        format!(
            "applied {}, revision {}",
            survey.on_disk.position.map_or(0, |at| at.index),
            survey.on_disk.revision
        ),
    );
    line(
        "with its log",
        format!("revision {}, state of {}", survey.applied.revision, show(survey.applied.time_ms)),
    );
    line(
        "data",
        match &survey.noted {
            None => "checked, whole".to_owned(),
            Some(noted) => format!("checked, whole; but the member had noted: {noted}"),
        },
    );
    for member in &survey.members {
        let votes = if member.votes { "votes" } else { "learns" };
        let this = if member.id == survey.member { "   <- this one" } else { "" };
        line(
            "knows",
            format!("{} {:<16} {:<22} {votes}{this}", member.id, member.node.name, member.node.peer_address),
        );
    }
    text
}

fn warning(survey: &Survey) -> String {
    let past = survey.last.1.saturating_sub(survey.committed);
    let others: Vec<&str> = survey
        .members
        .iter()
        .filter(|member| member.id != survey.member)
        .map(|member| member.node.name.as_str())
        .collect();
    if others.is_empty() {
        return format!(
            "Recovery goes on with what is left, up to entry {} of term {}, as another cluster.\n\
             Lost is what is told above.",
            survey.last.1, survey.last.0
        );
    }
    format!(
        "Recovery forgets {} and goes on with what is shown above, as another cluster.\n\
         Lost is every write that others acknowledged and that never reached this member: those after entry \
         {} of term {}.\n\
         Kept are all entries of its log, the last {past} of them perhaps never acknowledged to anyone.\n\
         Do this only when most members are lost for good: while they can come back, start them instead.",
        others.join(", "),
        survey.last.1,
        survey.last.0
    )
}

fn confirmed(cluster: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        println!("give --yes to do it");
        return Ok(false);
    }
    print!("Type the cluster's name to go on: ");
    std::io::stdout().flush().context("print")?;
    let mut typed = String::new();
    std::io::stdin().lock().read_line(&mut typed).context("read the answer")?;
    Ok(typed.trim() == cluster)
}
