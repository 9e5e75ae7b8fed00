//! The pods of the cache: why one does not run.

use kube::{ResourceExt, api::DynamicObject};
use serde_json::Value;

use super::unseen::unseen;
use crate::doctor::{
    facts::{Seen, text_at},
    finding::{Finding, Level},
};

/// Longest message of the platform that is repeated, in characters.
const MESSAGE: usize = 300;

/// Events that say why the containers of a pod are not created.
const HINDRANCES: [&str; 3] = [
    "FailedMount",
    "FailedAttachVolume",
    "FailedCreatePodSandBox",
];

/// Why a pod does not run as it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// Bad, or doubtful if it is over.
    pub(super) level: Level,
    /// What is wrong.
    pub(super) found: String,
    /// What to do about it.
    pub(super) advice: &'static str,
}

impl Trouble {
    fn bad(found: String, advice: &'static str) -> Self {
        Self {
            level: Level::Bad,
            found,
            advice,
        }
    }
}

/// Whether pods and their events can be looked at.
pub(super) fn visible(
    pods: &Seen<Vec<DynamicObject>>,
    events: &Seen<Vec<DynamicObject>>,
) -> Vec<Finding> {
    let of = |subject: &str, seen: &Seen<Vec<DynamicObject>>| match seen {
        Ok(_) => Vec::new(),
        Err(error) => unseen(subject, error, || {
            Finding::unknown(subject, "this cluster has none", "check the kubeconfig")
        }),
    };
    [of("pods", pods), of("events", events)].concat()
}

/// The pods that have a label of this value, without those that are about to go.
pub(super) fn labelled<'a>(
    pods: &'a Seen<Vec<DynamicObject>>,
    label: &str,
    value: &str,
) -> Vec<&'a DynamicObject> {
    let is_it = |pod: &&DynamicObject| {
        let labels = pod.labels();
        labels.get(label).is_some_and(|it| it == value) && pod.metadata.deletion_timestamp.is_none()
    };
    pods.iter().flatten().filter(is_it).collect()
}

/// The worst trouble that any of these pods has.
pub(super) fn worst(pods: &[&DynamicObject], events: &Seen<Vec<DynamicObject>>) -> Option<Trouble> {
    let events = events.as_deref().unwrap_or_default();
    let troubles = pods.iter().filter_map(|pod| trouble(pod, events));
    troubles.max_by_key(|trouble| trouble.level)
}

/// What is wrong with a pod, if anything is. One that is being started is not in trouble.
fn trouble(pod: &DynamicObject, events: &[DynamicObject]) -> Option<Trouble> {
    // The pods that take its place are looked at.
    if let Some("Failed" | "Succeeded") = text_at(pod, "/status/phase").as_deref() {
        return None;
    }
    let containers = ["/status/initContainerStatuses", "/status/containerStatuses"]
        .into_iter()
        .filter_map(|path| pod.data.pointer(path)?.as_array())
        .flatten();
    let of_containers = containers.filter_map(|it| of_container(it, pod, events));
    let of_containers = of_containers.max_by_key(|trouble| trouble.level);
    unschedulable(pod).or(of_containers)
}

/// Why no host takes a pod.
fn unschedulable(pod: &DynamicObject) -> Option<Trouble> {
    let conditions = pod.data.pointer("/status/conditions")?.as_array()?;
    let scheduled = conditions.iter().find(|it| it["type"] == "PodScheduled")?;
    if scheduled["status"] != "False" {
        return None;
    }
    let found = format!("no host takes its pod: {}", message(&scheduled["message"]));
    let advice = "make room, or add a host: a node requests the memory that it may use";
    Some(Trouble::bad(found, advice))
}

fn of_container(status: &Value, pod: &DynamicObject, events: &[DynamicObject]) -> Option<Trouble> {
    let container = status["name"].as_str().unwrap_or_default();
    let waiting = &status["state"]["waiting"];
    let last = &status["lastState"]["terminated"];
    let ends = [last, &status["state"]["terminated"]];
    let is_killed = ends.iter().any(|end| end["reason"] == "OOMKilled");
    let reason = waiting["reason"].as_str().unwrap_or_default();
    let killed = || {
        let restarts = status["restartCount"].as_u64().unwrap_or_default();
        format!("{container} was killed for want of memory (OOMKilled), {restarts} restarts")
    };
    let memory = "raise its memory limit; a node with INFINICACHE_NODE_MEMORY has to have more";
    match reason {
        // A back-off says what it is about behind that name.
        "ErrImagePull" | "ImagePullBackOff" => {
            let image = status["image"].as_str().unwrap_or_default();
            let why = message(&waiting["message"]);
            let why = why.rsplit_once("ErrImagePull: ").map_or(&*why, |it| it.1);
            let found = format!("{image} cannot be pulled (ErrImagePull): {why}");
            let advice = "push the image, or load it into every host, and see that the pull \
                          secret and the name are right";
            Some(Trouble::bad(found, advice))
        }
        "CrashLoopBackOff" if is_killed => Some(Trouble::bad(killed(), memory)),
        "CrashLoopBackOff" => {
            let code = &last["exitCode"];
            let found = format!("{container} ends with status {code} at once (CrashLoopBackOff)");
            let advice = "kubectl logs --previous of its pod: it says why";
            Some(Trouble::bad(found, advice))
        }
        "ContainerCreating" | "PodInitializing" => hindrance(pod, events),
        "" if is_killed => Some(Trouble {
            level: Level::Doubtful,
            found: killed(),
            advice: memory,
        }),
        "" => None,
        other => {
            let found = format!("{container}: {other}: {}", message(&waiting["message"]));
            let advice = "kubectl describe pod: it says what its container lacks";
            Some(Trouble::bad(found, advice))
        }
    }
}

/// What the last event says of why the containers of a pod are not created.
fn hindrance(pod: &DynamicObject, events: &[DynamicObject]) -> Option<Trouble> {
    let name = pod.name_any();
    let is_it = |event: &&DynamicObject| {
        let reason = text_at(event, "/reason").unwrap_or_default();
        text_at(event, "/involvedObject/name").as_ref() == Some(&name)
            && HINDRANCES.contains(&&*reason)
    };
    // Times are texts that sort as they do.
    let time = |event: &&DynamicObject| {
        let last = text_at(event, "/lastTimestamp");
        last.or_else(|| text_at(event, "/eventTime"))
    };
    let event = events.iter().filter(is_it).max_by_key(time)?;
    let reason = text_at(event, "/reason").unwrap_or_default();
    let found = format!("{reason}: {}", message(&event.data["message"]));
    let advice = "create what it is to mount; kubectl describe pod has the events";
    Some(Trouble::bad(found, advice))
}

/// A message of the platform, on one line.
fn message(text: &Value) -> String {
    let text = text.as_str().unwrap_or_default();
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(MESSAGE).collect()
}
