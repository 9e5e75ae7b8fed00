//! The pool is smaller than what is to be held.

use super::stage::Scenario;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_is_too_small() {
    Scenario::new("too small")
        .with(|up| up.memory("1MiB"))
        .play(async |stage| {
            for _ in 0..4 {
                stage.work().await;
            }
        })
        .await;
}
