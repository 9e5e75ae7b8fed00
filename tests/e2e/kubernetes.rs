//! The cache on a cluster that is as little of one as can be: real processes with what the
//! manifests in `deploy/` give them, and an API server that tells of them.
//!
//! - [`store`]: documents, and what became of them since when;
//! - [`api`]: how they are asked for;
//! - [`platform`]: what is checked in becomes processes.

mod api;
mod platform;
mod store;

use infinicache_wire::control::NodeState;
use redis::AsyncCommands;
use serde_json::{Value as Json, json};
use tokio::process::Command;

use self::platform::Platform;
use crate::{
    cluster::until, processes::is_running, stored::Stored, traffic::Traffic, values::Value,
};

/// The pool's secret.
const SECRET: &str = "0123456789abcdef0123456789abcdef";

const FAILURES: &str = "infinicache_proxy_watch_failures_total";

async fn stored(platform: &Platform, of_each: u32) -> Stored {
    Stored::through(platform.redis().await, platform.client().await, of_each).await
}

async fn assert_nothing_lost(platform: &Platform) {
    let metrics = platform.metrics().await;
    assert_eq!(metrics.total("infinicache_proxy_objects_lost_total"), 0.0);
}

/// Waits until the proxy has answered so many commands more.
async fn until_answered(platform: &Platform, more: f64) {
    let commands = async || {
        let metrics = platform.metrics().await;
        metrics.total("infinicache_proxy_commands_total")
    };
    let before = commands().await;
    until("clients go on", async || {
        (commands().await >= before + more).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_is_deleted_is_emptied_while_it_runs_and_another_takes_its_place() {
    let platform = Platform::start().await;
    let mut stored = stored(&platform, 2).await;
    let node = "infinicache-node-3";
    let before = platform.node(node).await.unwrap();
    assert_eq!(before.state, NodeState::Active);
    assert_eq!(before.host, "host-3");
    assert!(before.chunks > 0);

    let pod = platform.delete_pod(node).await;
    platform.until_empty(&pod).await;
    assert!(is_running(pod.pid), "nobody has told it to go");
    platform.end_pod(&pod).await;
    // It is woken once something is placed on it.
    let mut numbers = 100..;
    until("another instance is the node", async || {
        let value = Value::new(numbers.next().unwrap(), 1_000_000);
        stored.add(value).await;
        let now = platform.node(node).await?;
        let is_another = now.instance.is_some() && now.instance != before.instance;
        (is_another && now.state == NodeState::Active).then_some(())
    })
    .await;
    stored.assert_all().await;
    assert_nothing_lost(&platform).await;
    let metrics = platform.metrics().await;
    let direct = metrics.of(
        "infinicache_proxy_evacuated_chunks_total",
        "route",
        "direct",
    );
    assert!(direct > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_are_all_replaced_hand_over_and_are_let_go_though_their_pods_stay() {
    // Before they are woken again nobody knows that there are others.
    let platform = Platform::start_with(&[("INFINICACHE_NODE_IDLE_WINDOW", "6s")]).await;
    let mut stored = stored(&platform, 2).await;
    let traffic = Traffic::start(vec![platform.redis().await, platform.redis().await]);
    let old = platform.revise_all().await;
    for pod in &old {
        platform.until_empty(pod).await;
        assert!(is_running(pod.pid));
    }
    until(
        "those that were replaced do not count any more",
        async || {
            let members = platform
                .metrics()
                .await
                .total("infinicache_proxy_view_members");
            (members == old.len() as f64).then_some(())
        },
    )
    .await;
    let metrics = platform.metrics().await;
    let forced = metrics.total("infinicache_proxy_unsafe_view_changes");
    assert_eq!(forced, 0.0, "those who go agree to it while they are there");
    // For longer than a lease.
    until_answered(&platform, 1500.0).await;
    traffic.stop().await.assert_clean();
    stored.assert_all().await;
    assert_nothing_lost(&platform).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_that_are_added_join_and_those_that_are_removed_are_emptied_and_leave() {
    let platform = Platform::start().await;
    let mut stored = stored(&platform, 2).await;
    let old = platform.service("infinicache-node-5");
    assert!(platform.node("infinicache-node-5").await.unwrap().chunks > 0);

    platform.api.remove(&old);
    let pod = platform.pod("infinicache-node-5");
    platform.until_empty(&pod).await;
    stored.assert_all().await;
    // Knative removes the pods of a Service that is gone.
    platform.end_pod(&pod).await;
    until("it has left", async || {
        let node = platform.node("infinicache-node-5").await;
        node.is_none().then_some(())
    })
    .await;

    let mut new = old;
    new["metadata"]["name"] = json!("infinicache-node-14");
    platform.serve(new).await;
    until("it has joined", async || {
        platform.node("infinicache-node-14").await
    })
    .await;
    stored.assert_all().await;
    assert_nothing_lost(&platform).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_is_gone_and_forgets_what_was_disturbs_nobody() {
    let mut platform = Platform::start().await;
    let traffic = Traffic::start(vec![platform.redis().await, platform.redis().await]);
    platform.api.stop().await;
    until("the proxy has noticed", async || {
        let metrics = platform.metrics().await;
        (metrics.of(FAILURES, "reason", "unreachable") >= 2.0).then_some(())
    })
    .await;
    let mut stored = stored(&platform, 1).await;
    // Nobody is told of that.
    let old = platform.service("infinicache-node-13");
    platform.api.remove(&old);
    let mut new = old;
    new["metadata"]["name"] = json!("infinicache-node-14");
    platform.serve(new).await;
    stored.assert_all().await;
    assert!(platform.node("infinicache-node-13").await.is_some());
    assert!(platform.node("infinicache-node-14").await.is_none());

    platform.api.start_again().await;
    until("what has changed is known", async || {
        platform.node("infinicache-node-14").await
    })
    .await;
    let pod = platform.pod("infinicache-node-13");
    platform.until_empty(&pod).await;
    assert!(platform.metrics().await.of(FAILURES, "reason", "gone") >= 1.0);
    until_answered(&platform, 1000.0).await;
    traffic.stop().await.assert_clean();
    stored.assert_all().await;
    assert_nothing_lost(&platform).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_is_started_anew_finds_all_nodes_and_values() {
    let mut platform = Platform::start().await;
    let mut stored = stored(&platform, 2).await;
    let () = platform.redis().await.del("stored-0").await.unwrap();
    platform.kill_proxy().await;
    // Of this one the next proxy learns when it starts.
    let pod = platform.delete_pod("infinicache-node-7").await;
    platform.start_proxy().await;
    stored.reconnect_by(platform.redis().await, platform.client().await);
    assert_eq!(stored.missing().await, ["stored-0"]);
    platform.until_empty(&pod).await;
    platform.end_pod(&pod).await;
    assert_eq!(stored.missing().await, ["stored-0"]);
    assert_nothing_lost(&platform).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_is_started_anew_while_all_nodes_sleep_wakes_one_of_them() {
    let mut platform = Platform::start().await;
    platform.kill_proxy().await;
    platform.end_pods().await;
    platform.start_proxy().await;
    assert_eq!(platform.pods(), 1, "one says that this run leads");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_are_all_deleted_are_let_go_with_what_they_hold() {
    let platform = Platform::start().await;
    let _stored = stored(&platform, 1).await;
    let pods = platform.remove_all();
    for pod in &pods {
        platform.until_empty(pod).await;
    }
    for pod in &pods {
        platform.end_pod(pod).await;
    }
    assert_nothing_lost(&platform).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_is_rotated_restarts_nobody_and_fails_no_request() {
    const NEW: &str = "fedcba9876543210fedcba9876543210";
    let platform = Platform::start().await;
    let mut stored = stored(&platform, 1).await;
    let traffic = Traffic::start(vec![platform.redis().await, platform.redis().await]);
    let both = [("pool-secret", NEW), ("pool-secret-previous", SECRET)];
    for (step, keys) in [(1, &both[..]), (2, &both[..1])] {
        platform.mount(keys);
        let processes = platform.pods() + 1;
        until("all have heard of it", async || {
            let heard = platform.logged("the pool's secret has changed");
            (heard == step * processes).then_some(())
        })
        .await;
    }
    // It is the new one by which a pod joins, and others hand over to it.
    let pod = platform.delete_pod("infinicache-node-2").await;
    platform.until_empty(&pod).await;
    platform.end_pod(&pod).await;
    traffic.stop().await.assert_clean();
    stored.assert_all().await;
    assert_nothing_lost(&platform).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxy_and_nodes_that_are_all_replaced_at_once_lose_nothing() {
    let mut platform = Platform::start().await;
    let mut stored = stored(&platform, 2).await;
    platform.kill_proxy().await;
    let old = platform.revise_all().await;
    platform.start_proxy().await;
    stored.reconnect_by(platform.redis().await, platform.client().await);
    stored.assert_all().await;
    for pod in &old {
        platform.until_empty(pod).await;
        platform.end_pod(pod).await;
    }
    stored.assert_all().await;
    assert_nothing_lost(&platform).await;
}

/// Has the doctor look: whether nothing is bad, and what is not good.
async fn examined(platform: &Platform) -> (bool, Vec<String>) {
    let output = Command::new(env!("CARGO_BIN_EXE_infinicache"))
        .args(["doctor", "--json"])
        .env("KUBECONFIG", platform.api.kubeconfig())
        .output()
        .await
        .unwrap();
    let findings: Vec<Json> = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let told = findings.iter().filter(|it| it["level"] != "good");
    let text = |it: &Json, field: &str| it[field].as_str().unwrap().to_owned();
    let told = told.map(|it| {
        ["level", "subject", "found"]
            .map(|field| text(it, field))
            .join(" ")
    });
    (output.status.success(), told.collect())
}

/// What an administrator has installed.
fn administered(platform: &Platform) {
    let about = |kind: &str, version: &str, namespace: &str, name: &str| {
        json!({
            "apiVersion": version,
            "kind": kind,
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": { "app.kubernetes.io/version": "1.20.3" },
            },
            "status": { "conditions": [{ "type": "Available", "status": "True" }] },
        })
    };
    let version = json!({
        "major": "1", "minor": "32", "gitVersion": "v1.32.1", "gitCommit": "", "goVersion": "",
        "gitTreeState": "", "buildDate": "", "compiler": "", "platform": "",
    });
    platform.api.put("/version", version);
    for name in ["activator", "autoscaler", "controller", "webhook"] {
        platform
            .api
            .apply(about("Deployment", "apps/v1", "knative-serving", name));
    }
    let gateway = "3scale-kourier-gateway";
    platform
        .api
        .apply(about("Deployment", "apps/v1", "kourier-system", gateway));
    for name in ["autoscaler", "defaults", "features", "network"] {
        let mut map = about(
            "ConfigMap",
            "v1",
            "knative-serving",
            &format!("config-{name}"),
        );
        map["data"] = json!({ "ingress-class": "kourier.ingress.networking.knative.dev" });
        platform.api.apply(map);
    }
    let mut secret = about("Secret", "v1", "infinicache", "infinicache");
    secret["data"] = json!({ "pool-secret": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=" });
    platform.api.apply(secret);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_finds_nothing_bad_in_what_is_checked_in_and_sees_what_is_broken() {
    let platform = Platform::start().await;
    administered(&platform);
    let expected = [
        "doubtful secret infinicache clients need no password",
        "unknown wakes not tried for 14 nodes: its name means nothing outside the cluster",
    ];
    assert_eq!(
        examined(&platform).await,
        (true, expected.map(String::from).to_vec())
    );

    let role = platform.document("rbac.authorization.k8s.io/v1", "Role", "infinicache-proxy");
    platform.api.change(&role, |role| {
        role["rules"][1]["verbs"] = json!(["get", "list"]);
    });
    let (is_good, told) = examined(&platform).await;
    assert!(!is_good);
    let expected = "bad rights of the proxy it may not watch pods";
    assert!(told.iter().any(|it| it == expected), "{told:?}");
}
