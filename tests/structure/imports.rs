//! Which modules of a crate import which, read from its sources.
//!
//! A module is a file. It imports another if it names an item of it, wherever the name stands: in
//! a `use`, or in a path after `crate`, `self`, `super`, a module that it declares or has brought
//! in. A name that another module passes on is that module's.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use super::glossary;

/// By module, those that it imports. What only tests import does not count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Imports(BTreeMap<String, BTreeSet<String>>);

impl Imports {
    /// Those of the modules of all crates below `crates`, and of the roots of these.
    pub(crate) fn of_files(crates: &Path) -> Self {
        let files = glossary::modules(crates).into_iter();
        let roots = glossary::roots(crates).into_iter();
        let files = files.chain(roots).collect::<BTreeMap<_, _>>();
        let sources = files.into_iter();
        let sources = sources.map(|(module, file)| (module, fs::read_to_string(file).unwrap()));
        Self::of_sources(sources.collect())
    }

    fn of_sources(sources: BTreeMap<String, String>) -> Self {
        let modules: BTreeSet<&str> = sources.keys().map(|it| &**it).collect();
        let imports = sources.iter().map(|(module, source)| {
            let names = Names {
                module,
                modules: &modules,
            };
            (module.clone(), names.imported_by(source))
        });
        Self(imports.collect())
    }

    /// The imports of the modules at the top of crates, which have those of what is in them.
    pub(crate) fn at_the_top(&self) -> Self {
        let top = |module: &str| {
            let mut names = module.splitn(3, "::");
            Some(format!("{}::{}", names.next()?, names.next()?))
        };
        let mut folded = Self::default();
        for (module, imported) in &self.0 {
            let Some(module) = top(module) else { continue };
            let imported = imported.iter().filter_map(|it| top(it));
            let imported = imported.filter(|it| *it != module);
            let all = folded.0.entry(module.clone()).or_default();
            all.extend(imported);
        }
        folded
    }

    /// The same without some modules, and what is in them.
    pub(crate) fn without<'a>(&self, left_out: impl IntoIterator<Item = &'a str>) -> Self {
        let left_out: Vec<&str> = left_out.into_iter().collect();
        let mut rest = self.clone();
        rest.0.retain(|module, _| {
            let is_in = |it: &&str| {
                module
                    .strip_prefix(*it)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
            };
            !left_out.iter().any(is_in)
        });
        rest
    }

    /// The circles: by module of one, those of the same that it imports.
    pub(crate) fn circles(&self) -> Vec<Self> {
        let reached: BTreeMap<&str, _> =
            self.0.keys().map(|it| (&**it, self.reached(it))).collect();
        let mut circles = BTreeMap::new();
        for (module, imported) in &self.0 {
            let others = reached[&**module].iter();
            let others = others.filter(|it| reached[&***it].contains(module));
            let circle: BTreeSet<&str> = others.map(|it| &**it).collect();
            let imported = imported.iter().filter(|it| circle.contains(&***it));
            let imported: BTreeSet<String> = imported.cloned().collect();
            if !imported.is_empty() {
                let Self(circle) = circles.entry(circle).or_insert_with(Self::default);
                circle.insert(module.clone(), imported);
            }
        }
        circles.into_values().collect()
    }

    /// Whatever a module imports, and that imports, and so on.
    fn reached(&self, module: &str) -> BTreeSet<String> {
        let mut reached = BTreeSet::new();
        let mut next = vec![module];
        while let Some(imported) = next.pop().and_then(|module| self.0.get(module)) {
            let known = imported.iter().filter(|it| self.0.contains_key(*it));
            next.extend(
                known
                    .filter(|it| reached.insert(String::clone(it)))
                    .map(|it| &**it),
            );
        }
        reached
    }
}

/// What the names in the source of a module stand for.
struct Names<'a> {
    module: &'a str,
    modules: &'a BTreeSet<&'a str>,
}

