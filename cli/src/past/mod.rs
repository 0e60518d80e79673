//! The past of a cluster that runs: what an object went through, what differs between two moments,
//! and how a part of it becomes again what it was. Nothing is stopped for any of it.
//!
//! ```text
//!   history ─┐
//!   diff ────┼──► Past ◄── the store itself, what is not compacted
//!   restore ─┘
//!      └──► plan (pure) ──► dry run ──► the API, with compare-and-swap
//! ```
//!
//! **Invariant**: reads the store, and writes through the API alone: admission, audit and
//! controllers see a restore as they see every other change.

mod archive;
mod changes;
mod difference;
mod history;
mod kinds;
mod moment;
mod open;
mod restore;
mod source;
mod stamps;
mod unified;

use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) use difference::Options as DiffOptions;
pub(crate) use history::Options as HistoryOptions;
pub(crate) use restore::Options as RestoreOptions;

pub(crate) async fn history(options: HistoryOptions) -> anyhow::Result<()> {
    history::run(options).await
}

pub(crate) async fn diff(options: DiffOptions) -> anyhow::Result<()> {
    difference::run(options).await
}

/// The form of `restore` that changes a cluster while it runs.
pub(crate) async fn restore(options: RestoreOptions) -> anyhow::Result<()> {
    restore::run(options).await
}

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    Json,
    Yaml,
}

impl Output {
    fn print(self, document: &trireme_api::Value) -> anyhow::Result<()> {
        match self {
            Self::Json => println!("{}", serde_json::to_string_pretty(document)?),
            Self::Yaml => print!("{}", String::from_utf8_lossy(&trireme_apiserver::encode_yaml(document))),
        }
        Ok(())
    }
}

/// Milliseconds since the Unix epoch.
fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
