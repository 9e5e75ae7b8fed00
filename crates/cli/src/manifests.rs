//! The nodes of a cluster, as documents for Knative.
//!
//! A node is a Knative Service of its own, because Knative wakes Services and
//! not pods: one name to POST to, at most one pod behind it. All of them are
//! the same but for their names, so they are written by a program:
//!
//! - [`pool`]: what is asked for, and whether it can be had;
//! - [`node`]: what the Service of one node says, and why;
//! - [`pod_lifetime`]: how long a pod stays that gets no request;
//! - [`service`]: the shape of a Knative Service, as far as nodes need it.
//!
//! None of it needs a feature flag of Knative, except that pods are spread over
//! hosts if that is asked for.

pub mod node;
pub mod pod_lifetime;
pub mod pool;
pub mod service;

pub use pool::PoolManifest;
