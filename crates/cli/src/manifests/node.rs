//! What the Service of one node says, and why.
//!
//! | it says | because |
//! | --- | --- |
//! | `max-scale: 1` | a name is a node; that two pods overlap for a while is known to the pool |
//! | `min-scale: 0` | a node that holds nothing is no pod |
//! | `window`, `scale-to-zero-pod-retention-period` | see [`pod_lifetime`](super::pod_lifetime) |
//! | `target-burst-capacity: 200` | one pod's capacity is 100, so all requests go through the activator, which counts the shortest |
//! | `containerConcurrency: 0` | a wake is never queued behind another, nor a reason for a second pod |
//! | `timeoutSeconds: 600` | it is the pod's grace too: the longest that Knative takes unless its configuration is changed |
//! | a readiness probe only | a liveness probe could kill a node that is busy, and all that it holds |
//! | memory requested as limited | no other container can make the kernel kill it |
//! | no limit on CPU | a node that is throttled is a slow node |
//! | secrets of the pool only | the password of clients is none of its business |

use crate::manifests::{
    pool::{PoolManifest, quantity},
    service::{
        Capabilities, Container, HttpGet, Item, Map, Metadata, Mount, Name, Port, Probe, Projected,
        Resources, RevisionSpec, SeccompProfile, SecretItems, SecurityContext, Selector, Service,
        Source, Spread, Template, Variable, Volume,
    },
};

/// Where the node listens for wakes; Knative tells it by `PORT`.
const WAKE_PORT: u16 = 8080;

/// Where other nodes and direct clients reach it. Fixed, so that a network policy can name it.
const DIRECT_PORT: u16 = 6382;

/// A pod's grace, and the longest request, in seconds.
const TIMEOUT: u32 = 600;

/// Grace that passes before Knative lets SIGTERM through, and what is left for going, in seconds.
const DRAIN_MARGIN: u32 = 30 + 10;

/// Where the secret is mounted.
const SECRET: &str = "/etc/infinicache/secret";

/// The user that images run as.
const NON_ROOT: u32 = 65532;

/// The label by which the proxy finds the nodes of its pool.
const POOL_LABEL: &str = "infinicache.io/pool";

impl PoolManifest {
    /// The Services of all nodes, by number.
    ///
    /// # Errors
    ///
    /// If there can be no such nodes.
    pub fn services(&self) -> anyhow::Result<Vec<Service>> {
        self.check()?;
        let numbers = 0..self.nodes;
        Ok(numbers.map(|number| service(self, number)).collect())
    }
}

/// The Service of the node with this number.
pub fn service(pool: &PoolManifest, number: usize) -> Service {
    let mut labels = labels(pool);
    labels.insert(
        "networking.knative.dev/visibility".into(),
        "cluster-local".into(),
    );
    let metadata = Metadata {
        name: pool.name(number),
        namespace: pool.namespace.clone(),
        labels,
        annotations: Map::new(),
    };
    Service::new(metadata, template(pool))
}

fn template(pool: &PoolManifest) -> Template {
    Template {
        metadata: Metadata {
            labels: labels(pool),
            annotations: annotations(pool),
            ..Metadata::default()
        },
        spec: RevisionSpec {
            container_concurrency: 0,
            timeout_seconds: TIMEOUT,
            enable_service_links: false,
            automount_service_account_token: false,
            image_pull_secrets: pool
                .pull_secret
                .iter()
                .cloned()
                .map(|name| Name { name })
                .collect(),
            topology_spread_constraints: pool
                .spread_hosts
                .then(|| spread(pool))
                .into_iter()
                .collect(),
            containers: [container(pool)],
            volumes: [secret()],
        },
    }
}

fn labels(pool: &PoolManifest) -> Map {
    map([
        ("app.kubernetes.io/name", "infinicache-node"),
        ("app.kubernetes.io/part-of", "infinicache"),
        ("app.kubernetes.io/component", "node"),
        (POOL_LABEL, &pool.pool),
    ])
}

