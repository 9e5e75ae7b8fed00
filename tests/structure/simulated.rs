//! What the simulation runs takes time, randomness, tasks and sockets from where it can stand in.

use std::{fs, path::Path};

/// What is not to be used, and what is instead.
const BANNED: &[(&str, &str)] = &[
    ("Instant::now()", "host::clock"),
    ("SystemTime::now()", "host::clock"),
    ("getrandom::", "host::random"),
    ("RandomState", "host::hash"),
    ("collections::HashMap", "host::hash"),
    ("collections::HashSet", "host::hash"),
    ("DashMap::new()", "host::hash"),
    ("tokio::spawn(", "host::task"),
    ("task::spawn_local(", "host::task"),
    ("sync::watch", "host::watch"),
    ("net::TcpStream", "socket"),
    ("net::TcpListener", "socket"),
];

/// The parts of the sources of a file that are not tests, with the numbers of their lines.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().take_while(|line| *line != "#[cfg(test)]");
    (1..).zip(lines)
}

/// What a file uses that a simulation cannot stand for.
fn faults(name: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut lines = code(text).peekable();
    while let Some((number, line)) = lines.next() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        let banned = BANNED.iter().find(|(banned, _)| line.contains(banned));
        // tokio's clock stands still with its timers.
        let is_tokio_s = !text.contains("Duration, Instant}") && !line.contains("std::time");
        if let Some((banned, instead)) = banned
            && !(*banned == "Instant::now()" && is_tokio_s)
        {
            faults.push(format!("{name}:{number}: {banned}, not of {instead}"));
        }
        if line.contains("select! {") {
            let mut body = lines.by_ref().map(|(_, line)| line.trim());
            let first = body.find(|line| !line.starts_with("//"));
            if first != Some("biased;") {
                faults.push(format!("{name}:{number}: a choice that is left to chance"));
            }
        }
    }
    faults
}

fn look(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            if name != "tests" {
                look(&path, found);
            }
        } else if !matches!(&*name, "tests.rs" | "fake.rs" | "fixture.rs" | "model.rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.extend(faults(&path.display().to_string(), &text));
        }
    }
}

#[test]
fn what_is_simulated_takes_its_machine_from_where_a_simulation_stands_in() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    for name in ["client", "engine", "membership", "node", "proxy"] {
        look(&crates.join(name).join("src"), &mut found);
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_clock_of_its_own_and_a_choice_left_to_chance_are_found() {
    let text = "\
fn work() {
    let now = std::time::Instant::now();
    tokio::select! {
        () = one() => {}
    }
    tokio::select! {
        // In this order.
        biased;
        () = one() => {}
    }
}
#[cfg(test)]
mod tests {
    tokio::spawn(test);
}
";
    assert_eq!(faults("a.rs", text).len(), 2);
}
