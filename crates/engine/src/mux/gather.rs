//! Several members asked at once, and heard as one.
//!
//! A small value is sent to a few members, and nothing is to be done before all have answered.
//! Waiting for each alone would wake the caller once for each, and take a timer and a channel for
//! each. Here they share one: the last to answer wakes the caller.

use std::{sync::Arc, time::Instant};

use infinicache_wire::{Reply, Request};
use tokio::{sync::mpsc::error::TrySendError, time};

use super::{
    CallWaiter, MuxLink, PendingCall,
    gather_slot::{GatherSlot, Gathering},
};

/// Asks each member what is asked of it; the answers, in the same order.
///
/// Members that have not answered by `deadline` are [`Reply::Late`]; they may have done what they
/// were asked nevertheless. Payload is not bounded by credit here: it has to be small.
///
/// # Cancellation
///
/// Safe: no caller waits for the answers any more.
pub async fn ask_at_once(asked: Vec<(MuxLink, Request)>, deadline: Instant) -> Vec<Reply> {
    let gathering = Arc::new(Gathering::new(asked.len()));
    let (links, requests): (Vec<MuxLink>, Vec<Request>) = asked.into_iter().unzip();
    let mut tickets = Vec::with_capacity(links.len());
    for (index, (link, request)) in links.iter().zip(requests).enumerate() {
        let seat = GatherSlot::new(&gathering, index);
        let shared = link.mux.shared();
        // Without a ticket the link has ended, and the seat has said so.
        let Some(ticket) = PendingCall::take(shared, CallWaiter::Slot(seat)) else {
            continue;
        };
        let frame = request.into_frame(ticket.id, link.member);
        tickets.push(ticket);
        // If the link ends, its tickets do.
        if let Err(TrySendError::Full(frame)) = shared.queue.try_send(frame) {
            let _ = time::timeout_at(deadline.into(), shared.queue.send(frame)).await;
        }
    }
    let _ = time::timeout_at(deadline.into(), gathering.complete()).await;
    gathering.answers()
}
