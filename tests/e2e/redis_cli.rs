//! `redis-cli`, as people and scripts use it.

use std::{
    env, fs,
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::{process::Command, time};

use crate::{
    cluster::{Cluster, PATIENCE},
    values::Value,
};

/// Whether `redis-cli` can be run. Without it a test is skipped, but not in CI.
async fn is_there() -> bool {
    let asked = Command::new("redis-cli")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .await;
    let is_there = asked.is_ok_and(|status| status.success());
    if !is_there {
        let in_ci = env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(!in_ci, "redis-cli is missing");
        eprintln!("SKIPPED: redis-cli is missing");
    }
    is_there
}

/// A file of a test, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("{}-{name}", std::process::id());
        Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Runs `redis-cli` with these arguments, from one file to another.
async fn run(cluster: &Cluster, args: &[&str], from: Stdio, to: &Path) {
    let mut child = Command::new("redis-cli")
        .args(["-p", &cluster.address().port().to_string()])
        .args(args)
        .stdin(from)
        .stdout(File::create(to).unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let ended = time::timeout(PATIENCE, child.wait()).await.unwrap();
    assert!(ended.unwrap().success(), "{args:?}");
}

#[tokio::test]
async fn a_large_file_goes_in_and_out_bit_by_bit() {
    if !is_there().await {
        return;
    }
    let cluster = Cluster::start(|up| up).await;
    let (input, output) = (Scratch::new("input"), Scratch::new("output"));
    let value = Value::new(1, 64 << 20);
    fs::write(&input.0, value.bytes()).unwrap();
    let file = File::open(&input.0).unwrap();
    run(&cluster, &["-x", "SET", "file"], file.into(), &output.0).await;
    assert_eq!(fs::read_to_string(&output.0).unwrap(), "OK\n");

    run(
        &cluster,
        &["--raw", "GET", "file"],
        Stdio::null(),
        &output.0,
    )
    .await;
    let got = fs::read(&output.0).unwrap();
    // It ends what it prints with a line end.
    let (end, got) = got.split_last().unwrap();
    assert_eq!(*end, b'\n');
    value.assert_is(got);
}
