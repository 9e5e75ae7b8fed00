//! What a node's life decided is done.

use std::time::Instant;

use infinicache_client::NodeLink;
use infinicache_wire::{
    MemberId, PROTOCOL_VERSION, Reply, Request,
    wake::{Lifetimes, Wake},
};
use tracing::{debug, info, warn};

use super::{Event, Nodes, life::Action};

impl Nodes {
    pub(super) fn act(&self, index: usize, action: Action) {
        match action {
            Action::Wake => self.wake(index, true),
            Action::KeepAwake => self.wake(index, false),
            Action::Ping(member) => self.ping(index, member),
            Action::Lost(member) => self.lose(index, member),
            Action::Vacate(member) => self.vacate(member),
        }
    }

    fn lose(&self, index: usize, id: MemberId) {
        let Some((_, member)) = self.0.members.remove(&id) else {
            return;
        };
        match member.chunks() {
            0 => info!(node = self.name(index), member = %id, "member left"),
            chunks => warn!(node = self.name(index), member = %id, chunks, "member lost"),
        }
        member.cut();
        self.0.health.forget(id);
        self.0.metrics.node_lost();
        self.tell(Event::Lost(member));
    }

    /// Wakes a node: for a new session, or to keep the one it has from ending.
    fn wake(&self, index: usize, anew: bool) {
        let nodes = self.clone();
        tokio::spawn(async move {
            let node = &nodes.0.nodes[index];
            let _slot = nodes.0.wakes.acquire().await.expect("never closed");
            let session = match anew {
                true => {
                    let session = random_session();
                    let mut state = node.state();
                    state.sessions.swap(0, 1);
                    state.sessions[0].clone_from(&session);
                    session
                }
                false => node.state().sessions[0].clone(),
            };
            let wake = Wake {
                version: PROTOCOL_VERSION,
                node: node.address.name.clone(),
                proxy: nodes.0.settings.advertise.clone(),
                session,
                epoch: nodes.0.settings.epoch,
                lifetimes: Lifetimes::default(),
                proof: String::new(),
            };
            let started = Instant::now();
            let woken = nodes
                .0
                .waker
                .wake(&node.address.url, &wake.signed(&nodes.0.settings.secret))
                .await;
            nodes.0.metrics.wake(anew, woken.is_ok(), started.elapsed());
            let Err(error) = woken else { return };
            warn!(node = node.address.name, %error, "node cannot be woken");
            if anew {
                node.state().life.wake_failed(Instant::now());
                node.changed.send_replace(());
            }
        });
    }

    fn ping(&self, index: usize, id: MemberId) {
        let Some(member) = self.member(id) else {
            return;
        };
        let Some(link) = member.link() else { return };
        let nodes = self.clone();
        tokio::spawn(async move {
            match link.call(Request::Ping).await {
                Reply::Done { bytes, .. } => {
                    nodes.0.nodes[index]
                        .state()
                        .life
                        .heard_of(id, Instant::now());
                    match serde_json::from_slice(&bytes) {
                        Ok(report) => member.set_report(report),
                        Err(error) => debug!(%error, "unreadable report"),
                    }
                }
                reply => debug!(node = nodes.name(index), ?reply, "ping unanswered"),
            }
        });
    }

    /// What a member holds is to be moved away.
    pub(super) fn vacate(&self, id: MemberId) {
        let Some(member) = self.member(id) else {
            return;
        };
        member.drain();
        self.tell(Event::Leaving(member));
    }

    fn tell(&self, event: Event) {
        // Nobody listens any more once the proxy stops.
        let _ = self.0.events.send(event);
    }
}

fn random_session() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    format!("{:032x}", u128::from_le_bytes(bytes))
}
