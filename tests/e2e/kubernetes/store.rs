//! Documents by path, and what became of them since when.
//!
//! As an API server keeps them: every change has a number, and whoever watches
//! goes on from the last that he has seen. What happened long ago is forgotten.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// All documents.
#[derive(Default)]
pub(super) struct Store {
    /// The number of the last change.
    version: u64,
    /// Nobody knows any more what changed before this one.
    forgotten: u64,
    documents: BTreeMap<String, Value>,
    changes: Vec<Change>,
}

struct Change {
    version: u64,
    collection: String,
    kind: &'static str,
    document: Value,
}

/// What has been forgotten cannot be told.
#[derive(Debug)]
pub(super) struct Gone;

/// Labels that a document has to have: with a value, or with any.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector(Vec<(String, Option<String>)>);

impl Selector {
    /// Reads `key=value,key`.
    pub(super) fn parse(text: &str) -> Self {
        let terms = text.split(',').filter(|term| !term.is_empty());
        let read = |term: &str| match term.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (term.to_owned(), None),
        };
        Self(terms.map(read).collect())
    }

    fn selects(&self, document: &Value) -> bool {
        self.0.iter().all(|(key, wanted)| {
            let label = document["metadata"]["labels"][key].as_str();
            label.is_some_and(|label| wanted.as_deref().is_none_or(|wanted| wanted == label))
        })
    }
}

/// Where the API has a document.
pub(super) fn path(document: &Value) -> String {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let (version, kind) = (text(&document["apiVersion"]), text(&document["kind"]));
    let root = if version.contains('/') {
        "/apis"
    } else {
        "/api"
    };
    let metadata = &document["metadata"];
    let home = metadata["namespace"].as_str();
    let home = home.map_or_else(String::new, |home| format!("/namespaces/{home}"));
    let kind = kind.to_lowercase();
    let plural = match kind.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{kind}s"),
    };
    format!(
        "{root}/{version}{home}/{plural}/{}",
        text(&metadata["name"])
    )
}

fn collection(path: &str) -> &str {
    path.rsplit_once('/').expect("a path has parts").0
}

impl Store {
    /// Enters a document, new or in place of the one that is there.
    pub(super) fn put(&mut self, path: &str, mut document: Value) {
        self.version += 1;
        document["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let old = self.documents.insert(path.to_owned(), document.clone());
        let kind = old.map_or("ADDED", |_| "MODIFIED");
        self.changed(path, kind, document);
    }

    /// Removes a document.
    pub(super) fn remove(&mut self, path: &str) {
        let mut document = self.documents.remove(path).expect("it is there");
        self.version += 1;
        document["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.changed(path, "DELETED", document);
    }

    fn changed(&mut self, path: &str, kind: &'static str, document: Value) {
        self.changes.push(Change {
            version: self.version,
            collection: collection(path).to_owned(),
            kind,
            document,
        });
    }

    /// Forgets what has changed so far.
    pub(super) fn forget(&mut self) {
        self.changes.clear();
        self.version += 1;
        self.forgotten = self.version;
    }

    /// A document.
    pub(super) fn get(&self, path: &str) -> Option<&Value> {
        self.documents.get(path)
    }

    /// The documents of a collection that a selector selects.
    pub(super) fn list(&self, collection: &str, selector: &Selector) -> Value {
        let is_in = |path: &str| self::collection(path) == collection;
        let documents = self.documents.iter().filter(|(path, _)| is_in(path));
        let documents = documents.map(|(_, document)| document);
        let items: Vec<&Value> = documents.filter(|it| selector.selects(it)).collect();
        json!({
            "apiVersion": "v1",
            "kind": "List",
            "metadata": { "resourceVersion": self.version.to_string() },
            "items": items,
        })
    }

    /// The first change of a collection after `version`, as a watch tells it; `None` if there has
    /// been none yet.
    pub(super) fn next(
        &self,
        collection: &str,
        version: u64,
        selector: &Selector,
    ) -> Result<Option<(u64, Value)>, Gone> {
        if version < self.forgotten {
            return Err(Gone);
        }
        let mut changes = self.changes.iter().filter(|change| {
            let is_new = change.version > version && change.collection == collection;
            is_new && selector.selects(&change.document)
        });
        Ok(changes.next().map(|change| {
            let event = json!({ "type": change.kind, "object": change.document });
            (change.version, event)
        }))
    }
}
