//! The activator with real processes behind it.
#![cfg(target_os = "linux")]

#[expect(dead_code, reason = "other tests use the rest of it")]
mod processes;
mod stand_in;

use std::{fs, path::Path, time::Duration};

use axum::{body::Body, extract::Request, http::StatusCode};
use infinicache::{http, launcher::Launcher};
use processes::{DEADLINE, is_running, kill, until_gone};
use rustix::process::Signal;
use serde_json::Value;
use stand_in::{NEVER, Stage, launcher, next, test_function};
use tokio::{io::AsyncWriteExt, time};
use tokio_util::io::ReaderStream;

/// Not a test: the program that plays the node.
#[tokio::test]
#[ignore = "started by the tests"]
async fn stand_in() {
    stand_in::main().await;
}

fn is_asleep(node: &Value) -> bool {
    node["state"] == "asleep" && node["processes"].as_array().unwrap().is_empty()
}

#[tokio::test]
async fn nothing_runs_before_the_first_request() {
    let stage = Stage::new(launcher("polite"), |_| {}).await;
    let nodes = stage.status().await;
    assert_eq!(nodes[0]["name"], "a");
    assert_eq!(nodes[1]["name"], "b");
    assert!(is_asleep(&nodes[0]) && is_asleep(&nodes[1]), "{nodes}");
    stage.stop().await;
}

#[tokio::test]
async fn a_request_starts_its_node_and_reaches_it_as_it_was_sent() {
    let stage = Stage::new(launcher("polite"), |_| {}).await;
    let seen = stage.ask("/a/wake?now").await;
    assert_eq!(seen["service"], "a");
    assert_eq!(seen["method"], "POST");
    assert_eq!(seen["uri"], "/wake?now");
    assert_eq!(seen["body"], "a wake");
    assert_eq!(seen["test"], "kept");
    assert_eq!(seen["connection"], Value::Null);
    let nodes = stage.status().await;
    assert_eq!(nodes[0]["state"], "serving");
    assert_eq!(nodes[0]["processes"][0]["pid"], seen["pid"]);
    assert!(is_asleep(&nodes[1]), "{nodes}");
    stage.stop().await;
}

#[tokio::test]
async fn a_name_that_no_node_has_is_not_found() {
    let stage = Stage::new(launcher("polite"), |_| {}).await;
    for path in ["/c/wake", "/", "//wake"] {
        let (status, _) = stage.post(path).await;
        let known = path == "/";
        let expected = if known {
            StatusCode::METHOD_NOT_ALLOWED
        } else {
            StatusCode::NOT_FOUND
        };
        assert_eq!(status, expected, "{path}");
    }
    stage.stop().await;
}

#[tokio::test]
async fn requests_at_once_start_one_process() {
    let stage = Stage::new(launcher("polite"), |_| {}).await;
    let (first, second, third) =
        tokio::join!(stage.pid("/a/1"), stage.pid("/a/2"), stage.pid("/a/3"));
    assert_eq!(first, second);
    assert_eq!(first, third);
    assert_eq!(stage.status().await[0]["started"], 1);
    stage.stop().await;
}

#[tokio::test]
async fn bodies_are_streamed_both_ways() {
    let stage = Stage::new(launcher("polite"), |_| {}).await;
    let (mut write, read) = tokio::io::duplex(64);
    let request = Request::post("/a/mirror")
        .body(Body::from_stream(ReaderStream::new(read)))
        .unwrap();
    let mut answer = stage.send(request).await.into_body();
    for word in ["first", "second"] {
        write.write_all(word.as_bytes()).await.unwrap();
        assert_eq!(next(&mut answer).await, word);
    }
    stage.stop().await;
}

#[tokio::test]
async fn an_idle_process_is_stopped_and_the_next_request_starts_another() {
    let stage = Stage::new(launcher("polite"), |timing| {
        timing.idle_window = Duration::from_millis(50);
    })
    .await;
    let first = stage.pid("/a/wake").await;
    stage.until(is_asleep).await;
    assert!(!is_running(first));
    assert_ne!(stage.pid("/a/wake").await, first);
    stage.stop().await;
}

#[tokio::test]
async fn a_request_in_flight_keeps_its_process_until_its_client_leaves() {
    let stage = Stage::new(launcher("polite"), |timing| {
        timing.idle_window = Duration::from_millis(50);
    })
    .await;
    let held = Request::get("/b/hold").body(Body::empty()).unwrap();
    let mut held = Box::pin(stage.send(held));
    // While it is held, another node comes and goes for want of requests.
    tokio::select! {
        _ = &mut held => panic!("nobody answers this"),
        () = async {
            while stage.status().await[1]["state"] != "serving" {
                time::sleep(Duration::from_millis(5)).await;
            }
            stage.pid("/a/wake").await;
            stage.until(is_asleep).await;
        } => {}
    }
    let b = stage.status().await[1].take();
    assert_eq!(b["started"], 1);
    assert_eq!(b["processes"][0]["in_flight"], 1, "{b}");
    drop(held);
    until_gone(b["processes"][0]["pid"].as_u64().unwrap()).await;
    stage.stop().await;
}

