//! Upstream's recorded answers to creates, replayed without a server: decode, default, admit,
//! prepare, validate, normal form. Answers that need a server (look-ups of other objects, quota,
//! allocation out of range) are left to `replay.py` against a running one.
//!
//! The reference lies beside the project (or at `$TRIREME_SHARED`); without it the test says so
//! and passes. `TRIREME_RECORDED_VERBOSE=1` prints what differs.

mod recorded_support;

use std::path::PathBuf;

use recorded_support::{Outcome, replay_scenario};
use serde_json::Value as Json;

/// How many creates and updates must agree. Raise it with every rule that makes more agree.
const AGREEING_MIN: usize = 227;

fn reference() -> Option<PathBuf> {
    let shared = std::env::var_os("TRIREME_SHARED")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"));
    let dir = shared.join("reference/recorded");
    dir.is_dir().then_some(dir)
}

#[test]
fn creates_and_updates_answer_as_upstream_did() {
    let Some(dir) = reference() else {
        // Past the capture of what tests that pass print.
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("skipped: creates_and_updates_answer_as_upstream_did: no reference data\n"),
        );
        return;
    };
    let verbose = std::env::var_os("TRIREME_RECORDED_VERBOSE").is_some();
    let only = std::env::var("TRIREME_RECORDED_ONLY").unwrap_or_default();
    let (mut agreed, mut differed, mut skipped) = (0, 0, 0);
    for area in ["defaults", "validation", "writes", "patches"] {
        let text =
            std::fs::read_to_string(dir.join(format!("{area}.json"))).expect("a readable reference file");
        let scenarios: Vec<Json> = serde_json::from_str(&text).expect("a JSON array");
        for scenario in scenarios.iter().filter(|s| s["name"].as_str().is_some_and(|n| n.contains(&only))) {
            for outcome in replay_scenario(scenario) {
                match outcome {
                    Outcome::Agrees => agreed += 1,
                    Outcome::NeedsServer => skipped += 1,
                    Outcome::Differs(what) => {
                        differed += 1;
                        if verbose {
                            println!("{}: {what}", scenario["name"].as_str().unwrap_or("?"));
                        }
                    }
                }
            }
        }
    }
    println!("recorded: {agreed} agree, {differed} differ, {skipped} need a server");
    if only.is_empty() {
        assert!(agreed >= AGREEING_MIN, "{agreed} answers agree with upstream's, {AGREEING_MIN} did before");
    }
}
