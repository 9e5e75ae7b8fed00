//! How little may be done: to the API, to the host, and by whom.

use serde_json::{Value, json};

use crate::{
    kustomize::{OVERLAYS, documents, of_kind, one, overlay},
    repository,
};

#[test]
fn the_proxy_may_look_at_nodes_and_pods_of_its_namespace_and_nothing_more() {
    for name in OVERLAYS {
        let all = overlay(name);
        let roles: Vec<&Value> = all
            .iter()
            .filter(|document| document["apiVersion"] == "rbac.authorization.k8s.io/v1")
            .collect();
        let kinds: Vec<&Value> = roles.iter().map(|role| &role["kind"]).collect();
        assert_eq!(
            kinds,
            ["Role", "RoleBinding"],
            "nothing for the whole cluster"
        );
        let look = json!(["get", "list", "watch"]);
        let rules = json!([
            { "apiGroups": ["serving.knative.dev"], "resources": ["services"], "verbs": look },
            { "apiGroups": [""], "resources": ["pods"], "verbs": look },
        ]);
        assert_eq!(one(&all, "Role", "infinicache-proxy")["rules"], rules);
        let binding = one(&all, "RoleBinding", "infinicache-proxy");
        let account = json!([{ "kind": "ServiceAccount", "name": "infinicache-proxy", "namespace": "infinicache" }]);
        assert_eq!(binding["subjects"], account);
        assert_eq!(binding["roleRef"]["name"], "infinicache-proxy");
        let proxy = &one(&all, "Deployment", "infinicache")["spec"]["template"]["spec"];
        assert_eq!(proxy["serviceAccountName"], "infinicache-proxy");
    }
}

/// What the restricted profile asks of a pod.
fn assert_restricted(pod: &Value) {
    let of_pod = &pod["securityContext"];
    assert_eq!(of_pod["runAsNonRoot"], true);
    assert_eq!(of_pod["seccompProfile"]["type"], "RuntimeDefault");
    for container in pod["containers"].as_array().unwrap() {
        let context = &container["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["readOnlyRootFilesystem"], true);
        assert_eq!(context["capabilities"], json!({ "drop": ["ALL"] }));
    }
    let volumes = pod["volumes"].as_array().into_iter().flatten();
    for volume in volumes {
        assert_eq!(volume["secret"]["secretName"], "infinicache");
    }
}

#[test]
fn no_pod_may_do_more_to_its_host_than_the_restricted_profile_allows() {
    // Nodes: `knative` allows nothing else.
    for name in OVERLAYS {
        let all = overlay(name);
        let namespace = &one(&all, "Namespace", "infinicache")["metadata"]["labels"];
        assert_eq!(
            namespace["pod-security.kubernetes.io/enforce"],
            "restricted"
        );
        assert_restricted(&one(&all, "Deployment", "infinicache")["spec"]["template"]["spec"]);
    }
    assert_restricted(&doctor()["spec"]);
}

/// The doctor's pod.
fn doctor() -> Value {
    let documents = documents(&repository("deploy/doctor.yaml"));
    one(&documents, "Pod", "infinicache-doctor").clone()
}

#[test]
fn the_doctor_may_look_at_what_it_examines_in_its_namespace_and_at_no_secret() {
    let all = documents(&repository("deploy/doctor.yaml"));
    let kinds: Vec<&Value> = all.iter().map(|it| &it["kind"]).collect();
    // Nothing for the whole cluster.
    assert_eq!(kinds, ["ServiceAccount", "Role", "RoleBinding", "Pod"]);
    let list = |group: &str, resources: &[&str]| json!({ "apiGroups": [group], "resources": resources, "verbs": ["list"] });
    let get = |group: &str, resource: &str, name: &str| json!({ "apiGroups": [group], "resources": [resource], "resourceNames": [name], "verbs": ["get"] });
    let rules = json!([
        list("serving.knative.dev", &["services"]),
        list("", &["pods", "events"]),
        get("apps", "deployments", "infinicache"),
        get("", "configmaps", "infinicache"),
        get("", "services", "infinicache-nodes"),
        list("networking.k8s.io", &["networkpolicies"]),
        { "apiGroups": ["authorization.k8s.io"], "resources": ["localsubjectaccessreviews"], "verbs": ["create"] },
    ]);
    let name = "infinicache-doctor";
    assert_eq!(one(&all, "Role", name)["rules"], rules);
    let binding = one(&all, "RoleBinding", name);
    assert_eq!(binding["roleRef"]["kind"], "Role");
    assert_eq!(binding["roleRef"]["name"], name);
    let account = json!([{ "kind": "ServiceAccount", "name": name, "namespace": "infinicache" }]);
    assert_eq!(binding["subjects"], account);
    assert_eq!(one(&all, "Pod", name)["spec"]["serviceAccountName"], name);
}

#[test]
fn the_doctor_is_none_of_those_whom_policies_and_services_select() {
    let doctor = doctor();
    for name in OVERLAYS {
        let all = overlay(name);
        let proxy = &one(&all, "Deployment", "infinicache")["spec"]["template"];
        let component = "app.kubernetes.io/component";
        let labels = |it: &Value| it["metadata"]["labels"][component].clone();
        let node = of_kind(&all, "serving.knative.dev/v1", "Service")[0];
        let others = [labels(proxy), labels(node)];
        assert!(!others.contains(&labels(&doctor)));
    }
    let image = doctor["spec"]["containers"][0]["image"].as_str().unwrap();
    let version = image.strip_prefix("dev.local/infinicache:");
    assert_eq!(version, Some(env!("CARGO_PKG_VERSION")));
}

#[test]
fn nodes_get_the_secrets_of_the_pool_and_not_the_password_of_clients() {
    for name in OVERLAYS {
        for node in of_kind(&overlay(name), "serving.knative.dev/v1", "Service") {
            let volumes = &node["spec"]["template"]["spec"]["volumes"];
            let source = |key: &str, optional: bool| json!({ "secret": { "name": "infinicache", "items": [{ "key": key, "path": key }], "optional": optional } });
            let sources = json!([
                source("pool-secret", false),
                source("pool-secret-previous", true)
            ]);
            assert_eq!(volumes[0]["projected"]["sources"], sources);
            assert_eq!(volumes.as_array().unwrap().len(), 1);
        }
    }
}
