//! Finds the nodes of the pool by watching Kubernetes.
//!
//! Each node is a Knative Service with the pool's label; the pods behind it tell where it runs, and
//! that it is about to be stopped some 30 s before SIGTERM. What is seen of both is put together
//! (`kubernetes::cluster`, pure) and told whenever it has changed.
//!
//! Nothing else of the proxy knows of Kubernetes: what is seen is an [`Observation`]. Without the
//! feature `kubernetes` nothing can be watched (`unavailable`), and the client of the API need not
//! be built.
//!
//! The API is not needed for traffic. While it cannot be reached the last that
//! was seen holds; `watch` goes on trying, and a list is only believed once it
//! is complete, so that an API server that restarts takes no node out of the pool.

#![forbid(unsafe_code)]

mod config;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod observation;
#[cfg(not(feature = "kubernetes"))]
mod unavailable;

pub use self::config::{Discovery, Platform};
#[cfg(feature = "kubernetes")]
pub use self::kubernetes::Watched;
pub use self::observation::{Observation, PodSeen, ServiceSeen, Site};
#[cfg(not(feature = "kubernetes"))]
pub use self::unavailable::Watched;
