//! Who may do what: the secret, the proxy's rights, the network.

use infinicache_wire::Secret;
use kube::{ResourceExt, api::DynamicObject};
use serde_json::Value;

use super::unseen::unseen;
use crate::doctor::{facts::Seen, finding::Finding};

const POOL_SECRET: &str = "pool-secret";
const PREVIOUS: &str = "pool-secret-previous";
const PASSWORD: &str = "password";

/// The Secret: whether it is there and long enough. Its value is never shown.
pub(super) fn secret(namespace: &str, name: &str, secret: &Seen<DynamicObject>) -> Vec<Finding> {
    let subject = &format!("secret {name}");
    let create = &format!(
        "kubectl -n {namespace} create secret generic {name} \
         --from-literal=pool-secret=\"$(openssl rand -hex 32)\""
    );
    let replace = &format!("kubectl -n {namespace} delete secret {name} && {create}");
    let secret = match secret {
        Ok(secret) => secret,
        Err(error) => {
            let missing = || Finding::bad(subject, "does not exist: no pod can start", create);
            return unseen(subject, error, missing);
        }
    };
    let of = |key: &str| {
        let text = secret.data.get("data").and_then(|data| data.get(key))?;
        Some(decoded(text.as_str().unwrap_or_default()))
    };
    let weakness = |bytes: Option<Vec<u8>>| match bytes {
        None => Some("is no base64".to_owned()),
        Some(bytes) => Secret::new(&bytes).err().map(|weak| weak.to_string()),
    };
    let mut findings = Vec::new();
    match of(POOL_SECRET).map(weakness) {
        None => findings.push(Finding::bad(subject, "has no key pool-secret", replace)),
        Some(Some(weak)) => {
            let found = format!("{POOL_SECRET}: {weak}");
            findings.push(Finding::bad(subject, found, replace));
        }
        Some(None) => findings.push(Finding::good(
            subject,
            "pool-secret is there and long enough",
        )),
    }
    match of(PREVIOUS).map(weakness) {
        None => {}
        Some(Some(weak)) => {
            let advice = "remove the key: while it is like that, no change of the Secret is seen";
            findings.push(Finding::bad(subject, format!("{PREVIOUS}: {weak}"), advice));
        }
        Some(None) => {
            let advice = "remove the key pool-secret-previous once all pods have run with both \
                          for some minutes";
            findings.push(Finding::doubtful(
                subject,
                "the secret is being rotated",
                advice,
            ));
        }
    }
    let is_empty = |bytes: Option<Vec<u8>>| bytes.is_none_or(|it| it.trim_ascii().is_empty());
    match of(PASSWORD).map(is_empty) {
        None => {
            let advice = "keep clients out by the network policies, or add the key password";
            findings.push(Finding::doubtful(
                subject,
                "clients need no password",
                advice,
            ));
        }
        Some(true) => {
            let advice = "give the key password a value, or remove it";
            findings.push(Finding::bad(subject, "the password is empty", advice));
        }
        Some(false) => findings.push(Finding::good(subject, "clients need a password")),
    }
    findings
}

/// Whether the proxy may see what it has to.
pub(super) fn rights(rights: &[(String, Seen<bool>)]) -> Vec<Finding> {
    let subject = "rights of the proxy";
    let refused = |(what, seen): &(String, Seen<bool>)| match seen {
        Ok(true) => None,
        Ok(false) => {
            let advice = "apply the Role and RoleBinding infinicache-proxy";
            Some(Finding::bad(subject, format!("it may not {what}"), advice))
        }
        Err(error) => unseen(subject, error, || {
            Finding::unknown(subject, "cannot be reviewed", "")
        })
        .pop(),
    };
    let mut findings: Vec<Finding> = rights.iter().filter_map(refused).collect();
    findings.dedup();
    match findings.is_empty() {
        true => vec![Finding::good(subject, "it may watch Services and pods")],
        false => findings,
    }
}

/// Whether anything keeps strangers from proxy and nodes.
pub(super) fn policies(policies: &Seen<Vec<DynamicObject>>) -> Vec<Finding> {
    let subject = "network policies";
    let policies = match policies {
        Ok(policies) => policies,
        Err(error) => {
            let missing = || Finding::unknown(subject, "are unknown to this cluster", "");
            return unseen(subject, error, missing);
        }
    };
    let is_kept = |component: &str| {
        let keeps = |policy: &DynamicObject| selects(policy, component) && keeps_out(policy);
        policies.iter().any(keeps)
    };
    let open: Vec<&str> = ["proxy", "node"]
        .into_iter()
        .filter(|it| !is_kept(it))
        .collect();
    if open.is_empty() {
        let names: Vec<_> = policies.iter().map(ResourceExt::name_any).collect();
        let found = format!(
            "{} (whether they are enforced is up to the network)",
            names.join(", ")
        );
        return vec![Finding::good(subject, found)];
    }
    let found = format!("anybody may connect to: {}", open.join(", "));
    let advice = "apply the policies that come with the manifests";
    vec![Finding::doubtful(subject, found, advice)]
}

/// Whether a policy is for the pods of a component.
fn selects(policy: &DynamicObject, component: &str) -> bool {
    let labels = policy.data.pointer("/spec/podSelector/matchLabels");
    let labels = labels.and_then(Value::as_object);
    labels.is_none_or(|labels| {
        labels.iter().all(|(label, value)| match label.as_str() {
            "app.kubernetes.io/component" => value == component,
            "app.kubernetes.io/part-of" => value == "infinicache",
            // Which other labels pods have is not known here.
            _ => false,
        })
    })
}

fn keeps_out(policy: &DynamicObject) -> bool {
    let types = policy
        .data
        .pointer("/spec/policyTypes")
        .and_then(Value::as_array);
    types.is_none_or(|types| types.iter().any(|kind| kind == "Ingress"))
}

/// What a text in base64 stands for.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').bytes();
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for digit in digits {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read() {
        for (text, bytes) in [
            ("", Some("")),
            ("Zg==", Some("f")),
            ("Zm8=", Some("fo")),
            ("Zm9v", Some("foo")),
            ("Zm9vYmFy", Some("foobar")),
            ("Zm9v YmFy", None),
        ] {
            assert_eq!(
                decoded(text),
                bytes.map(|bytes| bytes.as_bytes().to_vec()),
                "{text}"
            );
        }
        assert_eq!(decoded("+/+/"), Some(vec![0xfb, 0xff, 0xbf]));
    }
}
