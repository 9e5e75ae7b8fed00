//! What is buffered is bounded, and nobody waits for memory that only they hold.

mod support;

use std::{future::pending, io, time::Duration};

use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use infinicache_engine::{Pool, Reader, Source, upload};
use infinicache_erasure::UNIT_MAX;
use support::{FakePool, Mood, assert_nothing_buffered, commit, get, put, stripe, value};
use tokio::time::{Instant, timeout};

/// Bytes of a full stripe of a 4+2 code, parity and all.
const STRIPE: usize = 6 * UNIT_MAX;

/// What one transfer may hold while memory is plentiful.
const WINDOW: usize = 8 * STRIPE;

/// A source that does not tell how long it is and holds no budget of its own.
fn unsized_source(value: &Bytes) -> impl Source {
    infinicache_engine::Stream(io::Cursor::new(value.clone()))
}

#[tokio::test]
async fn a_large_transfer_takes_a_window_of_memory() {
    let pool = FakePool::new("4+2", 0);
    let value = value(40 * stripe(4) + 5);
    let found = put(&pool, "key", &value).await.unwrap();
    assert!(
        pool.state().most_used <= WINDOW,
        "{} to put",
        pool.state().most_used
    );

    pool.state().most_used = 0;
    commit(
        upload(&pool, b"stream", None, unsized_source(&value))
            .await
            .unwrap(),
    )
    .await
    .unwrap();
    assert!(
        pool.state().most_used <= WINDOW,
        "{} to stream",
        pool.state().most_used
    );

    pool.state().most_used = 0;
    // What the caller holds of the stripe before counts as well.
    let mut reader = Reader::new(pool.clone(), found, 0..u64::MAX);
    while let Some(pieces) = reader.next().await.unwrap() {
        drop(pieces);
    }
    assert!(
        pool.state().most_used <= WINDOW,
        "{} to get",
        pool.state().most_used
    );
    drop(reader);
    assert_nothing_buffered(&pool).await;
}

