//! The `infinicache` command: a cluster on one machine, and the tools around it.
//!
//! `infinicache up` is the whole system without Kubernetes. It becomes the
//! platform: it plays Knative for the nodes and keeps the proxy running. The
//! nodes and the proxy are the very programs of a real cluster, started by
//! re-executing this binary with hidden subcommands and configured by
//! environment only; neither knows that it runs on a single machine.
//!
//! In reading order:
//!
//! - [`command`]: the command tree, one subcommand a file;
//! - [`cluster`]: the order in which `up` starts and stops everything;
//! - [`activator`]: the activator that starts, reaches and stops node processes;
//! - [`launcher`]: how a child process is started, signalled and waited for;
//! - [`leash`]: why no child outlives `up`, however it ends;
//! - [`http`]: one request over one connection;
//! - [`temporary`]: a cache for a benchmark;
//! - [`manifests`]: the nodes of a cluster, as documents for Knative;
//! - [`connect`]: how the other commands reach a cache, and take their leave;
//! - [`pipe`] and [`destination`]: the files that values come from and go to;
//! - `doctor`: what can be wrong with a cache on a cluster, with the feature `kubernetes`;
//! - [`progress`], [`table`] and [`human`]: what the user sees;
//! - [`exit`]: how a command ends, and with which status.
#![forbid(unsafe_code)]

pub mod activator;
pub mod cluster;
pub mod command;
pub mod connect;
pub mod destination;
#[cfg(feature = "kubernetes")]
pub mod doctor;
pub mod exit;
pub mod http;
pub mod human;
pub mod launcher;
pub mod leash;
pub mod manifests;
pub mod pipe;
pub mod progress;
pub mod table;
pub mod temporary;
