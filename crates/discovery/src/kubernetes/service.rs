//! What is read of an object: no more than is used, and nothing taken for granted.

use http::Uri;
use kube::{ResourceExt, api::DynamicObject};
use serde_json::Value;

use crate::observation::{PodSeen, ServiceSeen, Site};

/// Label of a pod: the Knative Service that it is behind.
pub(super) const OF_POD: &str = "serving.knative.dev/service";

/// Label of a pod on clusters that copy it from its host.
const ZONE: &str = "topology.kubernetes.io/zone";

/// Why a Service cannot be used, as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    #[error("it has no URL yet")]
    NoUrl,
    #[error("its URL is {0:?}, one that begins with http:// needed")]
    Url(String),
}

/// Reads a Knative Service.
pub(super) fn read_service(object: &DynamicObject) -> Result<ServiceSeen, Unusable> {
    let at = |path| object.data.pointer(path).and_then(Value::as_str);
    // The address is the one within the cluster; the other may lead around by its edge.
    let text = at("/status/address/url").or_else(|| at("/status/url"));
    let text = text.ok_or(Unusable::NoUrl)?;
    let url = text.parse().ok().filter(|url: &Uri| {
        let is_plain = url.scheme_str() == Some("http");
        is_plain && url.host().is_some()
    });
    let url = url.ok_or_else(|| Unusable::Url(text.chars().take(200).collect()))?;
    Ok(ServiceSeen {
        url,
        ready: is_ready(object),
    })
}

fn is_ready(object: &DynamicObject) -> bool {
    let conditions = object.data.pointer("/status/conditions");
    let conditions = conditions.and_then(Value::as_array);
    let is_so = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    conditions.is_some_and(|conditions| conditions.iter().any(is_so))
}

/// Whether an object is about to be removed.
pub(super) fn is_leaving(object: &DynamicObject) -> bool {
    object.metadata.deletion_timestamp.is_some()
}

/// Reads a pod; `None` if it is behind no Service, or its containers have ended for good.
pub(super) fn read_pod(object: &DynamicObject) -> Option<PodSeen> {
    let phase = object.data.pointer("/status/phase");
    if let Some("Failed" | "Succeeded") = phase.and_then(Value::as_str) {
        return None;
    }
    let label = |name| object.labels().get(name).cloned();
    let host = object.data.pointer("/spec/nodeName");
    Some(PodSeen {
        node: label(OF_POD)?,
        site: Site {
            host: host.and_then(Value::as_str).unwrap_or_default().to_owned(),
            zone: label(ZONE).unwrap_or_default(),
        },
        leaving: is_leaving(object),
    })
}
