//! Data moves as frames through the proxy, which relays them to the nodes.
//!
//! A few connections to each proxy are turned into links by `IC.LINK`. Members
//! are spread over them, and a link that breaks is dialled anew by the request
//! that needs it next; every request may be repeated, so that one which met a
//! broken link is made once more on the new one.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use infinicache_engine::{Error, Mux, MuxLink, NodeLink};
use infinicache_host::hash::HashMap;
use infinicache_wire::{Decoder, Frame, MemberId, Reply, Request, control::ControlCommand};
use redis_protocol::resp2::types::{BytesFrame, Resp2Frame};
use tokio::time;
use tracing::debug;

use crate::{connector::Connector, error_reply::refusal};

/// How long the proxy may take to turn a connection into a link.
const LINK_DEADLINE: Duration = Duration::from_secs(10);

/// Members whose links are remembered. Links are made anew cheaply, so that all are
/// forgotten when there are more.
const MOST_LINKS: usize = 1024;

/// After so many late answers in a row the connection itself is held for broken:
/// its peer may be gone without a word.
const MOST_SILENCE: u32 = 16;

/// The links to one proxy.
#[derive(Debug)]
pub(crate) struct Relay {
    connector: Arc<Connector>,
    slots: Vec<LinkSlot>,
}

/// One of the links.
#[derive(Debug, Default)]
struct LinkSlot {
    current: Mutex<Option<Arc<Linked>>>,
    dialling: tokio::sync::Mutex<()>,
}

/// A link that was up when last seen.
#[derive(Debug)]
struct Linked {
    mux: Mux,
    links_by_member: Mutex<HashMap<MemberId, MuxLink>>,
    silence: AtomicU32,
}

impl Relay {
    /// `links` links through `connector`, made when they are needed.
    pub(crate) fn new(connector: Arc<Connector>, links: usize) -> Self {
        Self {
            connector,
            slots: (0..links).map(|_| LinkSlot::default()).collect(),
        }
    }

    /// The link for a member; dialled, if it is not up.
    async fn linked(&self, member: MemberId) -> Result<Arc<Linked>, Error> {
        let slot = &self.slots[member.0 as usize % self.slots.len()];
        if let Some(linked) = slot.up() {
            return Ok(linked);
        }
        let _dialling = slot.dialling.lock().await;
        if let Some(linked) = slot.up() {
            return Ok(linked);
        }
        let linking = time::timeout(LINK_DEADLINE, link(&self.connector)).await;
        let mux = linking.unwrap_or(Err(Error::TimedOut("the proxy did not open a link")))?;
        let linked = Arc::new(Linked {
            mux,
            links_by_member: Mutex::default(),
            silence: AtomicU32::new(0),
        });
        *slot.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(linked.clone());
        Ok(linked)
    }
}

impl LinkSlot {
    fn up(&self) -> Option<Arc<Linked>> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current
            .as_ref()
            .filter(|linked| !linked.mux.is_closed())
            .cloned()
    }
}

impl Linked {
    /// The route to a member: always the same one, since its credit is counted there.
    fn link_to(&self, member: MemberId) -> MuxLink {
        let mut links_by_member = self
            .links_by_member
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if links_by_member.len() >= MOST_LINKS && !links_by_member.contains_key(&member) {
            links_by_member.clear();
        }
        links_by_member
            .entry(member)
            .or_insert_with(|| self.mux.link(member))
            .clone()
    }

    fn heard(&self, reply: &Reply) {
        if *reply != Reply::Late {
            self.silence.store(0, Relaxed);
        } else if self.silence.fetch_add(1, Relaxed) + 1 >= MOST_SILENCE {
            debug!("link is silent");
            self.mux.close();
        }
    }
}

/// Dials a proxy and turns the connection into a link.
async fn link(connector: &Connector) -> Result<Mux, Error> {
    let mut connection = connector.enter().await?;
    let answer = connection.exchange(&ControlCommand::Link.encode()).await;
    match answer.map_err(|error| Error::Unreachable(format!("{}: {error}", connector.address())))? {
        BytesFrame::SimpleString(_) => {}
        BytesFrame::Error(text) => return Err(refusal(&text)),
        other => {
            return Err(Error::Protocol(format!(
                "a {:?} opens no link",
                other.kind()
            )));
        }
    }
    let (stream, ahead) = connection.into_inner();
    let (reader, writer) = stream.into_split();
    let unsolicited =
        |frame: Frame| debug!(kind = ?frame.header.kind, "frame that answers nothing");
    Ok(Mux::start(
        reader,
        writer,
        Decoder::starting_with(ahead),
        unsolicited,
    ))
}

/// The route to one member through its proxy.
#[derive(Clone, Debug)]
pub(crate) struct Relayed {
    pub(crate) relay: Arc<Relay>,
    pub(crate) member: MemberId,
}

impl NodeLink for Relayed {
    async fn call(&self, request: Request) -> Reply {
        let mut first = true;
        loop {
            let linked = match self.relay.linked(self.member).await {
                Ok(linked) => linked,
                Err(error) => {
                    debug!(%error, "no link");
                    return Reply::Unreachable;
                }
            };
            let reply = linked.link_to(self.member).call(request.clone()).await;
            linked.heard(&reply);
            let is_broken = reply == Reply::Unreachable && linked.mux.is_closed();
            if !(is_broken && std::mem::take(&mut first)) {
                return reply;
            }
        }
    }
}
