//! Nodes die, freeze, or are all gone.

use super::stage::Scenario;
use crate::cluster::Node;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills() {
    Scenario::new("kills")
        .play(async |stage| {
            for _ in 0..2 {
                let lost = stage.lost_nodes().await;
                let victims = stage.victims().await;
                victims.iter().for_each(Node::kill);
                stage.work().await;
                stage.until_lost(lost, victims.len()).await;
                stage.until_repaired().await;
            }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn freezes() {
    Scenario::new("freezes")
        .play(async |stage| {
            let victims = stage.victims().await;
            victims.iter().for_each(Node::freeze);
            stage.work().await;
            victims.iter().for_each(Node::thaw);
            stage.work().await;
            stage.until_repaired().await;

            let lost = stage.lost_nodes().await;
            let victims = stage.victims().await;
            victims.iter().for_each(Node::freeze);
            stage.until_lost(lost, victims.len()).await;
            stage.work().await;
            victims.iter().for_each(Node::thaw);
            stage.until_repaired().await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_gone() {
    Scenario::new("all gone")
        .that_may_lose()
        .play(async |stage| {
            let lost = stage.lost_nodes().await;
            let nodes = stage.cluster.awake().await;
            nodes.iter().for_each(Node::kill);
            stage.work().await;
            stage.until_lost(lost, nodes.len()).await;
            stage.until_repaired().await;
        })
        .await;
}
