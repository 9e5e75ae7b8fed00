//! Finds the nodes of the pool by watching Kubernetes.
//!
//! Each node is a Knative Service with the pool's label; the pods behind it tell where it runs, and
//! that it is about to be stopped some 30 s before SIGTERM. What is seen of both is put together
//! (`cluster`, pure) and told whenever it has changed.
//!
//! Nothing else of the proxy knows of Kubernetes: what is seen is an [`Observation`].
//!
//! The API is not needed for traffic. While it cannot be reached the last that
//! was seen holds; `watch` goes on trying, and a list is only believed once it
//! is complete, so that an API server that restarts takes no node out of the pool.

#![forbid(unsafe_code)]

mod cluster;
mod observation;
mod service;
#[cfg(test)]
mod tests;
mod watch;

use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use futures_util::{StreamExt, stream};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
};

use self::cluster::{Cluster, Sort};
pub use self::observation::{Observation, PodSeen, ServiceSeen, Site};

/// How long the API may take to accept a connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// How long it may be silent: more than a watch lasts.
const SILENCE: Duration = Duration::from_secs(90);

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
    /// If the environment does not say.
    pub async fn watched(&self) -> anyhow::Result<Watched> {
        let mut config = kube::Config::infer()
            .await
            .context("no Kubernetes API: neither in a pod nor with a kubeconfig")?;
        config.connect_timeout = Some(CONNECT_DEADLINE);
        config.read_timeout = Some(SILENCE);
        // Counted from the request, not from when its connection was last used.
        config.reset_reader_on_write = true;
        let namespace = self.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).context("unusable Kubernetes configuration")?;
        Ok(Watched {
            client,
            namespace,
            selector: self.selector.clone(),
        })
    }
}

/// What is watched.
#[derive(Clone)]
pub struct Watched {
    client: Client,
    namespace: String,
    selector: String,
}

impl Watched {
    /// Watches for ever, and tells how it all looks whenever that has changed.
    ///
    /// The first time when all Services are known, whatever is known of pods. It calls
    /// `failed` at each failure with the reason, in one word.
    pub async fn run(
        self,
        failed: impl Fn(&'static str) + Clone + Send,
        mut tell: impl FnMut(Observation),
    ) {
        let services = self.api("serving.knative.dev", "Service");
        let pods = self.api("", "Pod");
        let watch = |sort, api, selector: &str| {
            let events = watch::events(api, selector, sort, failed.clone());
            events.map(move |event| (sort, event)).boxed()
        };
        let mut events = stream::select(
            watch(Sort::Service, services, &self.selector),
            watch(Sort::Pod, pods, service::OF_POD),
        );
        let mut cluster = Cluster::default();
        let mut told = None;
        while let Some((sort, event)) = events.next().await {
            cluster.apply(sort, event);
            let Some(seen) = cluster.observation() else {
                continue;
            };
            if told.as_ref() != Some(&seen) {
                tell(seen.clone());
                told = Some(seen);
            }
        }
    }

    fn api(&self, group: &str, kind: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }
}
