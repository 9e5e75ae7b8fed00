//! `tests/cluster/run` on a cluster that is a test: whatever it asks for is so at once.
//!
//! `cluster/bin` has a `kubectl` that fails where the real one does, and the other programs that
//! reach a cluster. Its `sleep` refuses: where all is so at once the script must not wait.

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, Output},
};

use crate::{outside, repository, scratch::Scratch};

/// The programs that stand in for those that reach a cluster.
fn programs() -> PathBuf {
    repository("tests/deploy/cluster/bin")
}

/// A cluster of nodes that the script is run on.
struct Cluster(Scratch);

impl Cluster {
    fn new(name: &str) -> Self {
        Self(Scratch::new(name))
    }

    /// One on which the cache has been installed.
    fn with_nodes(name: &str) -> Self {
        let cluster = Self::new(name);
        fs::write(cluster.0.0.join("nodes"), "").unwrap();
        cluster
    }

    fn script(&self) -> Command {
        let path = env::var("PATH").unwrap();
        let mut script = Command::new(repository("tests/cluster/run"));
        script
            .env("PATH", format!("{}:{path}", programs().display()))
            .env("CLUSTER", &self.0.0)
            .env("NODES", "14")
            .env("KUBECONFIG", "of-no-cluster")
            .env("SIZES", "10 2000")
            .env("OUTAGE_SECONDS", "0")
            .env_remove("NAMESPACE");
        script
    }

    /// What the API was asked, a line for each call.
    fn calls(&self) -> String {
        fs::read_to_string(self.0.0.join("calls")).unwrap()
    }
}

fn said_by(output: &Output, is_good: bool) -> String {
    let said = outside::said(output);
    assert_eq!(output.status.success(), is_good, "{said}");
    said
}

/// Where each of these is said first, all of them in this order.
fn assert_in_order(said: &str, expected: &[&str]) {
    let places = expected.iter().map(|text| said.find(text));
    let places: Option<Vec<usize>> = places.collect();
    assert!(places.is_some_and(|it| it.is_sorted()), "{said}");
}

#[test]
fn every_step_passes_on_a_cluster_in_which_all_is_well() {
    let cluster = Cluster::new("all-steps");
    let said = said_by(&outside::run(&mut cluster.script()), true);
    assert!(
        said.contains("done: install values doctor pods rolling"),
        "{said}"
    );
    // How long the proxy was away is not hidden by how long revisions take.
    let upgraded = &said[said.find("== upgraded").unwrap()..];
    assert_in_order(
        upgraded,
        &[
            "the proxy is ready again, after",
            "infinicache-node-0 has a new revision",
        ],
    );
}

#[test]
fn a_list_of_pods_that_is_longer_than_a_pipe_does_not_end_the_script() {
    let cluster = Cluster::with_nodes("long-list");
    let output = outside::run(cluster.script().env("NODES", "4000").arg("refused"));
    let said = said_by(&output, true);
    assert!(
        said.contains("a wake without the secret is refused"),
        "{said}"
    );
}

#[test]
fn a_step_that_fails_says_which_it_was_and_what_there_is() {
    for (refused, step, expected) in [
        ("patch *", "rolling", "FAILED: rolling ended with status 1"),
        (
            "wait ksvc *",
            "install",
            "FAILED: not in time: every node's Service is ready",
        ),
    ] {
        let cluster = Cluster::with_nodes(step);
        let output = outside::run(cluster.script().env("REFUSES", refused).arg(step));
        let said = said_by(&output, false);
        let there = [
            "infinicache-node-13 ",
            "infinicache-node-13-00001-deployment-abc ",
            "FailedMount",
            "what the proxy says",
        ];
        for text in [&[expected], &there[..]].concat() {
            assert!(said.contains(text), "{text}: {said}");
        }
    }
}

#[test]
fn the_namespace_is_whichever_is_named() {
    let cluster = Cluster::new("namespace");
    let output = outside::run(cluster.script().env("NAMESPACE", "other"));
    said_by(&output, true);
    let calls = cluster.calls();
    let elsewhere = ["other: ", "other-clients: ", "default: "];
    assert!(
        calls
            .lines()
            .all(|it| elsewhere.iter().any(|namespace| it.starts_with(namespace))),
        "{calls}"
    );
    let overlay = fs::read_to_string(cluster.0.0.join("kustomization.yaml")).unwrap();
    assert!(overlay.contains("\nnamespace: other\n"), "{overlay}");
}
