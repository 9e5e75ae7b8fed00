//! Which top-level modules of a crate import which, read from its sources.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// By module, those that it imports. What only tests import does not count.
#[derive(Debug, Default)]
pub(crate) struct Imports(BTreeMap<String, BTreeSet<String>>);

impl Imports {
    /// Those of the crate whose sources are below `source`.
    pub(crate) fn of_crate(source: &Path) -> Self {
        let mut imports = Self::default();
        for entry in fs::read_dir(source).unwrap() {
            let path = entry.unwrap().path();
            let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
            if !["lib", "main"].contains(&&*module) {
                imports.add_files(&module, &path);
            }
        }
        imports
    }

    fn add_files(&mut self, module: &str, path: &Path) {
        if path.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                self.add_files(module, &entry.unwrap().path());
            }
        } else if path.extension().is_some_and(|it| it == "rs") && !is_of_tests(path) {
            self.add(module, &fs::read_to_string(path).unwrap());
        }
    }

    /// Adds what the source of a file of `module` imports.
    fn add(&mut self, module: &str, source: &str) {
        let imported = self.0.entry(module.to_owned()).or_default();
        let code = source.split("#[cfg(test)]\nmod ").next().unwrap();
        let code: Vec<&str> = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        for rest in code.join("\n").split("crate::").skip(1) {
            imported.extend(heads(rest).into_iter().filter(|head| head != module));
        }
    }
}

fn is_of_tests(path: &Path) -> bool {
    let mut parts = path.iter().filter_map(|part| part.to_str());
    parts.any(|part| ["tests", "tests.rs", "fixture.rs", "simulation"].contains(&part))
}

/// The first names of what follows `crate::`: one, or those of a list in braces.
fn heads(rest: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        let is_of_name = |it: &char| it.is_alphanumeric() || *it == '_';
        text.chars().take_while(is_of_name).collect()
    };
    let Some(list) = rest.strip_prefix('{') else {
        return vec![name(rest)];
    };
    let (mut heads, mut depth, mut begins) = (Vec::new(), 0, true);
    for (at, letter) in list.char_indices() {
        if begins && !letter.is_whitespace() {
            heads.push(name(&list[at..]));
            begins = false;
        }
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            _ => {}
        }
    }
    heads
}

/// Modules of which each imports the next, and the last the first; none if there are no such.
pub(crate) fn circle(imports: &Imports) -> Vec<String> {
    let mut left = imports.0.clone();
    // Who imports nobody that is left is in no circle.
    while let Some(last) = left
        .iter()
        .find(|(_, imported)| !imported.iter().any(|it| left.contains_key(it)))
        .map(|(module, _)| module.clone())
    {
        left.remove(&last);
    }
    let mut path: Vec<String> = Vec::new();
    let mut next = left.keys().next().cloned();
    while let Some(module) = next {
        if let Some(begin) = path.iter().position(|it| *it == module) {
            return path.split_off(begin);
        }
        next = left[&module]
            .iter()
            .find(|it| left.contains_key(*it))
            .cloned();
        path.push(module);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(files: &[(&str, &str)]) -> Imports {
        let mut imports = Imports::default();
        for (module, source) in files {
            imports.add(module, source);
        }
        imports
    }

    #[test]
    fn a_circle_is_found_however_its_imports_are_written() {
        let found = circle(&imports(&[
            ("leaf", "use std::fmt;"),
            ("one", "use crate::{\n    leaf,\n    two::{Two, Three},\n};"),
            ("two", "fn f() { crate::three::g() }"),
            ("three", "use crate::one::One;"),
        ]));
        assert_eq!(found, ["one", "two", "three"]);
    }

    #[test]
    fn what_tests_and_comments_say_is_no_import() {
        let found = circle(&imports(&[
            ("one", "use crate::two::Two;"),
            (
                "two",
                "/// See crate::one.\nstruct Two;\n#[cfg(test)]\nmod tests { use crate::one::One; }",
            ),
        ]));
        assert!(found.is_empty(), "{found:?}");
    }
}
