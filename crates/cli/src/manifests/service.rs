//! The shape of a Knative Service, as far as nodes need it.
//!
//! Only what Knative takes without feature flags, and
//! `topologySpreadConstraints`, which needs one. Maps are sorted, so that the
//! same pool is always the same text.

#![allow(
    missing_docs,
    reason = "the fields are those of Kubernetes and Knative, and mean what they do there"
)]

use std::collections::BTreeMap;

use serde::Serialize;

/// Labels, annotations or quantities.
pub type Map = BTreeMap<String, String>;

/// A Knative Service.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    pub api_version: &'static str,
    pub kind: &'static str,
    pub metadata: Metadata,
    pub spec: ServiceSpec,
}

impl Service {
    /// A Service with this metadata, whose revisions follow `template`.
    pub fn new(metadata: Metadata, template: Template) -> Self {
        Self {
            api_version: "serving.knative.dev/v1",
            kind: "Service",
            metadata,
            spec: ServiceSpec { template },
        }
    }
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Metadata {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    pub labels: Map,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub annotations: Map,
}

#[derive(Clone, Debug, Serialize)]
pub struct ServiceSpec {
    pub template: Template,
}

/// What a revision is made from.
#[derive(Clone, Debug, Serialize)]
pub struct Template {
    pub metadata: Metadata,
    pub spec: RevisionSpec,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionSpec {
    pub container_concurrency: u32,
    pub timeout_seconds: u32,
    pub enable_service_links: bool,
    pub automount_service_account_token: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<Name>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub topology_spread_constraints: Vec<Spread>,
    pub containers: [Container; 1],
    pub volumes: [Volume; 1],
}

#[derive(Clone, Debug, Serialize)]
pub struct Name {
    pub name: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spread {
    pub max_skew: u32,
    pub topology_key: &'static str,
    pub when_unsatisfiable: &'static str,
    pub label_selector: Selector,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    pub match_labels: Map,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    pub image: String,
    pub image_pull_policy: &'static str,
    pub ports: [Port; 1],
    pub env: Vec<Variable>,
    pub readiness_probe: Probe,
    pub resources: Resources,
    pub security_context: SecurityContext,
    pub volume_mounts: [Mount; 1],
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    pub container_port: u16,
}

#[derive(Clone, Debug, Serialize)]
pub struct Variable {
    pub name: &'static str,
    pub value: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    pub http_get: HttpGet,
}

#[derive(Clone, Debug, Serialize)]
pub struct HttpGet {
    pub path: &'static str,
}

#[derive(Clone, Debug, Serialize)]
pub struct Resources {
    pub requests: Map,
    pub limits: Map,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityContext {
    pub run_as_non_root: bool,
    pub run_as_user: u32,
    pub run_as_group: u32,
    pub allow_privilege_escalation: bool,
    pub read_only_root_filesystem: bool,
    pub capabilities: Capabilities,
    pub seccomp_profile: SeccompProfile,
}

#[derive(Clone, Debug, Serialize)]
pub struct Capabilities {
    pub drop: [&'static str; 1],
}

#[derive(Clone, Debug, Serialize)]
pub struct SeccompProfile {
    #[serde(rename = "type")]
    pub kind: &'static str,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    pub name: &'static str,
    pub mount_path: &'static str,
    pub read_only: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct Volume {
    pub name: &'static str,
    pub projected: Projected,
}

#[derive(Clone, Debug, Serialize)]
pub struct Projected {
    pub sources: Vec<Source>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Source {
    pub secret: SecretItems,
}

#[derive(Clone, Debug, Serialize)]
pub struct SecretItems {
    pub name: &'static str,
    pub items: [Item; 1],
    pub optional: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct Item {
    pub key: &'static str,
    pub path: &'static str,
}
