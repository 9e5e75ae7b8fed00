//! `infinicache bench` and `infinicache replay`, against a cache of ours and a real Redis.

use std::{
    collections::HashSet,
    env, fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use serde_json::Value as Json;
use tokio::{
    process::{Child, Command},
    time,
};

use crate::{
    cluster::{Cluster, PATIENCE, dbsize},
    processes::ports,
};

const TRACE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/data/ibm-docker-registry-dal09.csv"
);

/// Requests of it that are replayed.
const REPLAYED: usize = 200;

/// A redis-server on a port of its own; it ends with this.
struct Redis {
    _server: Child,
    url: String,
}

impl Redis {
    /// Starts one, if there is the program. Without it a test is skipped, but not in CI.
    async fn start() -> Option<Self> {
        let [port] = ports();
        let started = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let Ok(server) = started else {
            let in_ci = env::var("CI").is_ok_and(|ci| ci == "true");
            assert!(!in_ci, "redis-server is missing");
            eprintln!("SKIPPED: redis-server is missing");
            return None;
        };
        let listening = async {
            while tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .is_err()
            {
                time::sleep(time::Duration::from_millis(10)).await;
            }
        };
        time::timeout(PATIENCE, listening).await.unwrap();
        Some(Self {
            _server: server,
            url: format!("redis://127.0.0.1:{port}"),
        })
    }
}

