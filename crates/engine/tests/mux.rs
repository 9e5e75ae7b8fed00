//! Many callers share one connection, and none disturbs another.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use infinicache_engine::{
    Mux, MuxLink, NodeLink, ask_at_once,
    mux::{CALL_DEADLINE, MEMBER_CREDIT},
};
use infinicache_wire::{
    ChunkId, Decoder, Frame, Header, Kind, MAX_PAYLOAD, MemberId, Reply, Request, WriteId,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

const MEMBER: MemberId = MemberId(1);

/// The other side of a connection, by hand.
struct Peer {
    stream: DuplexStream,
    decoder: Decoder,
}

impl Peer {
    async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.decode().unwrap() {
                return Some(frame);
            }
            if self
                .stream
                .read_buf(&mut self.decoder.buffer())
                .await
                .unwrap()
                == 0
            {
                return None;
            }
        }
    }

    async fn frames(&mut self, count: usize) -> Vec<Frame> {
        let mut frames = Vec::new();
        for _ in 0..count {
            frames.push(self.frame().await.expect("the connection is open"));
        }
        frames
    }

    async fn send(&mut self, frame: Frame) {
        self.stream.write_all(&frame.header.encode()).await.unwrap();
        self.stream.write_all(&frame.payload).await.unwrap();
    }

    /// Answers a request with its own unit number.
    async fn answer(&mut self, request: &Frame) {
        let bytes = Bytes::from(request.header.unit.to_string());
        self.send(Reply::Done { bytes, checksum: 0 }.into_frame(request.header.id))
            .await;
    }
}

fn connect() -> (Mux, Peer) {
    let (here, there) = duplex(1 << 20);
    let (reader, writer) = tokio::io::split(here);
    let mux = Mux::start(reader, writer, Decoder::new(), |frame| panic!("{frame:?}"));
    (
        mux,
        Peer {
            stream: there,
            decoder: Decoder::new(),
        },
    )
}

fn chunk() -> ChunkId {
    ChunkId {
        write: WriteId {
            epoch: 1,
            sequence: 2,
        },
        index: 3,
    }
}

fn get(unit: u32) -> Request {
    Request::Get {
        chunk: chunk(),
        unit,
        want: 100,
    }
}

fn put(length: usize) -> Request {
    Request::Put {
        chunk: chunk(),
        unit: 0,
        checksum: 0,
        bytes: vec![7; length].into(),
    }
}

fn done(text: &'static str) -> Reply {
    let bytes = Bytes::from_static(text.as_bytes());
    Reply::Done { bytes, checksum: 0 }
}

fn numbered(reply: Reply) -> u32 {
    let Reply::Done { bytes, .. } = reply else {
        panic!("{reply:?}")
    };
    std::str::from_utf8(&bytes).unwrap().parse().unwrap()
}

/// A call on a task of its own.
fn call(link: &MuxLink, request: Request) -> tokio::task::JoinHandle<Reply> {
    let link = link.clone();
    tokio::spawn(async move { link.call(request).await })
}

#[tokio::test]
async fn answers_that_come_in_any_order_reach_whoever_asked() {
    let (mux, mut peer) = connect();
    let links: Vec<MuxLink> = (0..5).map(|member| mux.link(MemberId(member))).collect();
    let calls = (0..500).map(|unit| links[unit as usize % 5].call(get(unit)));
    let serving = async {
        for _ in 0..10 {
            let mut requests = peer.frames(50).await;
            requests.reverse();
            requests.sort_by_key(|frame| frame.header.id.wrapping_mul(2_654_435_761));
            for request in requests {
                assert_eq!(request.header.member.0, request.header.unit % 5);
                peer.answer(&request).await;
            }
        }
    };
    let (replies, ()) = tokio::join!(join_all(calls), serving);
    let numbers: Vec<u32> = replies.into_iter().map(numbered).collect();
    assert_eq!(numbers, (0..500).collect::<Vec<u32>>());
}

#[tokio::test]
async fn when_the_peer_closes_everybody_is_told() {
    let (mux, mut peer) = connect();
    let link = mux.link(MEMBER);
    let calls: Vec<_> = (0..100).map(|unit| call(&link, get(unit))).collect();
    peer.frames(10).await;
    drop(peer);
    for reply in join_all(calls).await {
        assert_eq!(reply.unwrap(), Reply::Unreachable);
    }
    mux.closed().await;
    assert!(mux.is_closed());
    assert_eq!(
        link.call(get(1)).await,
        Reply::Unreachable,
        "and so is whoever comes later"
    );
}

