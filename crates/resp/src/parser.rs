//! Bytes to commands.
//!
//! The parser takes arguments off the read buffer one by one, so that it never
//! looks at a byte twice and a request may arrive in any pieces. It stops
//! before the first argument that is longer than [`STREAM_THRESHOLD`], or that
//! would bring the command over [`MAX_BUFFERED`]:
//!
//! ```text
//! *5\r\n $3\r\nSET\r\n $3\r\nkey\r\n $104857600\r\n | 104857600 bytes | \r\n $2\r\nEX\r\n $2\r\n60\r\n
//! `------------- parse ---------------------------' `--- took -----' `------------ parse ----------'
//! ```
//!
//! A peer's lengths are compared with the limits before anything is allocated.

use bytes::{Buf, Bytes, BytesMut};

use super::{error::ProtocolError, inline, integer::integer};

/// Arguments that are longer than this are not read but announced.
pub const STREAM_THRESHOLD: usize = 64 * 1024;

/// Bytes that the arguments of one command may take together: a value of
/// [`STREAM_THRESHOLD`] and a mebibyte of keys and options.
pub(super) const MAX_BUFFERED: usize = 1024 * 1024 + STREAM_THRESHOLD;

/// What an argument counts for besides its bytes: a [`Bytes`], and its length's line.
const ARGUMENT_COST: usize = 64;

/// Most arguments of one command, as in Redis.
const MAX_ARGUMENTS: i64 = 1024 * 1024;

/// Longest line, as in Redis.
pub(super) const MAX_LINE: usize = 64 * 1024;

/// What arguments count for.
pub(super) fn cost(args: &[Bytes]) -> usize {
    args.iter().map(|arg| ARGUMENT_COST + arg.len()).sum()
}

/// One request, or the first part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// The arguments that have been read.
    pub args: Vec<Bytes>,
    /// How many arguments the whole command has.
    pub count: usize,
    /// The length of the argument that follows `args`, if it was too large to be read with them.
    pub large: Option<u64>,
}

/// Cuts a byte stream into commands.
#[derive(Debug, Default)]
pub(super) struct Parser {
    /// Arguments read since the command's start, or since its last large argument.
    args: Vec<Bytes>,
    /// What `args` count for.
    buffered: usize,
    /// How many arguments the command has; none between two commands.
    count: usize,
    /// How many of them are not read yet.
    missing: usize,
    /// The length of the next argument, if its line has been read.
    length: Option<u64>,
    /// Bytes of a large argument that are still in the stream.
    large: Option<u64>,
    /// How much of the input has been searched for the end of a line.
    searched: usize,
}

impl Parser {
    /// Whether the input so far ends where a command does.
    pub(super) fn is_between_commands(&self) -> bool {
        self.count == 0
    }

    /// How many bytes more than those in `input` are certainly needed.
    pub(super) fn wanted(&self, input: &BytesMut) -> usize {
        let line_end = 2;
        let wanted = self.length.map_or(1, |length| length as usize + line_end);
        wanted.saturating_sub(input.len()).max(1)
    }

    /// The next command, or `None` if more bytes are needed.
    ///
    /// After a command with a large argument, and once that has been
    /// [taken](Self::took), this gives the rest of the same command.
    pub(super) fn parse(&mut self, input: &mut BytesMut) -> Result<Option<Command>, ProtocolError> {
        if !self.end_large(input)? {
            return Ok(None);
        }
        while self.count == 0 {
            let begun = match input.first() {
                None => return Ok(None),
                Some(b'*') => self.begin(input)?,
                Some(_) => self.inline(input)?,
            };
            if !begun {
                return Ok(None);
            }
        }
        while self.missing > 0 {
            let Some(length) = self.length(input)? else {
                return Ok(None);
            };
            if !self.has_room_for(length) {
                self.length = None;
                self.large = Some(length);
                return Ok(Some(self.command()));
            }
            let Some(arg) = self.argument(length as usize, input)? else {
                return Ok(None);
            };
            self.keep(arg);
        }
        let command = self.command();
        self.count = 0;
        Ok(Some(command))
    }

    /// Bytes of the large argument that have not been taken from the stream.
    pub(super) fn large(&self) -> u64 {
        self.large.unwrap_or(0)
    }

    /// Says that `count` bytes of the large argument were taken from the stream.
    pub(super) fn took(&mut self, count: usize) {
        if let Some(large) = &mut self.large {
            *large -= count as u64;
        }
    }

    /// Throws away what `input` has of the command; `false` if more of it is to come.
    pub(super) fn discard(&mut self, input: &mut BytesMut) -> Result<bool, ProtocolError> {
        self.args.clear();
        loop {
            let here = self.large().min(input.len() as u64) as usize;
            input.advance(here);
            self.took(here);
            if !self.end_large(input)? {
                return Ok(false);
            }
            if self.missing == 0 {
                self.count = 0;
                return Ok(true);
            }
            self.large = self.length(input)?;
            self.length = None;
            if self.large.is_none() {
                return Ok(false);
            }
        }
    }

