//! The direct listener: where other nodes and clients exchange units, without the proxy in between.
//!
//! A node that dials proves that it knows the pool's secret, and is answered with
//! a proof ([`infinicache_wire::direct`]). A client shows a token that the proxy
//! made for it ([`infinicache_wire::token`]). Then they may put and get units, and
//! nothing else: what exists is the proxy's to decide. Before that a connection
//! costs one small buffer for a few seconds, and there are not many at once.
//! Clients leave some of the connections to the nodes.

use std::{net::SocketAddr, sync::Arc};

use infinicache_socket::{Listener, Stream};
use infinicache_wire::{
    Decoder, Kind,
    direct::{DirectCall, DirectProof},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tracing::{debug, warn};

use crate::{
    handshake::{HANDSHAKE_DEADLINE, HandshakeError, nonce, read, write},
    instance::Instance,
    link::{Link, Rights},
    listen::{accept_each, affordable},
    tokens::Tokens,
    transfer::Transfers,
};

/// How many connections may be open at once.
const MAX_CONNECTIONS: usize = 576;

/// How many of them are kept for nodes. Those of clients end when they have not been used for a while.
const FOR_NODES: usize = 64;

/// Serves `listener` until dropped, and its connections with it.
pub(crate) async fn serve(listener: Listener, instance: Arc<Instance>, transfers: Arc<Transfers>) {
    let most = affordable(MAX_CONNECTIONS, 2);
    let clients = Arc::new(Semaphore::new(most - FOR_NODES.min(most / 4)));
    accept_each(listener, most, |stream, peer| {
        attend(
            stream,
            peer,
            Arc::clone(&instance),
            Arc::clone(&transfers),
            Arc::clone(&clients),
        )
    })
    .await;
}

async fn attend(
    stream: Stream,
    peer: SocketAddr,
    instance: Arc<Instance>,
    transfers: Arc<Transfers>,
    clients: Arc<Semaphore>,
) {
    let accepted = timeout(HANDSHAKE_DEADLINE, accept(stream, &instance, clients)).await;
    let (link, _slot) = match accepted.unwrap_or(Err(HandshakeError::Late)) {
        Ok(link) => link,
        Err(error) => {
            instance.service.counters.refused_peers.inc();
            return warn!(%peer, %error, "direct link refused");
        }
    };
    let ended = link.serve(&instance, &transfers).await;
    debug!(%peer, ?ended, "direct link ended");
}

/// A link, and a client's place among the others, if it is one's.
async fn accept(
    mut stream: Stream,
    instance: &Instance,
    clients: Arc<Semaphore>,
) -> Result<(Link, Option<OwnedSemaphorePermit>), HandshakeError> {
    stream.set_nodelay(true)?;
    let identity = &instance.identity;
    let mut decoder = Decoder::new();
    let first = read(&mut stream, &mut decoder).await?;
    if first.header.kind == Kind::Token {
        let slot = clients.try_acquire_owned();
        let slot = slot.map_err(|_| HandshakeError::TooMany)?;
        let mut tokens = Tokens::default();
        tokens.show(&first, identity)?;
        let link = Link::new(stream, decoder, Rights::Client(tokens));
        return Ok((link, Some(slot)));
    }
    let call = DirectCall::from_frame(&first)?;
    let answer = call.answer(identity.instance, nonce()?, &identity.secret)?;
    write(&mut stream, answer.to_frame()).await?;
    let seal = DirectProof::from_frame(&read(&mut stream, &mut decoder).await?)?;
    seal.check(&call, &answer, &identity.secret)?;
    Ok((Link::new(stream, decoder, Rights::Peer), None))
}
