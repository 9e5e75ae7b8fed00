//! Asks the API for the facts.

use std::{collections::BTreeMap, future::Future, time::Duration};

use futures_util::future::join_all;
use kube::{
    Api, Client, Error, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams, PostParams},
    core::GroupVersionKind,
};
use serde_json::json;
use tokio::time;

use super::{
    facts::{Facts, Seen, Unseen, WakeSeen, text_at},
    wake::try_wake,
};

/// How long each answer may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Most objects of one sort that are looked at.
const MOST: u32 = 1000;

/// Where Knative Serving keeps its settings.
const SERVING: &str = "knative-serving";

/// Settings that matter.
const SETTINGS: [&str; 4] = [
    "config-autoscaler",
    "config-defaults",
    "config-features",
    "config-network",
];

/// Nodes, and the proxy.
const PODS: &str = "app.kubernetes.io/part-of=infinicache";

/// Events that tell of what is wrong with a pod.
const WARNINGS: &str = "type=Warning,involvedObject.kind=Pod";

/// What the proxy has to be allowed: group, resource, verb.
const RIGHTS: [(&str, &str, &str); 6] = [
    ("serving.knative.dev", "services", "get"),
    ("serving.knative.dev", "services", "list"),
    ("serving.knative.dev", "services", "watch"),
    ("", "pods", "get"),
    ("", "pods", "list"),
    ("", "pods", "watch"),
];

/// What is examined, and from where.
#[derive(Clone, Debug)]
pub struct Place {
    /// The namespace of the pool.
    pub namespace: String,
    /// The labels of the nodes' Services.
    pub selector: String,
    /// The name of the Secret, and of the proxy's Deployment and ConfigMap.
    pub name: String,
    /// Whether this is within the cluster.
    pub inside: bool,
    /// Whether nodes are to be woken.
    pub wakes: bool,
}

/// Looks at everything.
pub async fn examine(client: &Client, place: &Place) -> Facts {
    let asking = Asking { client, place };
    let ours = Some(&*place.namespace);
    let proxy = asking.get("apps", "Deployment", ours, &place.name).await;
    let pool = labelled(&place.selector);
    let nodes = asking.list("serving.knative.dev", "Service", ours, &pool);
    let nodes = nodes.await;
    let all = ListParams::default();
    let warnings = all.clone().fields(WARNINGS);
    let mut settings = BTreeMap::new();
    for name in SETTINGS {
        let seen = asking.get("", "ConfigMap", Some(SERVING), name).await;
        settings.insert(name, seen);
    }
    let node_service = format!("{}-nodes", place.name);
    Facts {
        namespace: place.namespace.clone(),
        secret_name: place.name.clone(),
        kubernetes: asking.version().await,
        serving: asking.list("apps", "Deployment", Some(SERVING), &all).await,
        kourier: asking
            .list("apps", "Deployment", Some("kourier-system"), &all)
            .await,
        settings,
        rights: asking.rights(&proxy).await,
        secret: asking.get("", "Secret", ours, &place.name).await,
        policies: asking
            .list("networking.k8s.io", "NetworkPolicy", ours, &all)
            .await,
        node_service: asking.get("", "Service", ours, &node_service).await,
        configuration: asking.get("", "ConfigMap", ours, &place.name).await,
        pods: asking.list("", "Pod", ours, &labelled(PODS)).await,
        events: asking.list("", "Event", ours, &warnings).await,
        wakes: wakes(&nodes, place).await,
        proxy,
        nodes,
    }
}

fn labelled(labels: &str) -> ListParams {
    ListParams::default().labels(labels)
}

/// Who asks, and of what.
struct Asking<'a> {
    client: &'a Client,
    place: &'a Place,
}

