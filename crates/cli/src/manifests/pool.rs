//! What is asked for, and whether it can be had.

use anyhow::{Context, Result, ensure};
use infinicache_daemon::ByteSize;
use infinicache_node::config::capacity_within;

use super::pod_lifetime::PodLifetime;

/// Smallest memory of a node's container: half of it is left for chunks.
const MIN_MEMORY: ByteSize = ByteSize(64 << 20);

/// Most nodes: each is three Services of Kubernetes, and Knative grows slow with thousands.
const MAX_NODES: usize = 500;

/// The longest name of a Knative Service.
const MAX_NAME: usize = 63;

/// The nodes of one pool.
#[derive(Clone, Debug)]
pub struct PoolManifest {
    /// How many nodes.
    pub nodes: usize,
    /// What their names begin with; a dash and a number follow.
    pub prefix: String,
    /// Where they live.
    pub namespace: String,
    /// By which name the proxy finds them.
    pub pool: String,
    /// The node's image.
    pub image: String,
    /// The Secret that it takes to pull it, if any.
    pub pull_secret: Option<String>,
    /// Memory of a node's container.
    pub memory: ByteSize,
    /// CPU that is requested for it.
    pub cpu: String,
    /// CPU that is requested for Knative's sidecar.
    pub sidecar_cpu: String,
    /// Memory that is requested for Knative's sidecar.
    pub sidecar_memory: ByteSize,
    /// How long a pod stays that gets no request.
    pub life: PodLifetime,
    /// Whether pods are spread over hosts, which takes a feature flag of Knative.
    pub spread_hosts: bool,
    /// Whether Services begin without a pod, which Knative has to allow.
    pub asleep: bool,
}

impl PoolManifest {
    /// The name of the node with this number.
    pub fn name(&self, number: usize) -> String {
        format!("{}-{number}", self.prefix)
    }

    /// Whether there can be such nodes.
    pub(super) fn check(&self) -> Result<()> {
        let Self { nodes, memory, .. } = self;
        ensure!(
            (1..=MAX_NODES).contains(nodes),
            "--nodes is {nodes}, 1 to {MAX_NODES} possible"
        );
        ensure!(
            *memory >= MIN_MEMORY,
            "--memory is {memory}, at least {MIN_MEMORY} needed"
        );
        ensure!(
            !self.image.trim().is_empty(),
            "--image is empty, the node's image needed"
        );
        for (flag, name) in [
            ("--name-prefix", &self.name(nodes - 1)),
            ("--namespace", &self.namespace),
            ("--pool", &self.pool),
        ] {
            label(name).with_context(|| format!("unusable {flag}"))?;
        }
        Ok(())
    }

    /// Bytes that each node holds.
    pub fn capacity(&self) -> ByteSize {
        ByteSize(capacity_within(self.memory.0))
    }
}

/// Whether Kubernetes takes this as a name: a DNS label.
fn label(name: &str) -> Result<()> {
    ensure!(
        name.len() <= MAX_NAME,
        "{name:?} is {} characters long, at most {MAX_NAME} possible",
        name.len()
    );
    let of_label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    ensure!(
        name.starts_with(|first: char| first.is_ascii_lowercase())
            && !name.ends_with('-')
            && name.bytes().all(of_label),
        "{name:?} is no name: a letter, then a-z, 0-9 and dashes needed"
    );
    Ok(())
}

/// As Kubernetes writes sizes: `1Gi`, `1500`.
pub fn quantity(size: ByteSize) -> String {
    let text = size.to_string();
    text.strip_suffix('B').map(str::to_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::manifests::service::Service;

    fn pool() -> PoolManifest {
        PoolManifest {
            nodes: 14,
            prefix: "infinicache-node".into(),
            namespace: "infinicache".into(),
            pool: "default".into(),
            image: "example.com/node:1".into(),
            pull_secret: None,
            memory: ByteSize(1 << 30),
            cpu: "100m".into(),
            sidecar_cpu: "25m".into(),
            sidecar_memory: ByteSize(32 << 20),
            life: PodLifetime::surviving(Duration::from_secs(600), Duration::from_secs(60))
                .unwrap(),
            spread_hosts: false,
            asleep: false,
        }
    }

    fn refusal(change: impl FnOnce(&mut PoolManifest)) -> String {
        let mut pool = pool();
        change(&mut pool);
        format!("{:#}", pool.services().unwrap_err())
    }

    #[test]
    fn nodes_differ_by_name_only() {
        let services = pool().services().unwrap();
        assert_eq!(services.len(), 14);
        assert_eq!(services[13].metadata.name, "infinicache-node-13");
        let template = |service: &Service| serde_json::to_value(&service.spec).unwrap();
        assert!(
            services
                .iter()
                .all(|other| template(other) == template(&services[0]))
        );
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_numbers() {
        assert!(refusal(|pool| pool.nodes = 0).contains("1 to 500 possible"));
        assert!(refusal(|pool| pool.nodes = 501).contains("1 to 500 possible"));
        assert!(refusal(|pool| pool.memory = ByteSize(1 << 20)).contains("at least 64MiB"));
        assert!(refusal(|pool| pool.image = " ".into()).contains("--image"));
        assert!(refusal(|pool| pool.prefix = "n".repeat(62)).contains("65 characters"));
        for odd in [
            "",
            "Caps",
            "dot.ted",
            "-dash",
            "9lives",
            "under_score",
            "end-",
        ] {
            assert!(
                refusal(|pool| pool.namespace = odd.into()).contains("no name"),
                "{odd:?}"
            );
        }
    }

    #[test]
    fn sizes_are_written_as_kubernetes_reads_them() {
        assert_eq!(quantity(ByteSize(1 << 30)), "1Gi");
        assert_eq!(quantity(ByteSize(1536 << 20)), "1536Mi");
        assert_eq!(quantity(ByteSize(1500)), "1500");
    }
}
