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

#[cfg(feature = "kubernetes")]
mod kubernetes;
mod observation;
#[cfg(not(feature = "kubernetes"))]
mod unavailable;

use clap::{Args, ValueEnum};

#[cfg(feature = "kubernetes")]
pub use self::kubernetes::Watched;
pub use self::observation::{Observation, PodSeen, ServiceSeen, Site};
#[cfg(not(feature = "kubernetes"))]
pub use self::unavailable::Watched;

/// How nodes are found, besides those that are named.
#[derive(Args, Clone, Debug)]
pub struct Discovery {
    /// Where nodes are found besides --nodes: kubernetes watches the Knative Services of a namespace
    #[arg(
        long,
        env = "INFINICACHE_DISCOVER",
        default_value = "off",
        value_name = "PLATFORM"
    )]
    pub discover: Platform,

    /// The namespace of the nodes' Services; the proxy's own, if not given
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,

    /// The labels of the nodes' Services
    #[arg(
        long,
        env = "INFINICACHE_SELECTOR",
        default_value = "infinicache.io/pool=default",
        value_name = "LABELS",
        value_parser = clap::builder::NonEmptyStringValueParser::new()
    )]
    pub selector: String,
}

/// What starts the nodes, and can be asked for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Platform {
    /// No API is asked.
    Off,
    /// Knative Services and pods, through the API of the cluster.
    Kubernetes,
}

impl Discovery {
    /// Whether anybody is asked.
    pub fn is_on(&self) -> bool {
        self.discover == Platform::Kubernetes
    }

    /// Reaches for the API as the environment says: from within a pod, or by a kubeconfig.
    ///
    /// Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// If the environment does not say, or this is a build without Kubernetes.
    pub async fn watched(&self) -> anyhow::Result<Watched> {
        Watched::new(self).await
    }
}