/// A file that a command writes, removed after.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("{}-{name}", std::process::id());
        Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn json(&self) -> Json {
        serde_json::from_slice(&fs::read(&self.0).unwrap()).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Runs `infinicache` to its end, with words as arguments and some as they are.
async fn infinicache(words: &str, more: &[&str]) -> Output {
    let running = Command::new(env!("CARGO_BIN_EXE_infinicache"))
        .args(words.split_ascii_whitespace())
        .args(more)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    time::timeout(PATIENCE * 2, running).await.unwrap().unwrap()
}

fn assert_succeeded(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

fn count(total: &Json, kind: &str) -> u64 {
    total["answered"][kind]["count"].as_u64().unwrap_or(0)
}

async fn small_cluster() -> Cluster {
    Cluster::start(|up| up.nodes(4).code(2, 1)).await
}

#[tokio::test]
async fn a_benchmark_counts_and_verifies_every_request_by_either_protocol() {
    let cluster = small_cluster().await;
    let address = cluster.address();
    for scheme in ["redis", "infinicache"] {
        let (json, html) = (
            Scratch::new(&format!("{scheme}.json")),
            Scratch::new(&format!("{scheme}.html")),
        );
        let words = format!(
            "bench {scheme}://{address} --size 1KiB --size 300KiB --mix get=50,set=50 -c 3 -P 2 \
             --requests 201 --duration 60s --warm-up 0s --keys 20 --verify 1 --popularity zipf"
        );
        let output = infinicache(&words, &["--json", json.path(), "--html", html.path()]).await;
        let text = assert_succeeded(&output);
        assert!(
            text.contains("300KiB · get 50%, set 50% · 3 connections · pipeline 2"),
            "{text}"
        );
        let document = json.json();
        let workloads = document["workloads"].as_array().unwrap();
        assert_eq!(workloads.len(), 2);
        for workload in workloads {
            let total = &workload["totals"][0];
            assert_eq!(count(total, "get") + count(total, "set"), 201, "{total}");
            assert_eq!(total["verified"].as_u64().unwrap(), count(total, "get"));
            assert_eq!(total["failed"], serde_json::json!({}));
            let bytes = &total["answered"]["get"]["bytes"];
            assert_eq!(
                bytes.as_u64().unwrap(),
                count(total, "get") * place(workload, "size")
            );
        }
        assert!(fs::read_to_string(&html.0).unwrap().contains("<svg"));
        assert_eq!(dbsize(&mut cluster.redis().await).await, 0);
    }
}

#[tokio::test]
async fn at_a_rate_every_request_that_was_due_is_accounted_for() {
    let cluster = small_cluster().await;
    let json = Scratch::new("rate.json");
    let words = format!(
        "bench redis://{} --size 100 --mix get --rate 300 -d 1s --warm-up 0s -c 4 --keys 10",
        cluster.address()
    );
    assert_succeeded(&infinicache(&words, &["--json", json.path()]).await);
    let document = json.json();
    let workload = &document["workloads"][0];
    assert_eq!(workload["loop"], "open");
    assert_eq!(count(&workload["totals"][0], "get"), 300);
}

#[tokio::test]
async fn a_benchmark_tells_how_two_targets_compare() {
    let Some(redis) = Redis::start().await else {
        return;
    };
    let cluster = small_cluster().await;
    let json = Scratch::new("versus.json");
    let words = format!(
        "bench infinicache://{} --versus {} --size 100KiB --mix get=50,set=50 -c 2 \
         --keys 20 --requests 100 --duration 60s --warm-up 0s --rounds 2 --verify 1",
        cluster.address(),
        redis.url
    );
    let text = assert_succeeded(&infinicache(&words, &["--json", json.path()]).await);
    assert!(text.contains("medians of 2 alternations"), "{text}");
    let document = json.json();
    let workload = &document["workloads"][0];
    assert_eq!(workload["rounds"].as_array().unwrap().len(), 4);
    assert!(stretch(workload) >= 1.5, "of 2+1");
    for memory in workload["memory"].as_array().unwrap() {
        assert!(memory["used"].as_u64() > workload["bytes"].as_u64());
        assert!(memory["resident"].as_u64().unwrap() > 0);
    }
    let ratios = workload["ratios"].as_array().unwrap();
    // Requests, bytes, and three times of either kind.
    assert_eq!(ratios.len(), 8);
    for ratio in ratios {
        let [ratio, least, most] =
            ["ratio", "least", "most"].map(|key| ratio[key].as_f64().unwrap());
        assert!(ratio > 0.0 && least <= most, "{ratio} {least} {most}");
    }
}

#[tokio::test]
async fn a_benchmark_starts_caches_of_its_own_and_leaves_nothing_of_them() {
    // Who has inherited this belongs to it.
    let mark = format!("INFINICACHE_E2E_MARK={}", std::process::id());
    let (name, value) = mark.split_once('=').unwrap();
    let (json, html) = (Scratch::new("nodes.json"), Scratch::new("nodes.html"));
    let mut benchmark = Command::new(env!("CARGO_BIN_EXE_infinicache"))
        .args("bench --nodes 3,5 --size 20KiB --size 100KiB --mix get".split(' '))
        .args("--keys 20 --requests 50 --duration 60s --warm-up 0s".split(' '))
        .args(["--json", json.path(), "--html", html.path()])
        .env(name, value)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let ended = time::timeout(PATIENCE * 2, benchmark.wait()).await;
    assert!(ended.unwrap().unwrap().success());
    assert_eq!(marked(&mark), Vec::<String>::new());

    let document = json.json();
    let workloads = document["workloads"].as_array().unwrap();
    let nodes: Vec<_> = workloads.iter().map(|it| place(it, "nodes")).collect();
    assert_eq!(nodes, [3, 3, 5, 5]);
    // On 3 nodes there are copies; on 5 a code of as many chunks as there can be.
    let used: Vec<_> = workloads.iter().map(stretch).collect();
    assert!(used[1] > 2.9 && used[3] < 2.0, "{used:?}");
    let page = fs::read_to_string(&html.0).unwrap();
    for curve in [
        "Throughput by nodes",
        "Memory by nodes",
        "Throughput by size",
    ] {
        assert!(page.contains(curve), "{curve}");
    }
}

/// Where a workload is along an axis.
fn place(workload: &Json, axis: &str) -> u64 {
    let along = workload["along"].as_array().unwrap();
    let found = along.iter().find(|it| it["axis"] == axis).unwrap();
    found["place"].as_u64().unwrap()
}

/// Memory that the first target uses for a byte of value.
fn stretch(workload: &Json) -> f64 {
    let used = workload["memory"][0]["used"].as_f64().unwrap();
    used / workload["bytes"].as_f64().unwrap()
}

/// The command lines of the processes that have this in their environment.
fn marked(mark: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let line = |process: fs::DirEntry| {
        let read = |file| fs::read(process.path().join(file)).ok();
        let environment = read("environ")?;
        let mut variables = environment.split(|byte| *byte == 0);
        variables.find(|it| *it == mark.as_bytes())?;
        Some(String::from_utf8_lossy(&read("cmdline")?).into_owned())
    };
    processes.filter_map(line).collect()
}

#[tokio::test]
async fn a_benchmark_that_fails_says_so() {
    let cluster = Cluster::start(|up| up.nodes(4).code(2, 1).max_object_bytes("1KiB")).await;
    let words = format!(
        "bench redis://{} --size 2KiB --mix set --keys 2",
        cluster.address()
    );
    let output = infinicache(&words, &[]).await;
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        error.contains("none of its keys could be set: refused: "),
        "{error}"
    );

    let words = format!(
        "bench redis://{} --size 100=50,2KiB=50 --mix set --keys 100 --requests 100 --warm-up 0s",
        cluster.address()
    );
    let output = infinicache(&words, &[]).await;
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains(" failed: refused: "), "{text}");
}

