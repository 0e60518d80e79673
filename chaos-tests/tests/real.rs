//! The real world in short: some faults of every sort on real hosts, and a loss that must be found.
//! It takes root, or the right to make namespaces; without it these say that they are skipped.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

/// Two of these worlds at a time would be slow, not wrong; one after the other their times say more.
static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// `None`, and a word past the capture of what tests print, where no run can be had.
fn real(test: &str, arguments: &[&str]) -> Option<Output> {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(reason) = trireme_chaos::real::unavailable() {
        let _ = writeln!(std::io::stderr(), "skipped: {test}: {reason}");
        return None;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_trireme-chaos")).arg("real").args(arguments).output();
    Some(output.expect("run the world"))
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Nothing outside of its namespaces is left of a run.
fn nothing_is_left() {
    for hierarchy in ["freezer", "memory", "cpu", "."] {
        let groups = std::fs::read_dir(Path::new("/sys/fs/cgroup").join(hierarchy));
        let left = groups.into_iter().flatten().flatten().filter(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let run = name.strip_prefix("trireme-chaos-").and_then(|run| run.parse::<u32>().ok());
            run.is_some_and(|run| !Path::new("/proc").join(run.to_string()).exists())
        });
        assert_eq!(left.map(|entry| entry.path()).collect::<Vec<_>>(), Vec::<std::path::PathBuf>::new());
    }
}

#[test]
fn faults_of_every_sort_are_survived_and_reported() {
    let folder = tempfile::tempdir().expect("folder");
    let page = folder.path().join("report.html");
    let faults = "stop,one-way,reorder,disk-fails,sync-hangs,clock,oom";
    let arguments = ["--seed", "1", "--minutes", "0.75", "--clients", "2", "--faults", faults, "--report"];
    let page_text = page.to_str().expect("UTF-8");
    let Some(output) =
        real("faults_of_every_sort_are_survived_and_reported", &[&arguments[..], &[page_text]].concat())
    else {
        return;
    };
    assert!(output.status.success(), "{}", text(&output));
    // What this machine lacks is told, for whoever reads what CI says.
    for line in text(&output).lines().filter(|line| line.starts_with("skipped: ")) {
        let _ = writeln!(std::io::stderr(), "{line}");
    }
    let page = std::fs::read_to_string(page).expect("the report");
    assert!(page.contains("every promise was kept") && page.contains("<svg"), "{page}");
    nothing_is_left();
}

#[test]
fn masters_that_are_all_put_back_to_an_older_state_are_found() {
    let arguments = ["--seed", "2", "--minutes", "0", "--clients", "2", "--rolled-back"];
    let Some(output) = real("masters_that_are_all_put_back_to_an_older_state_are_found", &arguments) else {
        return;
    };
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let said = text(&output);
    for found in ["FAIL nothing falls behind what was known", "FAIL each key is a register"] {
        assert!(said.contains(found), "{found}: {said}");
    }
    let kept = said.lines().find_map(|line| line.strip_prefix("logs and history are kept in "));
    let kept = kept.expect("where its files are");
    assert!(Path::new(kept).join("history.json").exists(), "{said}");
    std::fs::remove_dir_all(kept).expect("remove what was kept");
    nothing_is_left();
}

/// Its seed is in the output, with a command that repeats it.
#[test]
fn a_seed_that_nobody_has_seen_is_survived() {
    let Some(output) = real("a_seed_that_nobody_has_seen_is_survived", &["--minutes", "1"]) else { return };
    println!("{}", text(&output));
    assert!(output.status.success());
    nothing_is_left();
}
