//! Values go out: whatever nodes do meanwhile, they are stored whole or not at all.

mod support;

use std::{io, time::Duration};

use bytes::Bytes;
use infinicache_engine::{Error, Source, Stream, upload};
use infinicache_wire::MemberId;
use proptest::{collection::vec, prelude::*};
use support::{FakePool, Mood, assert_nothing_buffered, commit, get, put, stripe, value};
use tokio::time::{Instant, timeout};

const CODES: [&str; 2] = ["10+2", "4+2"];

/// Sizes at which the layout changes, of a code with `data` data chunks.
fn sizes(data: usize) -> Vec<usize> {
    let (small, full) = (32 * 1024, stripe(data));
    let mut sizes = vec![0, 1, 63, 64, 65, 3 * full + 7];
    for edge in [small, full, 2 * full] {
        sizes.extend([edge - 1, edge, edge + 1]);
    }
    sizes
}

fn data(code: &str) -> usize {
    code.split('+').next().unwrap().parse().unwrap()
}

/// Gives a value in reads of odd lengths, as a socket does.
fn stream(value: &Bytes) -> Stream<impl tokio::io::AsyncRead + Unpin + Send> {
    Stream(tokio_util::io::StreamReader::new(
        futures_util::stream::iter(
            value
                .chunks(77_777)
                .map(Bytes::copy_from_slice)
                .map(io::Result::Ok)
                .collect::<Vec<_>>(),
        ),
    ))
}

/// Two pools: commits of the second need not wait for units that are on their way.
fn both(code: &str, spare: usize) -> [FakePool; 2] {
    [
        FakePool::new(code, spare),
        FakePool::new(code, spare).in_order(),
    ]
}

#[tokio::test]
async fn what_is_put_is_got_whatever_its_size_and_whether_or_not_it_is_told() {
    for code in CODES {
        let pool = FakePool::new(code, 0);
        for size in sizes(data(code)) {
            let value = value(size);
            let found = put(&pool, "told", &value).await.unwrap();
            pool.assert_exact(&found, &value);
            assert_eq!(
                get(&pool, &found).await.unwrap(),
                value,
                "{size} bytes in {code}"
            );

            for told in [None, Some(size as u64)] {
                let upload = upload(&pool, b"stream", told, stream(&value))
                    .await
                    .unwrap();
                assert_eq!(upload.size(), size as u64);
                commit(upload).await.unwrap();
                let found = pool.found("stream").unwrap();
                pool.assert_exact(&found, &value);
                assert_eq!(
                    get(&pool, &found).await.unwrap(),
                    value,
                    "{size} bytes in {code}"
                );
            }
        }
        assert_nothing_buffered(&pool).await;
        assert!(pool.state().incidents.is_empty());
        assert!(pool.state().aborted.is_empty());
    }
}