#[tokio::test]
async fn a_killed_process_is_replaced_at_the_next_request() {
    let stage = Stage::new(launcher("polite"), |_| {}).await;
    let first = stage.pid("/a/wake").await;
    kill(first, Signal::KILL);
    until_gone(first).await;
    assert_ne!(stage.pid("/a/wake").await, first);
    assert_eq!(stage.status().await[0]["started"], 2);
    stage.stop().await;
}

#[tokio::test]
async fn a_process_that_is_leaving_lives_on_beside_its_successor() {
    let stage = Stage::new(launcher("stubborn"), |timing| {
        timing.idle_window = Duration::from_millis(50);
    })
    .await;
    let first = stage.pid("/a/wake").await;
    stage
        .until(|a| a["processes"][0]["state"] == "leaving")
        .await;
    let second = stage.pid("/a/wake").await;
    assert_ne!(first, second);
    let a = stage.status().await[0].take();
    assert_eq!(a["processes"][0]["pid"], first);
    assert_eq!(a["processes"][1]["pid"], second);
    assert!(is_running(first) && is_running(second));
    stage.stop().await;
    until_gone(first).await;
    until_gone(second).await;
}

#[tokio::test]
async fn a_process_lives_on_unaware_between_the_decision_and_its_sigterm() {
    let stage = Stage::new(launcher("polite"), |timing| {
        timing.idle_window = Duration::from_millis(50);
        timing.term_delay = NEVER;
    })
    .await;
    let first = stage.pid("/a/wake").await;
    stage
        .until(|a| a["processes"][0]["state"] == "drained")
        .await;
    let second = stage.pid("/a/wake").await;
    assert_ne!(first, second);
    assert!(is_running(first) && is_running(second));
    stage.stop().await;
}

#[tokio::test]
async fn a_process_that_got_sigterm_from_elsewhere_is_succeeded_at_the_next_request() {
    let stage = Stage::new(launcher("slow"), |_| {}).await;
    let first = stage.pid("/a/wake").await;
    let address = stage.status().await[0]["processes"][0]["address"].take();
    let address = address.as_str().unwrap().parse().unwrap();
    kill(first, Signal::TERM);
    let terminating = async {
        while http::get(address, "/readyz", DEADLINE).await.unwrap().0 == StatusCode::OK {
            time::sleep(Duration::from_millis(5)).await;
        }
    };
    time::timeout(DEADLINE, terminating).await.unwrap();

    let second = stage.pid("/a/wake").await;
    assert_ne!(first, second);
    assert_eq!(stage.pid("/a/wake").await, second);
    let processes = stage.status().await[0]["processes"].take();
    assert_eq!(processes[0]["state"], "leaving", "{processes}");
    assert_eq!(processes[1]["state"], "serving", "{processes}");
    assert!(is_running(first));
    stage.stop().await;
}

#[tokio::test]
async fn nodes_can_be_replaced_one_by_one_or_all_at_once() {
    let stage = Stage::new(launcher("polite"), |timing| {
        timing.term_delay = Duration::from_millis(50);
    })
    .await;
    let (a, b) = tokio::join!(stage.pid("/a/wake"), stage.pid("/b/wake"));
    assert_eq!(stage.post("/replace/a").await.0, StatusCode::NO_CONTENT);
    stage.until(|a| a["started"] == 2).await;
    until_gone(a).await;
    assert!(is_running(b));
    assert_ne!(stage.pid("/a/wake").await, a);

    assert_eq!(stage.post("/replace").await.0, StatusCode::NO_CONTENT);
    stage.until(|a| a["started"] == 3).await;
    until_gone(b).await;
    assert_ne!(stage.pid("/b/wake").await, b);
    assert_eq!(stage.post("/replace/c").await.0, StatusCode::NOT_FOUND);
    stage.stop().await;
}

