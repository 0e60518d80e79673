//! Recorded requests of upstream, replayed: the number of scenarios that give upstream's answer
//! may only grow.

mod support;

use std::process::Command;

use support::{reference, shared};

/// Area, and how many of its scenarios passed when this was last raised. One of the reads watches from
/// "any version", and may see as an event what it sees in the first list at other times.
const PASSING_MIN: &[(&str, usize)] =
    &[("defaults", 80), ("validation", 95), ("reads", 38), ("writes", 55), ("patches", 31), ("apply", 27)];

#[test]
fn recorded_answers_are_given() {
    let Some(replay) = reference("replay.py") else { return };
    let cluster = shared();
    let mut fallen = Vec::new();
    for (area, minimum) in PASSING_MIN {
        let Some(file) = reference(&format!("reference/recorded/{area}.json")) else { return };
        let output = Command::new("python3")
            .arg(&replay)
            .args(["--server", &cluster.server()])
            .arg("--ca")
            .arg(cluster.pki("ca.crt"))
            .arg("--cert")
            .arg(cluster.pki("admin.crt"))
            .arg("--key")
            .arg(cluster.pki("admin.key"))
            .arg(&file)
            .output()
            .expect("run python3");
        let said = String::from_utf8_lossy(&output.stdout);
        let passed = said.lines().filter(|line| line.starts_with("ok ")).count();
        let failed: Vec<&str> = said.lines().filter(|line| line.starts_with("FAIL ")).collect();
        println!("{area}: {passed} passed, {} failed", failed.len());
        for line in &failed {
            println!("  {line}");
        }
        if passed < *minimum {
            fallen.push(format!("{area}: {passed} passed, {minimum} did before"));
        }
    }
    assert!(fallen.is_empty(), "{fallen:?}");
}
