//! `trireme import etcd`: the objects of another cluster, from its etcd or a snapshot file of it,
//! into a running cluster of ours.
//!
//! ```text
//!   source ──► judge, convert ──► sorted by age, on the disk ──► conflicts? ──► written, owners first
//! ```
//!
//! Nothing is written before all was read and judged. While objects are written, the importer
//! leads in the controllers' and the scheduler's place: they would act on what is half there, and
//! collect dependents whose owners are still to come.

mod convert;
mod hold;
mod judge;
mod report;
mod source;
mod spool;
mod target;

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use trireme_bolt::etcd::Snapshot;

use crate::exit::ConfigContext;
use crate::progress::{Bar, Unit, count};
use judge::{Rules, Verdict};
use report::Report;
use source::Reader;
use spool::Spool;
use target::Target;

/// Under which Trireme's own servers look for objects; upstream's default.
const PREFIX: &str = "/registry/";

#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(subcommand)]
    from: From,
}

#[derive(Subcommand, Debug)]
enum From {
    /// From the etcd of a Kubernetes cluster, or a snapshot file of it
    Etcd(EtcdOptions),
}

#[derive(Args, Debug)]
struct EtcdOptions {
    /// A snapshot file (`etcdctl snapshot save`), or the database of an etcd that is stopped
    #[arg(long, required_unless_present = "endpoints", conflicts_with = "endpoints")]
    file: Option<PathBuf>,
    /// A running etcd: HOST:PORT,…
    #[arg(long, value_delimiter = ',', requires_all = ["cacert", "cert", "key"], value_name = "HOST:PORT")]
    endpoints: Vec<String>,
    /// The authority of that etcd's certificates
    #[arg(long)]
    cacert: Option<PathBuf>,
    /// A client certificate that it accepts
    #[arg(long)]
    cert: Option<PathBuf>,
    /// The certificate's key
    #[arg(long)]
    key: Option<PathBuf>,
    /// What the source's keys begin with
    #[arg(long, default_value = PREFIX)]
    prefix: String,
    #[command(flatten)]
    target: target::Options,
    /// Replace objects of the same name
    #[arg(long)]
    overwrite: bool,
    /// Read and judge everything, and write nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(options: Options) -> Result<()> {
    let From::Etcd(options) = options.from;
    let prefix = format!("{}/", options.prefix.trim_end_matches('/'));
    let target = Target::connect(&options.target)?;
    if let Some(path) = &options.file {
        let file = File::open(path).with_context(|| path.display().to_string()).config()?;
        let snapshot = Snapshot::open(file).with_context(|| path.display().to_string())?;
        if !snapshot.db().is_verified() {
            // No digest vouches for it: at least its pages must fit together.
            snapshot.db().check().with_context(|| path.display().to_string())?;
            eprintln!("{} carries no SHA-256: a changed value would not be noticed", path.display());
        }
        println!("{}: revision {}", path.display(), snapshot.revision);
        let live = snapshot.live(|key| key.starts_with(prefix.as_bytes()))?;
        return transfer(Reader::file(live), &prefix, &target, &options).await;
    }
    let reader = Reader::connect(&options, &prefix).await?;
    transfer(reader, &prefix, &target, &options).await
}

async fn transfer(
    mut reader: Reader<'_>,
    prefix: &str,
    target: &Target,
    options: &EtcdOptions,
) -> Result<()> {
    let existing = target.keys().await?;
    let rules = Rules {
        custom: reader.names(&format!("{prefix}apiextensions.k8s.io/customresourcedefinitions/")).await?,
        addresses: reader.names(&format!("{prefix}ipaddresses/")).await?,
        range: target.service_range().await?,
    };
    let mut report = Report::default();
    let mut spool = Spool::new()?;
    let mut conflicts = Vec::new();
    let bar = Bar::new("reading", reader.total(), Unit::Things("objects"));
    while let Some(found) = reader.next().await? {
        bar.inc(1);
        let suffix = String::from_utf8_lossy(&found.key[prefix.len()..]).into_owned();
        match rules.judge(&suffix, &found.value) {
            Verdict::LeaveOut { resource, why } => report.left_out(&resource, why),
            Verdict::Refuse { resource, why } => report.refused(&resource, &suffix, why),
            Verdict::Take(mut taken) => {
                let there = match existing.get(&taken.key) {
                    Some(_) if target.has(&taken.key, &taken.value).await? => {
                        report.alike(&taken.resource);
                        continue;
                    }
                    there => there,
                };
                if there.is_some() && !options.overwrite {
                    if taken.made_everywhere {
                        report.left_out(&taken.resource, "the target has its own");
                    } else {
                        conflicts.push(suffix);
                    }
                    continue;
                }
                match target.free(&existing, &mut taken).await? {
                    None => spool.push(found.create_revision, &taken)?,
                    Some(why) => report.refused(&taken.resource, &suffix, why),
                }
            }
        }
    }
    bar.end();
    if let Some(first) = conflicts.first() {
        report.print(options.dry_run);
        bail!(
            "the target has {} under the same names already, {first} among them: nothing was written; \
             --overwrite replaces them",
            count(conflicts.len(), "object")
        );
    }
    write(spool, target, existing, &mut report, options.dry_run).await?;
    report.print(options.dry_run);
    report.result()
}

/// Writes what was spooled, the oldest first: owners are older than what they own.
async fn write(
    spool: Spool,
    target: &Target,
    existing: HashMap<String, i64>,
    report: &mut Report,
    dry_run: bool,
) -> Result<()> {
    let bar = Bar::new("writing", spool.count(), Unit::Things("objects"));
    let mut sorted = spool.sorted()?;
    if dry_run {
        while let Some(taken) = sorted.next()? {
            report.taken(&taken.resource);
        }
        bar.end();
        return Ok(());
    }
    let held = hold::Hold::take(target.kv.clone()).await?;
    let mut batch = target::Batch::new(existing);
    let written = async {
        while let Some(taken) = sorted.next()? {
            bar.inc(1);
            held.check()?;
            target.put(&mut batch, taken, report).await?;
        }
        target.flush(&mut batch, report).await
    }
    .await;
    held.release().await;
    bar.end();
    written
}
