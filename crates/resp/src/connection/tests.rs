use std::{future::pending, io};

use tokio::io::{
    AsyncReadExt as _, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split,
};

use super::*;
use crate::STREAM_THRESHOLD;

const STALL: Duration = Duration::from_secs(30);

type Local = Connection<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>>;

/// A connection, and its peer's end, with room for `buffer` bytes under way.
fn pair(buffer: usize) -> (Local, DuplexStream) {
    pair_idle(buffer, None)
}

/// The same with an idle time-out.
fn pair_idle(buffer: usize, idle: Option<Duration>) -> (Local, DuplexStream) {
    let (ours, theirs) = duplex(buffer);
    let (reader, writer) = split(ours);
    let timeouts = Timeouts { stall: STALL, idle };
    (Connection::new(reader, writer, timeouts), theirs)
}

fn set(value: &[u8], options: &str) -> Vec<u8> {
    let mut bytes = format!("*5\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", value.len()).into_bytes();
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(options.as_bytes());
    bytes
}

const EX: &str = "$2\r\nEX\r\n$1\r\n9\r\n";

#[tokio::test]
async fn a_large_value_is_read_piece_by_piece_and_then_its_options() {
    let (mut connection, mut peer) = pair(10_000);
    let value: Vec<u8> = (0..300_000u32).map(|index| index as u8).collect();
    let request = [set(&value, EX), b"PING\r\n".to_vec()].concat();
    let sending = tokio::spawn(async move { peer.write_all(&request).await.map(|()| peer) });

    let command = connection
        .next_command(pending::<()>())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (&command.args[..], command.large),
        (&["SET".into(), "k".into()][..], Some(300_000))
    );
    let mut received = Vec::new();
    loop {
        let piece = connection.value().read(70_000).await.unwrap();
        assert!(piece.len() == 70_000 || received.len() + piece.len() == value.len());
        if piece.is_empty() {
            break;
        }
        received.extend_from_slice(&piece);
    }
    assert_eq!(received, value);
    assert_eq!(connection.rest().await.unwrap().args, ["EX", "9"]);
    let next = connection
        .next_command(pending::<()>())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(next.args, ["PING"]);
    drop(sending.await.unwrap());
    assert_eq!(
        connection.next_command(pending::<()>()).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn a_large_value_can_be_thrown_away_at_any_point() {
    let (mut connection, mut peer) = pair(10_000);
    let value = vec![7; 300_000];
    let sending = tokio::spawn(async move {
        for _ in 0..3 {
            peer.write_all(&set(&value, EX)).await?;
        }
        peer.write_all(b"PING\r\n").await.map(|()| peer)
    });
    for taken in [0, 100_000, 300_000] {
        connection
            .next_command(pending::<()>())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(connection.value().read(taken).await.unwrap().len(), taken);
        connection.discard_rest().await.unwrap();
    }
    let next = connection
        .next_command(pending::<()>())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(next.args, ["PING"]);
    sending.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_command_is_made_whole_if_it_is_small_enough_to_be_held() {
    let (mut connection, mut peer) = pair(1 << 20);
    for (length, fits) in [(STREAM_THRESHOLD + 1, true), (MAX_BUFFERED + 1, false)] {
        let request = set(&vec![7; length], EX);
        let (sent, args) = tokio::join!(peer.write_all(&request), async {
            let command = connection
                .next_command(pending::<()>())
                .await
                .unwrap()
                .unwrap();
            connection.whole(command).await.unwrap()
        });
        sent.unwrap();
        assert_eq!(args.map(|args| args.len()), fits.then_some(5));
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_may_be_silent_between_commands_but_not_within_one() {
    let (mut connection, mut peer) = pair(1_000);
    let day = Duration::from_secs(24 * 60 * 60);
    let idle = time::timeout(day, connection.next_command(pending::<()>())).await;
    assert!(idle.is_err(), "{idle:?}");

    peer.write_all(b"*1\r\n$4\r\nPI").await.unwrap();
    let stalled = connection.next_command(pending::<()>()).await;
    assert!(matches!(stalled, Err(Error::Stalled(STALL))), "{stalled:?}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_timeout_is_for_silence_between_commands_alone() {
    const IDLE: Duration = Duration::from_secs(10);
    let (mut connection, mut peer) = pair_idle(1_000, Some(IDLE));
    let begun = time::Instant::now();
    for _ in 0..2 {
        let idle = connection.next_command(pending::<()>()).await;
        assert!(matches!(idle, Err(Error::Idle(IDLE))), "{idle:?}");
    }
    assert_eq!(begun.elapsed(), 2 * IDLE, "it can be waited for again");

    peer.write_all(b"PING\r\n*1\r\n$4\r\nPI").await.unwrap();
    let command = connection.next_command(pending::<()>()).await;
    assert_eq!(command.unwrap().unwrap().args, ["PING"]);
    let stalled = connection.next_command(pending::<()>()).await;
    assert!(matches!(stalled, Err(Error::Stalled(STALL))), "{stalled:?}");
}

#[tokio::test(start_paused = true)]
async fn a_value_that_stops_coming_breaks_the_connection_once() {
    let (mut connection, mut peer) = pair(1_000);
    peer.write_all(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\nabc")
        .await
        .unwrap();
    connection
        .next_command(pending::<()>())
        .await
        .unwrap()
        .unwrap();
    let begun = time::Instant::now();
    let error = connection.value().read(50_000).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(connection.value().read(1).await.is_err());
    let discarded = connection.discard_rest().await;
    assert!(
        matches!(discarded, Err(Error::Stalled(STALL))),
        "{discarded:?}"
    );
    assert_eq!(begun.elapsed(), STALL, "nobody waits for it twice");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_take_its_reply_is_given_up() {
    let (mut connection, _peer) = pair(1_000);
    connection.reply(&BytesFrame::BulkString(vec![7; 5_000].into()));
    let stalled = connection.flush().await;
    assert!(matches!(stalled, Err(Error::Stalled(STALL))), "{stalled:?}");
}

#[tokio::test]
async fn a_peer_that_leaves_within_a_command_is_an_error() {
    let (mut connection, mut peer) = pair(1_000);
    peer.write_all(b"*1\r\n$4\r\nPI").await.unwrap();
    drop(peer);
    let left = connection.next_command(pending::<()>()).await;
    assert!(matches!(left, Err(Error::Io(_))), "{left:?}");
}

#[tokio::test]
async fn replies_are_gathered_until_no_command_is_left() {
    let (mut connection, mut peer) = pair(1_000);
    peer.write_all(b"PING\r\nPING\r\n").await.unwrap();
    for _ in 0..2 {
        connection
            .next_command(pending::<()>())
            .await
            .unwrap()
            .unwrap();
        assert!(
            connection.writer.outbox.remaining() == 0 || connection.writer.outbox.remaining() == 7
        );
        connection.reply(&BytesFrame::SimpleString("PONG".into()));
    }
    drop(
        connection
            .next_command(std::future::ready(()))
            .await
            .unwrap(),
    );
    let mut replies = [0; 14];
    peer.read_exact(&mut replies).await.unwrap();
    assert_eq!(&replies, b"+PONG\r\n+PONG\r\n");
}

#[tokio::test]
async fn a_connection_that_is_given_away_keeps_what_was_read_ahead() {
    let (mut connection, mut peer) = pair(1_000);
    peer.write_all(b"IC.LINK\r\nframes").await.unwrap();
    connection
        .next_command(pending::<()>())
        .await
        .unwrap()
        .unwrap();
    connection.reply(&BytesFrame::SimpleString("OK".into()));
    let parts = connection.into_parts().await.unwrap();
    assert_eq!(parts.ahead, "frames");
    let mut reply = [0; 5];
    peer.read_exact(&mut reply).await.unwrap();
    assert_eq!(&reply, b"+OK\r\n");
}
