//! A proxy before a fake pool: the `IC.*` commands and the relay, over real sockets.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::{Bytes, BytesMut};
use infinicache_client::{Condition, Error, Expiry, Terms, Version};
use infinicache_engine::{NodeLink, Pool};
use infinicache_wire::{
    Decoder, MemberId, Request, WriteId,
    control::{CommitReply, Located, NodeState, NodeStatus, PoolStatus},
};
use redis_protocol::resp2::{decode::decode_bytes_mut, encode::extend_encode, types::BytesFrame};
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

use crate::support::{FakeFound, FakePool};

/// Leases have other numbers than writes.
pub(crate) const LEASES: u64 = 1_000;

/// A proxy. Clones are handles to the same; it serves until the runtime ends.
#[derive(Clone)]
pub(crate) struct FakeProxy(Arc<Inner>);

struct Inner {
    pub pool: FakePool,
    address: String,
    log: Mutex<Vec<String>>,
    /// Answers that go before those of the pool: the command, and its answer.
    scripted: Mutex<VecDeque<(&'static str, BytesFrame)>>,
    /// Commands that are not answered at all.
    silenced: Mutex<Vec<&'static str>>,
    connections: Mutex<CancellationToken>,
    /// How many connections the other side has closed.
    left: AtomicUsize,
}

impl FakeProxy {
    pub(crate) async fn start(pool: FakePool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self(Arc::new(Inner {
            pool,
            address: listener.local_addr().unwrap().to_string(),
            log: Mutex::default(),
            scripted: Mutex::default(),
            silenced: Mutex::default(),
            connections: Mutex::default(),
            left: AtomicUsize::new(0),
        }));
        let serving = proxy.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let closed = serving.0.connections.lock().unwrap().clone();
                let proxy = serving.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = proxy.serve(stream) => {}
                        () = closed.cancelled() => {}
                    }
                });
            }
        });
        proxy
    }

    pub(crate) fn pool(&self) -> &FakePool {
        &self.0.pool
    }

    pub(crate) fn address(&self) -> String {
        self.0.address.clone()
    }

    /// The commands received that begin with a word.
    pub(crate) fn received(&self, word: &str) -> Vec<String> {
        let log = self.0.log.lock().unwrap();
        log.iter()
            .filter(|line| line.split(' ').next() == Some(word))
            .cloned()
            .collect()
    }

    /// Waits until a command has been received so many times.
    pub(crate) async fn receives(&self, word: &str, times: usize) {
        while self.received(word).len() < times {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    /// Answers the next such command with an error.
    pub(crate) fn refuse(&self, command: &'static str, error: &str) {
        self.script(command, BytesFrame::Error(error.into()));
    }

    /// Answers the next IC.LOCATE with where a value is, or was.
    pub(crate) fn locate_next(&self, found: &FakeFound) {
        self.script("IC.LOCATE", document(&located(found)));
    }

    fn script(&self, command: &'static str, answer: BytesFrame) {
        self.0.scripted.lock().unwrap().push_back((command, answer));
    }

    /// Does not answer the next such command.
    pub(crate) fn silence(&self, command: &'static str) {
        self.0.silenced.lock().unwrap().push(command);
    }

    /// How many connections the other side has closed.
    pub(crate) fn left(&self) -> usize {
        self.0.left.load(Relaxed)
    }

    /// Waits until it has closed so many.
    pub(crate) async fn is_left(&self, times: usize) {
        while self.left() < times {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    /// Closes every connection that is open.
    pub(crate) fn hang_up(&self) {
        std::mem::take(&mut *self.0.connections.lock().unwrap()).cancel();
    }

    async fn serve(&self, mut stream: TcpStream) {
        let mut buffer = BytesMut::new();
        let mut opened = Opened::new(self.pool());
        loop {
            let Some((request, ..)) = decode_bytes_mut(&mut buffer).unwrap() else {
                match stream.read_buf(&mut buffer).await {
                    Ok(1..) => continue,
                    _ => {
                        drop(opened);
                        self.0.left.fetch_add(1, Relaxed);
                        return;
                    }
                }
            };
            let BytesFrame::Array(words) = request else {
                panic!("{request:?}")
            };
            let words: Vec<String> = words
                .into_iter()
                .map(|word| match word {
                    BytesFrame::BulkString(word) => String::from_utf8(word.to_vec()).unwrap(),
                    other => panic!("{other:?}"),
                })
                .collect();
            self.0.log.lock().unwrap().push(words.join(" "));
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let is_silenced = {
                let mut silenced = self.0.silenced.lock().unwrap();
                let at = silenced.iter().position(|command| *command == words[0]);
                at.map(|at| silenced.remove(at)).is_some()
            };
            if is_silenced {
                continue;
            }
            let scripted = {
                let mut scripted = self.0.scripted.lock().unwrap();
                let at = scripted
                    .iter()
                    .position(|(command, _)| *command == words[0]);
                at.and_then(|at| scripted.remove(at))
            };
            let answer = match scripted {
                Some((_, answer)) => answer,
                None => self
                    .answer(&words, &mut opened)
                    .await
                    .unwrap_or_else(|error| refused(&error)),
            };
            let mut encoded = BytesMut::new();
            extend_encode(&mut encoded, &answer, false).unwrap();
            if stream.write_all(&encoded).await.is_err() {
                return;
            }
            if words[0] == "IC.LINK" {
                return self.relay(stream, buffer).await;
            }
        }
    }

    async fn answer(&self, words: &[&str], opened: &mut Opened) -> Result<BytesFrame, Error> {
        let pool = &self.0.pool;
        let ok = Ok(BytesFrame::SimpleString("OK".into()));
        Ok(match *words {
            ["IC.LINK"] => return ok,
            ["IC.NODES"] => document(&self.view()),
            ["IC.OPEN", key, size, ref options @ ..] => {
                let blind = options.contains(&"BLIND");
                let write = pool.open(key.as_bytes(), size.parse().ok(), blind).await?;
                opened.writes.push(write.write);
                document(&write)
            }
            ["IC.RESERVE", write, bytes] => {
                let reserved = pool.reserve(id(write), bytes.parse().unwrap()).await?;
                BytesFrame::Integer(reserved as i64)
            }
            ["IC.REPLACE", write, index, ..] => {
                document(&pool.replace(id(write), index.parse().unwrap()).await?)
            }
            ["IC.COMMIT", write, size, ref options @ ..] => {
                let terms = Terms {
                    condition: match options {
                        _ if options.contains(&"NX") => Some(Condition::Absent),
                        _ if options.contains(&"XX") => Some(Condition::Present),
                        _ => None,
                    },
                    expiry: Expiry::Never,
                    previous: false,
                };
                let size = size.parse().unwrap();
                let outcome = pool.commit(id(write), size, &terms).await?;
                document(&CommitReply::from(outcome))
            }
            ["IC.ABORT", write] => {
                pool.abort(id(write));
                return ok;
            }
            ["IC.LOCATE", key, ..] => match pool.found(key) {
                Some(found) => document(&located(&found)),
                None => BytesFrame::Null,
            },
            ["IC.RELEASE", _] => return ok,
            ["DEL", key] => BytesFrame::Integer(i64::from(pool.forget(key))),
            ["EXISTS", key] => BytesFrame::Integer(i64::from(pool.found(key).is_some())),
            _ => BytesFrame::Error("ERR unknown command".into()),
        })
    }

    fn view(&self) -> PoolStatus {
        let node = |number: u32| NodeStatus {
            name: format!("node-{number}"),
            state: NodeState::Active,
            member: Some(MemberId(number)),
            instance: None,
            host: String::new(),
            zone: String::new(),
            capacity: 1 << 30,
            used: 0,
            chunks: 0,
            heard_ms: Some(0),
            slow: false,
            resting: false,
            wake_failure: None,
        };
        PoolStatus {
            epoch: 1,
            data: 4,
            parity: 2,
            max_object_bytes: 1 << 30,
            nodes: (0..self.0.pool.nodes().len() as u32).map(node).collect(),
        }
    }

    async fn relay(&self, stream: TcpStream, ahead: BytesMut) {
        let (mut reader, writer) = stream.into_split();
        let writer = Arc::new(tokio::sync::Mutex::new(writer));
        let mut decoder = Decoder::starting_with(ahead);
        loop {
            while let Some(frame) = decoder.decode().unwrap() {
                let (id, member) = (frame.header.id, frame.header.member);
                let request = Request::from_frame(frame).unwrap();
                let (node, writer) = (self.0.pool.node(member).clone(), writer.clone());
                tokio::spawn(async move {
                    let reply = node.call(request).await.into_frame(id);
                    let frame = [&reply.header.encode()[..], &reply.payload].concat();
                    // The client may have left.
                    let _ = writer.lock().await.write_all(&frame).await;
                });
            }
            match reader.read_buf(&mut decoder.buffer()).await {
                Ok(1..) => {}
                _ => return,
            }
        }
    }
}

/// What was opened over a connection, and ends with it.
struct Opened {
    pool: FakePool,
    writes: Vec<WriteId>,
}

impl Opened {
    fn new(pool: &FakePool) -> Self {
        Self {
            pool: pool.clone(),
            writes: Vec::new(),
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let open = self
            .writes
            .iter()
            .filter(|write| self.pool.is_open(**write));
        open.for_each(|write| self.pool.abort(*write));
    }
}

/// Where a value is. What takes more than a stripe is leased: under the number of its write.
fn located(found: &FakeFound) -> Located {
    let code = found.geometry.code();
    Located {
        write: found.write,
        version: Version {
            epoch: 1,
            counter: found.write.sequence,
        },
        size: found.geometry.size(),
        data: code.data() as u8,
        parity: code.parity() as u8,
        ttl_ms: None,
        lease: (found.geometry.stripes() > 1).then_some(found.write.sequence + LEASES),
        members: found.members.clone(),
        routes: Vec::new(),
    }
}

fn id(text: &str) -> WriteId {
    text.parse().unwrap()
}

fn document(document: &impl Serialize) -> BytesFrame {
    BytesFrame::BulkString(Bytes::from(serde_json::to_vec(document).unwrap()))
}

fn refused(error: &Error) -> BytesFrame {
    let word = match error {
        Error::OutOfMemory(_) => "OOM",
        Error::Lost { .. } => "LOST",
        Error::NoWrite => "NOWRITE",
        Error::TimedOut(_) | Error::Unreachable(_) => "TRYAGAIN",
        _ => "ERR",
    };
    BytesFrame::Error(format!("{word} {error}").into())
}
