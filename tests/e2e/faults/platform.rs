//! The platform does not wake, or replaces what it has.

use serde_json::json;

use super::stage::Scenario;
use crate::cluster::{Node, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wakes_that_fail() {
    let faults = [
        json!({"wakes": "refused"}),
        json!({"wakes": "garbage"}),
        json!({"wakes": "swallowed"}),
        json!({"wakes": "hanging"}),
        json!({"start": "fails"}),
        json!({"start": "hangs"}),
        json!({"start": {"slow_ms": 700}}),
    ];
    Scenario::new("wakes that fail")
        .play(async |stage| {
            let lost = stage.lost_nodes().await;
            let victims = stage.victims().await;
            for node in &victims {
                let fault = stage.random.pick(&faults).clone();
                println!("{} suffers {fault}", node.name);
                stage.cluster.harm(&node.name, &fault).await;
                node.kill();
            }
            stage.work().await;
            for node in &victims {
                stage.cluster.harm(&node.name, &json!({})).await;
            }
            stage.until_lost(lost, victims.len()).await;
            stage.until_repaired().await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart() {
    Scenario::new("rolling restart")
        .with(|up| up.stop_after("200ms", "8s"))
        .play(async |stage| {
            for node in stage.cluster.awake().await {
                stage.cluster.replace(&node.name).await;
                stage.cluster.until_left(&[node]).await;
            }
            stage.until_repaired().await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_of_one_name() {
    Scenario::new("two of a name")
        .with(|up| up.idle_window("2s").stop_after("1s", "8s"))
        .play(async |stage| {
            let victims = stage.victims().await;
            for node in &victims {
                let fault = json!({"wakes": "refused"});
                stage.cluster.harm(&node.name, &fault).await;
            }
            // The platform takes them for idle, because no request comes.
            for node in &victims {
                until("a process that is used shall go", async || {
                    let now = stage.cluster.node(&node.name).await;
                    (!now.serves).then_some(())
                })
                .await;
            }
            // The next wake finds none that it may be given to, and starts another.
            for node in &victims {
                stage.cluster.harm(&node.name, &json!({})).await;
            }
            stage.work().await;
            stage.cluster.until_left(&victims).await;
            stage.until_repaired().await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_replaced_at_once() {
    Scenario::new("all replaced")
        .with(|up| up.stop_after("500ms", "15s"))
        .play(async |stage| {
            let nodes: Vec<Node> = stage.cluster.awake().await;
            stage.cluster.replace_all().await;
            stage.work().await;
            stage.cluster.until_left(&nodes).await;
            stage.until_repaired().await;
        })
        .await;
}
