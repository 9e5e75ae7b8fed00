//! Values come back, exactly, from any k of their chunks.

mod support;

use std::time::Duration;

use infinicache_engine::{Error, Incident, Pool, Reader};
use proptest::prelude::*;
use support::{
    FakeFound, FakePool, Mood, assert_nothing_buffered, get, get_range, put, stripe, value,
};
use tokio::time::Instant;

/// Every set of at most `most` of `count` chunks.
fn patterns(count: usize, most: usize) -> Vec<Vec<usize>> {
    let mut patterns = vec![Vec::new()];
    for _ in 0..most {
        let longer: Vec<Vec<usize>> = patterns
            .iter()
            .flat_map(|pattern| {
                let next = pattern.last().map_or(0, |last| last + 1);
                (next..count).map(move |chunk| [&pattern[..], &[chunk]].concat())
            })
            .collect();
        patterns.extend(longer);
        patterns.sort_unstable();
        patterns.dedup();
    }
    patterns
}

/// The value without some of its chunks, as if their members had been lost.
fn without(found: &FakeFound, chunks: &[usize]) -> FakeFound {
    let mut found = found.clone();
    chunks.iter().for_each(|&chunk| found.members[chunk] = None);
    found
}

#[test]
fn there_are_as_many_patterns_as_there_should_be() {
    assert_eq!(patterns(12, 2).len(), 1 + 12 + 66);
    assert_eq!(patterns(6, 3).len(), 1 + 6 + 15 + 20);
}

