//! `trireme backup status` and `list`.

use anyhow::Result;
use indicatif::HumanBytes;
use serde::Serialize;
use trireme_backup::{Archive, Base, Gap, Points};

use super::{Output, find, now_ms, stored};
use crate::progress::count;
use crate::reach::Reach;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    location: String,
    base_every_seconds: u64,
    keep_seconds: u64,
    /// Name of the master that writes it.
    member: Option<String>,
    cluster_revision: i64,
    revision: Option<i64>,
    revisions_behind: Option<i64>,
    seconds_behind: Option<f64>,
    last_base: Option<Base>,
    /// The one that is being made.
    making_base: Option<stored::Making>,
    gaps: Vec<Gap>,
    /// Something was written since it was started this way.
    works: bool,
    /// Where the backup went before, as long as it is not known to work.
    before: Option<String>,
    problem: Option<String>,
}

pub(super) async fn status(reach: &Reach, output: Output) -> Result<()> {
    let reached = reach.reach()?;
    let kv = &*reached.client.kv;
    let Some(stored::Configured { stored: config, written, trial }) = stored::config(kv, false).await? else {
        match output {
            Output::Json => println!("null"),
            Output::Text => println!("no backup was started"),
        }
        return Ok(());
    };
    let cluster = kv.status().await?;
    let location = find::own(&config, cluster.cluster_id);
    let told = stored::told(kv, written).await?;
    let points = async { Archive::look(&location).await?.points().await }.await;
    // After the archive: what was written since makes it no later than it is.
    let (points, unreadable) = match points {
        Ok(points) => (points, None),
        Err(error) => (Points::default(), Some(error.to_string())),
    };
    let end = points.end();
    let revision = end.map(|end| end.last_revision);
    let behind = revision.map(|revision| (cluster.revision.0 - revision).max(0));
    let seconds_behind = end.zip(behind).map(|(end, behind)| {
        if behind == 0 { 0.0 } else { (now_ms() - end.last_time_ms).max(0) as f64 / 1000.0 }
    });
    let status = Status {
        location: location.to_string(),
        base_every_seconds: config.base_every_s,
        keep_seconds: config.keep_s,
        member: stored::archiver(kv, false).await?,
        cluster_revision: cluster.revision.0,
        revision,
        revisions_behind: behind,
        seconds_behind,
        last_base: points.bases.last().cloned(),
        making_base: told.as_ref().and_then(|told| told.making),
        gaps: points.gaps.clone(),
        works: trial.is_none(),
        before: trial.and_then(|trial| trial.before).map(|before| before.location.to_string()),
        problem: told.and_then(|told| told.problem).or(unreadable),
    };
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&status)?),
        Output::Text => print!("{}", text(&status)),
    }
    if let Some(problem) = &status.problem {
        anyhow::bail!("the backup is not well: {problem}");
    }
    Ok(())
}

fn text(status: &Status) -> String {
    let mut text = format!("location      {}\n", status.location);
    text += &format!("written by    {}\n", status.member.as_deref().unwrap_or("nobody at the moment"));
    if !status.works {
        text += "started       nothing was written there since: `trireme backup start` was interrupted, or the first \
                 base is being made\n";
        text += &match &status.before {
            Some(before) => format!("before        {before}: nothing is written there any more\n"),
            None => "before        no backup was made\n".into(),
        };
    }
    text += &match (status.revision, status.revisions_behind, status.seconds_behind) {
        (Some(revision), Some(0), _) => format!("archived      up to revision {revision}, the newest\n"),
        (Some(revision), Some(behind), Some(seconds)) => format!(
            "archived      up to revision {revision}: {} behind, the last change in it {seconds:.1} s ago\n",
            count(behind, "revision")
        ),
        _ => "archived      nothing yet\n".into(),
    };
    if let Some(base) = &status.last_base {
        text += &format!(
            "last base     {}, revision {}, {} MiB\n",
            time(base.time_ms),
            base.revision,
            base.bytes >> 20
        );
        text += &format!("test restore  {}\n", checked(base));
    }
    if let Some(making) = &status.making_base {
        let (done, of) = (HumanBytes(making.done_bytes), HumanBytes(making.of_bytes));
        text += &format!("next base     is being made: {done} of {of} of the state\n");
    }
    for gap in &status.gaps {
        text += &format!("gap           {} to {}\n", time(gap.after_ms), time(gap.before_ms));
    }
    text
}

pub(super) async fn list(source: &find::Source, output: Output) -> Result<()> {
    let found = source.find().await?;
    let points = Archive::look(&found.location).await?.points().await?;
    if output == Output::Json {
        println!("{}", serde_json::to_string_pretty(&points)?);
        return Ok(());
    }
    println!("{:<24}  {:>12}  {:>10}  TEST RESTORE", "BASE", "REVISION", "MIB");
    for base in &points.bases {
        println!(
            "{:<24}  {:>12}  {:>10}  {}",
            time(base.time_ms),
            base.revision,
            base.bytes >> 20,
            checked(base)
        );
    }
    println!("\n{:<24}  {:<24}  REVISIONS", "FROM", "TO");
    for span in &points.spans {
        let revisions = format!("{} to {}", span.first_revision, span.last_revision);
        println!("{:<24}  {:<24}  {revisions}", time(span.first_time_ms), time(span.last_time_ms));
    }
    for gap in &points.gaps {
        println!("nothing between {} and {}", time(gap.after_ms), time(gap.before_ms));
    }
    Ok(())
}

fn checked(base: &Base) -> String {
    match (base.good, base.checked_ms) {
        (Some(true), Some(at)) => format!("good, {}", time(at)),
        (Some(false), Some(at)) => format!("FAILED, {}", time(at)),
        _ => "not yet".into(),
    }
}

fn time(time_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(time_ms)
        .map_or_else(|_| time_ms.to_string(), |time| format!("{time:.3}"))
}
