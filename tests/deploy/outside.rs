//! Programs that others wrote. Without one a test is skipped, but not in CI.

use std::{
    env,
    process::{Command, Output, Stdio},
};

/// Whether this is a run that must not skip anything.
pub(crate) fn in_ci() -> bool {
    env::var("CI").is_ok_and(|ci| ci == "true")
}

/// Whether `program` can be run. Says so if not.
pub(crate) fn is_there(program: &str) -> bool {
    let asked = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let is_there = asked.is_ok();
    if !is_there {
        assert!(!in_ci(), "{program} is missing");
        eprintln!("SKIPPED: {program} is missing");
    }
    is_there
}

/// Runs a program to its end; gives what it wrote.
pub(crate) fn run(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// What a program wrote to both of its outputs.
pub(crate) fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}
