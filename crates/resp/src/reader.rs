//! The receiving half of a connection.
//!
//! Small arguments are split off one read buffer. A large value is read by
//! [`Value`], each piece to its last byte and no further, into a buffer of its
//! own: payload is copied only where it was read together with its header.
//!
//! A peer may be silent between commands for as long as it likes, unless that is
//! limited, but not within one, where it holds buffers.

use std::{io, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time,
};

use super::{
    error::Error,
    parser::{Command, Parser},
    timeouts::Timeouts,
};

/// How many bytes are read at once while arguments are small.
pub(super) const READ_AHEAD: usize = 16 * 1024;

/// What a connection receives from.
pub trait Input: AsyncRead + Unpin + Send {}
impl<R: AsyncRead + Unpin + Send> Input for R {}

/// The receiving half of a connection.
#[derive(Debug)]
pub(super) struct Reader<R> {
    socket: R,
    /// Read, but not yet part of a command.
    ahead: BytesMut,
    parser: Parser,
    timeouts: Timeouts,
    /// Why a value could not be read; nothing can be read after it.
    failure: Option<Error>,
}

impl<R> Reader<R> {
    /// The same with another socket, and the one before.
    pub(super) fn exchange<T>(self, socket: T) -> (Reader<T>, R) {
        let reader = Reader {
            socket,
            ahead: self.ahead,
            parser: self.parser,
            timeouts: self.timeouts,
            failure: self.failure,
        };
        (reader, self.socket)
    }
}

impl<R: Input> Reader<R> {
    pub(super) fn new(socket: R, timeouts: Timeouts) -> Self {
        Self {
            socket,
            ahead: BytesMut::new(),
            parser: Parser::default(),
            timeouts,
            failure: None,
        }
    }

    /// The socket, and what was read from it but is not part of a command yet.
    pub(super) fn into_parts(self) -> (R, BytesMut) {
        (self.socket, self.ahead)
    }

    /// The next command, if it has been received.
    pub(super) fn parse(&mut self) -> Result<Option<Command>, Error> {
        Ok(self.parser.parse(&mut self.ahead)?)
    }

    /// Waits for more bytes; `false` if the peer left between two commands.
    ///
    /// # Errors
    ///
    /// [`Error::Idle`] between two commands: it can be waited on.
    ///
    /// # Cancellation
    ///
    /// Safe: what was received is kept.
    pub(super) async fn fill(&mut self) -> Result<bool, Error> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let wanted = self.parser.wanted(&self.ahead).max(READ_AHEAD);
        self.ahead.reserve(wanted);
        let idle = self.parser.is_between_commands() && self.ahead.is_empty();
        let mut room = (&mut self.ahead).limit(wanted);
        let receive = self.socket.read_buf(&mut room);
        let count = match (idle, self.timeouts.idle) {
            (true, None) => receive.await?,
            (true, Some(limit)) => match time::timeout(limit, receive).await {
                Ok(received) => received?,
                Err(_) => return Err(Error::Idle(limit)),
            },
            (false, _) => in_time(self.timeouts.stall, receive).await?,
        };
        match count {
            0 if idle => Ok(false),
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            _ => Ok(true),
        }
    }

    /// The large argument, as a stream.
    pub(super) fn value(&mut self) -> Value<'_, R> {
        Value(self)
    }

    /// The arguments after the large one, which has been read.
    pub(super) async fn rest(&mut self) -> Result<Command, Error> {
        loop {
            if let Some(command) = self.parse()? {
                return Ok(command);
            }
            self.fill().await?;
        }
    }

    /// Throws away what has not been read of the command, in bounded memory.
    pub(super) async fn discard_rest(&mut self) -> Result<(), Error> {
        while !self.parser.discard(&mut self.ahead)? {
            self.fill().await?;
        }
        Ok(())
    }

    /// Receives and throws away whatever comes until the peer closes, to a limit.
    pub(super) async fn linger(&mut self, limit: usize) {
        let mut left = limit;
        while left > 0 {
            self.ahead.clear();
            self.ahead.reserve(READ_AHEAD);
            match self.socket.read_buf(&mut self.ahead).await {
                Ok(1..) => left = left.saturating_sub(self.ahead.len()),
                _ => return,
            }
        }
    }

    /// The next `length` bytes of the large argument.
    pub(super) async fn piece(&mut self, length: usize) -> Result<Bytes, Error> {
        let mut piece = BytesMut::with_capacity(length);
        let head = self.ahead.len().min(length);
        piece.put(self.ahead.split_to(head));
        while piece.len() < length {
            let rest = length - piece.len();
            let mut room = (&mut piece).limit(rest);
            let receive = self.socket.read_buf(&mut room);
            if in_time(self.timeouts.stall, receive).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
        self.parser.took(length);
        Ok(piece.freeze())
    }
}

async fn in_time(
    limit: Duration,
    receive: impl Future<Output = io::Result<usize>>,
) -> Result<usize, Error> {
    match time::timeout(limit, receive).await {
        Ok(received) => Ok(received?),
        Err(_) => Err(Error::Stalled(limit)),
    }
}

/// A value on its way in. What is not read of it has to be discarded.
#[derive(Debug)]
pub struct Value<'a, R>(&'a mut Reader<R>);

impl<R: Input> Value<'_, R> {
    /// The next `length` bytes; fewer only at the end of the value.
    ///
    /// # Errors
    ///
    /// If the connection fails, or the client makes no progress. There is nothing more to be read
    /// then.
    pub async fn read(&mut self, length: usize) -> io::Result<Bytes> {
        let Self(reader) = self;
        if reader.failure.is_some() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let left = usize::try_from(reader.parser.large()).unwrap_or(usize::MAX);
        match reader.piece(length.min(left)).await {
            Ok(piece) => Ok(piece),
            Err(failure) => {
                let error = match &failure {
                    Error::Io(error) => io::Error::new(error.kind(), error.to_string()),
                    other => io::Error::new(io::ErrorKind::TimedOut, other.to_string()),
                };
                reader.failure = Some(failure);
                Err(error)
            }
        }
    }
}
