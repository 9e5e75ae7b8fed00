//! The proxy is killed, or frozen, and another takes over: what was acknowledged holds.

use redis::{AsyncCommands, ExistenceCheck, SetExpiry, SetOptions, Value as Reply};

use crate::{
    cluster::{Cluster, Node, SECRET, until},
    processes::kill,
    random::Random,
    stored::Stored,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_proxy_was_killed_everything_is_as_it_was() {
    let cluster = Cluster::start(|up| up).await;
    let mut stored = Stored::new(&cluster, 3).await;
    let mut redis = cluster.redis().await;
    let () = redis.set("deleted", "x").await.unwrap();
    let () = redis.del("deleted").await.unwrap();
    let () = redis.set("written", "old").await.unwrap();
    let () = redis.set("written", "new").await.unwrap();
    let late = SetOptions::default().with_expiration(SetExpiry::EX(1000));
    let () = redis.set_options("persistent", "x", late).await.unwrap();
    let () = redis.persist("persistent").await.unwrap();
    let () = redis.set("mortal", "x").await.unwrap();
    let () = redis.expire("mortal", 1000).await.unwrap();
    let only_new = SetOptions::default().conditional_set(ExistenceCheck::NX);
    let refused: Reply = redis
        .set_options("written", "never", only_new)
        .await
        .unwrap();
    assert_eq!(refused, Reply::Nil);

    for _ in 0..2 {
        cluster.restart_proxy().await;
        stored.reconnect(&cluster).await;
        stored.assert_all().await;
        let mut redis = cluster.redis().await;
        let gone: Option<String> = redis.get("deleted").await.unwrap();
        assert_eq!(gone, None);
        let written: String = redis.get("written").await.unwrap();
        assert_eq!(written, "new");
        let (persistent, mortal): (i64, i64) = (
            redis.ttl("persistent").await.unwrap(),
            redis.ttl("mortal").await.unwrap(),
        );
        assert_eq!(persistent, -1);
        assert!((900..=1000).contains(&mortal), "{mortal}");
    }
    let metrics = cluster.metrics().await;
    assert_eq!(
        metrics.total("infinicache_proxy_unrecoverable_objects"),
        0.0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expires_while_there_is_no_proxy_is_not_there_afterwards() {
    let cluster = Cluster::start(|up| up).await;
    let mut redis = cluster.redis().await;
    let soon = SetOptions::default().with_expiration(SetExpiry::PX(300));
    let () = redis.set_options("mortal", "x", soon).await.unwrap();
    let () = redis.set("other", "x").await.unwrap();
    let began = std::time::Instant::now();
    cluster.restart_proxy().await;
    let mut redis = cluster.redis().await;
    until("the value has expired", async || {
        let value: Option<String> = redis.get("mortal").await.unwrap();
        let too_long = began.elapsed().as_secs() > 20;
        (value.is_none() || too_long).then_some(())
    })
    .await;
    let there: (bool, bool) = (
        redis.exists("mortal").await.unwrap(),
        redis.exists("other").await.unwrap(),
    );
    assert_eq!(there, (false, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_while_nodes_were_frozen_stays_deleted_when_they_thaw() {
    let cluster = Cluster::start(|up| {
        up.nodes(4)
            .lost_after("3s")
            .env("INFINICACHE_RECOVERY_DEADLINE", "3s")
    })
    .await;
    let mut redis = cluster.redis().await;
    for number in 0..8 {
        let () = redis.set(format!("deleted-{number}"), "old").await.unwrap();
        let () = redis.set(format!("written-{number}"), "old").await.unwrap();
    }
    let frozen = Random::new("frozen").choose(1, &cluster.awake().await);
    frozen.iter().for_each(Node::freeze);
    for number in 0..8 {
        let () = redis.del(format!("deleted-{number}")).await.unwrap();
        let () = redis.set(format!("written-{number}"), "new").await.unwrap();
    }
    cluster.restart_proxy().await;
    frozen.iter().for_each(Node::thaw);
    for _ in 0..2 {
        let mut redis = cluster.redis().await;
        for number in 0..8 {
            let deleted: Option<String> = redis.get(format!("deleted-{number}")).await.unwrap();
            assert_eq!(deleted, None);
            let written: String = redis.get(format!("written-{number}")).await.unwrap();
            assert_eq!(written, "new");
        }
        cluster.restart_proxy().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_proxy_does_without_nodes_that_were_lost_with_it() {
    let cluster = Cluster::start(|up| up.env("INFINICACHE_RECOVERY_DEADLINE", "3s")).await;
    let mut stored = Stored::new(&cluster, 2).await;
    let (killed, frozen) = {
        let chosen = Random::new("lost").choose(2, &cluster.awake().await);
        (chosen[0].clone(), chosen[1].clone())
    };
    frozen.freeze();
    killed.kill();
    cluster.restart_proxy().await;
    stored.reconnect(&cluster).await;
    stored.assert_all().await;
    frozen.thaw();
    cluster.until_whole(stored.keys()).await;
    stored.assert_all().await;
    let metrics = cluster.metrics().await;
    assert_eq!(metrics.total("infinicache_proxy_objects_lost_total"), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_proxy_is_refused_and_ends_and_takes_nothing_from_the_first() {
    let cluster = Cluster::start(|up| {
        up.env("INFINICACHE_SECRET", SECRET)
            .env("INFINICACHE_LEASE", "2s")
    })
    .await;
    let mut stored = Stored::new(&cluster, 3).await;
    for _ in 0..2 {
        let (went_well, said) = cluster.start_another_proxy(&[]).await.ended().await;
        assert!(!went_well);
        assert!(said.contains("another proxy leads this pool"), "{said}");
        stored.assert_all().await;
    }
    let metrics = cluster.metrics().await;
    assert_eq!(metrics.total("infinicache_proxy_objects_lost_total"), 0.0);
    assert_eq!(metrics.total("infinicache_proxy_nodes_lost_total"), 0.0);
    assert_eq!(metrics.total("infinicache_proxy_leader"), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_was_superseded_ends_and_is_refused_when_it_is_started_again() {
    let cluster = Cluster::start(|up| {
        up.env("INFINICACHE_SECRET", SECRET)
            .env("INFINICACHE_LEASE", "2s")
    })
    .await;
    let mut stored = Stored::new(&cluster, 3).await;
    let old = cluster.proxy().await;
    kill(old, rustix::process::Signal::STOP);
    let rival = cluster.another_proxy(&[]).await;
    kill(old, rustix::process::Signal::CONT);
    until("it has ended, and those after it", async || {
        (cluster.proxy_restarts().await >= 2).then_some(())
    })
    .await;
    assert_eq!(
        rival
            .metrics()
            .await
            .total("infinicache_proxy_objects_lost_total"),
        0.0
    );
    drop(rival);
    until("the cache is whole again", async || {
        cluster.is_ready().await
    })
    .await;
    stored.reconnect(&cluster).await;
    stored.assert_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_thaws_after_another_took_over_answers_nothing() {
    let cluster = Cluster::start(|up| {
        up.env("INFINICACHE_SECRET", SECRET)
            .env("INFINICACHE_LEASE", "2s")
    })
    .await;
    let mut redis = cluster.redis().await;
    let () = redis.set("key", "old").await.unwrap();
    let old = cluster.proxy().await;
    kill(old, rustix::process::Signal::STOP);
    let rival = cluster.another_proxy(&[]).await;
    let mut its = rival.redis().await;
    let found: String = its.get("key").await.unwrap();
    assert_eq!(found, "old");
    let () = its.set("key", "new").await.unwrap();

    kill(old, rustix::process::Signal::CONT);
    for _ in 0..20 {
        let stale = redis.get::<_, Option<String>>("key").await;
        assert!(stale.is_err(), "{stale:?}");
        let written = redis.set::<_, _, ()>("key", "newer").await;
        assert!(written.is_err(), "{written:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let found: String = its.get("key").await.unwrap();
    assert_eq!(found, "new");
}
