//! A connection to a server that speaks RESP.

use bytes::Buf;
use infinicache_client::{Address, Login};
use infinicache_resp::{ReceiveError, Replies, reply::Head, request};
use tokio::{
    io::AsyncWriteExt,
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
};

use crate::{
    keys::Keys,
    request::{Failure, Operation, Request, RequestOutcome},
    value::{Check, Pattern},
};

/// What is read at once. It stays in the second-level cache.
const READ: usize = 256 << 10;

/// Values of this size are sent from where they are; smaller ones are copied, so
/// that a whole pipeline of them is sent at once.
const LARGE: u64 = 16 << 10;

/// A connection, and the buffers of fixed size that belong to it.
#[derive(Debug)]
pub struct RespConnection {
    stream: TcpStream,
    replies: Replies,
    out: Vec<u8>,
}

impl RespConnection {
    /// Connects, and gives the login if the address has one.
    ///
    /// # Errors
    ///
    /// If no server listens, or the login is refused.
    pub async fn open(address: &Address) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address.as_str()).await?;
        stream.set_nodelay(true)?;
        let mut connection = Self {
            stream,
            replies: Replies::new(READ),
            out: Vec::new(),
        };
        if let Some(Login { user, password }) = address.login() {
            let (user, password) = (user.as_bytes(), password.as_bytes());
            match user {
                b"" => request::encode(&mut connection.out, &[b"AUTH", password]),
                _ => request::encode(&mut connection.out, &[b"AUTH", user, password]),
            }
            connection.stream.write_all(&connection.out).await?;
            connection.out.clear();
            let (mut reader, _) = connection.stream.split();
            match connection.replies.head(&mut reader).await? {
                Head::Simple(_) => {}
                Head::Error(text) => return Err(refused(text)),
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
        mut told: impl FnMut(Result<RequestOutcome, Failure>),
    ) -> Result<(), Failure> {
        let Self {
            stream,
            replies,
            out,
        } = self;
        let (mut reader, mut writer) = stream.split();
        let send = send(&mut writer, out, requests, keys, pattern);
        let receive = async {
            for request in requests {
                told(answer(replies, &mut reader, request, pattern).await?);
            }
            Ok(())
        };
        tokio::try_join!(send, receive)?;
        Ok(())
    }
}

impl RespConnection {
    /// What the server tells of itself in a section of `INFO`.
    ///
    /// # Errors
    ///
    /// If it tells nothing, or more than a buffer.
    pub async fn info(&mut self, section: &str) -> Result<String, Failure> {
        self.out.clear();
        request::encode(&mut self.out, &[b"INFO", section.as_bytes()]);
        self.stream.write_all(&self.out).await?;
        let (mut reader, _) = self.stream.split();
        let size = match self.replies.head(&mut reader).await? {
            Head::Bulk(size) if size <= READ as u64 / 2 => size,
            Head::Error(text) => return Err(refused(text)),
            _ => return Err(Failure::Protocol),
        };
        let mut text = Vec::new();
        let show = |piece: &[u8]| text.extend_from_slice(piece);
        self.replies.value(&mut reader, size, show).await?;
        Ok(String::from_utf8_lossy(&text).into_owned())
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
            Operation::Get => request::encode(out, &[b"GET", &name[..]]),
            Operation::Delete => request::encode(out, &[b"DEL", &name[..]]),
            Operation::Set => {
                let size = request.size.unwrap_or(0);
                let value = pattern.value(request.key, request.version, size);
                request::begin(out, 3);
                request::argument(out, b"SET");
                request::argument(out, &name);
                request::begin_argument(out, size);
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

/// Reads the answer to a request.
async fn answer(
    replies: &mut Replies,
    reader: &mut ReadHalf<'_>,
    request: &Request,
    pattern: &Pattern,
) -> Result<Result<RequestOutcome, Failure>, Failure> {
    Ok(match (request.operation, replies.head(reader).await?) {
        (_, Head::Error(text)) => Err(refused(text)),
        (Operation::Get, Head::Null) => Ok(RequestOutcome::Miss),
        (Operation::Get, Head::Bulk(size)) => {
            let mut check = request
                .is_verified
                .then(|| pattern.check(request.key, size));
            let show = |piece: &[u8]| {
                if let Some(check) = &mut check {
                    check.feed(piece);
                }
            };
            replies.value(reader, size, show).await?;
            value(request, size, check)
        }
        (Operation::Set, Head::Simple(_) | Head::Integer(_)) => {
            Ok(RequestOutcome::Stored(request.size.unwrap_or(0)))
        }
        (Operation::Delete, Head::Simple(_) | Head::Integer(_)) => Ok(RequestOutcome::Deleted),
        _ => return Err(Failure::Protocol),
    })
}

/// What a value is that came to its end.
fn value(
    request: &Request,
    size: u64,
    check: Option<Check<'_>>,
) -> Result<RequestOutcome, Failure> {
    match check {
        _ if request.size.is_some_and(|expected| expected != size) => Err(Failure::WrongLength),
        Some(check) if !check.is_whole() => Err(Failure::WrongBytes),
        _ => Ok(RequestOutcome::Hit(size)),
    }
}

fn refused(text: &[u8]) -> Failure {
    Failure::refused(&String::from_utf8_lossy(text))
}

impl From<ReceiveError> for Failure {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Protocol(_) => Self::Protocol,
            ReceiveError::Io(error) => error.into(),
        }
    }
}