impl Names<'_> {
    fn imported_by(&self, source: &str) -> BTreeSet<String> {
        let code = code(source);
        let used: Vec<Vec<&str>> = uses(&code).flat_map(paths).collect();
        let mut brought_in = BTreeMap::new();
        let mut imported = BTreeSet::new();
        for path in &used {
            match self.named(path, &BTreeMap::new()) {
                // A module that is brought in is imported once something of it is named.
                Some((module, [])) => {
                    brought_in.insert(*path.last().unwrap(), module);
                }
                Some((module, _)) => drop(imported.insert(module)),
                None => {}
            }
        }
        let text = without_uses(&code);
        for path in inline_paths(&text) {
            if let Some((module, [_, ..])) = self.named(&path, &brought_in) {
                imported.insert(module);
            }
        }
        imported.remove(self.module);
        imported
    }

    /// The module that a path leads to, and what it names there.
    fn named<'p>(
        &self,
        path: &'p [&'p str],
        brought_in: &BTreeMap<&str, String>,
    ) -> Option<(String, &'p [&'p str])> {
        let (mut module, mut rest) = match *path.first()? {
            "crate" => (self.module.split("::").next()?.to_owned(), &path[1..]),
            "self" => (self.module.to_owned(), &path[1..]),
            "super" => (self.module.rsplit_once("::")?.0.to_owned(), &path[1..]),
            first => match brought_in.get(first) {
                Some(module) => (module.clone(), &path[1..]),
                None => (self.child(self.module, first)?, &path[1..]),
            },
        };
        while let Some(first) = rest.first() {
            module = match (*first, self.child(&module, first)) {
                ("super", _) => module.rsplit_once("::")?.0.to_owned(),
                ("self", _) => module,
                (_, Some(child)) => child,
                (_, None) => break,
            };
            rest = &rest[1..];
        }
        Some((module, rest))
    }

    fn child(&self, module: &str, name: &str) -> Option<String> {
        let child = format!("{module}::{name}");
        self.modules.contains(&*child).then_some(child)
    }
}

/// A source without its comments, and without what is for tests only.
fn code(source: &str) -> String {
    let mut kept = Vec::new();
    let mut is_for_tests = false;
    for line in source.lines() {
        if is_for_tests && line.contains("mod ") && line.contains('{') {
            break;
        }
        let is_import = is_for_tests && line.starts_with("use ");
        if !(is_import || line.trim_start().starts_with("//")) {
            kept.push(line);
        }
        is_for_tests = line.trim_start().starts_with("#[cfg(") && line.contains("test");
    }
    kept.join("\n")
}

/// What follows each `use` of a source, up to its semicolon.
fn uses(code: &str) -> impl Iterator<Item = &str> {
    let begins = code.match_indices("use ").filter(|(at, _)| {
        let line = code[..*at].rsplit('\n').next().unwrap().trim_start();
        line.is_empty() || line.starts_with("pub")
    });
    begins.map(|(at, word)| code[at + word.len()..].split(';').next().unwrap())
}

fn without_uses(code: &str) -> String {
    let mut text = code.to_owned();
    for used in uses(code) {
        text = text.replacen(used, "", 1);
    }
    text
}

/// The paths of a `use`, each from its beginning.
fn paths(tree: &str) -> Vec<Vec<&str>> {
    let mut paths = Vec::new();
    grow(tree, &[], &mut paths);
    paths
}

fn grow<'a>(tree: &'a str, stem: &[&'a str], paths: &mut Vec<Vec<&'a str>>) {
    let tree = tree.trim();
    if let Some(list) = tree.strip_prefix('{') {
        let (mut depth, mut begin) = (0, 0);
        for (at, letter) in list.char_indices() {
            match letter {
                '{' => depth += 1,
                ',' if depth == 0 => {
                    grow(&list[begin..at], stem, paths);
                    begin = at + 1;
                }
                '}' if depth == 0 => return grow(&list[begin..at], stem, paths),
                '}' => depth -= 1,
                _ => {}
            }
        }
        return;
    }
    let (head, rest) = tree
        .split_once("::")
        .map_or((tree, None), |(head, rest)| (head, Some(rest)));
    let head = head.split(' ').next().unwrap();
    if head.is_empty() {
        return;
    }
    let mut stem = stem.to_vec();
    if head != "self" || stem.is_empty() {
        stem.push(head);
    }
    match rest {
        Some(rest) => grow(rest, &stem, paths),
        None => paths.push(stem),
    }
}