/// How many different keys the part of the trace has that is replayed.
fn keys() -> usize {
    let trace = fs::read_to_string(TRACE).unwrap();
    let keys = trace.lines().skip(1).take(REPLAYED);
    keys.map(|line| line.split(',').nth(2).unwrap())
        .collect::<HashSet<_>>()
        .len()
}

#[tokio::test]
async fn a_replay_hits_what_was_asked_for_before_and_tells_what_the_nodes_cost() {
    let cluster = Cluster::start(|up| up.nodes(5).code(2, 1)).await;
    let (json, admin) = (Scratch::new("replay.json"), cluster.admin());
    let words = format!(
        "redis://{} --speed max -c 1 --limit {REPLAYED} --largest 256KiB --verify 1 --metrics {admin}",
        cluster.address()
    );
    let words = format!("replay {TRACE} {words}");
    let text = assert_succeeded(&infinicache(&words, &["--json", json.path()]).await);
    assert!(text.contains("GiB s as Redis with a replica"), "{text}");
    let outcome = json.json();
    assert_eq!(outcome["misses"], keys());
    assert_eq!(outcome["hits"], REPLAYED - keys());
    assert_eq!(outcome["verified"], outcome["hits"]);
    let cost = &outcome["cost"];
    let of = |key: &str| cost[key].as_f64().unwrap();
    assert!(of("node_seconds") <= of("always_on_node_seconds"), "{cost}");
    assert!(of("redis_with_replica") >= 2.0 * of("held"), "{cost}");
    assert_eq!(dbsize(&mut cluster.redis().await).await, 0);
}

#[tokio::test]
async fn a_replay_to_redis_hits_the_same() {
    let Some(redis) = Redis::start().await else {
        return;
    };
    let json = Scratch::new("replay-redis.json");
    let words = format!(
        "replay {TRACE} {} --speed 100000 -c 1 --limit {REPLAYED} --largest 256KiB",
        redis.url
    );
    let text = assert_succeeded(&infinicache(&words, &["--json", json.path()]).await);
    assert!(
        text.contains("unknown without the proxy's metrics"),
        "{text}"
    );
    let outcome = json.json();
    assert_eq!(
        (&outcome["misses"], &outcome["hits"]),
        (&keys().into(), &(REPLAYED - keys()).into())
    );
    assert!(outcome["cost"]["node_seconds"].is_null());
}
