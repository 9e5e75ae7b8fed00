//! The sources keep to the architecture: within a crate, modules import each other in one direction.

mod glossary;
mod imports;
mod simulated;

use std::{fs, path::PathBuf};

use imports::{Imports, circle};

fn crates() -> Vec<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap());
    let crates = entries.map(|entry| entry.path().join("src"));
    crates
        .filter(|source| source.join("lib.rs").exists())
        .collect()
}

#[test]
fn no_modules_of_a_crate_import_each_other_in_a_circle() {
    let crates = crates();
    assert!(crates.len() > 10, "{crates:?}");
    for source in crates {
        let imports = Imports::of_crate(&source);
        let circle = circle(&imports);
        assert!(circle.is_empty(), "{}: {circle:?}", source.display());
    }
}
