//! Objects in and out, as a user of the shell has it: the program against a cache of its own.
#![cfg(target_os = "linux")]

#[expect(dead_code, reason = "other tests use the rest of it")]
mod processes;

use std::{
    fs,
    path::PathBuf,
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use processes::{DEADLINE, kill, ports};
use rustix::process::Signal;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, Command},
    time,
};

/// A value of several stripes whose bytes tell where they belong.
fn value(length: u32) -> Vec<u8> {
    (0..length)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

/// A cache that is ready, and a directory for files.
struct Cache {
    _up: Child,
    server: String,
    directory: PathBuf,
}

impl Cache {
    async fn new(name: &str) -> Self {
        let [redis, admin] = ports();
        let mut up = Command::new(env!("CARGO_BIN_EXE_infinicache"))
            .args(["up", "--nodes", "4", "--data", "2", "--parity", "1"])
            .args(["--memory", "32MiB", "--buffer-bytes", "64MiB"])
            .args([
                "--port",
                &redis.to_string(),
                "--admin-port",
                &admin.to_string(),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(up.stdout.take().unwrap()).lines();
        let greeting = time::timeout(DEADLINE, lines.next_line()).await.unwrap();
        assert!(greeting.unwrap().expect("ready").contains("ready"));
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        Self {
            _up: up,
            server: format!("127.0.0.1:{redis}"),
            directory,
        }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_infinicache"));
        command
            .args(line.split(' '))
            .env("INFINICACHE_SERVERS", &self.server)
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn run(&self, line: &str) -> Output {
        time::timeout(DEADLINE, self.command(line).output())
            .await
            .unwrap()
            .unwrap()
    }

    /// Runs what succeeds, and gives what it prints.
    async fn done(&self, line: &str) -> Vec<u8> {
        let output = self.run(line).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{line}: {said}");
        assert_eq!(said, "", "{line}");
        output.stdout
    }

    async fn json(&self, line: &str) -> Value {
        serde_json::from_slice(&self.done(line).await).unwrap()
    }

    /// Runs what fails with a status, and gives what it says of it.
    async fn fails(&self, line: &str, status: i32) -> String {
        let output = self.run(line).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{line}: {said}");
        assert!(output.stdout.is_empty(), "{line}");
        said
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.directory.join(name), bytes).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.directory.join(name)).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.directory).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// Begins to put standard input, which stays open.
    async fn begin_put(&self, key: &str, bytes: &[u8]) -> (Child, ChildStdin) {
        let mut put = self
            .command(&format!("put {key} -"))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = put.stdin.take().unwrap();
        input.write_all(bytes).await.unwrap();
        (put, input)
    }
}

async fn status_of(mut child: Child) -> Option<i32> {
    time::timeout(DEADLINE, child.wait())
        .await
        .unwrap()
        .unwrap()
        .code()
}

#[tokio::test]
async fn files_and_streams_come_back_as_they_went() {
    let cache = Cache::new("round-trip").await;
    for length in [0, 1, 1000, 3_000_001] {
        let value = value(length);
        cache.write("file", &value);
        assert!(cache.done("put from-file file").await.is_empty());
        cache.done("get from-file -o copy").await;
        assert!(cache.read("copy") == value, "{length} by file");

        let (put, input) = cache.begin_put("from-stream", &value).await;
        drop(input);
        assert_eq!(status_of(put).await, Some(0));
        assert!(
            cache.done("get from-stream").await == value,
            "{length} by stream"
        );
    }
    assert_eq!(cache.names(), ["copy", "file"]);
}

#[tokio::test]
async fn a_part_of_a_value_is_what_was_asked_for() {
    let cache = Cache::new("range").await;
    let value = value(1_000_000);
    cache.write("file", &value);
    cache.done("put key file").await;
    for (range, expected) in [
        ("0..4", &value[..4]),
        ("300KB..500KB", &value[300_000..500_000]),
        ("999999..", &value[999_999..]),
        ("..10", &value[..10]),
        ("900000..5MB", &value[900_000..]),
        ("2MB..3MB", &[]),
    ] {
        assert!(
            cache.done(&format!("get key --range {range}")).await == expected,
            "{range}"
        );
    }
    cache.fails("get key --range 5..1", 2).await;
}

#[tokio::test]
async fn a_miss_is_told_by_the_status_and_leaves_no_file() {
    let cache = Cache::new("miss").await;
    cache.write("file", b"before");
    for line in [
        "get nothing",
        "get nothing -o file",
        "get nothing -o new",
        "stat nothing",
        "del nothing",
    ] {
        let said = cache.fails(line, 3).await;
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with("infinicache: "), "{said}");
        for part in ["\"nothing\"", &cache.server, "no such key"] {
            assert!(said.contains(part), "{said}");
        }
    }
    assert_eq!(cache.names(), ["file"]);
    assert_eq!(cache.read("file"), b"before");
}

#[tokio::test]
async fn conditions_and_deletion_are_told_by_the_status() {
    let cache = Cache::new("conditions").await;
    cache.write("one", b"one");
    cache.write("two", b"two");
    cache.fails("put key one --xx", 3).await;
    cache.done("put key one --nx").await;
    cache.fails("put key two --nx", 3).await;
    assert_eq!(cache.done("get key").await, b"one");
    cache.done("put key two --xx").await;
    assert_eq!(cache.done("get key").await, b"two");
    cache.fails("put key two --nx --xx", 2).await;

    cache.done("put other one").await;
    let said = cache.fails("del a key b other", 3).await;
    assert_eq!(said.lines().count(), 2, "{said}");
    for key in ["key", "other"] {
        cache.fails(&format!("get {key}"), 3).await;
    }
}

#[tokio::test]
async fn stat_and_pool_tell_where_a_value_is() {
    let cache = Cache::new("stat").await;
    cache.write("file", &value(3_000_000));
    cache.done("put key file --ttl 10m").await;
    let stat = cache.json("stat key --json").await;
    assert_eq!(stat["size"], 3_000_000);
    assert_eq!((&stat["data"], &stat["parity"]), (&2.into(), &1.into()));
    assert_eq!(stat["health"], "whole");
    assert!(stat["expires_at"].is_u64());
    let pool = cache.json("pool --json").await;
    assert_eq!(pool[0]["server"], cache.server);
    let nodes = pool[0]["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 4);
    let chunks = stat["chunks"].as_array().unwrap();
    assert_eq!(chunks.len(), 3);
    for chunk in chunks {
        let node = nodes
            .iter()
            .find(|node| node["name"] == chunk["node"])
            .unwrap();
        assert_eq!(node["instance"], chunk["instance"]);
        assert_eq!(node["state"], "active");
        assert!(node["used"].as_u64() >= chunk["bytes"].as_u64());
    }
    let text = String::from_utf8(cache.done("stat key").await).unwrap();
    assert!(text.contains("3000000 bytes (2.86 MiB)"), "{text}");
    let text = String::from_utf8(cache.done("pool").await).unwrap();
    assert!(text.contains("4 nodes: "), "{text}");
}

#[tokio::test]
async fn a_value_lives_no_longer_than_its_ttl() {
    let cache = Cache::new("ttl").await;
    cache.write("file", b"value");
    cache.fails("put key file --ttl 0s", 2).await;
    cache.done("put key file --ttl 1ms").await;
    let give_up = Instant::now() + DEADLINE;
    while cache.run("get key").await.status.code() != Some(3) {
        assert!(Instant::now() < give_up);
    }
}

#[tokio::test]
async fn ctrl_c_leaves_the_value_before() {
    let cache = Cache::new("ctrl-c").await;
    let value = value(8_000_000);
    cache.write("file", &value);
    cache.done("put key file").await;

    // More than is read ahead, so that the write has begun.
    let (put, input) = cache.begin_put("key", &[7; 8_000_000]).await;
    kill(put.id().unwrap().into(), Signal::INT);
    assert_eq!(status_of(put).await, Some(130));
    drop(input);

    let mut get = cache.command("get key").spawn().unwrap();
    let mut output = get.stdout.take().unwrap();
    assert_eq!(output.read_u8().await.unwrap(), value[0]);
    kill(get.id().unwrap().into(), Signal::INT);
    assert_eq!(status_of(get).await, Some(130));

    assert!(cache.done("get key").await == value);
}

#[tokio::test]
async fn a_reader_that_leaves_ends_a_get_quietly() {
    let cache = Cache::new("pipe").await;
    cache.write("file", &value(8_000_000));
    cache.done("put key file").await;
    let mut get = cache.command("get key").spawn().unwrap();
    drop(get.stdout.take());
    let output = time::timeout(DEADLINE, get.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(output.stderr, b"");
}

#[tokio::test]
async fn a_file_that_changes_as_it_is_read_leaves_the_value_before() {
    let cache = Cache::new("changing").await;
    cache.write("file", b"before");
    cache.done("put key file").await;
    // Much more than fits into pipes and buffers, so that it is read after it was opened.
    cache.write("file", &value(64_000_000));
    let growing = async {
        let path = cache.directory.join("file");
        let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
        loop {
            std::io::Write::write_all(&mut file, b"more").unwrap();
            time::sleep(Duration::from_millis(1)).await;
        }
    };
    let said = tokio::select! {
        said = cache.fails("put key file", 1) => said,
        () = growing => unreachable!(),
    };
    assert!(said.contains("the file changed as it was read"), "{said}");
    assert!(said.contains("\"key\""), "{said}");
    assert_eq!(cache.done("get key").await, b"before");
}

#[tokio::test]
async fn output_that_cannot_be_written_is_an_error_and_a_reader_that_leaves_is_none() {
    let cache = Cache::new("full").await;
    cache.write("file", &value(1_000_000));
    cache.done("put key file").await;
    let said = cache.fails("get key -o /dev/full", 1).await;
    assert!(said.contains("cannot write to /dev/full"), "{said}");
    fs::write(
        cache.directory.join("trace.csv"),
        "timestamp_ms,op,key,bytes\n0,GET,a,100\n",
    )
    .unwrap();
    let target = format!("redis://{}/0", cache.server);
    for line in [
        "--help",
        "--version",
        "manifests --help",
        "manifests",
        "get key",
        "stat key",
        "stat key --json",
        "pool",
        "pool --json",
        &format!("bench {target} --size 1KiB -n 10 --warm-up 0s"),
        &format!("replay trace.csv {target} --speed max"),
    ] {
        let full = fs::File::create("/dev/full").unwrap();
        let (_, closed) = std::io::pipe().unwrap();
        for (output, status, says) in [
            (Stdio::from(full), 1, "cannot write to standard output"),
            (Stdio::from(closed), 141, ""),
        ] {
            let run = cache.command(line).stdout(output).spawn().unwrap();
            let output = time::timeout(DEADLINE, run.wait_with_output()).await;
            let output = output.unwrap().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(status), "{line}: {said}");
            assert!(
                said.contains(says) && !said.contains("panicked"),
                "{line}: {said}"
            );
        }
    }
}

#[tokio::test]
async fn a_cache_is_found_by_the_url_that_redis_clients_are_given() {
    let cache = Cache::new("url").await;
    cache.write("file", b"value");
    cache.done("put key file").await;
    for url in ["redis://SERVER", "redis://SERVER/", "redis://SERVER/0"] {
        let url = url.replace("SERVER", &cache.server);
        assert_eq!(
            cache.done(&format!("get key --server {url}")).await,
            b"value"
        );
    }
    for (url, says) in [
        ("rediss://SERVER", "not encrypted"),
        ("redis://SERVER/1", "no database"),
        ("redis://SERVER?protocol=3", "parameters"),
    ] {
        let url = url.replace("SERVER", &cache.server);
        let said = cache.fails(&format!("get key --server {url}"), 2).await;
        assert!(said.contains(says), "{said}");
    }
    // As in Redis, a password that is not needed is refused, and is not told in any case.
    let url = format!("redis://:s3cret@{}", cache.server);
    let said = cache.fails(&format!("get key --server {url}"), 5).await;
    assert!(said.contains("AUTH") && !said.contains("s3cret"), "{said}");
}

#[tokio::test]
async fn what_is_not_accepted_or_not_there_is_told_apart() {
    let cache = Cache::new("refused").await;
    // Four nodes of 32 MiB.
    let (put, mut input) = cache.begin_put("large", &[7; 1 << 20]).await;
    let feeding = async { while input.write_all(&[7; 1 << 20]).await.is_ok() {} };
    let ((), status) = tokio::join!(feeding, status_of(put));
    assert_eq!(status, Some(5));

    let [nobody] = ports();
    let nobody = format!("127.0.0.1:{nobody}");
    let said = cache.fails(&format!("get key --server {nobody}"), 6).await;
    assert!(said.contains("\"key\"") && said.contains(&nobody), "{said}");
    cache.fails("get key --server nobody", 2).await;
    let said = cache.fails("put key nowhere", 1).await;
    assert!(said.contains("nowhere"), "{said}");
    cache.write("file", b"value");
    cache.done("put key file").await;
    cache.fails("get key -o no/where", 1).await;
}
