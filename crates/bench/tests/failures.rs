//! Whatever a server does wrong is counted, and each request once.

mod server;

use std::{thread, time::Duration};

use infinicache_bench::{
    plan::{Measured, Plan},
    popularity::Popularity,
    tally::Kind,
    value::Pattern,
    workload::Workload,
};
use server::Reply;

const SIZE: u64 = 3000;

fn workload(requests: u64) -> Workload {
    Workload {
        sizes: SIZE.to_string().parse().unwrap(),
        nodes: None,
        mix: "get".parse().unwrap(),
        keys: Some(1),
        popularity: Popularity::Uniform,
        connections: 1,
        pipeline: 1,
        rate: None,
        duration: Duration::from_secs(60),
        requests: Some(requests),
        verified: 1.0,
        timeout: Duration::from_secs(60),
        seed: 1,
    }
}

fn measure(address: &str, workload: Workload) -> Measured {
    let plan = Plan {
        targets: vec![format!("redis://{address}").parse().unwrap()],
        workloads: vec![workload],
        rounds: 1,
        warm_up: Duration::ZERO,
        threads: None,
        prefix: "x".into(),
        keep: true,
    };
    plan.run(|_| {}).unwrap().remove(0)
}

/// What failed in the only round, and how many GETs were answered with a value.
fn failed(measured: &Measured) -> (Vec<(&str, u64)>, u64) {
    let tally = &measured.rounds[0].tally;
    let failed = tally
        .failed
        .iter()
        .map(|(reason, count)| (reason.as_str(), *count));
    (failed.collect(), tally.count(Kind::Get))
}

/// A server that answers the n-th GET with what `get` says.
fn server(get: impl Fn(u64, Vec<u8>) -> Reply + Send + Sync + 'static) -> String {
    let value = Pattern::up_to(SIZE).value(0, 7, SIZE).to_vec();
    server::start(move |command, number| match command[0].as_slice() {
        b"GET" => get(number, value.clone()),
        _ => Reply::ok(),
    })
}

#[test]
fn values_with_wrong_bytes_or_of_the_wrong_length_are_counted_as_failures() {
    let address = server(|number, mut value| {
        match number % 4 {
            1 => value[1234] ^= 1,
            2 => value.truncate(2999),
            _ => {}
        }
        Reply::value(&value)
    });
    let measured = measure(&address, workload(8));
    let (failed, gets) = failed(&measured);
    assert_eq!(failed, [("wrong bytes", 2), ("wrong length", 2)]);
    assert_eq!((gets, measured.rounds[0].tally.verified), (4, 6));
    assert_eq!(measured.failures(), 4);
}

#[test]
fn a_broken_connection_fails_what_was_under_way_and_is_made_anew() {
    let address = server(|number, value| match number {
        2 => Reply::Close,
        _ => Reply::value(&value),
    });
    // Two of the first four are answered; the other four come over a new connection.
    let measured = measure(
        &address,
        Workload {
            pipeline: 4,
            ..workload(8)
        },
    );
    let (failed, gets) = failed(&measured);
    assert_eq!(
        failed.iter().map(|(_, count)| count).sum::<u64>(),
        2,
        "{failed:?}"
    );
    assert!(
        failed
            .iter()
            .all(|(reason, _)| reason.starts_with("connection: ")),
        "{failed:?}"
    );
    assert_eq!(gets, 6);
}

#[test]
fn what_is_not_answered_in_time_fails_and_nothing_waits_for_it() {
    let address = server(|number, value| match number {
        1 => Reply::Silence,
        _ => Reply::value(&value),
    });
    let measured = measure(
        &address,
        Workload {
            timeout: Duration::from_secs(2),
            ..workload(5)
        },
    );
    assert_eq!(failed(&measured), (vec![("timed out", 1)], 4));
}

#[test]
fn refusals_and_nonsense_are_told_apart() {
    let address = server(|number, value| match number {
        0 => Reply::Bytes(b"-OOM no room\r\n".to_vec()),
        1 => Reply::Bytes(b"*1\r\n".to_vec()),
        2 => Reply::Bytes(b"$-1\r\n".to_vec()),
        3 => Reply::Bytes(b"$3\r\nabcdefg".to_vec()),
        _ => Reply::value(&value),
    });
    let measured = measure(&address, workload(6));
    let expected = vec![("protocol violation", 2), ("refused: OOM", 1)];
    assert_eq!(failed(&measured), (expected, 2));
    assert_eq!(measured.rounds[0].tally.count(Kind::Miss), 1);
}

#[test]
fn at_a_rate_a_server_that_stands_still_is_charged_for_all_that_was_due_meanwhile() {
    const STILL: Duration = Duration::from_secs(1);
    let address = server(|number, value| {
        if number == 0 {
            thread::sleep(STILL);
        }
        Reply::value(&value)
    });
    // Due every 10 ms for 1.5 s.
    let workload = Workload {
        rate: Some(100.0),
        duration: STILL + STILL / 2,
        requests: None,
        ..workload(1)
    };
    let measured = measure(&address, workload);
    let tally = &measured.rounds[0].tally;
    let latency = &tally.answered[&Kind::Get].latency;
    assert_eq!((latency.len(), tally.unstarted), (150, 0));
    // Half of what was due in that second was late by more than half of it.
    let late = latency.len() - latency.count_between(0, 490_000_000);
    assert!(late >= 50, "{late}");
}