impl Asking<'_> {
    fn api(&self, group: &str, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }

    async fn get(
        &self,
        group: &str,
        kind: &str,
        namespace: Option<&str>,
        name: &str,
    ) -> Seen<DynamicObject> {
        in_time(self.api(group, kind, namespace).get(name)).await
    }

    async fn list(
        &self,
        group: &str,
        kind: &str,
        namespace: Option<&str>,
        which: &ListParams,
    ) -> Seen<Vec<DynamicObject>> {
        let which = which.clone().limit(MOST);
        let list = in_time(self.api(group, kind, namespace).list(&which)).await?;
        Ok(list.items)
    }

    async fn version(&self) -> Seen<String> {
        Ok(in_time(self.client.apiserver_version()).await?.git_version)
    }

    /// Whether the account of the proxy may do what it has to.
    async fn rights(&self, proxy: &Seen<DynamicObject>) -> Vec<(String, Seen<bool>)> {
        let account = proxy.as_ref().ok();
        let account = account.and_then(|it| text_at(it, "/spec/template/spec/serviceAccountName"));
        let account = account.unwrap_or_else(|| format!("{}-proxy", self.place.name));
        let mut rights = Vec::new();
        for (group, resource, verb) in RIGHTS {
            let what = match group {
                "" => format!("{verb} {resource}"),
                group => format!("{verb} {resource}.{group}"),
            };
            rights.push((what, self.right(&account, group, resource, verb).await));
        }
        rights
    }

    async fn right(&self, account: &str, group: &str, resource: &str, verb: &str) -> Seen<bool> {
        let namespace = &self.place.namespace;
        // Of the namespace, whose administrator may ask that too.
        let kind = "LocalSubjectAccessReview";
        let spec = json!({
            "user": format!("system:serviceaccount:{namespace}:{account}"),
            "groups": [
                "system:serviceaccounts",
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated",
            ],
            "resourceAttributes": {
                "namespace": namespace,
                "group": group,
                "resource": resource,
                "verb": verb,
            },
        });
        let api = self.api("authorization.k8s.io", kind, Some(namespace));
        let review = DynamicObject {
            types: Some(kube::core::TypeMeta {
                api_version: "authorization.k8s.io/v1".into(),
                kind: kind.into(),
            }),
            metadata: kube::core::ObjectMeta {
                namespace: Some(namespace.clone()),
                ..kube::core::ObjectMeta::default()
            },
            data: json!({ "spec": spec }),
        };
        let review = in_time(api.create(&PostParams::default(), &review)).await?;
        Ok(text_at(&review, "/status/allowed").as_deref() == Some("true"))
    }
}

/// Tries to wake each node that has a URL, all at once: there are not many.
async fn wakes(nodes: &Seen<Vec<DynamicObject>>, place: &Place) -> BTreeMap<String, WakeSeen> {
    let nodes = nodes.iter().flatten().filter_map(|node| {
        let url = text_at(node, "/status/address/url").or_else(|| text_at(node, "/status/url"))?;
        Some((node.name_any(), url))
    });
    let wake = async |(node, url): (String, String)| {
        let seen = match (place.wakes, place.inside) {
            (false, _) => WakeSeen::NotTried("that was asked for"),
            (true, false) => WakeSeen::NotTried("its name means nothing outside the cluster"),
            (true, true) => try_wake(&node, &url).await,
        };
        (node, seen)
    };
    join_all(nodes.map(wake)).await.into_iter().collect()
}

async fn in_time<T>(call: impl Future<Output = Result<T, Error>>) -> Seen<T> {
    match time::timeout(DEADLINE, call).await {
        Ok(Ok(seen)) => Ok(seen),
        Ok(Err(Error::Api(status))) => Err(match status.code {
            404 => Unseen::Missing,
            401 | 403 => Unseen::Forbidden,
            code => Unseen::Failed(format!("{code} {}", status.message)),
        }),
        Ok(Err(error)) => Err(Unseen::Failed(error.to_string())),
        Err(_) => Err(Unseen::Failed(format!("no answer in {DEADLINE:?}"))),
    }
}
