//! A new run of the proxy finds out what there is.
//!
//! Until then it answers nothing. It wakes all nodes that the platform does not
//! say are asleep, listens to what their instances tell of the run before ([`census`](infinicache_membership::census)), takes
//! the inventories of those that are to be believed, and decides which objects
//! there are ([`verdict`](infinicache_membership::verdict)). Its own roster is in force
//! before anything is served, or freed.

use std::{collections::BTreeSet, future, sync::Arc, time::Duration};

use futures_util::future::join_all;
use infinicache_host::{clock, fail_point};
use infinicache_membership::{
    census::{Census, Patience, Standing},
    read_quorum,
    verdict::Evidence,
};
use infinicache_wire::{InstanceId, MemberId, Roster};
use tokio::time;
use tracing::{error, info, warn};

use crate::{
    cache::{Cache, page},
    metrics::Recovered,
    nodes::{HELD_UP, Observed, Over, member::Member},
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

/// How long the first roster of a run may take to be in force.
const ROSTER_DEADLINE: Duration = Duration::from_secs(30);

/// Begins to listen to instances that dial. To be called before any can.
pub(crate) fn prepare(cache: &Cache, names: usize, patience: Patience) {
    let census = Census::new(names, patience, clock::now());
    cache.nodes().begin_census(census);
}

/// Finds out what there is, and opens the cache.
///
/// `first_look` is for how long the platform is asked first which nodes there are, if it is.
pub(crate) async fn run(cache: Cache, first_look: Option<Duration>) {
    let started = clock::now();
    if let Some(patience) = first_look {
        look(&cache, patience).await;
    }
    let mut attempts = 0;
    let recovered = loop {
        cache.nodes().wake_all();
        let Some(roster) = listen(&cache).await else {
            break Recovered::default();
        };
        attempts += 1;
        if let Some(recovered) = restore(&cache, &roster, attempts < ATTEMPTS).await {
            break recovered;
        }
        warn!("members turned away while they told what they hold: they are heard anew");
        cache.nodes().hear_anew();
    };
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

/// Waits until it is known whom to ask; without end if there is nobody otherwise.
async fn look(cache: &Cache, patience: Duration) {
    let nodes = cache.nodes();
    let services = nodes.until_observed(Observed::Services);
    if time::timeout(patience, services).await.is_err() {
        warn!("the platform tells of no nodes: those that are configured have to do");
    } else {
        let pods = nodes.until_observed(Observed::Pods);
        let all_pods = time::timeout(PODS_LOOK, pods).await.is_ok();
        let nodes = nodes.listed();
        info!(nodes, all_pods, "the platform has told of the nodes");
    }
    // What was waited for so far is no time that anybody had.
    nodes.hear_anew();
}

/// Waits until it is known whom to believe.
async fn listen(cache: &Cache) -> Option<Roster> {
    let nodes = cache.nodes();
    let mut changes = nodes.roster_changes();
    let mut told = (0, 0);
    loop {
        changes.mark_unchanged();
        let (standing, progress, roster) = {
            let mut census = nodes.census();
            let census = census.as_mut().expect("recovery has not ended");
            let standing = census.standing(clock::now());
            if let Standing::Nobody | Standing::Undecidable = standing {
                census.close();
            }
            (standing, census.progress(), census.roster())
        };
        if std::mem::replace(&mut told, progress) != progress {
            info!(heard = progress.0, of = progress.1, "listening to nodes");
        }
        match standing {
            Standing::Believe => return roster,
            Standing::Nobody => return None,
            Standing::Led => {
                error!("nodes hear from another proxy, which leads: this one is one too many");
                nodes.end(Over::Led);
                return future::pending().await;
            }
            Standing::Undecidable => {
                cache.metrics().membership().undecidable();
                error!("too few members of the last roster were heard: what the pool held is lost");
                return None;
            }
            Standing::Wait(until) => {
                // A wake may have failed; those that are due again are repeated.
                let until = until.min(clock::now() + REPEAT);
                let _ = time::timeout_at(until.into(), changes.changed()).await;
                if clock::now() > until + HELD_UP && !fail_point("own_pauses") {
                    warn!("this proxy was held up: nodes are heard anew");
                    nodes.hear_anew();
                }
                nodes.wake_all();
            }
        }
    }
}

/// Takes inventory of the members of `roster`, and makes what they hold the pool's again.
///
/// `None` if too few of them tell, or, when that is asked for, not all who were heard; or if
/// some may have obeyed another run meanwhile.
async fn restore(cache: &Cache, roster: &Roster, all: bool) -> Option<Recovered> {
    let nodes = cache.nodes();
    let epoch = cache.settings().epoch.get();
    let members: Vec<Arc<Member>> = nodes
        .members()
        .into_iter()
        .filter(|member| roster.contains(member.instance) || fail_point("members_only"))
        .collect();
    let inventories = members.iter().map(|member| inventory(member));
    let told = join_all(inventories).await;
    let count = told.iter().flatten().count();
    let is_enough = count >= read_quorum(roster.members.len(), roster.parity);
    if !is_enough || (all && count < told.len()) {
        return None;
    }

    let mut evidence = Evidence::default();
    let mut heard = Vec::new();
    for (member, entries) in members.into_iter().zip(told) {
        let Some(entries) = entries else {
            warn!(member = %member.id, "member told nothing of what it holds");
            continue;
        };
        entries
            .into_iter()
            .for_each(|entry| evidence.found(member.id, entry));
        heard.push(member);
    }
    let verdict = evidence.decide(nodes.clock().unix_ms());
    let (found, lost) = (verdict.survivors.len(), verdict.lost);

    nodes.succeed(roster, &heard);
    if !fail_point("first_roster_in_force")
        && time::timeout(ROSTER_DEADLINE, nodes.until_settled())
            .await
            .is_err()
    {
        // Nothing may be served or freed before: later runs would not know by whose word.
        warn!("the first roster of this run is not in force");
        return None;
    }
    if !nodes.close_census(epoch) && !fail_point("evidence_of_one_epoch") {
        // The run above which it was raised may have changed what there is.
        return None;
    }
    let degraded = cache.adopt(verdict.survivors);
    // One that was lost meanwhile was not found by whoever looked for what it held.
    let there: BTreeSet<MemberId> = nodes.members().iter().map(|member| member.id).collect();
    for gone in heard.iter().filter(|member| !there.contains(&member.id)) {
        cache.lose_member(gone.id);
    }
    let others = verdict.others.iter();
    others.for_each(|other| cache.part_with_found(other));
    for (member, chunk) in verdict.leftovers {
        cache.free_stray(chunk, member);
    }
    Some(Recovered {
        objects: found,
        degraded,
        lost,
    })
}

/// All that a member holds; `None` if it does not tell.
async fn inventory(member: &Member) -> Option<Vec<infinicache_wire::inventory::Entry>> {
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
    nodes.bereave();
    let census = nodes.census().take();
    let heard: BTreeSet<InstanceId> = census.iter().flat_map(Census::instances).collect();
    // Those that the run before did not count, or knew nothing of, join as they are: empty,
    // once what they hold has been freed.
    for member in nodes.members() {
        if heard.contains(&member.instance) && !nodes.counts(&member) {
            nodes.returned(&member);
        }
    }
}
