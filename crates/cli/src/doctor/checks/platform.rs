//! Kubernetes, Knative Serving and its ingress.

use kube::{ResourceExt, api::DynamicObject};

use super::unseen::unseen;
use crate::doctor::{
    facts::{Condition, Seen, condition, text_at},
    finding::Finding,
};

/// The oldest versions that are supported: major and minor.
const KUBERNETES: (u32, u32) = (1, 32);
const SERVING: (u32, u32) = (1, 20);

/// What chooses Kourier.
const KOURIER: &str = "kourier.ingress.networking.knative.dev";

/// The version of the API server.
pub(super) fn kubernetes(version: &Seen<String>) -> Vec<Finding> {
    let subject = "kubernetes";
    let version = match version {
        Ok(version) => version,
        Err(error) => {
            let missing = || Finding::bad(subject, "answers, but is none", "check the kubeconfig");
            return unseen(subject, error, missing);
        }
    };
    vec![versioned(subject, version, KUBERNETES)]
}

/// Knative Serving: its version, and whether it runs.
pub(super) fn serving(deployments: &Seen<Vec<DynamicObject>>) -> Vec<Finding> {
    let subject = "knative serving";
    let missing = || {
        let advice =
            "install Knative Serving: serving-crds.yaml and serving-core.yaml of a release";
        Finding::bad(subject, "is not installed in knative-serving", advice)
    };
    let deployments = match deployments {
        Ok(deployments) => deployments,
        Err(error) => return unseen(subject, error, missing),
    };
    let by_name = |name: &str| deployments.iter().find(|it| it.name_any() == name);
    let Some(controller) = by_name("controller") else {
        return vec![missing()];
    };
    let version = controller.labels().get("app.kubernetes.io/version");
    let version = version.map_or("unknown", String::as_str);
    let mut findings = vec![versioned(subject, version, SERVING)];
    for name in ["activator", "autoscaler", "controller", "webhook"] {
        findings.extend(available(subject, name, by_name(name)));
    }
    findings
}

/// Which ingress takes requests to the nodes, and whether it runs.
pub(super) fn ingress(
    network: &Seen<DynamicObject>,
    kourier: &Seen<Vec<DynamicObject>>,
) -> Vec<Finding> {
    let subject = "ingress";
    let network = match network {
        Ok(network) => network,
        Err(error) => {
            let missing = || {
                let advice = "install Knative Serving";
                Finding::bad(subject, "config-network does not exist", advice)
            };
            return unseen(subject, error, missing);
        }
    };
    // The second is how older versions spelt it.
    let class = text_at(network, "/data/ingress-class");
    let class = class.or_else(|| text_at(network, "/data/ingress.class"));
    let advice = "kubectl patch configmap config-network -n knative-serving --type merge -p \
                  '{\"data\":{\"ingress-class\":\"kourier.ingress.networking.knative.dev\"}}'";
    match class.as_deref() {
        Some(KOURIER) => {}
        Some(other) => {
            let found = format!("is {other}, which has not been tried");
            let advice = "Kourier is what is tested; the network policies are written for it";
            return vec![Finding::doubtful(subject, found, advice)];
        }
        None => {
            return vec![Finding::bad(
                subject,
                "none is chosen in config-network",
                advice,
            )];
        }
    }
    let advice = "install kourier.yaml of the release of net-kourier that fits Knative Serving";
    let missing = || Finding::bad(subject, "Kourier is chosen and not installed", advice);
    let kourier = match kourier {
        Ok(kourier) => kourier,
        Err(error) => return unseen(subject, error, missing),
    };
    let gateway = kourier
        .iter()
        .find(|it| it.name_any() == "3scale-kourier-gateway");
    let Some(gateway) = gateway else {
        return vec![missing()];
    };
    let unavailable = available(subject, "3scale-kourier-gateway", Some(gateway));
    match unavailable {
        Some(finding) => vec![finding],
        None => vec![Finding::good(subject, "Kourier")],
    }
}

/// What is wrong with a Deployment, if anything is.
fn available(subject: &str, name: &str, deployment: Option<&DynamicObject>) -> Option<Finding> {
    let advice = "kubectl get pods -A, and see why its pods do not run";
    let Some(deployment) = deployment else {
        return Some(Finding::bad(
            subject,
            format!("{name} does not exist"),
            advice,
        ));
    };
    let (Condition::False(why) | Condition::Unknown(why)) = condition(deployment, "Available")
    else {
        return None;
    };
    Some(Finding::bad(
        subject,
        format!("{name} is not available: {why}"),
        advice,
    ))
}

fn versioned(subject: &str, version: &str, oldest: (u32, u32)) -> Finding {
    let (major, minor) = oldest;
    match parse(version) {
        Some(parsed) if parsed >= oldest => Finding::good(subject, version),
        Some(_) => {
            let found = format!("{version} is older than {major}.{minor}, the oldest supported");
            Finding::doubtful(subject, found, "upgrade it")
        }
        None => {
            let found = format!("version {version:?} cannot be read");
            Finding::unknown(
                subject,
                found,
                &format!("{major}.{minor} or later is needed"),
            )
        }
    }
}

/// `v1.32.1+k3s1`, `1.20.3`: major and minor.
fn parse(version: &str) -> Option<(u32, u32)> {
    let version = version
        .trim_start_matches("knative-")
        .trim_start_matches('v');
    let mut parts = version.split('.');
    let mut next = || {
        let part = parts.next()?;
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        part[..digits].parse().ok()
    };
    Some((next()?, next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_platforms_write_them() {
        for (text, version) in [
            ("v1.32.1", Some((1, 32))),
            ("v1.31.4+k3s1", Some((1, 31))),
            ("v1.33+", Some((1, 33))),
            ("1.20.3", Some((1, 20))),
            ("knative-v1.20.3", Some((1, 20))),
            ("devel", None),
            ("", None),
        ] {
            assert_eq!(parse(text), version, "{text}");
        }
    }
}
