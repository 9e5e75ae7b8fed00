//! Links are slow, broken, or not what they seem.
//!
//! Those of no more nodes than may be lost at once, unless said otherwise.

use std::time::Duration;

use super::stage::{Scenario, Stage};
use crate::{
    cluster::Node,
    wire::{Fault, Part},
};

const MIB: u64 = 1 << 20;

/// Lets the links of some nodes suffer while work is done.
async fn harm(stage: &mut Stage, fault: Fault) -> Vec<Node> {
    let victims = stage.victims().await;
    harm_these(stage, &victims, fault).await;
    victims
}

async fn harm_these(stage: &mut Stage, victims: &[Node], fault: Fault) {
    let harmed = stage.wire.harmed();
    for node in victims {
        stage.wire.harm(&node.name, fault);
    }
    stage.work().await;
    stage.work().await;
    assert!(stage.wire.harmed() > harmed, "{fault:?} met nothing");
}

/// Corrupts what some nodes and the proxy say to each other: those of the same
/// nodes each time. What was stored corrupt is found when it is read and not
/// before, so that with others more would be corrupt than the code bears.
async fn corrupt(name: &'static str, part: Part, one_in: u64) {
    let mut victims = None;
    Scenario::new(name)
        .play(async |stage| {
            if victims.is_none() {
                victims = Some(stage.victims().await);
            }
            let victims = victims.as_deref().expect("chosen");
            harm_these(stage, victims, Fault::Corrupt(part, one_in)).await;
            heal(stage).await;
        })
        .await;
}

/// They suffer no more.
async fn heal(stage: &mut Stage) {
    stage.wire.heal();
    stage.until_repaired().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_and_slow_links() {
    Scenario::new("late and slow links")
        .play(async |stage| {
            harm(stage, Fault::Late(Duration::from_millis(40))).await;
            heal(stage).await;
            harm(stage, Fault::Slow(MIB / 2)).await;
            heal(stage).await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_links() {
    Scenario::new("paused links")
        .play(async |stage| {
            harm(stage, Fault::Paused).await;
            heal(stage).await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_links() {
    Scenario::new("half-open links")
        .play(async |stage| {
            let lost = stage.lost_nodes().await;
            let victims = harm(stage, Fault::HalfOpen).await;
            stage.until_lost(lost, victims.len()).await;
            stage.work().await;
            heal(stage).await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resets() {
    Scenario::new("resets")
        .play(async |stage| {
            harm(stage, Fault::Reset(MIB)).await;
            heal(stage).await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_are_cut_off() {
    Scenario::new("cut-off frames")
        .play(async |stage| {
            harm(stage, Fault::CutOff(MIB)).await;
            heal(stage).await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn corrupted_payloads() {
    corrupt("corrupted payloads", Part::Payload, 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn corrupted_headers() {
    corrupt("corrupted headers", Part::Header, 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_links_break_again_and_again() {
    Scenario::new("all links")
        .play(async |stage| {
            stage.wire.harm_all(Fault::CutOff(2 * MIB));
            stage.work().await;
            heal(stage).await;
        })
        .await;
}
