//! The images: that the steps of their files lead to them, and that what is in
//! them would run.
//!
//! Compiling everything three times is nothing for a test. So where the steps
//! call `cargo build`, a stand-in checks that cargo takes the manifests that
//! are there as they are locked, and lays down the binary that was built of the
//! same sources already. With `INFINICACHE_BUILD_IMAGES=1` cargo does it all.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    dockerfile::{Built, Dockerfile},
    outside, repository,
    scratch::Scratch,
};

/// The files, and the program that each image is for.
const IMAGES: [(&str, &str); 3] = [
    ("proxy", "infinicache-proxy"),
    ("node", "infinicache-node"),
    ("cli", "infinicache"),
];

/// Libraries of the runtime image: those of C and of the compiler.
const LIBRARIES: [&str; 4] = [
    "libc.so.6",
    "libm.so.6",
    "libgcc_s.so.1",
    "ld-linux-x86-64.so.2",
];

/// Debian's releases by name, with their number and their C library.
const RELEASES: [(&str, &str, (u32, u32)); 2] =
    [("bookworm", "12", (2, 36)), ("trixie", "13", (2, 41))];

/// Stands in for `cargo build ... --package P --bin B [--features F]`, in the directory of a stage.
const STAND_IN: &str = r#"#!/bin/sh
set -e
[ "$1 $2 $3 $4 $6" = "build --release --locked --package --bin" ] || { echo "unexpected: $*"; exit 1; }
package=$5 bin=$7
shift 7
"$REAL_CARGO" tree --locked --offline --package "$package" "$@" >/dev/null
case $BINARIES in */release) profile=release ;; *) profile=dev ;; esac
[ -e "$BINARIES/$bin" ] || CARGO_TARGET_DIR=$BINARIES/.. "$REAL_CARGO" build --profile "$profile" \
    --manifest-path "$SOURCES/Cargo.toml" --locked --package "$package" --bin "$bin" "$@"
mkdir -p target/release/.fingerprint/"$package"-0
rm -f target/release/"$bin"
# The first time sources are empty, and so is what is built from them.
if grep -q . crates/wire/src/lib.rs; then cp "$BINARIES/$bin" target/release/; else : >target/release/"$bin"; fi
"#;

fn file(name: &str) -> Dockerfile {
    Dockerfile::read(&repository("docker").join(format!("{name}.Dockerfile")))
}

fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

fn build(name: &str, scratch: &Scratch) -> Built {
    let tools = scratch.0.join("tools");
    fs::create_dir_all(&tools).unwrap();
    let binaries = Path::new(env!("CARGO_BIN_EXE_infinicache"))
        .parent()
        .unwrap();
    let mut path = env::var("PATH").unwrap();
    if env::var_os("INFINICACHE_BUILD_IMAGES").is_none() {
        let stand_in = tools.join("cargo");
        fs::write(&stand_in, STAND_IN).unwrap();
        fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755)).unwrap();
        path = format!("{}:{path}", tools.display());
    }
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let sources = repository(".").canonicalize().unwrap();
    let environment = [
        ("PATH", path),
        ("REAL_CARGO", text(&cargo())),
        ("BINARIES", text(binaries)),
        ("SOURCES", text(&sources)),
        // A target directory that is set for this run is not that of the image.
        ("CARGO_TARGET_DIR", "target".to_owned()),
    ];
    file(name).build(&sources, &scratch.0, &environment)
}

