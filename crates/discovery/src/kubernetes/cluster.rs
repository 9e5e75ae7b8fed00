//! How the platform looks, put together from what was seen of it: pure.
//!
//! A list comes object by object, and replaces what was there before only once
//! it is complete. A Service that cannot be read keeps the URL that it had, and
//! counts as not ready; one that never could be read is left out.

use std::{collections::BTreeMap, fmt};

use kube::{ResourceExt, api::DynamicObject, runtime::watcher::Event};
use tracing::{debug, warn};

use super::service::{Unusable, is_leaving, read_pod, read_service};
use crate::observation::{Observation, PodSeen, ServiceSeen};

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// Knative Services: the names in the pool.
    Service,
    /// Pods: the processes behind them.
    Pod,
}

impl fmt::Display for Sort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Service => "services.serving.knative.dev",
            Self::Pod => "pods",
        })
    }
}

/// All that was seen.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    services: Listing<ServiceSeen>,
    pods: Listing<PodSeen>,
}

impl Cluster {
    /// Takes in what was seen of one sort.
    pub(super) fn apply(&mut self, sort: Sort, event: Event<DynamicObject>) {
        match sort {
            Sort::Service => self.services.apply(event, |object, known| {
                (!is_leaving(object))
                    .then(|| service(object, known))
                    .flatten()
            }),
            Sort::Pod => self.pods.apply(event, |object, _| read_pod(object)),
        }
    }

    /// How it all looks, once all Services have been seen.
    ///
    /// Pods of other Services are none of the pool's.
    pub(super) fn observation(&self) -> Option<Observation> {
        if !self.services.is_complete {
            return None;
        }
        let services = self.services.seen.clone();
        let pods = self.pods.seen.iter();
        let pods = pods.filter(|(_, pod)| services.contains_key(&pod.node) || pod.leaving);
        let pods = pods
            .map(|(name, pod)| (name.clone(), pod.clone()))
            .collect();
        Some(Observation {
            services,
            pods,
            all_pods: self.pods.is_complete,
        })
    }
}

/// Reads a Service of which perhaps something is known.
fn service(object: &DynamicObject, known: Option<&ServiceSeen>) -> Option<ServiceSeen> {
    let error = match read_service(object) {
        Ok(seen) => return Some(seen),
        Err(error) => error,
    };
    let node = object.name_any();
    match error {
        Unusable::NoUrl => debug!(node, %error, "service cannot be used"),
        Unusable::Url(_) => warn!(node, %error, "service cannot be used"),
    }
    known.map(|known| ServiceSeen {
        ready: false,
        ..known.clone()
    })
}

/// The objects of one sort, by name.
#[derive(Debug)]
struct Listing<T> {
    seen: BTreeMap<String, T>,
    /// The list that is under way.
    coming: BTreeMap<String, T>,
    /// Whether there has been a whole one.
    is_complete: bool,
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Self {
            seen: BTreeMap::new(),
            coming: BTreeMap::new(),
            is_complete: false,
        }
    }
}

