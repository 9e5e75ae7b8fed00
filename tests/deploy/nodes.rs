//! The checked-in nodes: what `infinicache manifests` writes, and what Knative takes.

use std::{fs, process::Command};

use serde_json::Value;

use crate::{
    knative,
    kustomize::{OVERLAYS, documents, of_kind, overlay},
    outside, repository,
};

/// What `infinicache manifests` writes.
fn written(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_infinicache"));
    let output = outside::run(command.arg("manifests").args(arguments));
    assert!(output.status.success(), "{}", outside::said(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn parsed(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}

#[test]
fn the_checked_in_nodes_are_what_the_command_writes() {
    let checked_in = fs::read_to_string(repository("deploy/knative/nodes.yaml")).unwrap();
    let again = "cargo run -- manifests > deploy/knative/nodes.yaml";
    assert!(checked_in == written(&[]), "write them again: {again}");
    assert_eq!(
        documents(&repository("deploy/knative/nodes.yaml")).len(),
        14
    );
}

#[test]
fn knative_takes_every_node_of_every_overlay_without_a_feature_flag() {
    for name in OVERLAYS {
        for node in of_kind(&overlay(name), "serving.knative.dev/v1", "Service") {
            assert_eq!(knative::complaints(node), [""; 0], "{name}");
        }
    }
}

#[test]
fn knative_takes_whatever_the_command_is_asked_for() {
    for arguments in [
        "--nodes 1 --memory 64MiB --survive-outage 0 --idle-window 6s",
        "--nodes 500 --memory 5GiB --survive-outage 1h --idle-window 1h",
        "--pull-secret registry --asleep --namespace other --pool other --cpu 2",
    ] {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        for node in parsed(&written(&arguments)) {
            assert_eq!(knative::complaints(&node), [""; 0], "{arguments:?}");
        }
    }
}

#[test]
fn spreading_over_hosts_is_the_one_thing_that_needs_a_flag() {
    let nodes = parsed(&written(&["--spread-hosts", "--nodes", "1"]));
    let complaints = knative::complaints(&nodes[0]);
    assert_eq!(
        complaints,
        [".spec.template.spec.topologySpreadConstraints: not allowed"]
    );
}

#[test]
fn what_cannot_be_had_is_refused_and_nothing_is_written() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_infinicache"));
    let output = outside::run(command.args(["manifests", "--survive-outage", "2h"]));
    assert!(!output.status.success());
    assert!(output.stdout.is_empty());
    assert!(outside::said(&output).contains("at most 3600s possible"));
}
