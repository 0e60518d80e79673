//! `trireme status --watch`: in place on a terminal; elsewhere a line a member and look, or one JSON
//! document a line.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::Result;

use super::{Asked, Output, Status, Target, look, text};

/// Clears from the cursor to the end of the screen.
const CLEAR_BELOW: &str = "\x1b[J";

/// Looks again and again until it is interrupted, or nobody reads any more.
pub(super) async fn run(asked: &Asked, targets: &[Target], output: Output, every: Duration) -> Result<()> {
    let in_place = output == Output::Text && std::io::stdout().is_terminal();
    let mut drawn = 0;
    loop {
        let status = look(asked, targets).await;
        let shown = match output {
            Output::Json => format!("{}\n", serde_json::to_string(&status)?),
            Output::Text if in_place => {
                let frame = text(&status);
                let up = if drawn > 0 { format!("\x1b[{drawn}A") } else { String::new() };
                drawn = frame.lines().count();
                format!("{up}\r{CLEAR_BELOW}{frame}")
            }
            Output::Text => lines(&status, &jiff::Timestamp::now().to_string()),
        };
        let mut out = std::io::stdout().lock();
        // A reader that has gone is an end like any other.
        if out.write_all(shown.as_bytes()).and_then(|()| out.flush()).is_err() {
            return Ok(());
        }
        drop(out);
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

/// A line a member, each with the time, for what reads line by line.
fn lines(status: &Status, time: &str) -> String {
    let number = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let mut out = String::new();
    for m in &status.members {
        let role = format!("{:?}", m.role).to_lowercase();
        let check =
            m.counted.as_ref().map_or_else(|| "-".to_owned(), |counted| counted.disk_check.to_string());
        let health = if m.healthy { "ok".to_owned() } else { m.problems.join("; ") };
        out += &format!(
            "{time} member={} role={role} term={} applied={} lag={} revision={} disk_check={check:?} health={health:?}\n",
            m.name,
            number(m.term),
            number(m.applied_index),
            number(m.lag),
            m.revision.map_or_else(|| "-".to_owned(), |r| r.to_string()),
        );
    }
    out
}
