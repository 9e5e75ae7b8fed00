//! A connection: commands in, replies out.

use std::{io, pin::pin, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use redis_protocol::resp2::types::BytesFrame;
use tokio::{io::AsyncWriteExt, time};

use super::{
    error::{Error, ProtocolError},
    parser::{self, Command, MAX_BUFFERED},
    protocol::Protocol,
    reader::{Input, Reader, Value},
    timeouts::Timeouts,
    writer::{Output, Writer},
};

/// Queued replies are sent once they are this many bytes, even if more commands wait.
const FLUSH_AT: usize = 64 * 1024;

/// How long, and to how many bytes, a peer is listened to after its connection
/// was refused. Closing while its bytes are unread would reset the connection,
/// and it might never see why.
const LINGER: (Duration, usize) = (Duration::from_secs(1), 1024 * 1024);

/// The two halves of a connection's socket, and what was read ahead from it.
#[derive(Debug)]
pub struct ConnectionParts<R, W> {
    /// What the connection receives from.
    pub reader: R,
    /// What it sends to.
    pub writer: W,
    /// What was read, and is part of no command yet.
    pub ahead: BytesMut,
}

/// Reads commands and sends replies.
#[derive(Debug)]
pub struct Connection<R, W> {
    reader: Reader<R>,
    writer: Writer<W>,
    /// What was parsed already, and is to be run next.
    next: Option<Result<Command, Error>>,
}

impl<R: Input, W: Output> Connection<R, W> {
    /// A connection whose peer may be silent for so long.
    pub fn new(reader: R, writer: W, timeouts: Timeouts) -> Self {
        Self {
            reader: Reader::new(reader, timeouts),
            writer: Writer::new(writer, timeouts.stall),
            next: None,
        }
    }

    /// The next command; `None` if the peer left, or `stop` completed, before there was one.
    ///
    /// Replies are sent when no whole command is left to answer with them.
    ///
    /// # Errors
    ///
    /// When the connection cannot go on, but for [`Error::Idle`], after which it can.
    pub async fn next_command(&mut self, stop: impl Future) -> Result<Option<Command>, Error> {
        let mut stop = pin!(stop);
        loop {
            let command = match self.next.take() {
                Some(next) => Some(next?),
                None => self.reader.parse()?,
            };
            if command
                .as_ref()
                .is_none_or(|command| command.large.is_some())
            {
                self.writer.flush().await?;
            }
            if command.is_some() {
                return Ok(command);
            }
            tokio::select! {
                biased;
                more = self.reader.fill() => if !more? {
                    return Ok(None);
                },
                _ = &mut stop => return Ok(None),
            }
        }
    }

    /// Whether the next command has been received already, and nothing is wrong with it.
    pub fn is_ready(&mut self) -> bool {
        if self.next.is_none() {
            self.next = self.reader.parse().transpose();
        }
        matches!(self.next, Some(Ok(_)))
    }

    /// The next command, if it has been received already. What is wrong with it is reported later.
    pub fn ready(&mut self) -> Option<Command> {
        match self.is_ready() {
            true => self.next.take()?.ok(),
            false => None,
        }
    }

    /// Leaves the command that was [ready](Self::ready) for later.
    pub fn put_back(&mut self, command: Command) {
        self.next = Some(Ok(command));
    }

    /// The argument that was too large to come with the command, as a stream.
    pub fn value(&mut self) -> Value<'_, R> {
        self.reader.value()
    }

    /// The arguments after the large one, which has been read to its end.
    pub async fn rest(&mut self) -> Result<Command, Error> {
        self.reader.rest().await
    }

    /// Throws away what has not been read of a command, in bounded memory.
    pub async fn discard_rest(&mut self) -> Result<(), Error> {
        self.reader.discard_rest().await
    }

    /// All arguments of a command, large ones too if together they are small
    /// enough to be held; else they are thrown away.
    pub async fn whole(&mut self, command: Command) -> Result<Option<Vec<Bytes>>, Error> {
        let Command {
            mut args,
            mut large,
            ..
        } = command;
        let mut held = parser::cost(&args);
        while let Some(length) = large {
            held = held.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
            if held > MAX_BUFFERED {
                self.discard_rest().await?;
                return Ok(None);
            }
            args.push(self.reader.piece(length as usize).await?);
            let rest = self.rest().await?;
            held += parser::cost(&rest.args);
            args.extend(rest.args);
            large = rest.large;
        }
        Ok(Some(args))
    }

    /// Queues a reply.
    pub fn reply(&mut self, frame: &BytesFrame) {
        self.writer.outbox.frame(frame);
    }

    /// Queues an array of names and values as a map, where the protocol has maps.
    pub fn reply_map(&mut self, frame: &BytesFrame) {
        self.writer.outbox.map(frame);
    }

    /// Replies are of this version from now on.
    pub fn speak(&mut self, protocol: Protocol) {
        self.writer.outbox.protocol = protocol;
    }

    /// Queues the head of a bulk string; `length` bytes of it and its end have to follow.
    pub fn begin_bulk(&mut self, length: u64) {
        self.writer.outbox.begin_bulk(length);
    }

    /// Queues parts of a bulk string.
    pub fn parts(&mut self, parts: Vec<Bytes>) {
        for part in parts {
            self.writer.outbox.part(part);
        }
    }

    /// Queues the end of a bulk string.
    pub fn end_bulk(&mut self) {
        self.writer.outbox.end_bulk();
    }

    /// Sends what is queued.
    ///
    /// # Cancellation
    ///
    /// Safe: what was not sent stays queued.
    pub async fn flush(&mut self) -> Result<(), Error> {
        self.writer.flush().await
    }

    /// Sends what is queued if it is much.
    pub async fn flush_if_full(&mut self) -> Result<(), Error> {
        match self.writer.outbox.remaining() {
            FLUSH_AT.. => self.flush().await,
            _ => Ok(()),
        }
    }

    /// Sends what is queued, then the reason why the connection is closed, and closes it.
    pub async fn refuse(mut self, reason: ProtocolError) {
        let reason = format!("ERR Protocol error: {reason}");
        self.reply(&BytesFrame::Error(reason.into()));
        self.close().await;
    }

    /// Sends what is queued, and closes the connection so that the peer can read it.
    pub async fn close(mut self) {
        if self.flush().await.is_err() || self.writer.socket.shutdown().await.is_err() {
            return;
        }
        let (limit, bytes) = LINGER;
        let _ = time::timeout(limit, self.reader.linger(bytes)).await;
    }

    /// The same, once `adopt` has made other halves of the socket's.
    ///
    /// # Errors
    ///
    /// Those of `adopt`.
    pub fn adopted(self, adopt: impl FnOnce(R, W) -> io::Result<(R, W)>) -> io::Result<Self> {
        let (reader, read_half) = self.reader.exchange(());
        let (writer, write_half) = self.writer.exchange(());
        let (read_half, write_half) = adopt(read_half, write_half)?;
        Ok(Self {
            reader: reader.exchange(read_half).0,
            writer: writer.exchange(write_half).0,
            next: self.next,
        })
    }

    /// Sends what is queued, and gives the socket away.
    pub async fn into_parts(mut self) -> Result<ConnectionParts<R, W>, Error> {
        self.flush().await?;
        let (reader, ahead) = self.reader.into_parts();
        Ok(ConnectionParts {
            reader,
            writer: self.writer.socket,
            ahead,
        })
    }
}

#[cfg(test)]
mod tests;
