//! A server, and a client that sees bytes.

use std::{future::Future, net::Ipv4Addr, sync::Arc};

use bytes::{Bytes, BytesMut};
use infinicache_resp::ConnectionParts;
use infinicache_socket::{Keepalive, ReadHalf, WriteHalf};
use redis_protocol::resp2::{decode::decode_bytes_mut, types::BytesFrame};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, ToSocketAddrs},
};
use tokio_util::sync::CancellationToken;

use crate::{
    command::{
        ServerContext,
        fake::{FakeObserver, FakeStore},
    },
    password::Password,
    server::{self, ServerConfig, TakeOver},
};

/// A server over a store in memory.
pub(crate) struct Running {
    pub(crate) store: FakeStore,
    pub(crate) observer: Arc<FakeObserver>,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) shutdown: CancellationToken,
    pub(crate) ended: tokio::task::JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start() -> Self {
        Self::start_with(ServerConfig::default()).await
    }

    pub(crate) async fn start_with(config: ServerConfig) -> Self {
        Self::guarded_by(Password::new().unwrap(), config).await
    }

    pub(crate) async fn guarded_by(password: Password, config: ServerConfig) -> Self {
        let (store, observer) = (FakeStore::default(), Arc::new(FakeObserver::default()));
        let state = ServerContext::new(store.clone(), observer.clone());
        let state = Arc::new(state.guarded_by(password));
        let listener =
            infinicache_socket::listen((Ipv4Addr::LOCALHOST, 0).into(), Keepalive::PROMPT);
        let listener = listener.await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone().cancelled_owned();
        let ended = tokio::spawn(server::serve(listener, state, NoTakeOver, config, stop));
        Self {
            store,
            observer,
            address,
            shutdown,
            ended,
        }
    }

    pub(crate) async fn connect(&self) -> Peer {
        Peer::connect(self.address).await
    }
}

#[derive(Clone)]
struct NoTakeOver;

impl TakeOver for NoTakeOver {
    fn take_over(
        self,
        _: ConnectionParts<ReadHalf, WriteHalf>,
        _: CancellationToken,
    ) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// A client.
pub(crate) struct Peer {
    socket: TcpStream,
    received: BytesMut,
}

impl Peer {
    pub(crate) async fn connect(address: impl ToSocketAddrs) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        Self {
            socket,
            received: BytesMut::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    /// The next reply; `None` if the server closed instead.
    pub(crate) async fn reply(&mut self) -> Option<BytesFrame> {
        loop {
            if let Some((frame, ..)) = decode_bytes_mut(&mut self.received).unwrap() {
                return Some(frame);
            }
            // A reset is how some servers close.
            match self.socket.read_buf(&mut self.received).await {
                Ok(1..) => {}
                _ => return None,
            }
        }
    }

    /// Sends words that have no spaces, and gives the reply.
    pub(crate) async fn ask(&mut self, line: &str) -> BytesFrame {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.ask_args(&args).await
    }

    pub(crate) async fn ask_args(&mut self, args: &[&[u8]]) -> BytesFrame {
        let request = request(args);
        // While a large request is sent, nothing is expected to come.
        self.send(&request).await;
        self.reply().await.expect("a reply")
    }

    /// All that the server sends until it closes.
    pub(crate) async fn rest(mut self) -> Vec<u8> {
        let _ = self.socket.shutdown().await;
        let mut rest = self.received.to_vec();
        let _ = self.socket.read_to_end(&mut rest).await;
        rest
    }

    /// Has the server close the connection; all that was asked on it is reported then.
    pub(crate) async fn until_closed_after_quit(mut self) {
        self.ask("QUIT").await;
        assert_eq!(self.reply().await, None);
    }

    /// What the server sends until it closes, though this end stays open.
    pub(crate) async fn until_closed(mut self) -> Vec<u8> {
        let mut rest = self.received.to_vec();
        let _ = self.socket.read_to_end(&mut rest).await;
        rest
    }
}

pub(crate) fn request(args: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

pub(crate) fn bulk(value: impl Into<Vec<u8>>) -> BytesFrame {
    BytesFrame::BulkString(Bytes::from(value.into()))
}

pub(crate) fn simple(text: &'static str) -> BytesFrame {
    BytesFrame::SimpleString(text.into())
}

pub(crate) fn error(text: &'static str) -> BytesFrame {
    BytesFrame::Error(text.into())
}
