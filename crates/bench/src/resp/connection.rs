//! A connection to a server that speaks RESP.

use bytes::Buf;
use infinicache_client::{Address, Login};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
};

use super::{
    command,
    reply::{self, Reply},
};
use crate::{
    keys::Keys,
    request::{Failure, Operation, Outcome, Request},
    value::Pattern,
};

/// What is read at once. It stays in the second-level cache.
const READ: usize = 256 << 10;

/// Values of this size are sent from where they are; smaller ones are copied, so
/// that a whole pipeline of them is sent at once.
const LARGE: u64 = 16 << 10;

/// A connection, and the buffers of fixed size that belong to it.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    input: Input,
    out: Vec<u8>,
}

/// What was read and not yet understood.
#[derive(Debug)]
struct Input {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Connection {
    /// Connects, and gives the login if the address has one.
    ///
    /// # Errors
    ///
    /// If nobody listens, or the login is refused.
    pub async fn open(address: &Address) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address.as_str()).await?;
        stream.set_nodelay(true)?;
        let mut connection = Self {
            stream,
            input: Input {
                buffer: vec![0; READ].into(),
                start: 0,
                end: 0,
            },
            out: Vec::new(),
        };
        if let Some(Login { user, password }) = address.login() {
            let (user, password) = (user.as_bytes(), password.as_bytes());
            match user {
                b"" => command::whole(&mut connection.out, &[b"AUTH", password]),
                _ => command::whole(&mut connection.out, &[b"AUTH", user, password]),
            }
            connection.stream.write_all(&connection.out).await?;
            connection.out.clear();
            let (mut reader, _) = connection.stream.split();
            match connection.input.head(&mut reader).await? {
                Head::Done => {}
                Head::Refused(failure) => return Err(failure),
                _ => return Err(Failure::Protocol),
            }
        }
        Ok(connection)
    }

    /// Sends requests one after another, and tells of each answer in the same order.
    ///
    /// Answers are read while requests are still being sent, so that two large
    /// values in opposite directions do not wait for each other.
    ///
    /// # Errors
    ///
    /// A failure that is final, of the first request that was not told of.
    pub async fn exchange(
        &mut self,
        requests: &[Request],
        keys: &Keys,
        pattern: &Pattern,
        mut told: impl FnMut(Result<Outcome, Failure>),
    ) -> Result<(), Failure> {
        let Self { stream, input, out } = self;
        let (mut reader, mut writer) = stream.split();
        let send = send(&mut writer, out, requests, keys, pattern);
        let receive = async {
            for request in requests {
                told(input.answer(&mut reader, request, pattern).await?);
            }
            Ok(())
        };
        tokio::try_join!(send, receive)?;
        Ok(())
    }
}

impl Connection {
    /// What the server tells of itself in a section of `INFO`.
    ///
    /// # Errors
    ///
    /// If it tells nothing, or more than a buffer.
    pub async fn info(&mut self, section: &str) -> Result<String, Failure> {
        self.out.clear();
        command::whole(&mut self.out, &[b"INFO", section.as_bytes()]);
        self.stream.write_all(&self.out).await?;
        let (mut reader, _) = self.stream.split();
        let size = match self.input.head(&mut reader).await? {
            Head::Value(size) if size <= READ as u64 / 2 => size as usize,
            Head::Refused(failure) => return Err(failure),
            _ => return Err(Failure::Protocol),
        };
        while self.input.end - self.input.start < size + 2 {
            self.input.fill(&mut reader).await?;
        }
        let text = &self.input.buffer[self.input.start..][..size];
        let text = String::from_utf8_lossy(text).into_owned();
        self.input.start += size + 2;
        Ok(text)
    }
}