    /// Reads the line `*count`; `false` if it is not whole.
    fn begin(&mut self, input: &mut BytesMut) -> Result<bool, ProtocolError> {
        let Some(line) = self.line(input, ProtocolError::CountTooLong)? else {
            return Ok(false);
        };
        let count = integer(&line[1..]).filter(|&count| count <= MAX_ARGUMENTS);
        let count = count.ok_or(ProtocolError::InvalidCount)?;
        // Like Redis: an empty or a null array is no command, and not an error.
        self.count = count.max(0) as usize;
        self.missing = self.count;
        Ok(true)
    }

    /// Reads an inline command; `false` if it is not whole.
    fn inline(&mut self, input: &mut BytesMut) -> Result<bool, ProtocolError> {
        let Some(mut line) = self.split_at(b'\n', input, ProtocolError::InlineTooLong)? else {
            return Ok(false);
        };
        if line.ends_with(b"\r") {
            line.truncate(line.len() - 1);
        }
        self.args = inline::split(&line)?;
        self.count = self.args.len();
        Ok(true)
    }

    /// The length of the next argument, reading its line if need be.
    fn length(&mut self, input: &mut BytesMut) -> Result<Option<u64>, ProtocolError> {
        if self.length.is_none()
            && let Some(line) = self.line(input, ProtocolError::LengthTooLong)?
        {
            let Some(text) = line.strip_prefix(b"$") else {
                let found = line.first().copied().unwrap_or(b' ');
                return Err(ProtocolError::NotABulkString(printable(found)));
            };
            let length = integer(text).and_then(|length| u64::try_from(length).ok());
            self.length = Some(length.ok_or(ProtocolError::InvalidLength)?);
        }
        Ok(self.length)
    }

    fn has_room_for(&self, length: u64) -> bool {
        let room = MAX_BUFFERED.saturating_sub(self.buffered + ARGUMENT_COST);
        length <= STREAM_THRESHOLD.min(room) as u64
    }

    /// Splits an argument and the end of its line off `input`.
    fn argument(
        &mut self,
        length: usize,
        input: &mut BytesMut,
    ) -> Result<Option<Bytes>, ProtocolError> {
        let Some(end) = input.get(length..length + 2) else {
            return Ok(None);
        };
        if end != b"\r\n" {
            return Err(ProtocolError::NoLineEnd);
        }
        let arg = input.split_to(length).freeze();
        input.advance(2);
        Ok(Some(arg))
    }

    fn keep(&mut self, arg: Bytes) {
        self.buffered += ARGUMENT_COST + arg.len();
        self.args.push(arg);
        self.length = None;
        self.missing -= 1;
    }

    /// Reads the end of the large argument's line, if that is what comes next; `false` if it is not whole.
    fn end_large(&mut self, input: &mut BytesMut) -> Result<bool, ProtocolError> {
        let Some(left) = self.large else {
            return Ok(true);
        };
        if left > 0 || self.argument(0, input)?.is_none() {
            return Ok(false);
        }
        self.large = None;
        self.missing -= 1;
        Ok(true)
    }

    fn command(&mut self) -> Command {
        self.buffered = 0;
        Command {
            args: std::mem::take(&mut self.args),
            count: self.count,
            large: self.large,
        }
    }

    /// Splits a line that ends in CRLF off `input`, without its end.
    fn line(
        &mut self,
        input: &mut BytesMut,
        too_long: ProtocolError,
    ) -> Result<Option<BytesMut>, ProtocolError> {
        let Some(line) = self.split_at(b'\r', input, too_long)? else {
            return Ok(None);
        };
        match input.first() {
            Some(b'\n') => {
                input.advance(1);
                Ok(Some(line))
            }
            Some(_) => Err(ProtocolError::NoLineEnd),
            None => unreachable!("`split_at` waits for the byte after a carriage return"),
        }
    }

    /// Splits what stands before `end` off `input`, and drops `end`.
    fn split_at(
        &mut self,
        end: u8,
        input: &mut BytesMut,
        too_long: ProtocolError,
    ) -> Result<Option<BytesMut>, ProtocolError> {
        let found = input[self.searched..].iter().position(|&byte| byte == end);
        let at = self.searched + found.unwrap_or(input.len() - self.searched);
        if at > MAX_LINE {
            return Err(too_long);
        }
        let follower = usize::from(end == b'\r');
        if at + follower >= input.len() {
            self.searched = at;
            return Ok(None);
        }
        self.searched = 0;
        let line = input.split_to(at);
        input.advance(1);
        Ok(Some(line))
    }
}

fn printable(byte: u8) -> char {
    match byte {
        b' '..=b'~' => char::from(byte),
        _ => ' ',
    }
}

#[cfg(test)]
mod tests;
