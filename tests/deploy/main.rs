//! What is in `deploy/` and `docker/`, without a cluster.
//!
//! Nobody who changes a manifest has a cluster at hand, so that it is one a
//! cluster would take, and that it does what it is for, is tested here:
//!
//! - [`kustomize`]: an overlay as `kubectl apply -k` would send it;
//! - [`shape`]: which fields there may be, as data;
//! - [`knative`]: which a Knative Service may have without feature flags;
//! - [`policy`]: what network policies let through;
//! - [`dockerfile`]: what the steps of a Dockerfile do;
//! - [`outside`]: programs that others wrote;
//! - [`scratch`]: a place for files.
//!
//! And the tests:
//!
//! - `nodes`: the checked-in set is what `infinicache manifests` writes;
//! - `refusals`: bad manifests, each refused for what is bad about it;
//! - `agreement`: what one document says about another is so;
//! - `flows`: the table in ARCHITECTURE.md against the policies;
//! - `footprint`, `rights`: how little the cache asks for;
//! - `images`: the Dockerfiles' steps, and the binaries in the images;
//! - `archive`: images that were made without an engine;
//! - `scripts`: the scripts, as far as they can be looked at;
//! - `cluster`: the script for a cluster, on one that is a test.
#![cfg(target_os = "linux")]

mod dockerfile;
mod knative;
mod kustomize;
mod outside;
mod policy;
mod scratch;
mod shape;

mod agreement;
mod archive;
mod cluster;
mod flows;
mod footprint;
mod images;
mod nodes;
mod refusals;
mod rights;
mod scripts;

use std::path::{Path, PathBuf};

/// A file or directory of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}