async fn send(
    writer: &mut WriteHalf<'_>,
    out: &mut Vec<u8>,
    requests: &[Request],
    keys: &Keys,
    pattern: &Pattern,
) -> Result<(), Failure> {
    out.clear();
    for request in requests {
        let name = keys.name(request.key);
        match request.operation {
            Operation::Get => command::whole(out, &[b"GET", &name]),
            Operation::Delete => command::whole(out, &[b"DEL", &name]),
            Operation::Set => {
                let size = request.size.unwrap_or(0);
                let value = pattern.value(request.key, request.version, size);
                command::set(out, &name, size);
                if size < LARGE {
                    out.extend_from_slice(&value);
                } else {
                    let mut whole = Buf::chain(out.as_slice(), value);
                    writer.write_all_buf(&mut whole).await?;
                    out.clear();
                }
                out.extend_from_slice(b"\r\n");
            }
        }
    }
    Ok(writer.write_all(out).await?)
}

/// The head of a reply, of which nothing else is wanted.
enum Head {
    Done,
    Value(u64),
    Nil,
    Refused(Failure),
}

impl Input {
    /// Reads the answer to a request.
    async fn answer(
        &mut self,
        reader: &mut ReadHalf<'_>,
        request: &Request,
        pattern: &Pattern,
    ) -> Result<Result<Outcome, Failure>, Failure> {
        let answer = match (request.operation, self.head(reader).await?) {
            (_, Head::Refused(failure)) => Err(failure),
            (Operation::Get, Head::Nil) => Ok(Outcome::Miss),
            (Operation::Get, Head::Value(size)) => {
                return self.value(reader, request, size, pattern).await;
            }
            (Operation::Set, Head::Done) => Ok(Outcome::Stored(request.size.unwrap_or(0))),
            (Operation::Delete, Head::Done) => Ok(Outcome::Deleted),
            _ => return Err(Failure::Protocol),
        };
        Ok(answer)
    }

    async fn head(&mut self, reader: &mut ReadHalf<'_>) -> Result<Head, Failure> {
        loop {
            let read = reply::read(&self.buffer[self.start..self.end]);
            let Some((reply, length)) = read.map_err(|_| Failure::Protocol)? else {
                self.fill(reader).await?;
                continue;
            };
            let head = match reply {
                Reply::Simple(_) | Reply::Integer(_) => Head::Done,
                Reply::Value(size) => Head::Value(size),
                Reply::Nil => Head::Nil,
                Reply::Error(text) => {
                    Head::Refused(Failure::refused(&String::from_utf8_lossy(text)))
                }
            };
            self.start += length;
            return Ok(head);
        }
    }

    /// Reads a value to its end, piece by piece into the same memory.
    async fn value(
        &mut self,
        reader: &mut ReadHalf<'_>,
        request: &Request,
        size: u64,
        pattern: &Pattern,
    ) -> Result<Result<Outcome, Failure>, Failure> {
        let mut check = request
            .is_verified
            .then(|| pattern.check(request.key, size));
        let mut rest = size;
        while rest > 0 {
            if self.start == self.end {
                self.fill(reader).await?;
            }
            let piece = rest.min((self.end - self.start) as u64) as usize;
            if let Some(check) = &mut check {
                check.feed(&self.buffer[self.start..self.start + piece]);
            }
            self.start += piece;
            rest -= piece as u64;
        }
        while self.end - self.start < 2 {
            self.fill(reader).await?;
        }
        if self.buffer[self.start..].starts_with(b"\r\n") {
            self.start += 2;
        } else {
            return Err(Failure::Protocol);
        }
        Ok(match check {
            _ if request.size.is_some_and(|expected| expected != size) => Err(Failure::WrongLength),
            Some(check) if !check.is_whole() => Err(Failure::WrongBytes),
            _ => Ok(Outcome::Hit(size)),
        })
    }

    /// Reads whatever there is, behind what was not understood yet.
    async fn fill(&mut self, reader: &mut ReadHalf<'_>) -> Result<(), Failure> {
        // A line of a reply is far shorter than the buffer, so there is room after this.
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        match reader.read(&mut self.buffer[self.end..]).await? {
            0 => Err(Failure::Connection(std::io::ErrorKind::UnexpectedEof)),
            count => {
                self.end += count;
                Ok(())
            }
        }
    }
}
