//! A node under test, a proxy that is a test, and HTTP by hand.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use bytes::Bytes;
use clap::Parser;
use infinicache_node::{Config, Node};
use infinicache_wire::{
    ByeReason, ChunkId, Decoder, Frame, MemberId, Outbox, PROTOCOL_VERSION, Reply, Request, Secret,
    WriteId,
    handshake::{Hello, Welcome},
    message::NodeReport,
    wake::{Lifetimes, Wake},
    wake_answer::WakeRefusal,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

pub(crate) const SECRET: &str = "a secret of the tests";

pub(crate) fn secret() -> Secret {
    Secret::new(SECRET.as_bytes()).unwrap()
}

/// Ends a test that would hang. Nothing else depends on it.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), future)
        .await
        .expect("it hangs")
}

pub(crate) struct TestNode {
    pub(crate) address: SocketAddr,
    shutdown: oneshot::Sender<()>,
    running: JoinHandle<anyhow::Result<()>>,
}

impl TestNode {
    pub(crate) async fn start(flags: &[&str]) -> Self {
        let fixed = [
            "infinicache-node",
            "--port=0",
            "--name=n",
            "--secret",
            SECRET,
            "--memory=64MiB",
            "--drain=1h",
        ];
        let name = |flag: &str| flag.split('=').next().map(str::to_owned);
        let is_set = |fixed: &&&str| flags.iter().any(|flag| name(flag) == name(fixed));
        let fixed = fixed.iter().filter(|fixed| !is_set(fixed));
        let config = Config::parse_from(fixed.chain(flags));
        let node = Node::bind(config).await.unwrap();
        let address = node.local_addr().unwrap();
        let (shutdown, requested) = oneshot::channel();
        let running = tokio::spawn(node.run(async {
            let _ = requested.await;
        }));
        Self {
            address,
            shutdown,
            running,
        }
    }

    /// What SIGTERM does; what is given back ends with the node.
    pub(crate) fn terminate(self) -> JoinHandle<anyhow::Result<()>> {
        self.shutdown.send(()).expect("the node runs");
        self.running
    }

    pub(crate) async fn wake(&self, wake: &Wake) -> (u16, String) {
        let body = serde_json::to_vec(wake).unwrap();
        http(self.address, "POST", "/wake", &body).await
    }

    /// A proxy that has woken the node, and its link.
    pub(crate) async fn linked(&self) -> (Proxy, Link) {
        let proxy = Proxy::bind().await;
        assert_eq!(self.wake(&proxy.wake("s1")).await.0, 200);
        let link = proxy.accept(true).await;
        (proxy, link)
    }
}

pub(crate) async fn http(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &[u8],
) -> (u16, String) {
    soon(async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: n\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // A body that is refused unread ends in an error here, and in the answer anyway.
        let _ = stream.write_all(body).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    })
    .await
}

pub(crate) struct Proxy {
    listener: TcpListener,
    pub(crate) epoch: u64,
}

impl Proxy {
    pub(crate) async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener, epoch: 1 }
    }

    /// Whether nobody has dialled.
    pub(crate) async fn is_left_alone(&self) -> bool {
        // Looks once: who has dialled by now is in the backlog.
        let dialled = timeout(Duration::ZERO, self.listener.accept());
        dialled.await.is_err()
    }

    pub(crate) fn wake(&self, session: &str) -> Wake {
        Wake {
            version: PROTOCOL_VERSION,
            node: "n".into(),
            proxy: self.listener.local_addr().unwrap().to_string(),
            session: session.into(),
            epoch: self.epoch,
            lifetimes: Lifetimes::default(),
            proof: String::new(),
        }
        .signed(&secret())
    }

    pub(crate) fn welcome(&self, fresh: bool) -> Welcome {
        Welcome {
            protocol: PROTOCOL_VERSION,
            member: MemberId(1),
            epoch: self.epoch,
            fresh,
            proof: String::new(),
        }
    }

    /// A connection of the node, up to its hello.
    pub(crate) async fn greeted(&self) -> Link {
        soon(async {
            let (stream, _) = self.listener.accept().await.unwrap();
            let mut decoder = Decoder::new();
            let mut stream = stream;
            let frame = read(&mut stream, &mut decoder).await.expect("a hello");
            let hello = Hello::from_frame(&frame).unwrap();
            assert!(hello.is_genuine(&secret()));
            Link {
                stream,
                decoder,
                hello,
                next: 0,
            }
        })
        .await
    }

    /// A connection of the node, welcomed.
    pub(crate) async fn accept(&self, fresh: bool) -> Link {
        let mut link = self.greeted().await;
        let welcome = self.welcome(fresh).signed(&secret(), &link.hello);
        link.send_frame(welcome.to_frame()).await;
        link
    }
}

