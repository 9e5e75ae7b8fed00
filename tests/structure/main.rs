//! The sources keep to the architecture: within a crate, modules import each other in one direction,
//! and no type is everything.

mod glossary;
mod imports;
mod methods;
mod simulated;

use std::path::PathBuf;

use imports::Imports;

fn crates() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Modules that are in circles still, with what is in them.
const CIRCULAR: &[&str] = &["proxy::command", "proxy::server"];

#[test]
fn no_modules_of_a_crate_import_each_other_in_a_circle() {
    let imports = Imports::of_files(&crates());
    let circles = imports.at_the_top().circles();
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn no_files_of_a_crate_import_each_other_in_a_circle() {
    let imports = Imports::of_files(&crates());
    let circles = imports.without(CIRCULAR.iter().copied()).circles();
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn each_module_that_is_said_to_be_in_a_circle_is_in_one() {
    let imports = Imports::of_files(&crates());
    for module in CIRCULAR {
        let others = CIRCULAR.iter().copied().filter(|it| it != module);
        let is_in_one = !imports.without(others).circles().is_empty();
        assert!(
            is_in_one,
            "{module} is in no circle any more: take it off the list"
        );
    }
}