fn annotations(pool: &PoolManifest) -> Map {
    let seconds = |span: std::time::Duration| format!("{}s", span.as_secs());
    let mut annotations = map([
        ("autoscaling.knative.dev/min-scale", "0"),
        ("autoscaling.knative.dev/max-scale", "1"),
        ("autoscaling.knative.dev/target-burst-capacity", "200"),
        ("autoscaling.knative.dev/window", &seconds(pool.life.window)),
        (
            "autoscaling.knative.dev/scale-to-zero-pod-retention-period",
            &seconds(pool.life.retention),
        ),
        (
            "queue.sidecar.serving.knative.dev/cpu-resource-request",
            &pool.sidecar_cpu,
        ),
        (
            "queue.sidecar.serving.knative.dev/memory-resource-request",
            &quantity(pool.sidecar_memory),
        ),
    ]);
    if pool.asleep {
        annotations.insert("autoscaling.knative.dev/initial-scale".into(), "0".into());
    }
    annotations
}

fn container(pool: &PoolManifest) -> Container {
    let memory = quantity(pool.memory);
    Container {
        image: pool.image.clone(),
        image_pull_policy: "IfNotPresent",
        ports: [Port {
            container_port: WAKE_PORT,
        }],
        env: variables(),
        readiness_probe: Probe {
            http_get: HttpGet { path: "/readyz" },
        },
        resources: Resources {
            requests: map([("cpu", pool.cpu.as_str()), ("memory", &memory)]),
            limits: map([("memory", memory.as_str())]),
        },
        security_context: SecurityContext {
            run_as_non_root: true,
            run_as_user: NON_ROOT,
            run_as_group: NON_ROOT,
            allow_privilege_escalation: false,
            read_only_root_filesystem: true,
            capabilities: Capabilities { drop: ["ALL"] },
            seccomp_profile: SeccompProfile {
                kind: "RuntimeDefault",
            },
        },
        volume_mounts: [Mount {
            name: "secret",
            mount_path: SECRET,
            read_only: true,
        }],
    }
}

/// How the node is configured. Its name is `K_SERVICE` and its pod `HOSTNAME`, which Knative sets;
/// how much it holds follows from the limit of its container.
fn variables() -> Vec<Variable> {
    let variable = |name, value: String| Variable { name, value };
    vec![
        variable("INFINICACHE_LISTEN_ADDRESS", "0.0.0.0".into()),
        variable("INFINICACHE_DIRECT_PORT", DIRECT_PORT.to_string()),
        variable("INFINICACHE_DRAIN", format!("{}s", TIMEOUT - DRAIN_MARGIN)),
        variable("INFINICACHE_SECRET_FILE", format!("{SECRET}/pool-secret")),
        variable("INFINICACHE_LOG", "info".into()),
        variable("INFINICACHE_LOG_FORMAT", "json".into()),
    ]
}

/// The pool's secret, and the one before it while secrets are rotated.
fn secret() -> Volume {
    let source = |key, optional| Source {
        secret: SecretItems {
            name: "infinicache",
            items: [Item { key, path: key }],
            optional,
        },
    };
    let sources = vec![
        source("pool-secret", false),
        source("pool-secret-previous", true),
    ];
    Volume {
        name: "secret",
        projected: Projected { sources },
    }
}

/// Pods of the pool on as many hosts as there are. Knative's own spreading knows revisions only.
fn spread(pool: &PoolManifest) -> Spread {
    Spread {
        max_skew: 1,
        topology_key: "kubernetes.io/hostname",
        when_unsatisfiable: "ScheduleAnyway",
        label_selector: Selector {
            match_labels: map([(POOL_LABEL, pool.pool.as_str())]),
        },
    }
}

fn map<const N: usize>(entries: [(&str, &str); N]) -> Map {
    entries
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}