impl<T> Listing<T> {
    /// `read` is given an object and what was known of it.
    fn apply(
        &mut self,
        event: Event<DynamicObject>,
        read: impl Fn(&DynamicObject, Option<&T>) -> Option<T>,
    ) {
        match event {
            Event::Init => self.coming.clear(),
            Event::InitApply(object) => {
                let name = object.name_any();
                if let Some(seen) = read(&object, self.seen.get(&name)) {
                    self.coming.insert(name, seen);
                }
            }
            Event::InitDone => {
                self.seen = std::mem::take(&mut self.coming);
                self.is_complete = true;
            }
            Event::Apply(object) => {
                let name = object.name_any();
                match read(&object, self.seen.get(&name)) {
                    Some(seen) => self.seen.insert(name, seen),
                    None => self.seen.remove(&name),
                };
            }
            Event::Delete(object) => {
                self.seen.remove(&object.name_any());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(document: Value) -> DynamicObject {
        serde_json::from_value(document).expect("an object")
    }

    fn url(name: &str) -> String {
        format!("http://{name}.infinicache.svc.cluster.local")
    }

    fn ksvc(name: &str, status: Value) -> DynamicObject {
        object(json!({
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Service",
            "metadata": { "name": name },
            "status": status,
        }))
    }

    fn ready(name: &str) -> DynamicObject {
        ksvc(
            name,
            json!({
                "address": { "url": url(name) },
                "url": "http://elsewhere.example.com",
                "conditions": [
                    { "type": "RoutesReady", "status": "False" },
                    { "type": "Ready", "status": "True" },
                ],
            }),
        )
    }

    fn pod(name: &str, node: &str) -> Value {
        json!({
            "metadata": { "name": name, "labels": { "serving.knative.dev/service": node } },
            "spec": { "nodeName": "host-1" },
        })
    }

    fn listed(cluster: &mut Cluster, sort: Sort, objects: impl IntoIterator<Item = DynamicObject>) {
        cluster.apply(sort, Event::Init);
        for object in objects {
            cluster.apply(sort, Event::InitApply(object));
        }
        cluster.apply(sort, Event::InitDone);
    }

    fn names(cluster: &Cluster) -> Vec<String> {
        let seen = cluster.observation().expect("services were listed");
        seen.services.into_keys().collect()
    }

    fn seen(cluster: &Cluster, name: &str) -> ServiceSeen {
        cluster.observation().unwrap().services[name].clone()
    }

    #[test]
    fn nothing_is_said_before_all_services_were_seen() {
        let mut cluster = Cluster::default();
        listed(&mut cluster, Sort::Pod, [object(pod("a-1", "a"))]);
        cluster.apply(Sort::Service, Event::Init);
        cluster.apply(Sort::Service, Event::InitApply(ready("a")));
        assert_eq!(cluster.observation(), None);
        cluster.apply(Sort::Service, Event::InitDone);
        let seen = cluster.observation().unwrap();
        assert_eq!(seen.services["a"].url.to_string(), format!("{}/", url("a")));
        assert!(seen.services["a"].ready);
        assert_eq!(seen.pods["a-1"].site.host, "host-1");
        assert_eq!(seen.pods["a-1"].site.zone, "");
    }

    #[test]
    fn a_list_that_breaks_off_takes_nobody_out() {
        let mut cluster = Cluster::default();
        listed(&mut cluster, Sort::Service, ["a", "b"].map(ready));
        cluster.apply(Sort::Service, Event::Init);
        cluster.apply(Sort::Service, Event::InitApply(ready("c")));
        assert_eq!(names(&cluster), ["a", "b"]);
        listed(&mut cluster, Sort::Service, ["b", "d"].map(ready));
        assert_eq!(names(&cluster), ["b", "d"]);
    }

    #[test]
    fn services_come_change_and_go() {
        let mut cluster = Cluster::default();
        listed(&mut cluster, Sort::Service, [ready("a")]);
        cluster.apply(Sort::Service, Event::Apply(ready("b")));
        assert_eq!(names(&cluster), ["a", "b"]);
        let moved = json!({ "url": "http://moved.example.com" });
        cluster.apply(Sort::Service, Event::Apply(ksvc("a", moved)));
        let moved = seen(&cluster, "a");
        assert_eq!(moved.url.host(), Some("moved.example.com"));
        assert!(!moved.ready);
        cluster.apply(Sort::Service, Event::Delete(ready("a")));
        assert_eq!(names(&cluster), ["b"]);
    }

    #[test]
    fn a_service_that_is_being_deleted_is_gone() {
        let mut cluster = Cluster::default();
        listed(&mut cluster, Sort::Service, ["a", "b"].map(ready));
        let mut deleted = ready("a");
        deleted.metadata = serde_json::from_value(json!({
            "name": "a",
            "deletionTimestamp": "2026-01-01T00:00:00Z",
        }))
        .unwrap();
        cluster.apply(Sort::Service, Event::Apply(deleted.clone()));
        assert_eq!(names(&cluster), ["b"]);
        listed(&mut cluster, Sort::Service, [deleted, ready("b")]);
        assert_eq!(names(&cluster), ["b"]);
    }

    #[test]
    fn a_service_that_cannot_be_read_keeps_what_is_known_of_it() {
        let unreadable = [
            json!(null),
            json!("ready"),
            json!({ "conditions": "Ready", "address": [] }),
            json!({ "url": 7, "address": { "url": null } }),
            json!({ "url": "https://a.example.com" }),
            json!({ "url": "http://" }),
            json!({ "url": "a" }),
        ];
        for status in unreadable {
            let mut cluster = Cluster::default();
            let objects = [ksvc("a", status.clone()), ready("b")];
            listed(&mut cluster, Sort::Service, objects);
            assert_eq!(names(&cluster), ["b"], "{status}");
            cluster.apply(Sort::Service, Event::Apply(ksvc("b", status.clone())));
            let b = seen(&cluster, "b");
            assert_eq!(b.url.to_string(), format!("{}/", url("b")), "{status}");
            assert!(!b.ready, "{status}");
            let objects = [ksvc("b", status.clone())];
            listed(&mut cluster, Sort::Service, objects);
            assert_eq!(names(&cluster), ["b"], "{status}");
        }
    }

    #[test]
    fn pods_tell_where_they_run_and_that_they_go() {
        let mut cluster = Cluster::default();
        listed(&mut cluster, Sort::Service, [ready("a")]);
        let mut going = pod("a-1", "a");
        going["metadata"]["labels"]["topology.kubernetes.io/zone"] = json!("z2");
        cluster.apply(Sort::Pod, Event::Apply(object(going.clone())));
        let at = |cluster: &Cluster| cluster.observation().unwrap().pods.remove("a-1");
        let staying = at(&cluster).unwrap();
        assert_eq!((&*staying.node, &*staying.site.zone), ("a", "z2"));
        assert!(!staying.leaving);
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        cluster.apply(Sort::Pod, Event::Apply(object(going.clone())));
        assert!(at(&cluster).unwrap().leaving);
        cluster.apply(Sort::Pod, Event::Delete(object(going)));
        assert_eq!(at(&cluster), None);
    }

    #[test]
    fn all_pods_are_known_once_there_was_a_whole_list_of_them() {
        let mut cluster = Cluster::default();
        listed(&mut cluster, Sort::Service, [ready("a")]);
        let all_pods = |cluster: &Cluster| cluster.observation().unwrap().all_pods;
        cluster.apply(Sort::Pod, Event::Init);
        cluster.apply(Sort::Pod, Event::InitApply(object(pod("a-1", "a"))));
        assert!(!all_pods(&cluster));
        cluster.apply(Sort::Pod, Event::InitDone);
        assert!(all_pods(&cluster));
        // A later list that breaks off changes nothing.
        cluster.apply(Sort::Pod, Event::Init);
        assert!(all_pods(&cluster));
        assert_eq!(cluster.observation().unwrap().pods.len(), 1);
    }

    #[test]
    fn a_pod_whose_containers_have_ended_for_good_is_gone() {
        let mut cluster = Cluster::default();
        listed(&mut cluster, Sort::Service, [ready("a")]);
        for phase in ["Failed", "Succeeded", "Running"] {
            let mut evicted = pod("a-1", "a");
            evicted["status"]["phase"] = json!(phase);
            listed(&mut cluster, Sort::Pod, [object(evicted)]);
            let pods = cluster.observation().unwrap().pods;
            assert_eq!(pods.len(), usize::from(phase == "Running"), "{phase}");
        }
    }

    #[test]
    fn pods_of_others_are_none_of_ours() {
        let mut cluster = Cluster::default();
        listed(&mut cluster, Sort::Service, [ready("a")]);
        let unlabelled = json!({ "metadata": { "name": "web-1" }, "spec": 3 });
        let unplaced = json!({
            "metadata": { "name": "a-2", "labels": { "serving.knative.dev/service": "a" } },
        });
        let pods = [
            pod("a-1", "a"),
            pod("other-1", "other"),
            unlabelled,
            unplaced,
        ];
        listed(&mut cluster, Sort::Pod, pods.map(object));
        let pods: Vec<_> = cluster.observation().unwrap().pods.into_keys().collect();
        assert_eq!(pods, ["a-1", "a-2"]);
    }
}
