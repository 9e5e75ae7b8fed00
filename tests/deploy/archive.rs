//! The images that `docker/archive` makes without an engine: that they hold all that their
//! program needs, and say how it is run.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};

use crate::{outside, repository, scratch::Scratch};

const IMAGE: &str = "dev.local/infinicache:0.1.0";
const BINARY: &str = env!("CARGO_BIN_EXE_infinicache");

/// Writes the image of the command line.
fn archive() -> Vec<u8> {
    let mut script = Command::new(repository("docker/archive"));
    let output = outside::run(script.args([BINARY, IMAGE]));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn unpack(archive: &Path, directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(archive).arg("-C").arg(directory);
    let output = outside::run(&mut tar);
    assert!(output.status.success(), "{}", outside::said(&output));
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn an_image_that_was_made_without_an_engine_holds_all_that_its_program_needs() {
    let scratch = Scratch::new("archive");
    let at = |name: &str| scratch.0.join(name);
    fs::write(at("image.tar"), archive()).unwrap();
    unpack(&at("image.tar"), &at("image"));
    let manifest = read(&at("image/manifest.json"));
    let expected = json!([{
        "Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"],
    }]);
    assert_eq!(manifest, expected);

    let config = read(&at("image/config.json"));
    assert_eq!(config["config"]["User"], "65532:65532");
    let version = &config["config"]["Labels"]["org.opencontainers.image.version"];
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
    let sum = outside::run(Command::new("sha256sum").arg(at("image/layer.tar")));
    let sum = String::from_utf8(sum.stdout).unwrap();
    let layers = json!([format!("sha256:{}", sum.split(' ').next().unwrap())]);
    assert_eq!(config["rootfs"]["diff_ids"], layers);

    unpack(&at("image/layer.tar"), &at("root"));
    let inside = |path: &str| at("root").join(path.trim_start_matches('/'));
    let program = inside(config["config"]["Entrypoint"][0].as_str().unwrap());
    let sections = |program: &Path| {
        let output = outside::run(Command::new("objdump").arg("-h").arg(program));
        outside::said(&output)
    };
    assert!(sections(Path::new(BINARY)).contains(".debug_info"));
    assert!(!sections(&program).contains(".debug_info"));

    // By the loader and the libraries that are in it, and no others.
    let [loader, libraries] = match std::env::consts::ARCH {
        "x86_64" => ["/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu"],
        _ => ["/lib/ld-linux-aarch64.so.1", "/lib/aarch64-linux-gnu"],
    };
    let mut run = Command::new(inside(loader));
    run.arg("--inhibit-cache");
    run.arg("--library-path")
        .arg(inside(libraries))
        .arg(program);
    let output = outside::run(run.arg("--version"));
    let version = format!("infinicache {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(outside::said(&output), version);
}

#[test]
fn the_same_binary_is_the_same_image() {
    assert!(archive() == archive());
}

#[test]
fn whoever_does_not_say_what_the_image_is_of_is_told_how() {
    let output = outside::run(&mut Command::new(repository("docker/archive")));
    assert_eq!(output.status.code(), Some(2));
    assert!(outside::said(&output).contains("Usage: docker/archive BINARY NAME:TAG"));
}

#[test]
fn an_archive_is_written_to_the_file_that_is_named() {
    let scratch = Scratch::new("archive-file");
    let file = scratch.0.join("image.tar");
    let mut script = Command::new(repository("docker/archive"));
    let output = outside::run(script.args([BINARY, IMAGE]).arg(&file));
    assert!(output.status.success(), "{}", outside::said(&output));
    assert!(output.stdout.is_empty());
    assert!(fs::read(file).unwrap() == archive());
}

#[test]
fn a_binary_that_was_not_built_is_named_with_what_builds_it_and_leaves_no_archive() {
    let scratch = Scratch::new("no-archive");
    let file = scratch.0.join("image.tar");
    let mut script = Command::new(repository("docker/archive"));
    let missing = scratch.0.join("infinicache-node");
    let output = outside::run(script.arg(&missing).arg(IMAGE).arg(&file));
    assert_eq!(output.status.code(), Some(1));
    let said = outside::said(&output);
    assert!(said.contains(missing.to_str().unwrap()), "{said}");
    assert!(
        said.contains("cargo build --release -p infinicache-node"),
        "{said}"
    );
    assert!(!said.contains("No such file"), "{said}");
    assert!(!file.exists());
}