#[tokio::test]
async fn any_loss_of_as_many_chunks_as_there_is_parity_reads_exactly() {
    for (code, data) in [("10+2", 10), ("4+2", 4)] {
        for size in [stripe(data) + 1, stripe(data) + 200_000, 65, 100_000] {
            let pool = FakePool::new(code, 0);
            let value = value(size);
            let found = put(&pool, "key", &value).await.unwrap();
            for lost in patterns(found.geometry.code().width(), 2) {
                let found = without(&found, &lost);
                let read = get(&pool, &found).await.unwrap();
                assert_eq!(read, value, "{size} bytes in {code} without {lost:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_loss_of_more_chunks_than_there_is_parity_is_a_loss_of_the_value() {
    for (code, data) in [("10+2", 10), ("4+2", 4)] {
        let pool = FakePool::new(code, 0);
        let found = put(&pool, "key", &value(stripe(data) + 1)).await.unwrap();
        for lost in patterns(data + 2, 3)
            .into_iter()
            .filter(|lost| lost.len() == 3)
        {
            let failed = get(&pool, &without(&found, &lost)).await;
            let expected = matches!(failed, Err(Error::Lost { have, need })
                if have == data - 1 && need == data);
            assert!(expected, "without {lost:?}: {failed:?}");
        }
        assert_nothing_buffered(&pool).await;
    }
}

#[tokio::test]
async fn dead_nodes_are_read_around() {
    let value = value(3 * stripe(4) + 1000);
    for dead in patterns(6, 2) {
        let pool = FakePool::new("4+2", 0);
        let found = put(&pool, "key", &value).await.unwrap();
        dead.iter()
            .for_each(|&node| pool.nodes()[node].set(Mood::Dead));
        assert_eq!(get(&pool, &found).await.unwrap(), value, "without {dead:?}");
        let data_lost = dead.iter().any(|node| *node < 4);
        assert_eq!(pool.noted(Incident::Degraded) > 0, data_lost);
    }
}

#[tokio::test]
async fn a_whole_value_is_read_from_its_data_chunks_alone() {
    let pool = FakePool::new("4+2", 0);
    let found = put(&pool, "key", &value(3 * stripe(4))).await.unwrap();
    get(&pool, &found).await.unwrap();
    let gets: Vec<usize> = pool.nodes().iter().map(|node| node.state().gets).collect();
    assert_eq!(gets, [3, 3, 3, 3, 0, 0]);
    assert!(pool.state().incidents.is_empty());
}

#[tokio::test]
async fn a_corrupt_unit_is_made_up_for_and_noted() {
    let pool = FakePool::new("4+2", 0);
    let value = value(stripe(4));
    let found = put(&pool, "key", &value).await.unwrap();
    pool.nodes()[2].state().corrupt.insert(2);
    assert_eq!(get(&pool, &found).await.unwrap(), value);
    assert_eq!(pool.noted(Incident::Corrupt(found.chunk(2))), 1);
    assert_eq!(pool.noted(Incident::Degraded), 1);

    pool.nodes()[0].state().corrupt.insert(0);
    assert_eq!(get(&pool, &found).await.unwrap(), value, "with two of them");
    pool.nodes()[4].state().corrupt.insert(4);
    let failed = get(&pool, &found).await;
    assert!(
        matches!(failed, Err(Error::Lost { have: 3, need: 4 })),
        "{failed:?}"
    );
    assert_nothing_buffered(&pool).await;
}

#[tokio::test]
async fn a_corrupt_unit_is_not_asked_for_in_vain_by_a_range_that_does_not_touch_it() {
    let pool = FakePool::new("4+2", 0);
    let value = value(stripe(4));
    let found = put(&pool, "key", &value).await.unwrap();
    pool.nodes()[2].state().corrupt.insert(2);
    assert_eq!(
        get_range(&pool, &found, 10..1000).await.unwrap(),
        value[10..1000]
    );
    assert_eq!(pool.nodes()[0].state().gets, 1);
    assert!(pool.state().incidents.is_empty());
}

#[tokio::test]
async fn a_chunk_that_its_member_lost_is_made_up_for_and_noted() {
    let pool = FakePool::new("4+2", 0);
    let value = value(2 * stripe(4));
    let found = put(&pool, "key", &value).await.unwrap();
    pool.nodes()[1].lose(found.chunk(1));
    assert_eq!(get(&pool, &found).await.unwrap(), value);
    assert_eq!(
        pool.noted(Incident::Missing(found.chunk(1))),
        2,
        "once for each stripe"
    );
}

#[tokio::test(start_paused = true)]
async fn a_frozen_node_costs_its_patience_once_and_is_avoided_then() {
    let pool = FakePool::new("10+2", 0);
    let value = value(6 * stripe(10) + 5);
    let found = put(&pool, "key", &value).await.unwrap();
    pool.nodes()[3].set(Mood::Frozen);

    let patience = pool.latencies().hedge_delay();
    let begun = Instant::now();
    assert_eq!(get(&pool, &found).await.unwrap(), value);
    assert!(
        begun.elapsed() < patience + Duration::from_millis(5),
        "{:?}",
        begun.elapsed()
    );
    assert!(pool.noted(Incident::Hedged) > 0);

    let (begun, gets) = (Instant::now(), pool.nodes()[3].state().gets);
    for _ in 0..10 {
        assert_eq!(get(&pool, &found).await.unwrap(), value);
    }
    assert!(
        begun.elapsed() < Duration::from_millis(5),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(pool.nodes()[3].state().gets, gets, "nobody asks it");
}

#[tokio::test(start_paused = true)]
async fn two_frozen_nodes_cost_little_and_three_an_error() {
    let pool = FakePool::new("4+2", 0);
    let value = value(2 * stripe(4));
    let found = put(&pool, "key", &value).await.unwrap();
    pool.nodes()[..2]
        .iter()
        .for_each(|node| node.set(Mood::Frozen));
    let begun = Instant::now();
    assert_eq!(get(&pool, &found).await.unwrap(), value);
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );

    pool.nodes()[4].set(Mood::Frozen);
    let failed = get(&pool, &found).await;
    assert!(
        matches!(failed, Err(Error::Unreachable(_) | Error::TimedOut(_))),
        "they may come back: {failed:?}"
    );
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
    assert_nothing_buffered(&pool).await;
}

#[tokio::test(start_paused = true)]
async fn nodes_that_are_all_slow_are_waited_for() {
    let pool = FakePool::new("4+2", 0);
    let value = value(4 * stripe(4));
    let found = put(&pool, "key", &value).await.unwrap();
    pool.nodes()
        .iter()
        .for_each(|node| node.set(Mood::Slow(Duration::from_secs(2))));
    assert_eq!(get(&pool, &found).await.unwrap(), value);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stalls_does_not_make_its_members_look_slow() {
    let pool = FakePool::new("4+2", 0);
    let found = put(&pool, "key", &value(200 * stripe(4))).await.unwrap();
    let mut reader = Reader::new(pool.clone(), found, 0..u64::MAX);
    while reader.next().await.unwrap().is_some() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(pool.latencies().hedge_delay(), Duration::from_millis(20));
    assert!(pool.state().incidents.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_eager_reader_gives_the_first_units_before_the_last_come() {
    let pool = FakePool::new("4+2", 0);
    let value = value(3 * stripe(4));
    let found = put(&pool, "key", &value).await.unwrap();
    pool.nodes()[2].set(Mood::Slow(Duration::from_millis(5)));
    let begun = Instant::now();
    let mut reader = Reader::new(pool.clone(), found, 0..u64::MAX).eager();
    let first = reader.next().await.unwrap().unwrap().concat();
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(first, value[..stripe(4) / 4 * 2]);
    let next = reader.next().await.unwrap().unwrap().concat();
    assert_eq!(next, value[first.len()..stripe(4)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_in_one_stripe_an_eager_reader_gives_whole_or_not_at_all() {
    let pool = FakePool::new("4+2", 0);
    let value = value(3 * stripe(4));
    let found = put(&pool, "key", &value).await.unwrap();
    let range = 5..stripe(4) as u64 - 5;
    let reader = || Reader::new(pool.clone(), found.clone(), range.clone()).eager();
    pool.nodes()[2].set(Mood::Slow(Duration::from_millis(5)));
    let read = reader().next().await.unwrap().unwrap();
    assert_eq!(read.concat(), value[5..stripe(4) - 5]);
    (1..4).for_each(|node| pool.nodes()[node].set(Mood::Dead));
    let read = reader().next().await;
    assert!(matches!(read, Err(Error::Unreachable(_))), "{read:?}");
}

#[tokio::test(start_paused = true)]
async fn an_eager_reader_that_stalls_over_the_first_units_does_not_make_the_others_look_slow() {
    let pool = FakePool::new("4+2", 0);
    let found = put(&pool, "key", &value(10 * stripe(4))).await.unwrap();
    (1..4).for_each(|node| pool.nodes()[node].set(Mood::Slow(Duration::from_millis(node as u64))));
    let mut reader = Reader::new(pool.clone(), found, 0..u64::MAX).eager();
    while reader.next().await.unwrap().is_some() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(pool.latencies().hedge_delay(), Duration::from_millis(20));
    assert!(pool.state().incidents.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_range_gives_those_bytes_whatever_is_lost(
        size in prop_oneof![0usize..200, 0usize..100_000, 500_000usize..2_000_000],
        ends in (0.0f64..1.1, 0.0f64..1.1),
        lost in prop::sample::subsequence((0..6).collect::<Vec<usize>>(), 0..=2),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let pool = FakePool::new("4+2", 0);
            let value = value(size);
            let found = put(&pool, "key", &value).await.unwrap();
            let width = found.geometry.code().width();
            let lost: Vec<usize> = lost.into_iter().filter(|chunk| *chunk < width).collect();
            let at = |part: f64| (part * size as f64) as u64;
            let range = at(ends.0)..at(ends.1);
            let clip = |at: u64| (at as usize).min(size);
            let (from, to) = (clip(range.start), clip(range.end));
            let read = get_range(&pool, &without(&found, &lost), range).await.unwrap();
            assert_eq!(read, value[from..to.max(from)]);
            assert_nothing_buffered(&pool).await;
        });
    }
}
