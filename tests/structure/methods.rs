//! How many methods a type has: what has many is many things.

use std::{collections::BTreeMap, fs, path::Path};

use super::glossary;

/// Most methods of a type.
const MOST: usize = 25;

/// The number of methods of each type, such as `proxy::Cache`, in its inherent impls in all files
/// of its crate, but for what is for tests only.
fn methods(crates: &Path) -> BTreeMap<String, usize> {
    let mut methods = BTreeMap::new();
    for (module, file) in glossary::modules(crates) {
        let source = fs::read_to_string(file).unwrap();
        let name = module.split("::").next().unwrap();
        for (of_type, count) in counted(&source) {
            *methods.entry(format!("{name}::{of_type}")).or_default() += count;
        }
    }
    methods
}

/// The same of one source, by the name of the type.
fn counted(source: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let code = source.split("#[cfg(test)]\nmod ").next().unwrap();
    let (mut of_type, mut is_for_tests) = (None, false);
    for line in code.lines() {
        match line.strip_prefix("    ") {
            Some(item) if is_method(item) && !is_for_tests => {
                if let Some(of_type) = &of_type {
                    *counts.entry(String::clone(of_type)).or_default() += 1;
                }
            }
            None if line.starts_with("impl") => of_type = implemented(line),
            None if line == "}" => of_type = None,
            _ => {}
        }
        is_for_tests = line.trim() == "#[cfg(test)]";
    }
    counts
}

/// The type that an `impl` is of, unless it is of a trait.
fn implemented(line: &str) -> Option<String> {
    let rest = line.strip_prefix("impl")?;
    let mut depth = 0;
    let of_type = rest.trim_start_matches(|letter| {
        depth += i32::from(letter == '<') - i32::from(letter == '>');
        depth > 0 || letter == '>' || letter == ' '
    });
    let is_of_name = |it: &char| it.is_alphanumeric() || *it == '_';
    let name: String = of_type.chars().take_while(is_of_name).collect();
    (!name.is_empty() && !line.contains(" for ")).then_some(name)
}

fn is_method(item: &str) -> bool {
    let before = item.split_once("fn ").map(|(before, _)| before);
    before.is_some_and(|before| {
        // Of a function within a function.
        if before.starts_with(' ') {
            return false;
        }
        let is_modifier = |it| ["pub", "const", "async", "unsafe", "super)", "in"].contains(&it);
        let mut words = before.split_whitespace();
        words.all(|it| is_modifier(it) || it.starts_with("pub("))
    })
}

#[test]
fn no_type_has_more_methods_than_can_be_kept_in_mind() {
    let crates = super::crates();
    let methods = methods(&crates);
    assert!(methods.len() > 300, "{}", methods.len());
    let too_many = methods.iter().filter(|(_, count)| **count > MOST);
    let too_many: BTreeMap<_, _> = too_many.collect();
    assert!(
        too_many.is_empty(),
        "more than {MOST} methods: {too_many:#?}"
    );
}

#[test]
fn methods_are_counted_by_their_type_wherever_they_stand() {
    let source = "\
impl<T: Into<u8>> Pool<T> {
    pub(crate) async fn ask(&self) {
        fn inner() {}
    }
    const fn size() -> usize {
        0
    }
    #[cfg(test)]
    fn of_tests() {}
}
impl Drop for Pool<u8> {
    fn drop(&mut self) {}
}
impl Other {
    fn new() -> Self {
        Self
    }
}
fn free() {}
";
    let counted = counted(source);
    let expected = [("Other".to_owned(), 1), ("Pool".to_owned(), 2)];
    assert_eq!(counted, expected.into());
}
