//! A Redis client that can stop half way.

use std::net::SocketAddr;

use infinicache_resp::{reply::Head, request};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time,
};

use crate::{
    cluster::PATIENCE,
    values::{Check, Value},
};

/// Bytes of a value that are sent or received at a time.
const PIECE: u64 = 64 << 10;

/// A connection on which requests are sent and replies are received piece by piece.
pub(crate) struct Raw(BufReader<TcpStream>);

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    /// Sends a command of words, and gives the first line of what comes back.
    pub(crate) async fn ask(&mut self, command: &str) -> String {
        self.send(format!("{command}\r\n").as_bytes()).await;
        self.line().await
    }

    /// The first line of what comes back to a command, or was sent before it.
    pub(crate) async fn first_line(&mut self, command: &str) -> String {
        // The other side may have hung up already.
        let request = format!("{command}\r\n");
        let _ = self.0.get_mut().write_all(request.as_bytes()).await;
        self.line().await
    }

    /// Announces a `SET` with a value of so many bytes.
    pub(crate) async fn begin_set(&mut self, key: &str, size: u64) {
        let mut head = Vec::new();
        request::begin(&mut head, 3);
        request::argument(&mut head, b"SET");
        request::argument(&mut head, key.as_bytes());
        request::begin_argument(&mut head, size);
        self.send(&head).await;
    }

    /// Sends part of a value.
    pub(crate) async fn send_part(&mut self, value: &Value, start: u64, end: u64) {
        let mut at = start;
        while at < end {
            let to = (at + PIECE).min(end);
            self.send(&value.part(at, to)).await;
            at = to;
        }
    }

    /// Stores a value.
    pub(crate) async fn set(&mut self, key: &str, value: &Value) {
        self.begin_set(key, value.size).await;
        self.send_part(value, 0, value.size).await;
        self.end_set().await;
    }

    /// Ends a `SET` whose value has been sent.
    pub(crate) async fn end_set(&mut self) {
        self.send(b"\r\n").await;
        assert_eq!(self.line().await, "+OK");
    }

    /// Asks for a value, and returns its length: none, if there is no value.
    pub(crate) async fn begin_get(&mut self, key: &str) -> Option<u64> {
        let mut request = Vec::new();
        request::encode(&mut request, &["GET", key]);
        self.send(&request).await;
        let line = self.line().await + "\r\n";
        match Head::read(line.as_bytes()) {
            Ok(Some((Head::Bulk(length), _))) => Some(length),
            Ok(Some((Head::Null, _))) => None,
            _ => panic!("{line}"),
        }
    }

    /// Reads the value that was asked for, pausing after each piece.
    pub(crate) async fn end_get(&mut self, length: u64, mut pause: impl AsyncFnMut()) -> Value {
        let mut check = Check::default();
        let mut left = length;
        let mut piece = vec![0; PIECE as usize];
        while left > 0 {
            let piece = &mut piece[..PIECE.min(left) as usize];
            self.read(piece).await;
            check.feed(piece);
            left -= piece.len() as u64;
            pause().await;
        }
        assert_eq!(self.line().await, "", "the end of a bulk string");
        check.finish()
    }

    /// Reads a line.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        let reading = self.0.read_line(&mut line);
        time::timeout(PATIENCE, reading).await.unwrap().unwrap();
        assert!(line.ends_with("\r\n"), "cut off: {line:?}");
        line.truncate(line.len() - 2);
        line
    }

    /// Waits until the other side closes the connection, whatever it says before.
    pub(crate) async fn closed(&mut self) {
        let mut rest = Vec::new();
        let reading = self.0.read_to_end(&mut rest);
        // A reset is an end too.
        let _ = time::timeout(PATIENCE, reading).await.expect("closed");
    }

    async fn read(&mut self, bytes: &mut [u8]) {
        let reading = self.0.read_exact(bytes);
        time::timeout(PATIENCE, reading).await.unwrap().unwrap();
    }

    async fn send(&mut self, bytes: &[u8]) {
        let sending = self.0.get_mut().write_all(bytes);
        time::timeout(PATIENCE, sending).await.unwrap().unwrap();
    }
}
