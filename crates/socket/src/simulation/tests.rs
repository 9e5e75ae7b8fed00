use std::net::Ipv4Addr;

use infinicache_host::simulation;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::*;

const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

/// Both ends of a connection, of processes that stay alive.
async fn connected() -> (SimulatedStream, SimulatedStream) {
    let listener = Listener::bind(SocketAddr::new(OTHER, 80)).unwrap();
    let dialled = process().spawn(connect(listener.local_addr()));
    let (accepted, peer) = listener.accept().await.unwrap();
    assert_eq!(peer.ip(), ONE);
    (dialled.await.unwrap().unwrap(), accepted)
}

fn process() -> Process {
    Process::new("one".into(), ONE, 0)
}

fn run<T>(test: impl AsyncFnOnce() -> T) {
    begin(false);
    simulation::run(0, [], test);
}

#[test]
fn what_is_written_arrives_in_order_and_later() {
    run(async || {
        let (mut near, mut far) = connected().await;
        let before = clock::now();
        for byte in 0..100 {
            near.write_all(&[byte]).await.unwrap();
        }
        assert_eq!(clock::now(), before);
        drop(near);
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, (0..100).collect::<Vec<u8>>());
        assert!(clock::now() > before);
    });
}

#[test]
fn a_peer_that_does_not_read_holds_up_the_one_that_writes() {
    run(async || {
        let (mut near, mut far) = connected().await;
        let much = vec![0; 2 << 20];
        let second = Duration::from_secs(1);
        assert!(timeout(second, near.write_all(&much)).await.is_err());
        let writing = async { timeout(100 * second, near.write_all(&much)).await };
        let mut buffer = vec![0; much.len()];
        let (written, read) = tokio::join!(writing, far.read_exact(&mut buffer));
        written.unwrap().unwrap();
        read.unwrap();
    });
}

#[test]
fn both_ends_learn_that_a_connection_is_severed_and_what_was_under_way_is_lost() {
    run(async || {
        let (mut near, mut far) = connected().await;
        near.write_all(b"lost").await.unwrap();
        let (id, _) = connections()[0];
        sever(id, [Duration::from_secs(1), Duration::from_secs(5)]);
        let before = clock::now();
        for (stream, seconds) in [(&mut near, 1), (&mut far, 5)] {
            let error = stream.read_u8().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            assert_eq!((clock::now() - before).as_secs(), seconds);
        }
        assert!(connections().is_empty());
    });
}

#[test]
fn an_end_that_is_dropped_with_bytes_unread_resets_the_connection() {
    run(async || {
        let (mut near, far) = connected().await;
        near.write_all(b"unread").await.unwrap();
        sleep(Duration::from_secs(1)).await;
        drop(far);
        assert!(near.read_u8().await.is_err());
        assert!(near.write_all(b"more").await.is_err());
    });
}

#[test]
fn nothing_gets_through_between_addresses_that_are_parted() {
    run(async || {
        let (mut near, _far) = connected().await;
        part(ONE, OTHER);
        near.write_all(b"on").await.unwrap();
        let listener = Listener::bind(SocketAddr::new(OTHER, 81)).unwrap();
        let to = listener.local_addr();
        let dialling = process().spawn(timeout(Duration::from_secs(100), connect(to)));
        assert!(dialling.await.unwrap().is_err());
        mend();
        process().spawn(connect(to)).await.unwrap().unwrap();
        assert!(near.read_u8().await.is_err());
    });
}

#[test]
fn nobody_listens_where_a_listener_was_dropped() {
    run(async || {
        let address = Listener::bind(SocketAddr::new(OTHER, 0))
            .unwrap()
            .local_addr();
        let refused = process().spawn(connect(address)).await.unwrap();
        assert_eq!(
            refused.unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
    });
}
