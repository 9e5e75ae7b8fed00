//! From the first wake to the first answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use infinicache_membership::{
    census::{Census, Patience, Standing},
    label, read_quorum,
    verdict::{Evidence, Survivor, Verdict},
};
use infinicache_wire::{MemberId, Roster as Document, inventory::Entry};

use super::{HELD_UP, LEASE, Millis, Object, Proxy};
use crate::simulation::{faults::Faults, world::World};

/// How long a new run looks for its members.
const DEADLINE: Millis = 9_000;

/// How often all who were heard are asked for what they hold.
const ATTEMPTS: usize = 3;

/// How often nodes that have not dialled are looked after.
const REPEAT: Millis = 500;

/// How long the first roster of a run may take to be in force.
const ROSTER_DEADLINE: Millis = 18_000;

impl Proxy {
    pub(super) fn census(world: &World) -> Census {
        let lease = match world.rules.lease_waited_out {
            true => LEASE,
            false => 0,
        };
        let patience = Patience {
            lease: Duration::from_millis(lease),
            straggling: Duration::from_secs(1),
            deadline: Duration::from_millis(DEADLINE),
            dead_after: Duration::from_millis(super::DEAD_AFTER),
            leader_lease: Duration::from_millis(LEASE),
        };
        let mut census = Census::new(world.names, patience, world.instant(world.now()));
        if world.chance(50) {
            census.expect(world.names, world.pods());
        }
        census
    }

    /// The platform tells again of the pods there are, unless its API is down.
    fn look(&self) {
        let is_told = self.world.chance(50);
        if let Some(census) = self.state.borrow_mut().census.as_mut()
            && census.knows_pods()
            && is_told
        {
            census.expect(self.world.names, self.world.pods());
        }
    }

    /// Finds out what there is, and begins to serve it.
    pub(super) async fn recover(self: Rc<Self>) {
        let mut attempts = 0;
        while let Some(roster) = self.listen().await {
            attempts += 1;
            if self.restore(&roster, attempts < ATTEMPTS).await {
                break;
            }
            self.world
                .note(|| format!("proxy {} hears everybody anew", self.id));
            self.hear_anew();
        }
        let census = {
            let mut state = self.state.borrow_mut();
            if self.world.rules.bereft {
                state.enrolment.lease.bereave();
            }
            state.census.take()
        };
        self.world.note(|| format!("proxy {} serves", self.id));
        // Those that the run before did not count, or knew nothing of, join as they are: empty,
        // once what they hold has been freed.
        let heard: BTreeSet<_> = census.iter().flat_map(Census::instances).collect();
        let strangers: Vec<MemberId> = {
            let state = self.state.borrow();
            let counts = |it| state.enrolment.roster.contains(it);
            let members = state.members.iter();
            members
                .filter(|(_, it)| heard.contains(&it.instance) && !counts(it.instance))
                .map(|(id, _)| *id)
                .collect()
        };
        strangers.into_iter().for_each(|id| self.returned(id));
        self.spawn(self.clone().repair());
        self.spawn(self.clone().tidy());
    }

    /// Waits until it is known whom to believe.
    async fn listen(self: &Rc<Self>) -> Option<Document> {
        loop {
            let look = |now| {
                let state = self.state.borrow();
                let census = state.census.as_ref().expect("recovery has not ended");
                (census.standing(now), census.roster())
            };
            let (standing, roster) = look(self.instant());
            let Standing::Wait(until) = standing else {
                self.world
                    .note(|| format!("proxy {} concludes {standing:?}: {roster:?}", self.id));
                if standing == Standing::Believe {
                    return roster;
                }
                if standing == Standing::Led {
                    self.world.restart_proxy(self.id);
                    return std::future::pending().await;
                }
                self.believe_nobody(standing);
                return None;
            };
            let now = self.world.now();
            let until = self.world.millis(until).clamp(now + 1, now + REPEAT);
            let news = || {
                let (standing, _) = look(self.instant());
                (!matches!(standing, Standing::Wait(_))).then_some(())
            };
            self.world.until_or(self.me(), until, news).await;
            self.look();
            if self.world.now() > until + HELD_UP && self.world.rules.own_pauses {
                // What waits in its sockets is yet to be read.
                self.hear_anew();
            }
        }
    }

    /// What the pool held is lost to it, and counted.
    fn believe_nobody(&self, standing: Standing) {
        let mut history = self.world.history.borrow_mut();
        let knew = standing == Standing::Undecidable || history.acknowledged > 0;
        history.undecided += u64::from(knew);
        // Another run may have been left with members that nobody knows of.
        let has_members = |it: &Rc<Self>| it.id != self.id && it.has_members();
        let is_apart = knew || self.world.proxies.borrow().values().any(has_members);
        history.forced += u64::from(is_apart);
        history.all_may_vanish(self.world.now());
    }

