//! The members by their numbers, and how they are asked.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use infinicache_engine::{MuxLink, NodeLink};
use infinicache_host::{
    clock,
    hash::{DashMap, dash_map},
};
use infinicache_wire::{InstanceId, MemberId, Reply, Request};
use tokio::time;

use super::{member::Member, node_list::NodeEntryState};

/// How long to wait before looking whether a broken link has been dialled anew.
const REDIALLING: Duration = Duration::from_millis(50);

/// How long members that are asked at once may take before they are waited for one by one.
const AT_ONCE: Duration = Duration::from_millis(250);

/// The instances that joined and are not lost. A number is given once.
#[derive(Debug)]
pub(crate) struct Members {
    all: DashMap<MemberId, Arc<Member>>,
    last: AtomicU32,
}

impl Members {
    pub(super) fn new() -> Self {
        Self {
            all: dash_map(),
            last: AtomicU32::new(0),
        }
    }

    /// A number that no member has had.
    pub(super) fn next_id(&self) -> MemberId {
        MemberId(self.last.fetch_add(1, Relaxed) + 1)
    }

    pub(super) fn insert(&self, member: &Arc<Member>) {
        self.all.insert(member.id, member.clone());
    }

    pub(super) fn remove(&self, id: MemberId) -> Option<Arc<Member>> {
        self.all.remove(&id).map(|(_, member)| member)
    }

    /// A member, linked or not.
    pub(crate) fn get(&self, id: MemberId) -> Option<Arc<Member>> {
        self.all.get(&id).map(|member| member.value().clone())
    }

    /// All members.
    pub(crate) fn all(&self) -> Vec<Arc<Member>> {
        let members = self.all.iter();
        members.map(|member| member.value().clone()).collect()
    }

    /// A member and the way to it, if it is linked.
    pub(super) fn linked(&self, id: MemberId) -> Option<(Arc<Member>, MuxLink)> {
        let member = self.get(id)?;
        let link = member.link()?;
        Some((member, link))
    }

    pub(super) fn of_instance(&self, instance: InstanceId) -> Option<Arc<Member>> {
        let mut members = self.all.iter();
        let found = members.find(|member| member.instance == instance);
        found.map(|member| member.value().clone())
    }

    /// The member behind a name, whose lifecycle learns what its link has heard.
    pub(super) fn current_of(&self, state: &mut NodeEntryState) -> Option<Arc<Member>> {
        let id = state.lifecycle.current()?.id;
        let member = self.get(id)?;
        if let (Some(link), Some(it)) = (member.link(), state.lifecycle.current_if(id)) {
            it.heard_of(link.mux().heard());
        }
        Some(member)
    }

    /// Asks a member, again and again while its link is broken; `None` once it is gone for good.
    ///
    /// For requests that may be repeated, by callers who do not wait for ever.
    pub(crate) async fn ask(&self, id: MemberId, request: Request) -> Option<Reply> {
        loop {
            let member = self.get(id)?;
            if let Some(link) = member.link() {
                match link.call(request.clone()).await {
                    Reply::Unreachable | Reply::Late => {}
                    reply => return Some(reply),
                }
            }
            time::sleep(REDIALLING).await;
        }
    }

    /// Asks members at once, for as long as healthy ones take at most; `None` for each of whom
    /// nothing is known then, and nothing at all if one of them is not linked.
    ///
    /// A caller that has to know asks the others [again](Self::ask).
    pub(crate) async fn ask_at_once(
        &self,
        asked: impl Iterator<Item = (MemberId, Request)>,
    ) -> Vec<Option<Reply>> {
        let asked: Option<Vec<(MuxLink, Request)>> = asked
            .map(|(id, request)| Some((self.linked(id)?.1, request)))
            .collect();
        let Some(asked) = asked else {
            return Vec::new();
        };
        let replies = infinicache_engine::ask_at_once(asked, clock::now() + AT_ONCE).await;
        let known = |reply| match reply {
            Reply::Unreachable | Reply::Late => None,
            reply => Some(reply),
        };
        replies.into_iter().map(known).collect()
    }
}
