//! A few simulated worlds, each twice; one that nobody has seen; and worlds in which disks lie, which must
//! be found.

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

fn all_keep_and_repeat(arguments: &[&str], worlds: usize) {
    let output = sim(&[arguments, &["--minutes", "1", "--twice"]].concat());
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(text(&output).matches(": ok, twice the same").count(), worlds, "{}", text(&output));
}

#[test]
fn worlds_keep_their_promises_and_repeat() {
    all_keep_and_repeat(&["--seeds", "1..9"], 8);
}

#[test]
fn worlds_with_a_control_plane_keep_theirs() {
    all_keep_and_repeat(&["--seeds", "1..3", "--control-plane"], 2);
}

/// Its seed is in the output, with a command that repeats it.
#[test]
fn a_world_that_nobody_has_seen_keeps_its_promises() {
    for kind in [&[][..], &["--control-plane"]] {
        let output = sim(&[kind, &["--minutes", "1"]].concat());
        println!("{}", text(&output));
        assert!(output.status.success());
    }
}

#[test]
fn disks_that_forget_what_they_synced_are_found() {
    let output = sim(&["--seeds", "1..9", "--minutes", "1", "--lying-disks", "--no-shrink"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("was acknowledged"), "{}", text(&output));
}
