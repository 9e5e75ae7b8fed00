//! The glossary and the sources hold each other: each module stands in `docs/glossary.md`, and
//! each module that stands there exists.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The modules of the crates below `crates` that are not for tests only, such as `proxy::pool`,
/// with their files.
pub(crate) fn modules(crates: &Path) -> BTreeMap<String, PathBuf> {
    let mut modules = BTreeMap::new();
    for (name, root) in roots(crates) {
        add(&name, &root, root.parent().unwrap(), &mut modules);
    }
    modules
}

/// The crates below `crates`, with the file of their root.
pub(crate) fn roots(crates: &Path) -> BTreeMap<String, PathBuf> {
    let entries = fs::read_dir(crates).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let roots = paths.map(|path| (name(&path), path.join("src/lib.rs")));
    roots.filter(|(_, root)| root.exists()).collect()
}

/// Adds what the file of `parent` declares, and what that declares.
fn add(parent: &str, file: &Path, directory: &Path, modules: &mut BTreeMap<String, PathBuf>) {
    let source = fs::read_to_string(file).unwrap();
    let mut is_for_tests = false;
    for line in source.lines() {
        if let Some(name) = declared(line).filter(|_| !is_for_tests) {
            let path = directory.join(format!("{name}.rs"));
            let module = format!("{parent}::{name}");
            add(&module, &path, &directory.join(&name), modules);
            modules.insert(module, path);
        }
        is_for_tests = line == "#[cfg(test)]";
    }
}

/// The name of the module that a line at the margin declares, and that has a file.
fn declared(line: &str) -> Option<String> {
    let (visibility, name) = line.strip_suffix(';')?.rsplit_once("mod ")?;
    let is_declaration = visibility.is_empty() || visibility.starts_with("pub");
    is_declaration.then(|| name.to_owned())
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap().to_str().unwrap().to_owned()
}

/// The modules that the last column of the tables of a Markdown page names.
pub(crate) fn named(page: &str) -> BTreeSet<String> {
    let rows = page.lines().filter(|line| line.starts_with('|'));
    let last = rows.filter_map(|row| row.trim_end_matches(['|', ' ']).rsplit('|').next());
    last.flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

/// Where each type is defined, by name, but for those of tests and of traits and their impls.
pub(crate) fn types(crates: &Path) -> BTreeMap<String, BTreeSet<PathBuf>> {
    let mut types: BTreeMap<String, BTreeSet<PathBuf>> = BTreeMap::new();
    for path in modules(crates).into_values() {
        let source = fs::read_to_string(&path).unwrap();
        let code = source.split("#[cfg(test)]\nmod ").next().unwrap();
        for name in code.lines().filter_map(defined) {
            types.entry(name).or_default().insert(path.clone());
        }
    }
    types
}

/// The name of the type that a line at the margin defines.
fn defined(line: &str) -> Option<String> {
    if line.starts_with(' ') {
        return None;
    }
    let mut words = line.split(' ').skip_while(|it| it.starts_with("pub"));
    let is_type = ["struct", "enum", "trait", "type"].contains(&words.next()?);
    let name = words.next().filter(|_| is_type)?;
    let is_of_name = |it: &char| it.is_alphanumeric() || *it == '_';
    Some(name.chars().take_while(is_of_name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    fn glossary() -> BTreeSet<String> {
        named(&fs::read_to_string(root().join("docs/glossary.md")).unwrap())
    }

    #[test]
    fn each_module_stands_in_the_glossary() {
        let named = glossary();
        let modules = modules(&root().join("crates"));
        assert!(modules.len() > 100, "{modules:?}");
        let missing: Vec<_> = modules.keys().filter(|it| !named.contains(*it)).collect();
        assert!(missing.is_empty(), "docs/glossary.md lacks {missing:#?}");
    }

    #[test]
    fn each_module_that_the_glossary_names_exists() {
        let modules = modules(&root().join("crates"));
        let gone: Vec<_> = glossary()
            .into_iter()
            .filter(|it| it.contains("::") && !modules.contains_key(it))
            .collect();
        assert!(gone.is_empty(), "docs/glossary.md names {gone:#?}");
    }

    #[test]
    fn no_name_is_that_of_more_than_two_types() {
        let types = types(&root().join("crates"));
        assert!(types.len() > 300, "{}", types.len());
        let many: BTreeMap<_, _> = types.iter().filter(|(_, at)| at.len() > 2).collect();
        assert!(many.is_empty(), "{many:#?}");
    }

    #[test]
    fn a_definition_is_read_off_its_line() {
        assert_eq!(defined("pub(crate) struct Pool<T> {"), Some("Pool".into()));
        assert_eq!(defined("enum Kind {"), Some("Kind".into()));
        assert_eq!(defined("pub type Map = u8;"), Some("Map".into()));
        assert_eq!(defined("    type Value = u8;"), None);
        assert_eq!(defined("impl Pool {"), None);
        assert_eq!(defined("// struct of"), None);
        assert_eq!(declared("pub(crate) mod pool;"), Some("pool".into()));
        assert_eq!(declared("// a mod of;"), None);
    }
}
