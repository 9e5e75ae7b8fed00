//! The other commands, as Redis answers them.

use redis::{AsyncCommands, SetExpiry, SetOptions, Value as Reply};

use crate::{
    cluster::{Cluster, dbsize},
    random::Random,
    values::Value,
};

#[tokio::test]
async fn a_range_is_that_of_redis_wherever_it_begins_and_ends() {
    let cluster = Cluster::start(|up| up.nodes(4).code(2, 1)).await;
    let mut redis = cluster.redis().await;
    let text = "This is a string";
    let () = redis.set("key", text).await.unwrap();
    for (start, end, part) in [
        (0, 3, "This"),
        (-3, -1, "ing"),
        (0, -1, text),
        (10, 100, "string"),
        (100, 200, ""),
        (5, 2, ""),
        (-100, 3, "This"),
        (-1, -5, ""),
    ] {
        let got: String = redis.getrange("key", start, end).await.unwrap();
        assert_eq!(got, part, "{start} to {end}");
    }
    assert_eq!(
        redis.getrange::<_, String>("none", 0, -1).await.unwrap(),
        ""
    );
}

#[tokio::test]
async fn a_hundred_mixed_commands_in_one_go_are_answered_in_order() {
    let cluster = Cluster::start(|up| up.nodes(4).code(2, 1)).await;
    let mut redis = cluster.redis().await;
    let mut random = Random::new("pipeline");
    let mut pipe = redis::pipe();
    let mut expected = Vec::new();
    let mut current: [Option<Value>; 4] = [None; 4];
    for number in 0..100u32 {
        let key = random.below(4) as usize;
        let is = current[key];
        let reply = match random.below(6) {
            0 | 1 => {
                let value = Value::new(number, *random.pick(&[0, 100, 40_000, 200_000]));
                pipe.cmd("SET").arg(key).arg(value.bytes());
                current[key] = Some(value);
                Reply::Okay
            }
            2 => {
                pipe.cmd("GET").arg(key);
                is.map_or(Reply::Nil, |value| Reply::BulkString(value.bytes()))
            }
            3 => {
                pipe.cmd("STRLEN").arg(key);
                Reply::Int(is.map_or(0, |value| value.size as i64))
            }
            4 => {
                pipe.cmd("DEL").arg(key);
                current[key] = None;
                Reply::Int(is.is_some().into())
            }
            _ => {
                pipe.cmd("ECHO").arg(number);
                Reply::BulkString(number.to_string().into_bytes())
            }
        };
        expected.push(reply);
    }
    let replies: Vec<Reply> = pipe.query_async(&mut redis).await.unwrap();
    assert_eq!(replies.len(), 100);
    for (number, (reply, expected)) in replies.iter().zip(&expected).enumerate() {
        assert!(reply == expected, "reply {number}");
    }
}

#[tokio::test]
async fn keys_are_counted_told_apart_and_removed() {
    let cluster = Cluster::start(|up| up.nodes(4).code(2, 1)).await;
    let mut redis = cluster.redis().await;
    for key in ["a", "b", "c", "d"] {
        let () = redis.set(key, key).await.unwrap();
    }
    assert_eq!(
        redis
            .exists::<_, u64>(&["a", "b", "a", "none"])
            .await
            .unwrap(),
        3
    );
    for (key, kind) in [("a", "string"), ("none", "none")] {
        let told: String = redis::cmd("TYPE")
            .arg(key)
            .query_async(&mut redis)
            .await
            .unwrap();
        assert_eq!(told, kind);
    }
    assert_eq!(dbsize(&mut redis).await, 4);
    assert_eq!(redis.del::<_, u64>(&["a", "none"]).await.unwrap(), 1);
    assert_eq!(redis.unlink::<_, u64>("b").await.unwrap(), 1);
    assert_eq!(dbsize(&mut redis).await, 2);
    let () = redis.flushall().await.unwrap();
    assert_eq!(dbsize(&mut redis).await, 0);
    assert_eq!(redis.get::<_, Option<String>>("c").await.unwrap(), None);
    let () = redis.set("c", "anew").await.unwrap();
    assert_eq!(redis.get::<_, String>("c").await.unwrap(), "anew");
}

#[tokio::test]
async fn info_has_what_clients_look_for() {
    let cluster = Cluster::start(|up| up.nodes(4).code(2, 1)).await;
    let mut redis = cluster.redis().await;
    let options = SetOptions::default().with_expiration(SetExpiry::EX(1000));
    let () = redis.set_options("key", "value", options).await.unwrap();
    let () = redis.get("key").await.unwrap();
    let _: Option<String> = redis.get("none").await.unwrap();
    let info: redis::InfoDict = redis::cmd("INFO").query_async(&mut redis).await.unwrap();
    let told = |name: &str| info.get::<String>(name).unwrap_or_else(|| panic!("{name}"));
    for (name, value) in [
        ("redis_mode", "standalone"),
        ("role", "master"),
        ("loading", "0"),
        ("cluster_enabled", "0"),
        ("db0", "keys=1,expires=1,avg_ttl=0"),
        ("keyspace_hits", "1"),
        ("keyspace_misses", "1"),
        ("lost_keys", "0"),
        ("nodes_active", "2"),
        ("nodes_asleep", "2"),
    ] {
        assert_eq!(told(name), value, "{name}");
    }
    assert!(told("redis_version").starts_with('7'));
    let proxy = cluster.proxy().await;
    assert_eq!(told("process_id"), proxy.to_string());
    assert_eq!(told("tcp_port"), cluster.address().port().to_string());
    let (used, most) = (told("used_memory"), told("maxmemory"));
    let (used, most): (u64, u64) = (used.parse().unwrap(), most.parse().unwrap());
    assert!(0 < used && used < most, "{used} of {most}");
}

#[tokio::test]
async fn what_is_not_understood_is_refused_and_the_connection_goes_on() {
    let cluster = Cluster::start(|up| up.nodes(4).code(2, 1)).await;
    let mut redis = cluster.redis().await;
    for line in [
        "LPUSH key value",
        "GET",
        "GET a b",
        "SET key",
        "STRLEN",
        "EXPIRE key soon",
    ] {
        let mut words = line.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            command.arg(word);
        });
        let refused = command.query_async::<Reply>(&mut redis).await.unwrap_err();
        assert_eq!(refused.code(), Some("ERR"), "{line}: {refused}");
    }
    let () = redis.set("key", "value").await.unwrap();
    assert_eq!(redis.get::<_, String>("key").await.unwrap(), "value");
}
