//! A few simulated worlds, each twice; and the same with disks that lie, which must be found.

use std::process::{Command, Output};

fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trireme-chaos"))
        .arg("sim")
        .args(arguments)
        .output()
        .expect("run the worlds")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn worlds_keep_their_promises_and_repeat() {
    let output = sim(&["--seeds", "1..9", "--minutes", "1", "--twice"]);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(text(&output).matches(": ok, twice the same").count(), 8, "{}", text(&output));
}

#[test]
fn disks_that_forget_what_they_synced_are_found() {
    let output = sim(&["--seeds", "1..9", "--minutes", "1", "--lying-disks"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("was acknowledged"), "{}", text(&output));
}
