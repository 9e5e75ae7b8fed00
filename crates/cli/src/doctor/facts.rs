//! What is seen of a cluster.

use std::collections::BTreeMap;

use kube::api::DynamicObject;
use serde_json::Value;

/// Something that was asked for.
pub type Seen<T> = Result<T, Unseen>;

/// Why something is not seen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unseen {
    /// There is none.
    #[error("does not exist")]
    Missing,
    /// Whoever asks may not see it.
    #[error("may not be seen by you")]
    Forbidden,
    /// It could not be asked for.
    #[error("cannot be asked for: {0}")]
    Failed(String),
}

/// What a node does when it is woken without the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WakeSeen {
    /// It asks for proof, as it should.
    AsksForProof,
    /// Something else was answered: a status and the beginning of the text.
    Answered(u16, String),
    /// Nothing was answered.
    Unreachable(String),
    /// It was not tried.
    NotTried(&'static str),
}

/// All that is looked at.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The namespace of the pool.
    pub namespace: String,
    /// The name of the Secret.
    pub secret_name: String,
    /// The version of the API server, such as `v1.32.1`.
    pub kubernetes: Seen<String>,
    /// The Deployments of Knative Serving.
    pub serving: Seen<Vec<DynamicObject>>,
    /// The Deployments of Kourier.
    pub kourier: Seen<Vec<DynamicObject>>,
    /// ConfigMaps of Knative Serving, by name.
    pub settings: BTreeMap<&'static str, Seen<DynamicObject>>,
    /// Whether the proxy may do what it has to, by what that is.
    pub rights: Vec<(String, Seen<bool>)>,
    /// The Secret of the pool.
    pub secret: Seen<DynamicObject>,
    /// The network policies of the namespace.
    pub policies: Seen<Vec<DynamicObject>>,
    /// The proxy's Deployment.
    pub proxy: Seen<DynamicObject>,
    /// The proxy's ConfigMap.
    pub configuration: Seen<DynamicObject>,
    /// The Service that nodes dial.
    pub door: Seen<DynamicObject>,
    /// The nodes' Knative Services.
    pub nodes: Seen<Vec<DynamicObject>>,
    /// Of each node that has a URL.
    pub wakes: BTreeMap<String, WakeSeen>,
}

/// The text at a path of an object; numbers and switches as text too.
pub(super) fn text_at(object: &DynamicObject, path: &str) -> Option<String> {
    match object.data.pointer(path)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(switch) => Some(switch.to_string()),
        _ => None,
    }
}

/// The message of a condition that is not true; `None` if it is.
pub(super) fn untrue(object: &DynamicObject, condition: &str) -> Option<String> {
    let conditions = object.data.pointer("/status/conditions");
    let mut conditions = conditions.and_then(Value::as_array).into_iter().flatten();
    let Some(found) = conditions.find(|it| it["type"] == condition) else {
        return Some("it has not been looked after yet".into());
    };
    if found["status"] == "True" {
        return None;
    }
    let part = |name: &str| found[name].as_str().unwrap_or_default();
    let text = format!("{} {}", part("reason"), part("message"));
    Some(text.trim().chars().take(200).collect())
}
