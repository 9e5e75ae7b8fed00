//! How nodes are found.

use clap::{Args, ValueEnum};

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
}