#[tokio::test]
async fn a_source_of_unknown_length_suits_a_pool_that_has_shrunk() {
    for asleep in [3, 5, 9, 10, 11] {
        let pool = FakePool::new("10+2", 0);
        pool.nodes()[..asleep]
            .iter()
            .for_each(|node| node.set(Mood::Dead));
        for size in [0, 1, stripe(10) - 1, stripe(10), 3 * stripe(10) + 100_000] {
            let value = value(size);
            commit(upload(&pool, b"key", None, stream(&value)).await.unwrap())
                .await
                .unwrap();
            let found = pool.found("key").unwrap();
            pool.assert_exact(&found, &value);
            assert_eq!(get(&pool, &found).await.unwrap(), value);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_fails_in_mid_write_is_replaced_and_its_chunk_rebuilt() {
    let value = value(6 * stripe(4) + 1234);
    for mood in [Mood::Dead, Mood::Frozen, Mood::Full] {
        for units in 0..7 {
            for chunk in [0, 3, 5] {
                for pool in both("4+2", 1) {
                    pool.nodes()[chunk].set_after(units, mood);
                    let found = put(&pool, "key", &value).await.unwrap();
                    pool.assert_exact(&found, &value);
                    assert_eq!(
                        found.members[chunk],
                        Some(MemberId(6)),
                        "{mood:?} after {units}"
                    );
                    assert_eq!(
                        pool.state().replaced,
                        [(chunk as u8, MemberId(chunk as u32))]
                    );
                    assert_eq!(get(&pool, &found).await.unwrap(), value);
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_waits_for_its_units_only_where_it_could_overtake_them() {
    for (pool, waits) in both("4+2", 0).into_iter().zip([true, false]) {
        let slow = Mood::Slow(Duration::from_millis(50));
        pool.nodes().iter().for_each(|node| node.set(slow));
        let value = value(stripe(4));
        let size = Some(value.len() as u64);
        let upload = upload(&pool, b"key", size, value.clone()).await.unwrap();
        let stored = pool.nodes().iter().all(|node| node.state().puts == 1);
        assert_eq!(stored, waits);
        commit(upload).await.unwrap();
        pool.assert_exact(&pool.found("key").unwrap(), &value);
    }
}

#[tokio::test(start_paused = true)]
async fn a_unit_that_comes_too_late_for_a_commit_is_there_for_the_next() {
    let value = value(2 * stripe(4));
    for late in [0, 3, 5] {
        let pool = FakePool::new("4+2", 1).in_order();
        pool.nodes()[late].set(Mood::Slow(Duration::from_millis(50)));
        let found = put(&pool, "key", &value).await.unwrap();
        pool.assert_exact(&found, &value);
        assert_eq!(pool.state().commits, 2);
        assert!(pool.state().replaced.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_unit_that_finds_no_room_at_first_is_there_for_the_next_commit() {
    let value = value(stripe(4));
    let pool = FakePool::new("4+2", 1).in_order();
    pool.nodes()[2].set(Mood::Full);
    let upload = upload(&pool, b"key", Some(value.len() as u64), value.clone());
    let upload = upload.await.unwrap();
    let freed = pool.nodes()[2].clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(30)).await;
        freed.set(Mood::Well);
    });
    commit(upload).await.unwrap();
    pool.assert_exact(&pool.found("key").unwrap(), &value);
    assert_eq!(pool.state().commits, 2);
    assert!(pool.state().replaced.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_member_that_completed_its_chunk_keeps_it_though_its_acknowledgements_are_lost() {
    let value = value(stripe(4));
    let pool = FakePool::new("4+2", 1).in_order();
    let [soon, late] = [20, 50].map(Duration::from_millis);
    pool.nodes()[2].set(Mood::Unheard(soon));
    pool.nodes()[4].set(Mood::Slow(late));
    let found = put(&pool, "key", &value).await.unwrap();
    pool.assert_exact(&found, &value);
    assert_eq!(pool.state().commits, 2);
    assert!(pool.state().replaced.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_member_that_a_commit_waited_for_is_not_waited_for_again() {
    let value = value(stripe(4));
    let pool = FakePool::new("4+2", 1).in_order();
    pool.nodes()[1].set(Mood::Frozen);
    let began = Instant::now();
    let found = put(&pool, "key", &value).await.unwrap();
    assert!(
        began.elapsed() < FakePool::PATIENCE * 3 / 2,
        "{:?}",
        began.elapsed()
    );
    pool.assert_exact(&found, &value);
    assert_eq!(pool.state().replaced, [(1, MemberId(1))]);
}

#[tokio::test(start_paused = true)]
async fn units_that_were_late_only_while_a_commit_waited_for_another_member_stay_where_they_are() {
    let value = value(2 * stripe(4));
    let pool = FakePool::new("4+2", 1).in_order();
    pool.nodes()[1].set(Mood::Frozen);
    for late in [0, 2, 5] {
        pool.nodes()[late].set(Mood::Slow(Duration::from_millis(50)));
    }
    let found = put(&pool, "key", &value).await.unwrap();
    pool.assert_exact(&found, &value);
    assert_eq!(pool.state().replaced, [(1, MemberId(1))]);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_loses_all_its_units_during_a_commit_is_replaced_once() {
    let value = value(2 * stripe(4));
    let pool = FakePool::new("4+2", 2).in_order();
    pool.nodes()[1].set(Mood::Frozen);
    pool.nodes()[2].set(Mood::Breaking(Duration::from_millis(20)));
    let found = put(&pool, "key", &value).await.unwrap();
    pool.assert_exact(&found, &value);
    let mut replaced = pool.state().replaced.clone();
    replaced.sort_unstable();
    assert_eq!(replaced, [(1, MemberId(1)), (2, MemberId(2))]);
}

#[tokio::test(start_paused = true)]
async fn as_many_nodes_may_fail_as_there_are_parity_chunks() {
    let value = value(5 * stripe(4) + 77);
    for mood in [Mood::Dead, Mood::Frozen, Mood::Full] {
        for (first, second) in [(0, 0), (0, 3), (2, 1), (3, 3)] {
            for pool in both("4+2", 2) {
                pool.nodes()[1].set_after(first, mood);
                pool.nodes()[4].set_after(second, mood);
                let found = put(&pool, "key", &value).await.unwrap();
                pool.assert_exact(&found, &value);
                assert_eq!(
                    get(&pool, &found).await.unwrap(),
                    value,
                    "{mood:?} {first} {second}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_replacement_that_fails_too_is_replaced() {
    for mood in [Mood::Dead, Mood::Frozen, Mood::Full] {
        for (first, second) in [(0, 0), (1, 1), (2, 3), (4, 1)] {
            let pool = FakePool::new("4+2", 3);
            pool.nodes()[2].set_after(first, mood);
            pool.nodes()[6].set_after(second, mood);
            let value = value(5 * stripe(4) + 77);
            let found = put(&pool, "key", &value).await.unwrap();
            pool.assert_exact(&found, &value);
            assert_eq!(
                pool.state().replaced.len(),
                2,
                "{mood:?} after {first} and {second}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn with_one_parity_chunk_a_frozen_replacement_is_waited_for_once() {
    let pool = FakePool::new("4+1", 3);
    pool.nodes()[2].set_after(1, Mood::Frozen);
    pool.nodes()[5].set_after(0, Mood::Frozen);
    let begun = Instant::now();
    let value = value(6 * stripe(4));
    let found = put(&pool, "key", &value).await.unwrap();
    pool.assert_exact(&found, &value);
    // The patience of a write, and the deadline of a single call.
    assert!(
        begun.elapsed() < Duration::from_secs(12),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_frozen_node_delays_a_write_by_its_patience_and_no_more() {
    let pool = FakePool::new("4+2", 1);
    pool.nodes()[0].set_after(2, Mood::Frozen);
    let begun = Instant::now();
    put(&pool, "key", &value(20 * stripe(4))).await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn all_nodes_may_fail_that_have_acknowledged_nothing_and_their_successors_too() {
    for mood in [Mood::Dead, Mood::Frozen, Mood::Full] {
        // Each frozen one is waited for.
        let most = if mood == Mood::Frozen { 6 } else { 12 };
        for failing in [3, 6, most] {
            for size in [1, stripe(4), 2 * stripe(4), 9 * stripe(4) + 5] {
                for pool in both("4+2", failing) {
                    let nodes = pool.nodes()[..failing].iter();
                    nodes.for_each(|node| node.set_after(0, mood));
                    let value = value(size);
                    let found = put(&pool, "key", &value).await.unwrap();
                    pool.assert_exact(&found, &value);
                    assert_eq!(get(&pool, &found).await.unwrap(), value);
                    assert_nothing_buffered(&pool).await;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_member_has_not_acknowledged_is_sent_again_and_not_rebuilt() {
    for pool in both("4+2", 1) {
        pool.nodes()[2].set_after(0, Mood::Dead);
        let value = value(2 * stripe(4));
        let found = put(&pool, "key", &value).await.unwrap();
        pool.assert_exact(&found, &value);
        assert!(pool.nodes().iter().all(|node| node.state().gets == 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_one_node_after_another_fails_does_not_hold_a_write_for_ever() {
    for pool in both("4+2", 500) {
        pool.nodes().iter().for_each(|node| node.set(Mood::Full));
        pool.nodes()[..5]
            .iter()
            .for_each(|node| node.set(Mood::Well));
        let value = value(stripe(4));
        let ended = timeout(Duration::from_secs(120), put(&pool, "key", &value)).await;
        let failed = ended.expect("no wait is without a deadline");
        assert!(matches!(failed, Err(Error::Unreachable(_))), "{failed:?}");
        assert!(pool.state().replaced.len() > 10);
        pool.assert_empty();
    }
}

#[tokio::test(start_paused = true)]
async fn more_failures_than_parity_chunks_fail_the_write_and_leave_nothing() {
    for mood in [Mood::Dead, Mood::Frozen, Mood::Full] {
        // What they have acknowledged is lost with them.
        for units in [1, 3] {
            let pool = FakePool::new("4+2", 6);
            pool.nodes()[..3]
                .iter()
                .for_each(|node| node.set_after(units, mood));
            let failed = put(&pool, "key", &value(5 * stripe(4))).await;
            let expected = matches!(failed, Err(Error::Unreachable(_) | Error::TimedOut(_)));
            assert!(expected, "{mood:?} after {units}: {failed:?}");
            pool.nodes().iter().for_each(|node| node.set(Mood::Well));
            pool.assert_empty();
            assert_eq!(pool.state().aborted.len(), 1);
            assert_nothing_buffered(&pool).await;
        }
    }
}

#[tokio::test]
async fn a_failure_without_a_spare_node_fails_the_write_and_leaves_nothing() {
    let pool = FakePool::new("4+2", 0);
    pool.nodes()[1].set_after(2, Mood::Full);
    let failed = put(&pool, "key", &value(5 * stripe(4))).await;
    assert!(matches!(failed, Err(Error::Unreachable(_))), "{failed:?}");
    pool.assert_empty();
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_full_for_a_moment_is_offered_the_unit_again() {
    let pool = FakePool::new("4+2", 0);
    let node = pool.nodes()[1].clone();
    node.set_after(2, Mood::Full);
    let relief = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        node.set(Mood::Well);
    });
    let value = value(5 * stripe(4));
    let found = put(&pool, "key", &value).await.unwrap();
    pool.assert_exact(&found, &value);
    relief.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_never_finds_a_replacement_does_not_hold_a_write_for_ever() {
    let pool = FakePool::new("4+2", 2);
    pool.state().never_replaces = true;
    pool.nodes()[1].set_after(2, Mood::Full);
    let ended = timeout(
        Duration::from_secs(120),
        put(&pool, "key", &value(5 * stripe(4))),
    )
    .await;
    let failed = ended.expect("no wait is without a deadline");
    assert!(matches!(failed, Err(Error::TimedOut(_))), "{failed:?}");
    pool.assert_empty();
}

#[tokio::test]
async fn an_upload_that_is_dropped_is_given_up() {
    let pool = FakePool::new("4+2", 0);
    let whole = upload(&pool, b"key", None, value(2 * stripe(4)))
        .await
        .unwrap();
    assert!(pool.nodes()[0].holds(whole.write()));
    drop(whole);
    pool.assert_empty();
    assert_eq!(pool.state().aborted.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_is_cancelled_is_given_up() {
    /// Gives its value and then nothing, not even its end.
    struct Endless(Bytes);
    impl Source for Endless {
        async fn read(&mut self, length: usize) -> io::Result<Bytes> {
            if self.0.len() < length {
                std::future::pending::<()>().await;
            }
            self.0.read(length).await
        }
    }
    for told in [None, Some(100 * stripe(4) as u64)] {
        let pool = FakePool::new("4+2", 0);
        let uploading = upload(&pool, b"key", told, Endless(value(3 * stripe(4) + 5)));
        let ended = timeout(Duration::from_secs(50), uploading).await;
        assert!(ended.is_err(), "it cannot have ended");
        pool.assert_empty();
        assert_eq!(pool.state().aborted.len(), 1);
        assert_nothing_buffered(&pool).await;
    }
}

#[tokio::test]
async fn a_source_that_ends_early_leaves_nothing() {
    for missing in [1, 64, stripe(4), 2 * stripe(4) + 3] {
        let pool = FakePool::new("4+2", 0);
        let value = value(3 * stripe(4) + 3);
        let size = (value.len() + missing) as u64;
        let failed = upload(&pool, b"key", Some(size), value).await.err();
        let Some(Error::Io(error)) = failed else {
            panic!("{failed:?}")
        };
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        pool.assert_empty();
    }
}

#[tokio::test]
async fn a_source_that_fails_leaves_nothing() {
    struct Broken(Bytes);
    impl Source for Broken {
        async fn read(&mut self, length: usize) -> io::Result<Bytes> {
            match self.0.len() < length {
                true => Err(io::ErrorKind::ConnectionReset.into()),
                false => self.0.read(length).await,
            }
        }
    }
    for told in [None, Some(9 * stripe(4) as u64)] {
        for given in [0, 10, stripe(4), 3 * stripe(4) + 3] {
            let pool = FakePool::new("4+2", 0);
            let failed = upload(&pool, b"key", told, Broken(value(given)))
                .await
                .err();
            let Some(Error::Io(error)) = failed else {
                panic!("{failed:?}")
            };
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            pool.assert_empty();
        }
    }
}

#[tokio::test]
async fn a_chunk_that_cannot_be_completed_is_rebuilt_and_the_commit_tried_again() {
    let value = value(3 * stripe(4) + 5);
    for lost in [vec![0], vec![5], vec![1, 4]] {
        let pool = FakePool::new("4+2", 2);
        let whole = upload(&pool, b"key", None, value.clone()).await.unwrap();
        for &index in &lost {
            let chunk = infinicache_wire::ChunkId {
                write: whole.write(),
                index,
            };
            pool.nodes()[usize::from(index)].lose_unit(chunk, 1);
        }
        commit(whole).await.unwrap();
        let found = pool.found("key").unwrap();
        pool.assert_exact(&found, &value);
        assert_eq!(pool.state().commits, 2);
        assert_eq!(pool.state().replaced.len(), lost.len());
        assert!(pool.state().aborted.is_empty());
    }
}

#[tokio::test]
async fn a_commit_that_lacks_too_many_chunks_leaves_nothing() {
    let pool = FakePool::new("4+2", 6);
    let whole = upload(&pool, b"key", None, value(3 * stripe(4)))
        .await
        .unwrap();
    pool.nodes()[..3]
        .iter()
        .for_each(|node| node.set(Mood::Dead));
    let failed = commit(whole).await;
    assert!(matches!(failed, Err(Error::Unreachable(_))), "{failed:?}");
    pool.nodes()[..3]
        .iter()
        .for_each(|node| node.set(Mood::Well));
    pool.nodes()[3..]
        .iter()
        .for_each(|node| assert!(node.is_empty()));
    assert!(pool.found("key").is_none());
}

#[tokio::test]
async fn an_empty_value_is_stored_though_a_member_fails_at_its_commit() {
    let pool = FakePool::new("4+2", 1);
    let whole = upload(&pool, b"key", Some(0), Bytes::new()).await.unwrap();
    pool.nodes()[1].set(Mood::Dead);
    commit(whole).await.unwrap();
    let found = pool.found("key").unwrap();
    assert_eq!(get(&pool, &found).await.unwrap(), b"");
    assert_eq!(found.members.len(), 3);
}

#[tokio::test]
async fn room_is_made_before_it_is_used_and_for_the_whole_value() {
    let pool = FakePool::new("4+2", 0);
    put(&pool, "key", &value(3 * stripe(4) + 9)).await.unwrap();
    assert_eq!(pool.state().reserved, 3 * stripe(4) as u64 + 9);
}

/// How a node fails a write, for good.
fn failing() -> impl Strategy<Value = Mood> {
    prop_oneof![
        Just(Mood::Dead),
        Just(Mood::Frozen),
        Just(Mood::Full),
        moment().prop_map(Mood::Unheard),
        moment().prop_map(Mood::Breaking),
    ]
}

/// How a node holds a write up, until it has had some units.
fn hesitant() -> impl Strategy<Value = Mood> {
    prop_oneof![
        Just(Mood::Well),
        Just(Mood::Full),
        moment().prop_map(Mood::Slow),
    ]
}

fn moment() -> impl Strategy<Value = Duration> {
    (0u64..200).prop_map(Duration::from_millis)
}

proptest! {
    #[test]
    fn a_write_survives_whatever_befalls_as_many_nodes_as_there_are_parity_chunks(
        size in 0..4 * stripe(4),
        hesitant in vec((hesitant(), 1usize..4), 8),
        failing in vec((0usize..6, failing(), 0usize..6), 0..=2),
    ) {
        let value = value(size);
        for pool in both("4+2", 2) {
            for (node, &(mood, units)) in pool.nodes().iter().zip(&hesitant) {
                node.set(mood);
                node.set_after(units, Mood::Well);
            }
            for &(node, mood, units) in &failing {
                pool.nodes()[node].set(Mood::Well);
                pool.nodes()[node].set_after(units, mood);
            }
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            runtime.block_on(async {
                let found = put(&pool, "key", &value).await.unwrap();
                pool.assert_exact(&found, &value);
            });
        }
    }
}
