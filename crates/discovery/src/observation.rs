//! How the platform looks, in words that know nothing of Kubernetes.

use std::collections::BTreeMap;

use http::Uri;

/// How the platform looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// The nodes of the pool, by name.
    pub services: BTreeMap<String, ServiceSeen>,
    /// The pods behind them, by name.
    pub pods: BTreeMap<String, PodSeen>,
    /// Whether those are all pods that there are: a whole list of them has been seen.
    pub all_pods: bool,
}

/// A name that the platform can start a process behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSeen {
    /// Where to POST its wakes.
    pub url: Uri,
    /// Whether the platform says that it can.
    pub ready: bool,
}

/// A process of the platform.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodSeen {
    /// The name that it is behind.
    pub node: String,
    /// Where it runs, as far as is known.
    pub site: Site,
    /// Whether it is about to be stopped.
    pub leaving: bool,
}

/// Where a process runs: each a failure domain, or the empty string if it is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// The host.
    pub host: String,
    /// The zone that the host is in.
    pub zone: String,
}
