//! Data moves as frames through the proxy, which relays them to the nodes.
//!
//! A few connections to each proxy are turned into links by `IC.LINK`. Members
//! are spread over them, and a link that breaks is dialled anew by whoever needs
//! it next; every request may be repeated, so that one which met a broken link is
//! made once more on the new one.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use infinicache_host::hash::HashMap;
use infinicache_wire::{Decoder, Frame, MemberId, Reply, Request, control::Command};
use redis_protocol::resp2::types::{BytesFrame, Resp2Frame};
use tokio::time;
use tracing::debug;

use super::{control::refusal, door::Door};
use crate::{Error, Mux, MuxLink, NodeLink};

/// How long the proxy may take to turn a connection into a link.
const LINK_DEADLINE: Duration = Duration::from_secs(10);

/// Members whose ways are remembered. Ways are made anew cheaply, so that all are
/// forgotten when there are more.
const MOST_WAYS: usize = 1024;

/// After so many late answers in a row the connection itself is held for broken:
/// its peer may be gone without a word.
const MOST_SILENCE: u32 = 16;

/// The links to one proxy.
#[derive(Debug)]
pub(super) struct Relay {
    door: Arc<Door>,
    lanes: Vec<Lane>,
}

/// One of the links.
#[derive(Debug, Default)]
struct Lane {
    current: Mutex<Option<Arc<Linked>>>,
    dialling: tokio::sync::Mutex<()>,
}

/// A link that was up when last seen.
#[derive(Debug)]
struct Linked {
    mux: Mux,
    ways: Mutex<HashMap<MemberId, MuxLink>>,
    silence: AtomicU32,
}

impl Relay {
    /// `links` links through `door`, made when they are needed.
    pub(super) fn new(door: Arc<Door>, links: usize) -> Self {
        Self {
            door,
            lanes: (0..links).map(|_| Lane::default()).collect(),
        }
    }

    /// The link for a member; dialled, if it is not up.
    async fn linked(&self, member: MemberId) -> Result<Arc<Linked>, Error> {
        let lane = &self.lanes[member.0 as usize % self.lanes.len()];
        if let Some(linked) = lane.up() {
            return Ok(linked);
        }
        let _dialling = lane.dialling.lock().await;
        if let Some(linked) = lane.up() {
            return Ok(linked);
        }
        let linking = time::timeout(LINK_DEADLINE, link(&self.door)).await;
        let mux = linking.unwrap_or(Err(Error::TimedOut("the proxy did not open a link")))?;
        let linked = Arc::new(Linked {
            mux,
            ways: Mutex::default(),
            silence: AtomicU32::new(0),
        });
        *lane.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(linked.clone());
        Ok(linked)
    }
}

impl Lane {
    fn up(&self) -> Option<Arc<Linked>> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current
            .as_ref()
            .filter(|linked| !linked.mux.is_closed())
            .cloned()
    }
}

impl Linked {
    /// The way to a member: always the same one, since its credit is counted there.
    fn way(&self, member: MemberId) -> MuxLink {
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        if ways.len() >= MOST_WAYS && !ways.contains_key(&member) {
            ways.clear();
        }
        ways.entry(member)
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
async fn link(door: &Door) -> Result<Mux, Error> {
    let mut connection = door.enter().await?;
    let answer = connection.exchange(&Command::Link.encode()).await;
    match answer.map_err(|error| Error::Unreachable(format!("{}: {error}", door.address())))? {
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

/// The way to one member through its proxy.
#[derive(Clone, Debug)]
pub(super) struct Relayed {
    pub(super) relay: Arc<Relay>,
    pub(super) member: MemberId,
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
            let reply = linked.way(self.member).call(request.clone()).await;
            linked.heard(&reply);
            let is_broken = reply == Reply::Unreachable && linked.mux.is_closed();
            if !(is_broken && std::mem::take(&mut first)) {
                return reply;
            }
        }
    }
}
