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
    /// The account that asks may not see it.
    #[error("not visible from here")]
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
    pub node_service: Seen<DynamicObject>,
    /// The nodes' Knative Services.
    pub nodes: Seen<Vec<DynamicObject>>,
    /// The pods of nodes and proxy.
    pub pods: Seen<Vec<DynamicObject>>,
    /// Warnings about pods of the namespace.
    pub events: Seen<Vec<DynamicObject>>,
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

/// What a condition of an object says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// It is so.
    True,
    /// It is not so, and why.
    False(String),
    /// It is not known yet, and what is waited for; the empty string if nothing says so.
    Unknown(String),
}

/// What a condition says. One that is not there is not known.
///
/// Where a condition gives no reason, the others of the object may: what is made of parts waits
/// for one of them.
pub(super) fn condition(object: &DynamicObject, name: &str) -> Condition {
    let conditions = conditions(object);
    let Some(found) = conditions.iter().find(|it| it["type"] == name) else {
        return Condition::Unknown("no controller has looked at it".into());
    };
    if found["status"] == "True" {
        return Condition::True;
    }
    let others = conditions.iter().filter(|it| it["status"] != "True");
    let whys = [found].into_iter().chain(others).map(why);
    let why = whys.into_iter().find(|why| !why.is_empty());
    let why = why.unwrap_or_default();
    if found["status"] == "False" {
        Condition::False(why)
    } else {
        Condition::Unknown(why)
    }
}

/// The reason and the message of a condition that says that something failed; `None` if it did not.
pub(super) fn failure(object: &DynamicObject, name: &str) -> Option<String> {
    let failed = |it: &&Value| it["type"] == name && it["status"] == "True";
    conditions(object).iter().find(failed).map(why)
}

fn conditions(object: &DynamicObject) -> &[Value] {
    let conditions = object.data.pointer("/status/conditions");
    let conditions = conditions.and_then(Value::as_array);
    conditions.map(Vec::as_slice).unwrap_or_default()
}

/// The reason and the message of a condition.
fn why(condition: &Value) -> String {
    let part = |name: &str| condition[name].as_str().unwrap_or_default();
    let text = format!("{} {}", part("reason"), part("message"));
    text.trim().chars().take(200).collect()
}
