//! A new run of the proxy finds out what there is.
//!
//! Until then it answers nothing. It wakes all nodes that the platform does not say are asleep,
//! listens to what their instances tell of the run before
//! ([`prepare`](infinicache_membership::prepare)), takes the inventories of those that are to be
//! believed, and decides which objects there are
//! ([`recovered_state`](infinicache_membership::recovered_state)). Its own view is committed before
//! anything is served, or freed.

use std::{collections::BTreeSet, future, sync::Arc, time::Duration};

use futures_util::future::join_all;
use infinicache_host::{clock, fail_point, stall_point};
use infinicache_membership::{
    prepare::{Prepare, PrepareStatus, PrepareTimeouts},
    read_quorum,
    recovered_state::ChunkInventories,
};
use infinicache_wire::{InstanceId, MemberId, MembershipView};
use tokio::time;
use tracing::{error, info, warn};

use crate::{
    cache::{Cache, page},
    metrics::Recovered,
    pool::{HELD_UP, Observed, StepDown, member::Member},
};

/// How often all who were heard are asked for what they hold, before some may do without.
const ATTEMPTS: usize = 3;

/// How often nodes that have not dialled are looked after.
const REPEAT: Duration = Duration::from_millis(500);

/// How long the platform may take to tell of all pods, once it has told of the nodes. Without that
/// all nodes are woken.
const PODS_LOOK: Duration = Duration::from_secs(2);

/// How long an inventory may take, however large it is.
const INVENTORY_DEADLINE: Duration = Duration::from_secs(60);

/// How long the first view of a run may take to be committed.
const VIEW_DEADLINE: Duration = Duration::from_secs(30);

/// Begins to listen to instances that dial. To be called before any can.
pub(crate) fn prepare(cache: &Cache, names: usize, timeouts: PrepareTimeouts) {
    let prepare = Prepare::new(names, timeouts, clock::now());
    cache.nodes().prepare_phase().begin(prepare);
}

/// Finds out what there is, and opens the cache.
///
/// `first_look` is for how long the platform is asked first which nodes there are, if it is.
pub(crate) async fn run(cache: Cache, first_look: Option<Duration>) {
    let started = clock::now();
    if let Some(timeouts) = first_look {
        look(&cache, timeouts).await;
    }
    let mut attempts = 0;
    let recovered = loop {
        cache.nodes().wakes().wake_all();
        let Some(view) = listen(&cache).await else {
            break Recovered::default();
        };
        attempts += 1;
        if let Some(recovered) = restore(&cache, &view, attempts < ATTEMPTS).await {
            break recovered;
        }
        warn!("members turned away while they told what they hold: they are asked again");
        cache.nodes().prepare_phase().restart();
    };
    stall_point().await;
    open(&cache);
    let elapsed = clock::now() - started;
    cache.metrics().membership().recovered(recovered, elapsed);
    let Recovered {
        objects,
        degraded,
        lost,
    } = recovered;
    info!(
        objects,
        degraded,
        lost,
        ?elapsed,
        epoch = cache.settings().epoch.get(),
        "the cache is open"
    );
}

/// Waits until it is known which nodes to ask; without end if there are none otherwise.
async fn look(cache: &Cache, timeouts: Duration) {
    let nodes = cache.nodes();
    let services = nodes.platform().until_observed(Observed::Services);
    if time::timeout(timeouts, services).await.is_err() {
        warn!("the platform tells of no nodes: those that are configured have to do");
    } else {
        let pods = nodes.platform().until_observed(Observed::Pods);
        let all_pods = time::timeout(PODS_LOOK, pods).await.is_ok();
        let nodes = nodes.list().listed();
        info!(nodes, all_pods, "the platform has told of the nodes");
    }
    // What was waited for so far is no time that anybody had.
    nodes.prepare_phase().restart();
}

