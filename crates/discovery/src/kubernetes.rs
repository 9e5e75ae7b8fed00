//! The API of a cluster: what is watched there.

mod cluster;
mod service;
#[cfg(test)]
mod tests;
mod watch;

use std::time::Duration;

use anyhow::Context;
use futures_util::{StreamExt, stream};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
};

use self::cluster::{Cluster, Sort};
use crate::{config::Discovery, observation::Observation};

/// How long the API may take to accept a connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// How long it may be silent: more than a watch lasts.
const SILENCE: Duration = Duration::from_secs(90);

/// What is watched.
#[derive(Clone)]
pub struct Watched {
    client: Client,
    namespace: String,
    selector: String,
}

impl Watched {
    /// Reaches for the API as the environment says: from within a pod, or by a kubeconfig.
    ///
    /// Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// If the environment does not say.
    pub async fn new(discovery: &Discovery) -> anyhow::Result<Self> {
        let mut config = kube::Config::infer()
            .await
            .context("no Kubernetes API: neither in a pod nor with a kubeconfig")?;
        config.connect_timeout = Some(CONNECT_DEADLINE);
        config.read_timeout = Some(SILENCE);
        // Counted from the request, not from when its connection was last used.
        config.reset_reader_on_write = true;
        let namespace = discovery.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).context("unusable Kubernetes configuration")?;
        Ok(Self {
            client,
            namespace,
            selector: discovery.selector.clone(),
        })
    }

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