/// The paths that stand in code outside of `use`.
fn inline_paths(code: &str) -> Vec<Vec<&str>> {
    let is_of_path = |it: char| it.is_alphanumeric() || it == '_' || it == ':';
    let words = code.split(|it| !is_of_path(it));
    let paths = words.filter(|word| word.contains("::"));
    let names = paths.map(|path| path.trim_matches(':').split("::").collect());
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(files: &[(&str, &str)]) -> Imports {
        let owned = |(module, source): &(&str, &str)| (format!("it{module}"), source.to_string());
        Imports::of_sources(files.iter().map(owned).collect())
    }

    /// The modules of each circle.
    fn circles(imports: &Imports) -> Vec<Vec<String>> {
        let modules = |Imports(circle): Imports| circle.into_keys().collect();
        imports.circles().into_iter().map(modules).collect()
    }

    #[test]
    fn a_circle_is_found_however_its_imports_are_written() {
        let found = circles(&imports(&[
            ("", "mod leaf;"),
            ("::leaf", "use std::fmt;"),
            (
                "::one",
                "use crate::{\n    leaf,\n    two::{Two, Three},\n};",
            ),
            ("::two", "fn f() { crate::three::g() }"),
            ("::three", "use super::four;\nfn f() { four::g() }"),
            ("::four", "pub(crate) use super::{one::{self, One}};"),
            ("::five", "use crate::six::Six;"),
            ("::six", "use crate::five::Five;"),
        ]));
        let expected = [
            vec!["it::five", "it::six"],
            vec!["it::four", "it::one", "it::three", "it::two"],
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_parent_that_uses_its_child_is_none_of_its_child_s_imports() {
        let parent = (
            "::parent",
            "mod child;\nuse self::child::Child;\nstruct Parent(Child);",
        );
        let found = circles(&imports(&[
            parent,
            ("::parent::child", "use super::Parent;"),
        ]));
        assert_eq!(found, [["it::parent", "it::parent::child"]]);
        let apart = ("::parent::child", "use super::sibling::Thing;");
        let sibling = ("::parent::sibling", "struct Thing;");
        assert!(circles(&imports(&[parent, apart, sibling])).is_empty());
        let unused = ("::parent", "mod child;\nstruct Parent;");
        let child = ("::parent::child", "use super::Parent;");
        assert!(circles(&imports(&[unused, child])).is_empty());
    }

    #[test]
    fn modules_may_be_in_no_circle_while_the_folders_that_they_are_in_are() {
        let imports = imports(&[
            ("::one", ""),
            ("::one::a", "use crate::two::a::A;"),
            ("::one::b", ""),
            ("::two", ""),
            ("::two::a", ""),
            ("::two::b", "use crate::one::b::B;"),
        ]);
        assert!(imports.circles().is_empty());
        let top = imports.at_the_top();
        assert_eq!(circles(&top), [["it::one", "it::two"]]);
        assert!(top.without(["it::two"]).circles().is_empty());
    }

    #[test]
    fn what_tests_and_comments_say_is_no_import() {
        let two = "\
/// See crate::one.
struct Two;
#[cfg(test)]
use crate::one::One;
#[cfg(test)]
mod tests { use crate::one::One; }";
        let found = circles(&imports(&[
            ("::one", "use crate::two::Two;"),
            ("::two", two),
        ]));
        assert!(found.is_empty(), "{found:?}");
    }
}