/// Waits until it is known whom to believe.
async fn listen(cache: &Cache) -> Option<MembershipView> {
    let nodes = cache.nodes();
    let mut changes = nodes.membership().changes();
    let mut told = (0, 0);
    loop {
        changes.mark_unchanged();
        let (standing, progress, view) = {
            let mut prepare = nodes.prepare_phase().current();
            let prepare = prepare.as_mut().expect("recovery has not ended");
            let standing = prepare.status(clock::now());
            if let PrepareStatus::Empty | PrepareStatus::NoQuorum = standing {
                prepare.close();
            }
            (standing, prepare.progress(), prepare.view())
        };
        if std::mem::replace(&mut told, progress) != progress {
            info!(heard = progress.0, of = progress.1, "listening to nodes");
        }
        match standing {
            PrepareStatus::Ready => return view,
            PrepareStatus::Empty => return None,
            PrepareStatus::OtherLeader => {
                error!("another proxy leads these nodes: this one steps down");
                nodes.termination().end(StepDown::OtherLeader);
                return future::pending().await;
            }
            PrepareStatus::NoQuorum => {
                cache.metrics().membership().without_quorum();
                error!("too few members of the last view were heard: what the pool held is lost");
                return None;
            }
            PrepareStatus::Wait(until) => {
                // A wake may have failed; those that are due again are repeated.
                let until = until.min(clock::now() + REPEAT);
                let _ = time::timeout_at(until.into(), changes.changed()).await;
                if clock::now() > until + HELD_UP && !fail_point("own_pauses") {
                    warn!("this proxy was paused: nodes are asked again");
                    nodes.prepare_phase().restart();
                }
                nodes.wakes().wake_all();
            }
        }
    }
}

/// Takes inventory of the members of `view`, and makes what they hold the pool's again.
///
/// `None` if too few of them tell, or, when that is asked for, not all who were heard; or if
/// some may have followed another run meanwhile.
async fn restore(cache: &Cache, view: &MembershipView, all: bool) -> Option<Recovered> {
    stall_point().await;
    let nodes = cache.nodes();
    let epoch = cache.settings().epoch.get();
    let members: Vec<Arc<Member>> = nodes
        .members()
        .all()
        .into_iter()
        .filter(|member| view.contains(member.instance) || fail_point("members_only"))
        .collect();
    let inventories = members.iter().map(|member| inventory(member));
    let told = join_all(inventories).await;
    let count = told.iter().flatten().count();
    let is_enough = count >= read_quorum(view.members.len(), view.parity);
    if !is_enough || (all && count < told.len()) {
        return None;
    }

    let mut inventories = ChunkInventories::default();
    let mut heard = Vec::new();
    for (member, entries) in members.into_iter().zip(told) {
        let Some(entries) = entries else {
            warn!(member = %member.id, "member told nothing of what it holds");
            continue;
        };
        entries
            .into_iter()
            .for_each(|entry| inventories.found(member.id, entry));
        heard.push(member);
    }
    let state = inventories.decide(nodes.clock().unix_ms());
    let (found, lost) = (state.recovered.len(), state.lost);

    nodes.membership().succeed(view, &heard);
    if !fail_point("first_view_committed")
        && time::timeout(VIEW_DEADLINE, nodes.membership().until_stable())
            .await
            .is_err()
    {
        // Nothing may be served or freed before: later runs would not know by whose word.
        warn!("the first view of this run is not committed");
        return None;
    }
    if !nodes.prepare_phase().close(epoch) && !fail_point("evidence_of_one_epoch") {
        // The run above which it was raised may have changed what there is.
        return None;
    }
    let degraded = cache.holders().adopt(state.recovered);
    // One that was lost meanwhile was not found when its chunks were looked for.
    let there: BTreeSet<MemberId> = nodes
        .members()
        .all()
        .iter()
        .map(|member| member.id)
        .collect();
    for gone in heard.iter().filter(|member| !there.contains(&member.id)) {
        cache.holders().lose_member(gone.id);
    }
    let obsolete = state.obsolete.iter();
    obsolete.for_each(|other| cache.holders().delete_obsolete(other));
    for (member, chunk) in state.orphans {
        cache.holders().free_orphan(chunk, member);
    }
    Some(Recovered {
        objects: found,
        degraded,
        lost,
    })
}

/// All that a member holds; `None` if it does not tell.
async fn inventory(member: &Member) -> Option<Vec<infinicache_wire::inventory::InventoryEntry>> {
    let telling = async {
        let link = member.link()?;
        let mut entries = Vec::new();
        let mut after = None;
        loop {
            let page = page(&link, after).await?;
            let Some(last) = page.last() else {
                return Some(entries);
            };
            after = Some(last.chunk);
            entries.extend(page);
        }
    };
    time::timeout(INVENTORY_DEADLINE, telling)
        .await
        .ok()
        .flatten()
}

/// From now on instances that dial join, and what is asked for is answered.
fn open(cache: &Cache) {
    let nodes = cache.nodes();
    nodes.membership().isolate();
    let prepare = nodes.prepare_phase().current().take();
    let heard: BTreeSet<InstanceId> = prepare.iter().flat_map(Prepare::instances).collect();
    // Those that the run before did not count, or knew nothing of, join as they are: empty,
    // once what they hold has been freed.
    for member in nodes.members().all() {
        if heard.contains(&member.instance) && !nodes.membership().counts(&member) {
            nodes.membership().returned(&member);
        }
    }
}
