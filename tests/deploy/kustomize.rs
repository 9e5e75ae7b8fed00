//! An overlay as `kubectl apply -k` would send it.
//!
//! Kustomize itself is in no package of a usual system, so the few of its
//! fields that we use are evaluated here, and a field that is not known here
//! is an error. Where there is a `kubectl`, the result is compared with its.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{outside, repository};

/// The overlays that there are.
pub(crate) const OVERLAYS: [&str; 2] = ["local", "production"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Kustomization {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    resources: Vec<String>,
    #[serde(default)]
    patches: Vec<Patch>,
    #[serde(default)]
    images: Vec<Image>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Patch {
    path: String,
    target: Option<Target>,
}

/// Which documents a list of operations is applied to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    group: String,
    version: String,
    kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Operation {
    op: String,
    path: String,
    value: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Image {
    name: String,
    new_name: String,
}

/// The documents of a file of ours.
pub(crate) fn documents(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

/// All documents of an overlay.
pub(crate) fn overlay(name: &str) -> Vec<Value> {
    build(&repository("deploy/overlays").join(name))
}

/// Those of one kind.
pub(crate) fn of_kind<'a>(documents: &'a [Value], version: &str, kind: &str) -> Vec<&'a Value> {
    let is_it = |document: &&Value| document["apiVersion"] == version && document["kind"] == kind;
    documents.iter().filter(is_it).collect()
}

/// The one document of a kind with a name.
pub(crate) fn one<'a>(documents: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is_it =
        |document: &&Value| document["kind"] == kind && document["metadata"]["name"] == name;
    let found: Vec<&Value> = documents.iter().filter(is_it).collect();
    assert_eq!(found.len(), 1, "{kind} {name}");
    found[0]
}

fn build(directory: &Path) -> Vec<Value> {
    let file = directory.join("kustomization.yaml");
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file:?}: {error}"));
    let Kustomization {
        resources,
        patches,
        images,
        ..
    } = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{file:?}: {error}"));
    let mut all = Vec::new();
    for resource in resources {
        let path = directory.join(resource);
        all.extend(if path.is_dir() {
            build(&path)
        } else {
            documents(&path)
        });
    }
    for Patch { path, target } in patches {
        let path = directory.join(path);
        match target {
            Some(target) => operate(&mut all, &target, &path),
            None => documents(&path)
                .into_iter()
                .for_each(|patch| amend(&mut all, patch)),
        }
    }
    for image in &images {
        all.iter_mut().for_each(|document| rename(document, image));
    }
    all
}

/// What tells a document from all others.
fn identity(document: &Value) -> [String; 4] {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &document["metadata"];
    [
        text(&document["apiVersion"]),
        text(&document["kind"]),
        text(&metadata["namespace"]),
        text(&metadata["name"]),
    ]
}

/// Merges a patch into the document that it names.
fn amend(all: &mut [Value], patch: Value) {
    let name = identity(&patch);
    let mut named = all.iter_mut().filter(|document| identity(document) == name);
    let document = named
        .next()
        .unwrap_or_else(|| panic!("a patch of {name:?}, which is not there"));
    merge(document, patch);
}

fn merge(document: &mut Value, patch: Value) {
    match (document, patch) {
        (Value::Object(document), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(document.entry(key).or_insert(Value::Null), value);
            }
        }
        // Lists of things with names are merged by name.
        (Value::Array(document), Value::Array(patch))
            if patch.iter().all(|item| item["name"].is_string()) =>
        {
            for item in patch {
                match document
                    .iter_mut()
                    .find(|known| known["name"] == item["name"])
                {
                    Some(known) => merge(known, item),
                    None => document.push(item),
                }
            }
        }
        (document, patch) => *document = patch,
    }
}

/// Applies a list of operations to all documents of a kind.
fn operate(all: &mut [Value], target: &Target, path: &Path) {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let operations: Vec<Operation> =
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let version = format!("{}/{}", target.group, target.version);
    for document in all.iter_mut() {
        if document["apiVersion"] != *version || document["kind"] != *target.kind {
            continue;
        }
        for Operation { op, path, value } in &operations {
            assert_eq!(op, "replace", "{path}");
            let place = document.pointer_mut(path);
            *place.unwrap_or_else(|| panic!("nothing at {path}")) = value.clone();
        }
    }
}

