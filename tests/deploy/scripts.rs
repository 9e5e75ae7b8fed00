//! The scripts, as far as they can be looked at without a cluster.

use std::{fs, process::Command};

use infinicache_wire::PROTOCOL_VERSION;

use crate::{outside, repository};

#[test]
fn shellcheck_finds_nothing_in_the_scripts() {
    if !outside::is_there("shellcheck") {
        return;
    }
    let scripts = ["tests/cluster/run", "docker/archive", ".ci/run"].map(repository);
    let stand_ins = fs::read_dir(repository("tests/deploy/cluster/bin")).unwrap();
    let stand_ins = stand_ins.map(|it| it.unwrap().path());
    let output = outside::run(Command::new("shellcheck").args(scripts).args(stand_ins));
    assert!(output.status.success(), "{}", outside::said(&output));
}

#[test]
fn without_a_cluster_the_script_says_so_and_fails() {
    let mut script = Command::new(repository("tests/cluster/run"));
    let output = outside::run(script.env_remove("KUBECONFIG"));
    assert_eq!(output.status.code(), Some(2));
    assert!(outside::said(&output).contains("KUBECONFIG"));
}

#[test]
fn the_script_is_of_this_version() {
    let text = fs::read_to_string(repository("tests/cluster/run")).unwrap();
    let version = format!("\nversion={}\n", env!("CARGO_PKG_VERSION"));
    assert!(text.contains(&version));
    assert!(text.contains(&format!("\nprotocol={PROTOCOL_VERSION}\n")));
}
