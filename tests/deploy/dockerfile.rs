//! What the steps of a Dockerfile do, done in directories instead of layers.
//!
//! No engine builds images here. But a stage is a directory that files are
//! copied into and commands are run in, and that much can be had without one.
//! Images that a stage begins with are left out: their directory is empty, and
//! commands are those of this machine. An instruction that is not known here is
//! an error.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::outside;

/// A Dockerfile, line by line.
pub(crate) struct Dockerfile {
    /// Instructions and what follows them.
    pub(crate) steps: Vec<(String, String)>,
}

/// What came of a Dockerfile.
pub(crate) struct Built {
    /// The files of the last stage.
    pub(crate) root: PathBuf,
    /// What its processes begin with.
    pub(crate) entrypoint: Vec<String>,
}

impl Dockerfile {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let lines = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'));
        let joined = lines.fold(String::new(), |text, line| match line.strip_suffix('\\') {
            Some(line) => text + line,
            None => text + line + "\n",
        });
        let steps = joined
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| {
                let (instruction, rest) =
                    line.split_once(' ').expect("an instruction has arguments");
                (instruction.to_owned(), rest.trim().to_owned())
            });
        Self {
            steps: steps.collect(),
        }
    }

    /// The arguments of all instructions of a sort.
    pub(crate) fn all(&self, instruction: &str) -> Vec<&str> {
        let of_sort = self.steps.iter().filter(|(known, _)| known == instruction);
        of_sort.map(|(_, rest)| rest.as_str()).collect()
    }

    /// The value that a build argument has unless another is given.
    pub(crate) fn argument(&self, name: &str) -> &str {
        let of_it = |rest: &&str| rest.split_once('=').is_some_and(|(known, _)| known == name);
        let found = self.all("ARG").into_iter().find(of_it);
        found
            .unwrap_or_else(|| panic!("ARG {name}"))
            .split_once('=')
            .unwrap()
            .1
    }

    /// Does all steps, with files of `context`, below `scratch`. `environment` is that of commands.
    pub(crate) fn build(
        &self,
        context: &Path,
        scratch: &Path,
        environment: &[(&str, String)],
    ) -> Built {
        let mut roots: BTreeMap<String, PathBuf> = BTreeMap::new();
        let mut built = Built {
            root: PathBuf::new(),
            entrypoint: Vec::new(),
        };
        let mut home = "/".to_owned();
        let mut variables: Vec<(String, String)> = Vec::new();
        for (instruction, rest) in &self.steps {
            match instruction.as_str() {
                "FROM" => {
                    let name = rest.split_once(" AS ").map_or("", |(_, name)| name);
                    built.root = scratch.join(format!("stage-{}-{name}", roots.len()));
                    fs::create_dir_all(&built.root).unwrap();
                    roots.insert(name.to_owned(), built.root.clone());
                    home = "/".to_owned();
                    variables.clear();
                }
                "WORKDIR" => {
                    home.clone_from(rest);
                    fs::create_dir_all(inside(&built.root, &home)).unwrap();
                }
                "ENV" => variables.extend(rest.split(' ').map(|pair| {
                    let (name, value) = pair.split_once('=').expect("NAME=VALUE");
                    (name.to_owned(), value.to_owned())
                })),
                "COPY" => {
                    let (from, paths) = match rest.strip_prefix("--from=") {
                        Some(rest) => {
                            let (stage, paths) = rest.split_once(' ').unwrap();
                            (roots[stage].as_path(), paths)
                        }
                        None => (context, rest.as_str()),
                    };
                    copy(from, paths, &built.root, &home);
                }
                "RUN" => {
                    let mut command = Command::new("sh");
                    command
                        .args(["-ec", rest])
                        .current_dir(inside(&built.root, &home));
                    command
                        .envs(variables.iter().cloned())
                        .envs(environment.iter().cloned());
                    let output = outside::run(&mut command);
                    assert!(
                        output.status.success(),
                        "{rest}: {}",
                        outside::said(&output)
                    );
                }
                "ENTRYPOINT" => {
                    built.entrypoint = serde_json::from_str(rest).expect("the exec form");
                }
                "ARG" | "LABEL" | "USER" | "EXPOSE" | "STOPSIGNAL" => {}
                other => panic!("{other} is not known here"),
            }
        }
        built
    }
}

/// Where an absolute path of a stage is.
fn inside(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// Copies files, and what is in directories, as COPY does.
fn copy(from: &Path, paths: &str, root: &Path, home: &str) {
    let paths: Vec<&str> = paths.split_whitespace().collect();
    let (to, sources) = paths.split_last().unwrap();
    let to_directory = to.ends_with('/') || sources.len() > 1;
    let to = match to.starts_with('/') {
        true => inside(root, to),
        false => inside(root, home).join(to),
    };
    for source in sources {
        let source = inside(from, source);
        if source.is_dir() {
            copy_tree(&source, &to);
        } else {
            let file = if to_directory {
                to.join(source.file_name().unwrap())
            } else {
                to.clone()
            };
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::copy(&source, &file).unwrap_or_else(|error| panic!("{source:?}: {error}"));
        }
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        // What others built there is not part of the sources.
        if entry.file_name() == "target" {
            continue;
        }
        match entry.file_type().unwrap().is_dir() {
            true => copy_tree(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}
