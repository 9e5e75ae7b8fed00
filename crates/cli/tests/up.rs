//! `infinicache up` as a user has it: the program, its processes, a Redis client.
#![cfg(target_os = "linux")]

mod processes;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use axum::{body::Body, extract::Request};
use infinicache::http;
use processes::{DEADLINE, is_running, kill, ports, until_gone};
use redis::Commands;
use rustix::process::Signal;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time,
};

fn command(port: u16, admin: u16) -> Command {
    command_of(Path::new(env!("CARGO_BIN_EXE_infinicache")), port, admin)
}

fn command_of(program: &Path, port: u16, admin: u16) -> Command {
    let mut command = Command::new(program);
    command
        .args(["up", "--nodes", "4", "--data", "2", "--parity", "1"])
        .args(["--memory", "16MiB", "--buffer-bytes", "64MiB"])
        .args(["--port", &port.to_string()])
        .args(["--admin-port", &admin.to_string()])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// A cache that is ready.
struct Up {
    child: Child,
    redis: u16,
    activator: SocketAddr,
}

impl Up {
    async fn new() -> Self {
        Self::of(Path::new(env!("CARGO_BIN_EXE_infinicache"))).await
    }

    async fn of(program: &Path) -> Self {
        let [redis, admin] = ports();
        Self::from(command_of(program, redis, admin), redis).await
    }

    async fn from(mut command: Command, redis: u16) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let activator = async {
            loop {
                let line = lines.next_line().await.unwrap().expect("ready");
                if let Some(url) = line.strip_prefix("nodes") {
                    let url = url.trim().trim_start_matches("http://");
                    return url.trim_end_matches('/').parse().unwrap();
                }
            }
        };
        let activator = time::timeout(DEADLINE, activator).await.unwrap();
        Self {
            child,
            redis,
            activator,
        }
    }

    async fn page(&self, path: &str) -> Value {
        let (_, body) = http::get(self.activator, path, DEADLINE).await.unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    /// All processes besides `up` itself: the proxy's comes first.
    async fn pids(&self) -> Vec<u64> {
        let proxy = self.page("/proxy").await["pid"].as_u64();
        let nodes = self.page("/").await["nodes"].take();
        let nodes = nodes.as_array().unwrap().clone();
        let nodes = nodes
            .iter()
            .flat_map(|node| node["processes"].as_array().unwrap())
            .filter_map(|process| process["pid"].as_u64());
        proxy.into_iter().chain(nodes).collect()
    }

    /// Sets a value, gets it, and compares; tries again while there is no proxy.
    async fn round_trip(&self) {
        let url = format!("redis://127.0.0.1:{}", self.redis);
        let value: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
        let once = move || -> redis::RedisResult<bool> {
            let client = redis::Client::open(url.as_str())?;
            let mut connection = client.get_connection_with_timeout(DEADLINE)?;
            let () = connection.set("key", &value)?;
            Ok(connection.get::<_, Vec<u8>>("key")? == value)
        };
        let tried = async {
            loop {
                let once = once.clone();
                match tokio::task::spawn_blocking(once).await.unwrap() {
                    Ok(same) => return same,
                    Err(_) => time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        assert!(time::timeout(DEADLINE, tried).await.unwrap());
    }
}

#[tokio::test]
async fn ctrl_c_stops_everything_in_good_order() {
    let mut up = Up::new().await;
    up.round_trip().await;
    let pids = up.pids().await;
    assert!(pids.len() > 3, "a proxy and a stripe of nodes: {pids:?}");
    kill(up.child.id().unwrap().into(), Signal::INT);
    let status = time::timeout(DEADLINE, up.child.wait()).await.unwrap();
    assert_eq!(status.unwrap().code(), Some(0));
    assert!(pids.iter().all(|pid| !is_running(*pid)));
}

#[tokio::test]
async fn nodes_cannot_be_harmed_over_http_unless_that_was_asked_for() {
    let up = Up::new().await;
    for path in ["/faults/node-0", "/replace/node-0", "/replace"] {
        let request = Request::post(path)
            .header("host", up.activator.to_string())
            .header("content-type", "application/json")
            .body(Body::from("{}"))
            .unwrap();
        let stream = http::connect(up.activator).await.unwrap();
        let answer = time::timeout(DEADLINE, http::exchange(stream, request)).await;
        assert_eq!(answer.unwrap().unwrap().status(), 404, "{path}");
    }
}

#[tokio::test]
async fn no_process_survives_when_up_is_killed() {
    let mut up = Up::new().await;
    up.round_trip().await;
    let pids = up.pids().await;
    assert!(pids.len() > 3, "a proxy and a stripe of nodes: {pids:?}");
    kill(*pids.last().unwrap(), Signal::STOP);
    up.child.kill().await.unwrap();
    for pid in pids {
        until_gone(pid).await;
    }
}

#[tokio::test]
async fn a_proxy_that_dies_is_restarted() {
    let up = Up::new().await;
    kill(up.pids().await[0], Signal::KILL);
    let restarted = async {
        while up.page("/proxy").await["restarts"] != 1 {
            time::sleep(Duration::from_millis(20)).await;
        }
    };
    time::timeout(DEADLINE, restarted).await.unwrap();
    up.round_trip().await;
}

#[tokio::test]
async fn a_program_that_is_replaced_while_it_runs_goes_on() {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("replaced");
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    let program = directory.join("infinicache");
    // A copy might be held open for writing by another test that just starts a process.
    fs::hard_link(env!("CARGO_BIN_EXE_infinicache"), &program).unwrap();
    let up = Up::of(&program).await;
    fs::write(directory.join("next"), "not a program").unwrap();
    fs::rename(directory.join("next"), &program).unwrap();
    let before = up.pids().await;
    before.iter().for_each(|pid| kill(*pid, Signal::KILL));
    let restarted = async {
        while up.page("/proxy").await["restarts"] != 1 {
            time::sleep(Duration::from_millis(20)).await;
        }
    };
    time::timeout(DEADLINE, restarted).await.unwrap();
    up.round_trip().await;
    for pid in up.pids().await {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        assert_eq!(name.trim(), "infinicache");
    }
}

#[tokio::test]
async fn output_that_nobody_reads_ends_it_quietly_and_that_finds_no_room_is_told() {
    for (output, status, says) in [
        (closed_pipe(), 141, ""),
        (full_device(), 1, "cannot write to standard output: "),
    ] {
        let [redis, admin] = ports();
        let up = command(redis, admin)
            .stdout(output)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = time::timeout(DEADLINE, up.wait_with_output()).await;
        let output = output.unwrap().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{said}");
        assert!(said.starts_with(says) || said.contains(says), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[tokio::test]
async fn a_cache_runs_though_there_is_no_place_for_what_it_logs() {
    for place in [closed_pipe(), full_device()] {
        let [redis, admin] = ports();
        let mut command = command(redis, admin);
        command.args(["--log", "debug"]).stderr(place);
        Up::from(command, redis).await.round_trip().await;
    }
}

/// A pipe whose reader has left.
fn closed_pipe() -> Stdio {
    let (_, writer) = std::io::pipe().unwrap();
    writer.into()
}

fn full_device() -> Stdio {
    fs::File::create("/dev/full").unwrap().into()
}

#[tokio::test]
async fn a_port_in_use_is_told_with_the_flag_that_changes_it() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let taken = listener.local_addr().unwrap().port();
    let [free] = ports();
    for (mut command, flag) in [
        (command(taken, free), "--port"),
        (command(free, taken), "--admin-port"),
    ] {
        let output = time::timeout(DEADLINE, command.output())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(&format!("127.0.0.1:{taken}")), "{said}");
        assert!(said.contains(&format!("with {flag}:")), "{said}");
    }
}

#[tokio::test]
async fn what_cannot_work_is_refused_before_anything_starts() {
    let output = Command::new(env!("CARGO_BIN_EXE_infinicache"))
        .args(["up", "--nodes", "2", "--parity", "2"])
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("at least 3 needed"), "{said}");
}

#[tokio::test]
async fn a_code_that_is_none_is_refused_before_anything_is_bound() {
    let [port] = ports();
    // A port that is taken would be told first.
    let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    for (code, status) in [
        ("--data 0", 2),
        ("--data 256", 2),
        ("--data 18446744073709551615", 2),
        ("--parity 255", 2),
        ("--data 254 --parity 2", 1),
    ] {
        for (subcommand, option, value) in [
            ("up", "--port", port.to_string()),
            ("proxy", "--listen", format!("127.0.0.1:{port}")),
        ] {
            let output = Command::new(env!("CARGO_BIN_EXE_infinicache"))
                .args([subcommand, option, &value])
                .args(code.split(' '))
                .env("INFINICACHE_SECRET", "a secret that is only for tests")
                .output()
                .await
                .unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(
                output.status.code(),
                Some(status),
                "{subcommand} {code}: {said}"
            );
            assert!(
                said.contains("--data") || said.contains("--parity") || said.contains("255"),
                "{said}"
            );
            assert!(!said.contains("listen"), "{said}");
        }
    }
}