/// Gives images another name wherever there are containers, as kustomize does in any kind.
fn rename(value: &mut Value, image: &Image) {
    match value {
        Value::Object(fields) => {
            for key in ["containers", "initContainers"] {
                let Some(Value::Array(containers)) = fields.get_mut(key) else {
                    continue;
                };
                for container in containers {
                    let Some(Value::String(text)) = container.get_mut("image") else {
                        continue;
                    };
                    if let Some(tag) = text
                        .strip_prefix(&image.name)
                        .filter(|rest| rest.starts_with(':'))
                    {
                        *text = format!("{}{tag}", image.new_name);
                    }
                }
            }
            fields.values_mut().for_each(|value| rename(value, image));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| rename(value, image)),
        _ => {}
    }
}

#[test]
fn what_is_evaluated_here_is_what_kubectl_sends() {
    if Command::new("kubectl")
        .arg("version")
        .arg("--client")
        .output()
        .is_err()
    {
        // Not even in CI: no package of Debian's has a kubectl that is new enough.
        eprintln!("SKIPPED: kubectl is missing");
        return;
    }
    for name in OVERLAYS {
        let directory = repository("deploy/overlays").join(name);
        let built = outside::run(Command::new("kubectl").arg("kustomize").arg(directory));
        assert!(built.status.success(), "{}", outside::said(&built));
        let text = String::from_utf8(built.stdout).unwrap();
        let by_identity = |documents: Vec<Value>| -> BTreeMap<_, _> {
            documents
                .into_iter()
                .map(|document| (identity(&document), document))
                .collect()
        };
        let theirs = by_identity(serde_saphyr::from_multiple(&text).unwrap());
        let ours = by_identity(overlay(name));
        assert_eq!(
            ours.keys().collect::<Vec<_>>(),
            theirs.keys().collect::<Vec<_>>()
        );
        for (identity, document) in &ours {
            assert_eq!(document, &theirs[identity], "{identity:?}");
        }
    }
}

#[test]
fn no_two_documents_of_an_overlay_are_the_same_thing() {
    for name in OVERLAYS {
        let all = overlay(name);
        let mut identities: Vec<_> = all.iter().map(identity).collect();
        identities.sort();
        identities.dedup();
        assert_eq!(identities.len(), all.len());
        let namespaces = |document: &Value| match document["kind"].as_str() {
            Some("Namespace") => document["metadata"]["name"] == "infinicache",
            _ => document["metadata"]["namespace"] == "infinicache",
        };
        assert!(all.iter().all(namespaces));
        assert!(all.iter().all(
            |document| document["metadata"]["labels"]["app.kubernetes.io/part-of"] == "infinicache"
        ));
    }
}

/// The places of a document at which a namespace is named: `/metadata/namespace` and the like.
fn places_of(namespace: &str, value: &Value, path: &str) -> Vec<String> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(key, value)| places_of(namespace, value, &format!("{path}/{key}")))
            .collect(),
        Value::Array(items) => items
            .iter()
            .flat_map(|item| places_of(namespace, item, path))
            .collect(),
        Value::String(text) => {
            let is_key = path.ends_with("/namespace") || path.ends_with("metadata.name");
            let is_named = is_key && text == namespace;
            // As part of the name of a Service.
            let is_in_name = text.contains(&format!(".{namespace}.svc"));
            let is_it = is_named || is_in_name;
            is_it.then(|| path.to_owned()).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn the_namespace_is_named_only_where_kustomize_can_put_another() {
    for name in OVERLAYS {
        for document in overlay(name) {
            let mut places = places_of("infinicache", &document, "");
            places.retain(|place| place != "/metadata/namespace" && place != "/subjects/namespace");
            assert_eq!(places, Vec::<String>::new(), "{:?}", identity(&document));
        }
    }
}

#[test]
fn an_image_is_renamed_with_its_tag_kept() {
    let image = Image {
        name: "a/x".into(),
        new_name: "b/y".into(),
    };
    let mut document = Value::Object(Map::from_iter([(
        "containers".into(),
        serde_json::json!([{ "image": "a/x:1" }, { "image": "a/xx:1" }]),
    )]));
    rename(&mut document, &image);
    assert_eq!(document["containers"][0]["image"], "b/y:1");
    assert_eq!(document["containers"][1]["image"], "a/xx:1");
}