pub(crate) struct Link {
    pub(crate) stream: TcpStream,
    decoder: Decoder,
    pub(crate) hello: Hello,
    next: u32,
}

impl Link {
    pub(crate) async fn send_frame(&mut self, frame: Frame) {
        let mut outbox = Outbox::new();
        outbox.push(frame);
        soon(self.stream.write_all_buf(&mut outbox)).await.unwrap();
    }

    /// Sends requests back to back, numbered from the number that is given back.
    pub(crate) async fn send(&mut self, requests: impl IntoIterator<Item = Request>) -> u32 {
        let first = self.next;
        let mut outbox = Outbox::new();
        for request in requests {
            outbox.push(request.into_frame(self.next, MemberId(1)));
            self.next += 1;
        }
        soon(self.stream.write_all_buf(&mut outbox)).await.unwrap();
        first
    }

    /// The next frame, or nothing when the node has closed.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        soon(read(&mut self.stream, &mut self.decoder)).await
    }

    pub(crate) async fn reply(&mut self) -> (u32, Reply) {
        let frame = self.frame().await.expect("a reply");
        (frame.header.id, Reply::from_frame(frame).unwrap())
    }

    pub(crate) async fn ask(&mut self, request: Request) -> Reply {
        let sent = self.send([request]).await;
        let (id, reply) = self.reply().await;
        assert_eq!(id, sent);
        reply
    }

    /// Sends many requests before it reads the first reply; gives the replies by request.
    pub(crate) async fn ask_all(&mut self, requests: Vec<Request>) -> Vec<Reply> {
        let count = requests.len();
        let first = self.send(requests).await;
        let mut replies = HashMap::new();
        for _ in 0..count {
            let (id, reply) = self.reply().await;
            assert!(replies.insert(id, reply).is_none(), "answered twice");
        }
        (first..self.next)
            .map(|id| replies.remove(&id).expect("every request is answered"))
            .collect()
    }

    pub(crate) async fn report(&mut self) -> NodeReport {
        let Reply::Done { bytes, .. } = self
            .ask(Request::Ping {
                now_ms: 1,
                lease: infinicache_wire::LeaseOffer::default(),
            })
            .await
        else {
            panic!("a ping is answered by a report");
        };
        serde_json::from_slice(&bytes).unwrap()
    }

    pub(crate) async fn closes(mut self) -> bool {
        self.frame().await.is_none()
    }
}

async fn read(stream: &mut TcpStream, decoder: &mut Decoder) -> Option<Frame> {
    loop {
        if let Some(frame) = decoder.decode().unwrap() {
            return Some(frame);
        }
        match stream.read_buf(&mut decoder.buffer()).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

pub(crate) fn chunk(sequence: u64) -> ChunkId {
    ChunkId {
        write: WriteId { epoch: 1, sequence },
        index: 0,
    }
}

/// Bytes that tell chunk, unit and position apart.
pub(crate) fn payload(sequence: u64, unit: u32, length: usize) -> Bytes {
    let mut state = sequence << 32 | u64::from(unit) << 1 | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(11);
        bytes.extend_from_slice(&(state >> 16).to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

pub(crate) fn put(sequence: u64, unit: u32, length: usize) -> Request {
    Request::Put {
        chunk: chunk(sequence),
        unit,
        checksum: sequence ^ u64::from(unit),
        bytes: payload(sequence, unit, length),
    }
}

pub(crate) fn get(sequence: u64, unit: u32, length: usize) -> Request {
    Request::Get {
        chunk: chunk(sequence),
        unit,
        want: length as u32,
    }
}

/// What a get of that unit gives.
pub(crate) fn held(sequence: u64, unit: u32, length: usize) -> Reply {
    Reply::Done {
        bytes: payload(sequence, unit, length),
        checksum: sequence ^ u64::from(unit),
    }
}

pub(crate) fn finish(sequence: u64, units: u32) -> Request {
    Request::Finish {
        chunk: chunk(sequence),
        units,
        label: "label".into(),
    }
}

pub(crate) fn is_bye(frame: &Frame) -> bool {
    ByeReason::from_frame(frame) == Some(ByeReason::Terminated)
}

/// The refusal in the body of an answer.
pub(crate) fn refusal(body: &str) -> WakeRefusal {
    WakeRefusal::parse(body.as_bytes()).expect("a refusal")
}