#[tokio::test(start_paused = true)]
async fn a_frozen_node_does_not_make_a_write_take_more_memory() {
    let pool = FakePool::new("4+2", 1);
    pool.nodes()[0].set_after(3, Mood::Frozen);
    put(&pool, "key", &value(40 * stripe(4))).await.unwrap();
    assert!(
        pool.state().most_used <= WINDOW,
        "{}",
        pool.state().most_used
    );
    assert_nothing_buffered(&pool).await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stalls_holds_a_window_at_most() {
    let pool = FakePool::new("4+2", 0);
    let found = put(&pool, "key", &value(20 * stripe(4))).await.unwrap();
    let mut reader = Reader::new(pool.clone(), found, 0..u64::MAX);
    let pieces = reader.next().await.unwrap();
    tokio::time::sleep(Duration::from_secs(100)).await;
    let used = pool.budget().used();
    assert!((stripe(4)..=WINDOW).contains(&used), "{used}");
    drop(reader);
    // Whatever was on its way ends when it is next run.
    tokio::task::yield_now().await;
    assert!(pool.budget().used() <= stripe(4));
    drop(pieces);
    assert_nothing_buffered(&pool).await;
}

#[tokio::test(start_paused = true)]
async fn transfers_that_have_to_share_one_stripe_of_memory_all_finish() {
    let pool = FakePool::with_budget("4+2", 0, STRIPE);
    let value = value(5 * stripe(4) + 1);
    let begun = Instant::now();
    let transfer = async |number: usize| {
        let key = format!("key:{number}");
        match number % 2 {
            0 => drop(put(&pool, &key, &value).await.unwrap()),
            _ => {
                let source = unsized_source(&value);
                commit(upload(&pool, key.as_bytes(), None, source).await.unwrap())
                    .await
                    .unwrap();
            }
        }
        let found = pool.found(&key).unwrap();
        pool.assert_exact(&found, &value);
        assert_eq!(get(&pool, &found).await.unwrap(), value);
    };
    join_all((0..12).map(transfer)).await;
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    assert!(pool.state().most_used <= STRIPE);
    assert_nothing_buffered(&pool).await;
}

#[tokio::test(start_paused = true)]
async fn many_sources_of_unknown_length_do_not_wait_for_each_other() {
    // Memory for the heads of all, but not for their first stripes too.
    let pool = FakePool::with_budget("4+2", 0, 8 * stripe(4));
    let value = value(3 * stripe(4));
    let begun = Instant::now();
    let uploading = (0..20).map(|number| {
        let (pool, source) = (pool.clone(), unsized_source(&value));
        async move {
            let key = format!("key:{number}");
            commit(upload(&pool, key.as_bytes(), None, source).await?).await
        }
    });
    try_join_all(uploading).await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn with_one_stripe_of_memory_a_frozen_node_is_still_replaced() {
    for units in [0, 1, 4] {
        let pool = FakePool::with_budget("4+2", 2, STRIPE);
        pool.nodes()[1].set_after(units, Mood::Frozen);
        let begun = Instant::now();
        let value = value(5 * stripe(4) + 9);
        let found = put(&pool, "key", &value).await.unwrap();
        pool.assert_exact(&found, &value);
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{units}: {:?}",
            begun.elapsed()
        );
        assert_nothing_buffered(&pool).await;
    }
}

#[tokio::test(start_paused = true)]
async fn with_one_stripe_of_memory_all_nodes_may_fail_at_once_and_again() {
    for failing in [3, 6, 12] {
        let pool = FakePool::with_budget("4+2", failing, STRIPE);
        let nodes = pool.nodes()[..failing].iter();
        nodes.for_each(|node| node.set_after(0, Mood::Dead));
        let value = value(5 * stripe(4) + 9);
        let found = put(&pool, "key", &value).await.unwrap();
        pool.assert_exact(&found, &value);
        assert!(pool.state().most_used <= STRIPE);
        assert_nothing_buffered(&pool).await;
    }
}

#[tokio::test(start_paused = true)]
async fn with_one_stripe_of_memory_a_frozen_node_is_still_read_around() {
    let pool = FakePool::with_budget("4+2", 0, STRIPE);
    let value = value(5 * stripe(4) + 9);
    let found = put(&pool, "key", &value).await.unwrap();
    pool.nodes()[1].set(Mood::Frozen);
    let begun = Instant::now();
    assert_eq!(get(&pool, &found).await.unwrap(), value);
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    assert_nothing_buffered(&pool).await;
}

#[tokio::test(start_paused = true)]
async fn a_source_that_stalls_does_not_keep_the_memory_of_those_it_sent() {
    struct Stalling(usize);
    impl Source for Stalling {
        async fn read(&mut self, length: usize) -> io::Result<Bytes> {
            match self.0.checked_sub(length) {
                None => pending().await,
                Some(left) => {
                    self.0 = left;
                    Ok(vec![7; length].into())
                }
            }
        }
    }
    let pool = FakePool::new("4+2", 0);
    let uploading = upload(&pool, b"key", Some(1 << 30), Stalling(3 * stripe(4)));
    let watching = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(
            pool.budget().used(),
            STRIPE,
            "the stripe that it waits to fill"
        );
    };
    let both = futures_util::future::select(Box::pin(uploading), Box::pin(watching));
    timeout(Duration::from_secs(50), both).await.unwrap();
}

#[tokio::test]
async fn memory_is_not_kept_by_what_was_given_up() {
    let pool = FakePool::new("4+2", 0);
    let found = put(&pool, "key", &value(3 * stripe(4))).await.unwrap();
    let mut reader = Reader::new(pool.clone(), found, 0..u64::MAX);
    reader.next().await.unwrap();
    drop(reader);
    assert_nothing_buffered(&pool).await;
}
