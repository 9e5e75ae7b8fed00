//! `infinicache manifests`: the nodes of a pool, as Knative Services.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use infinicache_daemon::{ByteSize, parse_duration};

use crate::{
    exit,
    manifests::{PoolManifest, pod_lifetime::PodLifetime},
};

/// The node's image, as the files in `docker/` name it on one machine.
const IMAGE: &str = concat!("dev.local/infinicache-node:", env!("CARGO_PKG_VERSION"));

const EXAMPLES: &str = "  \
  infinicache manifests --nodes 20 --memory 4GiB --image registry.example.com/infinicache-node:1 > nodes.yaml
  infinicache manifests --survive-outage 30m --pull-secret registry | kubectl apply -f -";

#[derive(Args)]
#[command(after_help = exit::help(EXAMPLES))]
pub struct Manifests {
    /// How many nodes: at least data and parity chunks of a large value together, better some more
    #[arg(long, default_value_t = 14, value_name = "N")]
    nodes: usize,

    /// Memory of a node's container; about 85 % of it holds chunks
    #[arg(long, default_value = "1GiB", value_name = "SIZE")]
    memory: ByteSize,

    /// The node's image
    #[arg(long, default_value = IMAGE)]
    image: String,

    /// Secret that it takes to pull the image
    #[arg(long, value_name = "SECRET")]
    pull_secret: Option<String>,

    /// How long nodes with data outlive their proxy; nodes without cost pods for as long
    #[arg(long, default_value = "10m", value_name = "TIME", value_parser = parse_duration)]
    survive_outage: Duration,

    /// For how long a wake keeps a node; the proxy's --node-idle-window has to be the same
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = parse_duration)]
    idle_window: Duration,

    /// Namespace of nodes and proxy
    #[arg(long, default_value = "infinicache")]
    namespace: String,

    /// Value of the label infinicache.io/pool, by which the proxy finds its nodes
    #[arg(long, default_value = "default")]
    pool: String,

    /// What the nodes' names begin with
    #[arg(long, default_value = "infinicache-node", value_name = "PREFIX")]
    name_prefix: String,

    /// CPU to request for a node
    #[arg(long, default_value = "100m", value_name = "QUANTITY")]
    cpu: String,

    /// CPU to request for Knative's sidecar in a node's pod
    #[arg(long, default_value = "25m", value_name = "QUANTITY")]
    sidecar_cpu: String,

    /// Memory to request for Knative's sidecar in a node's pod
    #[arg(long, default_value = "32MiB", value_name = "SIZE")]
    sidecar_memory: ByteSize,

    /// Spread pods over hosts; Knative needs kubernetes.podspec-topologyspreadconstraints enabled
    #[arg(long)]
    spread_hosts: bool,

    /// Create nodes without a pod; Knative needs allow-zero-initial-scale
    #[arg(long)]
    asleep: bool,
}

impl Manifests {
    pub fn run(self) -> Result<()> {
        exit::print(&self.text()?)
    }

    /// The documents, and above them what they were written by.
    fn text(self) -> Result<String> {
        let life = PodLifetime::surviving(self.survive_outage, self.idle_window)?;
        let pool = PoolManifest {
            nodes: self.nodes,
            prefix: self.name_prefix,
            namespace: self.namespace,
            pool: self.pool,
            image: self.image,
            pull_secret: self.pull_secret,
            memory: self.memory,
            cpu: self.cpu,
            sidecar_cpu: self.sidecar_cpu,
            sidecar_memory: self.sidecar_memory,
            life,
            spread_hosts: self.spread_hosts,
            asleep: self.asleep,
        };
        let mut text = format!(
            "# {} nodes, each of which holds up to {}. Written by `infinicache manifests`.\n",
            pool.nodes,
            pool.capacity()
        );
        for service in pool.services()? {
            text += "---\n";
            text += &serde_saphyr::to_string(&service)?;
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::Value;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        manifests: Manifests,
    }

    fn text(line: &str) -> Result<String> {
        Line::try_parse_from(std::iter::once("manifests").chain(line.split_whitespace()))?
            .manifests
            .text()
    }

    fn documents(line: &str) -> Vec<Value> {
        serde_saphyr::from_multiple(&text(line).unwrap()).unwrap()
    }

    #[test]
    fn what_looks_like_a_number_or_a_truth_stays_a_text() {
        for name in ["on", "yes", "no", "off", "y", "n", "null", "true", "e1"] {
            let service = &documents(&format!("--nodes 1 --pool {name} --cpu 1"))[0];
            let pool = &service["metadata"]["labels"]["infinicache.io/pool"];
            assert_eq!(pool, name);
            let text = text(&format!("--nodes 1 --pool {name}")).unwrap();
            let bare = format!("infinicache.io/pool: {name}\n");
            // Kubernetes reads YAML 1.1, to which these are no texts.
            assert_eq!(text.contains(&bare), name == "e1", "{text}");
            let template = &service["spec"]["template"];
            let annotations = &template["metadata"]["annotations"];
            assert_eq!(annotations["autoscaling.knative.dev/max-scale"], "1");
            let resources = &template["spec"]["containers"][0]["resources"];
            assert_eq!(resources["requests"]["cpu"], "1");
        }
    }

    #[test]
    fn what_is_asked_for_is_in_every_document() {
        let services = documents(
            "--nodes 3 --memory 2GiB --image i --pull-secret s --survive-outage 20m \
             --idle-window 90s --spread-hosts --asleep --namespace elsewhere",
        );
        assert_eq!(services.len(), 3);
        for service in &services {
            assert_eq!(service["metadata"]["namespace"], "elsewhere");
            let template = &service["spec"]["template"];
            let annotation = |name: &str| {
                template["metadata"]["annotations"][format!("autoscaling.knative.dev/{name}")]
                    .as_str()
            };
            assert_eq!(annotation("window"), Some("90s"));
            assert_eq!(
                annotation("scale-to-zero-pod-retention-period"),
                Some("1200s")
            );
            assert_eq!(annotation("initial-scale"), Some("0"));
            let spec = &template["spec"];
            assert_eq!(spec["imagePullSecrets"][0]["name"], "s");
            assert_eq!(spec["containers"][0]["image"], "i");
            assert_eq!(
                spec["containers"][0]["resources"]["limits"]["memory"],
                "2Gi"
            );
            let spread = &spec["topologySpreadConstraints"][0];
            assert_eq!(spread["topologyKey"], "kubernetes.io/hostname");
        }
    }

    #[test]
    fn what_needs_a_feature_flag_is_written_only_if_asked_for() {
        let text = text("").unwrap();
        for flagged in [
            "topologySpreadConstraints",
            "initial-scale",
            "imagePullSecrets",
        ] {
            assert!(!text.contains(flagged), "{flagged}");
        }
    }
}
