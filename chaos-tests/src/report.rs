//! What reports of all worlds have in common.

pub mod survived;

use std::process::Command;

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

pub(crate) fn commit() -> String {
    git(&["rev-parse", "--short", "HEAD"]).unwrap_or_else(|| "unknown".to_owned())
}

/// The commit, with a plus behind it where files differ from it.
pub(crate) fn commit_and_changes() -> String {
    let is_changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changed| {
        // Where this is written to is no change of what was run.
        changed.lines().any(|line| !line.ends_with(".md"))
    });
    commit() + if is_changed { "+" } else { "" }
}