#[tokio::test]
async fn closing_tells_everybody_and_the_peer() {
    let (mux, mut peer) = connect();
    let waiting = call(&mux.link(MEMBER), get(1));
    peer.frames(1).await;
    mux.close();
    assert_eq!(waiting.await.unwrap(), Reply::Unreachable);
    assert_eq!(peer.frame().await, None);
}

#[tokio::test]
async fn a_connection_that_nobody_refers_to_any_more_ends() {
    let (mux, mut peer) = connect();
    let (other, link) = (mux.clone(), mux.link(MEMBER));
    let waiting = call(&link, get(1));
    let request = peer.frame().await.unwrap();
    drop((mux, link));
    peer.answer(&request).await;
    assert_eq!(numbered(waiting.await.unwrap()), 1, "a clone keeps it open");
    drop(other);
    assert_eq!(peer.frame().await, None);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_in_time_is_late_and_then_ignored() {
    let (mux, mut peer) = connect();
    let link = mux.link(MEMBER);
    let begun = Instant::now();
    let waiting = call(&link, get(1));
    let request = peer.frame().await.unwrap();
    assert_eq!(waiting.await.unwrap(), Reply::Late);
    assert_eq!(begun.elapsed(), CALL_DEADLINE);

    peer.answer(&request).await;
    let next = call(&link, get(2));
    let request = peer.frame().await.unwrap();
    peer.answer(&request).await;
    assert_eq!(numbered(next.await.unwrap()), 2);
}

#[tokio::test]
async fn answers_to_nobodys_request_are_ignored() {
    let (mux, mut peer) = connect();
    peer.send(Reply::DONE.into_frame(999)).await;
    let waiting = call(&mux.link(MEMBER), get(7));
    let request = peer.frame().await.unwrap();
    peer.send(Reply::NotFound.into_frame(request.header.id.wrapping_add(1)))
        .await;
    peer.answer(&request).await;
    assert_eq!(numbered(waiting.await.unwrap()), 7);
}

#[tokio::test]
async fn frames_that_answer_nothing_are_given_to_whoever_wants_them() {
    let (here, there) = duplex(1 << 16);
    let (reader, writer) = tokio::io::split(here);
    let (sender, mut frames) = mpsc::unbounded_channel();
    let _mux = Mux::start(reader, writer, Decoder::new(), move |frame| {
        sender.send(frame).unwrap();
    });
    let mut peer = Peer {
        stream: there,
        decoder: Decoder::new(),
    };
    let bye = Frame::new(Header::of(Kind::Bye), Bytes::from_static(b"idle"));
    peer.send(bye.clone()).await;
    assert_eq!(frames.recv().await, Some(bye));
}

#[tokio::test]
async fn garbage_ends_the_connection() {
    let unknown_status = {
        let mut header = Reply::DONE.into_frame(1).header;
        header.status = 999;
        header.encode()
    };
    for garbage in [[0xff; 48], unknown_status] {
        let (mux, mut peer) = connect();
        let waiting = call(&mux.link(MEMBER), get(1));
        peer.frames(1).await;
        peer.stream.write_all(&garbage).await.unwrap();
        assert_eq!(waiting.await.unwrap(), Reply::Unreachable);
        mux.closed().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_frees_its_credit() {
    let (mux, mut peer) = connect();
    let link = mux.link(MEMBER);
    for _ in 0..20 {
        let calls = (0..MEMBER_CREDIT / MAX_PAYLOAD).map(|_| link.call(put(MAX_PAYLOAD)));
        let left = timeout(Duration::from_millis(10), join_all(calls));
        let (left, _) = tokio::join!(left, async {
            peer.frames(MEMBER_CREDIT / MAX_PAYLOAD).await;
        });
        assert!(left.is_err(), "nobody answers");
    }
    let waiting = call(&link, put(MAX_PAYLOAD));
    let request = peer.frame().await.unwrap();
    peer.answer(&request).await;
    assert_eq!(numbered(waiting.await.unwrap()), 0);
}

#[tokio::test(start_paused = true)]
async fn a_frozen_member_exhausts_its_own_credit_and_nobody_elses() {
    let (mux, mut peer) = connect();
    let (frozen, well) = (mux.link(MEMBER), mux.link(MemberId(2)));
    let stuck: Vec<_> = (0..100).map(|_| call(&frozen, put(MAX_PAYLOAD))).collect();

    let calls = (0..50).map(|_| well.call(put(MAX_PAYLOAD)));
    let serving = async {
        let (mut served, mut swallowed) = (0, 0);
        while served < 50 {
            let request = peer.frame().await.unwrap();
            match request.header.member {
                MEMBER => swallowed += 1,
                _ => {
                    served += 1;
                    peer.answer(&request).await;
                }
            }
        }
        swallowed
    };
    let begun = Instant::now();
    let (replies, swallowed) = tokio::join!(join_all(calls), serving);
    assert!(
        replies
            .into_iter()
            .all(|reply| matches!(reply, Reply::Done { .. }))
    );
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(swallowed, MEMBER_CREDIT / MAX_PAYLOAD);
    for reply in join_all(stuck).await {
        assert_eq!(reply.unwrap(), Reply::Late);
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_costs_its_callers_a_deadline() {
    let (mux, peer) = connect();
    let links: Vec<MuxLink> = (0..40).map(|member| mux.link(MemberId(member))).collect();
    let calls = links
        .iter()
        .flat_map(|link| (0..8).map(move |_| link.call(put(MAX_PAYLOAD))));
    let begun = Instant::now();
    let replies = join_all(calls).await;
    assert_eq!(begun.elapsed(), CALL_DEADLINE);
    assert!(replies.iter().all(|reply| *reply == Reply::Late));
    sleep(Duration::from_millis(1)).await;
    drop(peer);
}

#[tokio::test]
async fn members_that_are_asked_at_once_are_heard_as_one() {
    let (mux, mut peer) = connect();
    let (other, mut other_peer) = connect();
    let asked = vec![
        (mux.link(MEMBER), get(1)),
        (other.link(MEMBER), get(2)),
        (mux.link(MEMBER), get(3)),
    ];
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    let asking = tokio::spawn(ask_at_once(asked, deadline));
    let (mut here, there) = (peer.frames(2).await, other_peer.frames(1).await);
    here.reverse();
    peer.answer(&here[0]).await;
    other_peer.answer(&there[0]).await;
    sleep(Duration::from_millis(10)).await;
    assert!(!asking.is_finished());
    peer.answer(&here[1]).await;
    assert_eq!(asking.await.unwrap(), ["1", "2", "3"].map(done));
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_answer_leaves_the_others_their_answers() {
    let (mux, mut peer) = connect();
    let (ended, ended_peer) = connect();
    drop(ended_peer);
    ended.closed().await;
    let asked = vec![
        (mux.link(MEMBER), get(1)),
        (mux.link(MEMBER), get(2)),
        (ended.link(MEMBER), get(3)),
    ];
    let deadline = Instant::now() + Duration::from_millis(100);
    let asking = tokio::spawn(ask_at_once(asked, deadline.into_std()));
    let frames = peer.frames(2).await;
    peer.answer(&frames[0]).await;
    let replies = asking.await.unwrap();
    assert_eq!(replies, [done("1"), Reply::Late, Reply::Unreachable]);

    // An answer that comes too late disturbs nobody.
    peer.answer(&frames[1]).await;
    let link = mux.link(MEMBER);
    let asking = tokio::spawn(async move { link.call(get(4)).await });
    let frame = peer.frames(1).await.remove(0);
    peer.answer(&frame).await;
    assert_eq!(asking.await.unwrap(), done("4"));
}

#[tokio::test]
async fn what_is_asked_after_a_unit_is_known_to_be_sent_comes_behind_it() {
    let (mux, mut peer) = connect();
    let link = mux.link(MEMBER);
    // While credit is out, a unit waits for it, and whatever is no unit goes past.
    let ahead: Vec<_> = (0..MEMBER_CREDIT / MAX_PAYLOAD)
        .map(|_| call(&link, put(MAX_PAYLOAD)))
        .collect();
    let mut units = peer.frames(ahead.len()).await;
    let (sent, mut told) = tokio::sync::oneshot::channel();
    let waiting = tokio::spawn({
        let link = link.clone();
        async move {
            let sent = || sent.send(()).unwrap();
            link.call_noting(put(MAX_PAYLOAD), sent).await
        }
    });
    let early = call(&link, get(1));
    assert_eq!(peer.frame().await.unwrap().header.kind, Kind::Get);
    assert!(told.try_recv().is_err());

    peer.answer(&units.remove(0)).await;
    told.await.unwrap();
    let late = call(&link, get(2));
    let kinds = peer.frames(2).await.into_iter().map(|it| it.header.kind);
    assert!(kinds.eq([Kind::Put, Kind::Get]));
    mux.close();
    for call in ahead.into_iter().chain([waiting, early, late]) {
        call.await.unwrap();
    }
}