#[tokio::test]
async fn a_start_suffers_what_was_asked_for_until_it_is_well_again() {
    let stage = Stage::new(launcher("polite"), |timing| {
        timing.start = Duration::from_millis(500);
    })
    .await;
    stage.harm("a", r#"{"start": "fails"}"#).await;
    assert_eq!(stage.post("/a/wake").await.0, StatusCode::BAD_GATEWAY);
    stage.harm("a", r#"{"start": "hangs"}"#).await;
    assert_eq!(stage.post("/a/wake").await.0, StatusCode::GATEWAY_TIMEOUT);
    stage.harm("a", "{}").await;
    stage.pid("/a/wake").await;
    stage.stop().await;
}

#[tokio::test]
async fn a_wake_suffers_what_was_asked_for_and_reaches_no_node() {
    let stage = Stage::new(launcher("polite"), |_| {}).await;
    for (how, status) in [
        ("refused", StatusCode::INTERNAL_SERVER_ERROR),
        ("garbage", StatusCode::OK),
        ("swallowed", StatusCode::OK),
    ] {
        stage.harm("a", &format!(r#"{{"wakes": "{how}"}}"#)).await;
        let request = Request::post("/a/wake").body(Body::empty()).unwrap();
        assert_eq!(stage.send(request).await.status(), status, "{how}");
    }
    stage.harm("a", r#"{"wakes": "hanging"}"#).await;
    let request = Request::post("/a/wake").body(Body::empty()).unwrap();
    let hanging = time::timeout(Duration::from_millis(100), stage.send(request));
    assert!(hanging.await.is_err());
    assert_eq!(stage.status().await[0]["started"], 0);
    stage.harm("a", "{}").await;
    stage.pid("/a/wake").await;
    stage.stop().await;
}

#[tokio::test]
async fn a_stopped_process_is_killed_when_its_grace_ends() {
    let stage = Stage::new(launcher("polite"), |timing| {
        timing.idle_window = Duration::from_millis(50);
        timing.grace = Duration::from_millis(50);
    })
    .await;
    let pid = stage.pid("/a/wake").await;
    kill(pid, Signal::STOP);
    until_gone(pid).await;
    stage.until(is_asleep).await;
    stage.stop().await;
}

#[tokio::test]
async fn a_process_that_ends_at_its_start_is_a_bad_gateway() {
    let stage = Stage::new(launcher("broken"), |_| {}).await;
    let (status, text) = stage.post("/a/wake").await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert!(text.contains("exit status: 3"), "{text}");
    stage.stop().await;
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_a_bad_gateway() {
    let launcher = Launcher {
        program: "/nowhere/infinicache".into(),
        ..launcher("polite")
    };
    let stage = Stage::new(launcher, |_| {}).await;
    let (status, text) = stage.post("/a/wake").await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert!(text.contains("No such file"), "{text}");
    stage.stop().await;
}

#[tokio::test]
async fn a_process_that_is_never_healthy_is_a_gateway_timeout_and_is_killed() {
    let stage = Stage::new(launcher("mute"), |timing| {
        timing.start = Duration::from_millis(100);
    })
    .await;
    let (status, text) = stage.post("/a/wake").await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
    assert!(text.contains("not healthy within 100ms"), "{text}");
    stage.until(is_asleep).await;
    stage.stop().await;
}

#[tokio::test]
async fn no_process_is_left_when_the_front_stops() {
    let stage = Stage::new(launcher("stubborn"), |_| {}).await;
    let (a, b) = tokio::join!(stage.pid("/a/wake"), stage.pid("/b/wake"));
    kill(b, Signal::STOP);
    stage.stop().await;
    assert!(!is_running(a) && !is_running(b));
}

const REPORT: &str = "HOST_REPORT";

/// Not a test: a process that runs an activator, and says which processes it has.
#[tokio::test]
#[ignore = "started by the tests"]
async fn host() {
    let Ok(report) = std::env::var(REPORT) else {
        return;
    };
    let stage = Stage::new(launcher("stubborn"), |_| {}).await;
    let (a, b) = tokio::join!(stage.pid("/a/wake"), stage.pid("/b/wake"));
    fs::write(format!("{report}.part"), format!("{a} {b}")).unwrap();
    fs::rename(format!("{report}.part"), report).unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn no_process_survives_a_front_that_is_killed() {
    let report = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}", std::process::id()));
    let mut host = test_function("host")
        .env(REPORT, report.display())
        .spawn()
        .unwrap();
    let written = async {
        while !report.exists() {
            time::sleep(Duration::from_millis(5)).await;
        }
    };
    time::timeout(DEADLINE, written).await.unwrap();
    let pids: Vec<u64> = fs::read_to_string(&report)
        .unwrap()
        .split(' ')
        .map(|pid| pid.parse().unwrap())
        .collect();
    fs::remove_file(&report).unwrap();
    assert!(pids.iter().all(|pid| is_running(*pid)));

    kill(pids[1], Signal::STOP);
    host.kill().await.unwrap();
    for pid in pids {
        until_gone(pid).await;
    }
}
