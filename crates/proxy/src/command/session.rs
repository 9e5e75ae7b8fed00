//! One client's connection, and what all of them share.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use infinicache_host::clock;
use redis_protocol::resp2::types::BytesFrame;

use super::{Answer, CommandRecord, CommandResult, ErrorReply, Observe, Store};
use crate::password::Password;
use infinicache_resp::{Connection, Input, Output, Protocol};

/// Commands that are reported at once, if so many follow each other without a wait.
const TOLD_AT_ONCE: usize = 64;

/// What all connections share.
pub(crate) struct ServerContext<S> {
    pub(crate) store: S,
    pub(crate) observer: Arc<dyn Observe>,
    /// What clients have to give first, if anything.
    password: Option<Password>,
    /// The id of the last connection.
    last_client: AtomicU64,
}

impl<S> ServerContext<S> {
    pub(crate) fn new(store: S, observer: Arc<dyn Observe>) -> Self {
        Self {
            store,
            observer,
            password: None,
            last_client: AtomicU64::new(0),
        }
    }

    /// The same, for clients who know the password.
    pub(crate) fn guarded_by(self, password: Password) -> Self {
        Self {
            password: Some(password),
            ..self
        }
    }

    /// The password, if clients need one.
    pub(super) fn password(&self) -> Option<&Password> {
        self.password
            .as_ref()
            .filter(|password| password.is_needed())
    }
}

/// What a client told about itself, and what `CLIENT` tells about it.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) id: u64,
    /// The address it connected from.
    pub(crate) peer: String,
    /// The address it connected to.
    pub(crate) local: String,
    pub(crate) since: Instant,
    pub(crate) protocol: Protocol,
    pub(crate) name: Bytes,
    pub(crate) library: Bytes,
    pub(crate) library_version: Bytes,
    /// Whether it has given the password.
    pub(super) is_known: bool,
}

/// One client's connection.
pub(crate) struct RedisSession<S: Store, R, W> {
    pub(crate) state: Arc<ServerContext<S>>,
    pub(crate) connection: Connection<R, W>,
    pub(crate) client: Client,
    /// What it has opened, if it is a smart client's.
    pub(crate) owned: S::Resources,
    /// How the command that is being run was answered.
    pub(super) result: CommandResult,
    /// Bytes of values that went in and out with it.
    pub(super) moved: u64,
    /// Whether it found a value, if it was to read one.
    pub(super) hit: Option<bool>,
    /// Since when it is run.
    pub(super) begun: Instant,
    /// What was not reported yet.
    answered: Vec<CommandRecord>,
}

impl<S: Store, R, W> RedisSession<S, R, W> {
    /// Whether the client may ask for anything.
    pub(super) fn is_known(&self) -> bool {
        self.client.is_known || self.state.password().is_none()
    }
}

impl<S: Store, R: Input, W: Output> RedisSession<S, R, W> {
    pub(crate) fn new(
        state: Arc<ServerContext<S>>,
        connection: Connection<R, W>,
        peer: String,
        local: String,
    ) -> Self {
        let client = Client {
            id: state.last_client.fetch_add(1, Ordering::Relaxed) + 1,
            peer,
            local,
            since: clock::now(),
            protocol: Protocol::default(),
            name: Bytes::new(),
            library: Bytes::new(),
            library_version: Bytes::new(),
            is_known: false,
        };
        let owned = state.store.no_resources();
        Self {
            state,
            connection,
            client,
            owned,
            result: CommandResult::Ok,
            moved: 0,
            hit: None,
            begun: clock::now(),
            answered: Vec::new(),
        }
    }

    /// The same, once `adopt` has made other halves of the socket's.
    ///
    /// # Errors
    ///
    /// Those of `adopt`.
    pub(crate) fn adopted(
        self,
        adopt: impl FnOnce(R, W) -> io::Result<(R, W)>,
    ) -> io::Result<Self> {
        let connection = self.connection.adopted(adopt)?;
        Ok(Self { connection, ..self })
    }

    /// The next command has been waited for.
    pub(crate) fn begin(&mut self) {
        self.begun = clock::now();
    }

    /// Another command is run from now on.
    pub(super) fn forget_result(&mut self) {
        (self.result, self.moved, self.hit) = (CommandResult::Ok, 0, None);
    }

    /// A command has been answered. If others have been received with it, the next is run since now.
    pub(super) fn answered(&mut self, name: &'static str) {
        let now = clock::now();
        let begun = std::mem::replace(&mut self.begun, now);
        self.answered.push(CommandRecord {
            name,
            result: self.result,
            hit: self.hit,
            bytes: self.moved,
            elapsed: now - begun,
        });
        if self.answered.len() == TOLD_AT_ONCE {
            self.tell();
        }
    }

    /// Reports the commands that were answered to the observer.
    pub(crate) fn tell(&mut self) {
        if !self.answered.is_empty() {
            self.state.observer.commands(&self.answered);
            self.answered.clear();
        }
    }

    /// Queues the answer to the command that is being run.
    pub(crate) fn answer(&mut self, answer: Answer) {
        match answer {
            Ok(frame) => self.reply(&frame),
            Err(refused) => self.refuse(refused),
        }
    }

    /// Queues a reply.
    pub(crate) fn reply(&mut self, frame: &BytesFrame) {
        self.connection.reply(frame);
    }

    /// Queues an error reply.
    pub(crate) fn refuse(&mut self, refused: impl Into<ErrorReply>) {
        self.result = CommandResult::Error;
        self.connection.reply(&refused.into().into_frame());
    }
}
