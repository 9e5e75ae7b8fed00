//! The wire itself, between a client and one who echoes.

use std::{io::ErrorKind, time::Duration};

use bytes::Bytes;
use infinicache_wire::frame::{Frame, Header, Kind};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{self, Instant},
};

use super::*;
use crate::processes::DEADLINE;

/// So long that nothing comes any more if nothing has come.
const A_WHILE: Duration = Duration::from_millis(100);

/// A frame with the hello of a node of this name.
fn hello(name: &str) -> Vec<u8> {
    let payload = format!(r#"{{"node":"{name}"}}"#);
    let frame = Frame::new(Header::of(Kind::Hello), Bytes::from(payload));
    [&frame.header.encode()[..], &frame.payload].concat()
}

/// A wire to one who echoes.
async fn wire() -> Wire {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let target = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    Wire::start(target, Random::new("wire")).await
}

/// A node of this name that has said hello.
async fn node(wire: &Wire, name: &str) -> TcpStream {
    let mut stream = TcpStream::connect(wire.address()).await.unwrap();
    let hello = hello(name);
    assert_eq!(echo(&mut stream, &hello).await.unwrap(), hello);
    stream
}

async fn echo(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(bytes).await?;
    let mut answer = vec![0; bytes.len()];
    time::timeout(DEADLINE, stream.read_exact(&mut answer))
        .await
        .expect("an answer or an end")?;
    Ok(answer)
}

#[tokio::test]
async fn what_suffers_nothing_arrives() {
    let wire = wire().await;
    let mut stream = node(&wire, "a").await;
    let bytes = vec![5; 100_000];
    let (mut from, mut to) = stream.split();
    let mut answer = vec![0; bytes.len()];
    let (sent, read) = tokio::join!(to.write_all(&bytes), from.read_exact(&mut answer));
    sent.unwrap();
    read.unwrap();
    assert_eq!(answer, bytes);
    assert_eq!(wire.harmed(), 0);
}

#[tokio::test]
async fn what_is_late_comes_later_and_what_is_slow_takes_its_time() {
    let wire = wire().await;
    let mut stream = node(&wire, "a").await;
    wire.harm("a", Fault::Late(A_WHILE));
    let begun = Instant::now();
    echo(&mut stream, b"ping").await.unwrap();
    assert!(begun.elapsed() >= 2 * A_WHILE);

    wire.harm("a", Fault::Slow(10_000));
    let begun = Instant::now();
    echo(&mut stream, &[1; 1_000]).await.unwrap();
    echo(&mut stream, &[1; 1]).await.unwrap();
    assert!(begun.elapsed() >= A_WHILE);
}

#[tokio::test]
async fn one_node_suffers_and_another_does_not() {
    let wire = wire().await;
    let (mut a, mut b) = (node(&wire, "a").await, node(&wire, "b").await);
    wire.harm("a", Fault::Paused);
    let paused = time::timeout(A_WHILE, echo(&mut a, b"ping"));
    assert!(paused.await.is_err());
    assert_eq!(echo(&mut b, b"pong").await.unwrap(), b"pong");
    // It goes on where it stopped.
    wire.heal();
    let mut answer = [0; 4];
    a.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"ping");
}

#[tokio::test]
async fn a_half_open_connection_swallows_everything_and_is_reset_when_it_is_over() {
    let wire = wire().await;
    let mut a = node(&wire, "a").await;
    wire.harm_all(Fault::HalfOpen);
    let swallowed = time::timeout(A_WHILE, echo(&mut a, b"ping"));
    assert!(swallowed.await.is_err(), "neither an answer nor an end");
    wire.heal();
    assert!(echo(&mut a, b"ping").await.is_err());
    node(&wire, "a").await;
}

#[tokio::test]
async fn a_reset_is_a_reset() {
    let wire = wire().await;
    let mut a = node(&wire, "a").await;
    wire.harm("a", Fault::Reset(1));
    let error = echo(&mut a, b"ping").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_connection_that_is_cut_off_ends_within_a_frame() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let target = listener.local_addr().unwrap();
    let wire = Wire::start(target, Random::new("cut off")).await;
    wire.harm_all(Fault::CutOff(200));
    let frame = hello("a");
    for _ in 0..20 {
        let mut node = TcpStream::connect(wire.address()).await.unwrap();
        // Fails if the end comes before all is written.
        let _ = node.write_all(&frame.repeat(10)).await;
        let (mut proxy, _) = listener.accept().await.unwrap();
        let mut came = Vec::new();
        let read = time::timeout(DEADLINE, proxy.read_to_end(&mut came)).await;
        read.expect("an end").unwrap();
        assert!(came.len() < 10 * frame.len());
        assert_ne!(came.len() % frame.len(), 0, "at the end of a frame");
    }
}

#[tokio::test]
async fn a_payload_that_is_corrupted_differs_in_one_bit() {
    let wire = wire().await;
    let mut a = node(&wire, "a").await;
    wire.harm("a", Fault::Corrupt(Part::Payload, 1));
    let sent = hello("a");
    let answer = echo(&mut a, &sent).await.unwrap();
    assert_eq!(answer[..48], sent[..48]);
    let flipped = |(a, b): (&u8, &u8)| (a ^ b).count_ones();
    let flipped: u32 = answer.iter().zip(&sent).map(flipped).sum();
    // One in each direction, perhaps the same.
    assert!(flipped == 2 || flipped == 0, "{flipped} bits");
    assert_eq!(wire.harmed(), 2);
}