    /// Takes inventory of the members of `roster`, and makes what they hold the pool's again;
    /// whether enough of them told, or all that were heard if `all`.
    async fn restore(self: &Rc<Self>, roster: &Document, all: bool) -> bool {
        let epoch = self.epoch.get();
        let strangers_too = !self.world.rules.members_only;
        let members: Vec<MemberId> = {
            let state = self.state.borrow();
            let members = state.members.iter();
            members
                .filter(|(_, it)| strangers_too || roster.contains(it.instance))
                .map(|(id, _)| *id)
                .collect()
        };
        let told = self.take_inventories(&members).await;
        let quorum = read_quorum(roster.members.len(), roster.parity);
        if told.len() < quorum || (all && told.len() < members.len()) {
            return false;
        }
        let mut evidence = Evidence::default();
        let mut claimed = BTreeMap::new();
        for (&member, entries) in &told {
            for entry in entries {
                evidence.found(member, self.doctored(entry.clone(), &mut claimed));
            }
        }
        let mut verdict = evidence.decide(self.now_ms());
        verdict.leftovers.sort_unstable();
        verdict.survivors.sort_by(|a, b| a.key.cmp(&b.key));
        verdict.others.sort_by_key(|it| it.write);
        let heard: Vec<MemberId> = told.keys().copied().collect();
        self.count_losses(roster, heard.len(), &verdict);

        self.succeed(roster, &heard);
        if self.world.rules.first_roster_in_force {
            let end = self.world.now() + ROSTER_DEADLINE;
            let settled = || {
                let state = self.state.borrow();
                state.enrolment.roster.is_settled().then_some(())
            };
            let settled = self.world.until_or(self.me(), end, settled).await;
            if settled.is_none() {
                return false;
            }
        }
        if self.epoch.get() != epoch && self.world.rules.evidence_of_one_epoch {
            // The run above which it was raised may have changed what there is.
            return false;
        }
        self.adopt(verdict, &heard);
        true
    }

    async fn take_inventories(
        self: &Rc<Self>,
        members: &[MemberId],
    ) -> BTreeMap<MemberId, Vec<Entry>> {
        let told = Rc::new(std::cell::RefCell::new(BTreeMap::new()));
        for &id in members {
            let (proxy, told) = (self.clone(), told.clone());
            self.spawn(async move {
                let inventory = proxy.inventory(id).await;
                told.borrow_mut().insert(id, inventory);
            });
        }
        let all = || (told.borrow().len() == members.len()).then_some(());
        self.world.until(all).await;
        let told = told.take().into_iter();
        told.filter_map(|(id, entries)| Some((id, entries?)))
            .collect()
    }

    /// What a run before has left becomes this run's.
    fn adopt(self: &Rc<Self>, verdict: Verdict<MemberId>, heard: &[MemberId]) {
        let mut state = self.state.borrow_mut();
        for survivor in verdict.survivors {
            state.catalog.insert(survivor.key[0], object(survivor));
        }
        let is_gone = |id: &&MemberId| !state.members.contains_key(*id);
        let gone: Vec<MemberId> = heard.iter().filter(is_gone).copied().collect();
        drop(state);
        // One that was lost meanwhile was not found by whoever looked for what it held.
        gone.into_iter().for_each(|id| self.lose_member(id));
        for other in &verdict.others {
            if self.world.rules.leftovers_part {
                let (key, data) = (other.key[0], other.geometry.code().data());
                self.part(key, other.write, data, other.held_by().collect());
            }
            for (index, member) in other.held_by() {
                let write = other.write;
                self.leave_free(infinicache_wire::ChunkId { write, index }, member);
            }
        }
        for (member, chunk) in verdict.leftovers {
            self.abandon(chunk, member);
        }
    }

    fn count_losses(&self, roster: &Document, heard: usize, verdict: &Verdict<MemberId>) {
        let unheard = roster.members.len().saturating_sub(heard);
        self.world.note(|| {
            let keys = verdict.survivors.iter();
            let keys: Vec<_> = keys.map(|it| (it.key[0], it.write, &it.holders)).collect();
            format!(
                "proxy {} finds {keys:?}, others {:?}, leftovers {:?}, lost {}, unheard {unheard}",
                self.id, verdict.others, verdict.leftovers, verdict.lost
            )
        });
        // Within the tolerance nothing explains a miss: what is counted here is what was left of
        // writes that never were committed. Beyond it, what only members held that were not
        // heard is not found, so nobody can tell how much that was.
        if self.world.faults != Faults::Within {
            let mut history = self.world.history.borrow_mut();
            history.losses += verdict.lost as u64;
            history.undecided += u64::from(unheard > self.world.parity);
            history.all_may_vanish(self.world.now());
        }
    }

    /// An entry as a proxy would take it that breaks the rules about entries.
    fn doctored(&self, mut entry: Entry, claimed: &mut BTreeMap<(u64, u64, u8), ()>) -> Entry {
        let rules = &self.world.rules;
        let Some(label) = label::decode(entry.label.clone()) else {
            return entry;
        };
        let mut expiry = label.expiry;
        if !rules.expiry_sequence {
            let turned = |sequence: u32| u32::MAX - sequence;
            entry.expiry.sequence = turned(entry.expiry.sequence);
            expiry.sequence = turned(expiry.sequence);
        }
        let mut version = label.version;
        if !rules.highest_version {
            version.epoch = u64::MAX - version.epoch;
            version.counter = u64::MAX - version.counter;
        }
        entry.label = label::encode(&label.key, &label.geometry, version, expiry);
        if !rules.distinct_indexes {
            let id = |index| (entry.chunk.write.epoch, entry.chunk.write.sequence, index);
            let width = label.geometry.code().width() as u8;
            let free = (0..width).find(|&index| {
                let index = (entry.chunk.index + index) % width;
                !claimed.contains_key(&id(index))
            });
            if let Some(free) = free {
                let index = (entry.chunk.index + free) % width;
                claimed.insert(id(index), ());
                entry.chunk.index = index;
            }
        }
        entry
    }
}

fn object(survivor: Survivor<MemberId>) -> Object {
    Object {
        write: survivor.write,
        version: survivor.version,
        geometry: survivor.geometry,
        id: None,
        holders: survivor.holders,
        expires_at: survivor.expires_at,
        expiry_sequence: survivor.expiry_sequence,
        is_in_repair: false,
    }
}
