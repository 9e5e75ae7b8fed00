//! Clients: each asks one thing after the other, of the proxy that it is connected to.

use std::rc::Rc;

use super::{
    history::{Answer, Command},
    world::{Event, Millis, Process, World},
};

/// How long a client waits.
const PATIENCE: Millis = 15_000;

/// How the wait for an answer ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ended {
    Answered(Answer),
    /// The connection is gone.
    Broken,
}

/// What has arrived at a client.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) waits: Option<(u64, u32)>,
    ended: Option<(u64, Ended)>,
}

impl Inbox {
    pub(super) fn push(&mut self, (ticket, ended): (u64, Ended)) {
        if self.waits.is_some_and(|(waits, _)| waits == ticket) && self.ended.is_none() {
            self.ended = Some((ticket, ended));
        }
    }
}

/// The clients of a dead proxy learn that it is.
pub(super) fn disconnect(world: &World, proxy: u32) {
    for (&client, inbox) in &*world.clients.borrow() {
        if let Some((ticket, asked)) = inbox.waits
            && asked == proxy
        {
            let ended = Ended::Broken;
            let at = world.now() + world.range(10, 100);
            world.schedule(at, Process::Client(client), Event::Ended { ticket, ended });
        }
    }
}

/// Asks at random until `end`, then reads every key.
pub(super) async fn live(world: Rc<World>, id: u32, keys: u8, end: Millis) {
    let me = Process::Client(id);
    let mut proxy = None;
    while world.now() < end {
        world.sleep(me, world.range(1, 500)).await;
        let key = world.range(0, keys.into()) as u8;
        let command = match world.range(0, 100) {
            0..40 => Command::Get { key },
            40..60 => Command::Set {
                key,
                value: 0,
                if_absent: false,
            },
            60..68 => Command::Set {
                key,
                value: 0,
                if_absent: true,
            },
            68..76 => Command::Delete { key },
            _ => Command::Expire {
                key,
                at: match world.range(0, 3) {
                    0 => 0,
                    _ => world.now() + world.range(100, 20_000),
                },
            },
        };
        ask(&world, id, &mut proxy, command).await;
    }
}

/// Asks one thing and tells the history what came of it.
pub(super) async fn ask(
    world: &Rc<World>,
    id: u32,
    proxy: &mut Option<u32>,
    command: Command,
) -> Answer {
    let me = Process::Client(id);
    let newest = || world.proxies.borrow().keys().next_back().copied();
    let Some(asked) = proxy.or_else(newest) else {
        return Answer::Failed;
    };
    *proxy = Some(asked);
    let ticket = world.history.borrow_mut().ask(command, world.now());
    // Every value is told from every other by the operation that wrote it.
    let command = match command {
        Command::Set { key, if_absent, .. } => Command::Set {
            key,
            value: ticket,
            if_absent,
        },
        command => command,
    };
    world.history.borrow_mut().name(ticket, command);
    world.note(|| format!("client {id} asks proxy {asked} {ticket}: {command:?}"));
    world.clients.borrow_mut().entry(id).or_default().waits = Some((ticket, asked));
    let asking = Event::Asked {
        client: id,
        ticket,
        command,
    };
    world.schedule(
        world.now() + world.range(1, 6),
        Process::Proxy(asked),
        asking,
    );

    let ended = world
        .until_or(me, world.now() + PATIENCE, || {
            let mut clients = world.clients.borrow_mut();
            clients.get_mut(&id)?.ended.take()
        })
        .await;
    world.clients.borrow_mut().entry(id).or_default().waits = None;
    let answer = match ended {
        Some((_, Ended::Answered(answer))) => answer,
        Some((_, Ended::Broken)) | None => Answer::Unknown,
    };
    world.note(|| format!("client {id} is answered {ticket}: {answer:?}"));
    // Whoever was refused or got no answer looks for another proxy.
    if matches!(answer, Answer::Failed | Answer::Unsure | Answer::Unknown) && world.chance(70) {
        *proxy = None;
    }
    let mut history = world.history.borrow_mut();
    history.answer(ticket, command, answer, world.now());
    answer
}