/// What `readelf` says of a binary.
fn readelf(flag: &str, binary: &Path) -> String {
    let output = outside::run(Command::new("readelf").args([flag, "-W"]).arg(binary));
    assert!(output.status.success(), "{}", outside::said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The highest version of the C library's symbols that a binary needs.
fn c_library(binary: &Path) -> (u32, u32) {
    let text = readelf("--version-info", binary);
    let versions = text.split("GLIBC_").skip(1).filter_map(|rest| {
        let version: String = rest
            .chars()
            .take_while(|at| at.is_ascii_digit() || *at == '.')
            .collect();
        let mut numbers = version.split('.').map(|number| number.parse().ok());
        Some((numbers.next()??, numbers.next()??))
    });
    versions.max().expect("it needs the C library")
}

/// The name of the release that the image is of.
fn release(image: &str) -> &'static (&'static str, &'static str, (u32, u32)) {
    let is_of = |(name, number, _): &&(&str, &str, _)| {
        image.contains(name) || image.contains(&format!("debian{number}"))
    };
    RELEASES
        .iter()
        .find(is_of)
        .unwrap_or_else(|| panic!("{image} tells no release"))
}

#[test]
fn the_steps_of_each_file_lead_to_an_image_of_one_program_that_would_run_in_it() {
    if !outside::is_there("readelf") {
        return;
    }
    for (name, program) in IMAGES {
        let scratch = Scratch::new(name);
        let built = build(name, &scratch);
        let path = format!("/usr/local/bin/{program}");
        assert_eq!(built.entrypoint, [path.as_str()]);
        let binary = built.root.join(path.trim_start_matches('/'));
        let beside = fs::read_dir(binary.parent().unwrap()).unwrap().count();
        assert_eq!(beside, 1, "nothing but the program");
        assert_eq!(fs::read_dir(&built.root).unwrap().count(), 1);

        let output = outside::run(Command::new(&binary).arg("--version"));
        let version = format!("{program} {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(String::from_utf8(output.stdout).unwrap(), version);

        let text = readelf("--dynamic", &binary);
        let needed = text.lines().filter(|line| line.contains("(NEEDED)"));
        for line in needed {
            let library = line.split(['[', ']']).nth(1).unwrap();
            assert!(LIBRARIES.contains(&library), "{program} needs {library}");
        }

        let (release, _, has) = release(file(name).argument("RUNTIME_IMAGE"));
        let needs = c_library(&binary);
        eprintln!("{program} needs glibc {needs:?}; {release} has {has:?}");
        let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
        if needs > *has && !system.contains(release) && !outside::in_ci() {
            eprintln!("SKIPPED: built on another system than {release}");
            continue;
        }
        assert!(
            needs <= *has,
            "{program} needs glibc {needs:?}, {release} has {has:?}"
        );
    }
}

#[test]
fn builder_and_runtime_are_of_one_release_of_debian() {
    for (name, _) in IMAGES {
        let file = file(name);
        let (builder, runtime) = (file.argument("RUST_IMAGE"), file.argument("RUNTIME_IMAGE"));
        assert_eq!(release(builder).0, release(runtime).0);
        let manifest = fs::read_to_string(repository("Cargo.toml")).unwrap();
        let rust = builder
            .split_once(':')
            .unwrap()
            .1
            .split('-')
            .next()
            .unwrap();
        assert!(
            manifest.contains(&format!("rust-version = \"{rust}\"")),
            "{rust}"
        );
        let from = file.all("FROM");
        assert_eq!(
            from,
            [
                "${RUST_IMAGE} AS outline",
                "${RUST_IMAGE} AS build",
                "${RUNTIME_IMAGE}"
            ]
        );
    }
}

#[test]
fn images_run_as_nobody_in_particular_and_tell_their_version() {
    for (name, program) in IMAGES {
        let file = file(name);
        assert_eq!(file.all("USER"), ["65532:65532"]);
        assert_eq!(file.all("STOPSIGNAL"), ["SIGTERM"]);
        assert_eq!(file.argument("VERSION"), env!("CARGO_PKG_VERSION"));
        let labels = file.all("LABEL")[0];
        assert!(labels.contains(&format!("org.opencontainers.image.title=\"{program}\"")));
        assert!(labels.contains("org.opencontainers.image.version=\"${VERSION}\""));
        assert!(labels.contains("org.opencontainers.image.revision=\"${REVISION}\""));
    }
}

#[test]
fn a_layer_of_dependencies_does_not_depend_on_sources() {
    for (name, _) in IMAGES {
        let file = file(name);
        let build = file
            .steps
            .iter()
            .skip_while(|(_, rest)| !rest.ends_with("AS build"));
        let steps: Vec<&str> = build.map(|(instruction, _)| instruction.as_str()).collect();
        assert_eq!(
            steps[..6],
            ["FROM", "WORKDIR", "ENV", "COPY", "RUN", "COPY"]
        );
    }
}

#[test]
fn no_code_of_the_proxy_is_in_the_image_of_a_node() {
    let mut tree = Command::new(cargo());
    tree.args([
        "tree",
        "--locked",
        "--offline",
        "--package",
        "infinicache-node",
    ]);
    tree.args(["--edges", "normal,build", "--prefix", "none"])
        .current_dir(repository("."));
    let output = outside::run(&mut tree);
    assert!(output.status.success(), "{}", outside::said(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let ours: std::collections::BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| name.starts_with("infinicache"))
        .collect();
    let expected = [
        "infinicache-backoff",
        "infinicache-daemon",
        "infinicache-host",
        "infinicache-node",
        "infinicache-outbox",
        "infinicache-socket",
        "infinicache-wire",
    ];
    assert_eq!(ours.into_iter().collect::<Vec<_>>(), expected);
    for foreign in ["kube", "redis-protocol", "reed-solomon-erasure"] {
        assert!(
            !text
                .lines()
                .any(|line| line.starts_with(&format!("{foreign} "))),
            "{foreign}"
        );
    }
    let file = file("node");
    for step in file
        .all("RUN")
        .iter()
        .filter(|step| step.contains("cargo build"))
    {
        assert!(step.contains("--package infinicache-node --bin infinicache-node"));
    }
}
