//! Placement, in pools that allow a good spread and in pools that do not.

use proptest::prelude::*;

use super::*;

fn node(host: &str, zone: &str, free: u64) -> Candidate {
    Candidate {
        host: host.into(),
        zone: zone.into(),
        free,
        rank: 0,
    }
}

fn most_of_one(placed: &[usize], of: impl Fn(usize) -> String) -> usize {
    let mut counts = HashMap::default();
    for &index in placed {
        *counts.entry(of(index)).or_insert(0) += 1;
    }
    counts.into_values().max().unwrap_or(0)
}

proptest! {
    #[test]
    fn chunks_go_to_distinct_nodes_and_no_host_gets_more_than_it_may(
        hosts in prop::collection::vec(0u8..8, 1..40),
        width in 1usize..14,
        parity in 0usize..4,
        seed: u64,
    ) {
        let nodes: Vec<_> = hosts.iter().map(|host| node(&host.to_string(), "", 100)).collect();
        let Some(placed) = place(&nodes, &[], width, parity, seed) else {
            prop_assert!(nodes.len() < width);
            return Ok(());
        };
        let mut distinct = placed.clone();
        distinct.sort_unstable();
        distinct.dedup();
        prop_assert_eq!(distinct.len(), width);

        let cap = parity.max(1);
        let room: usize = (0..8u8)
            .map(|host| hosts.iter().filter(|h| **h == host).count().min(cap))
            .sum();
        if room >= width {
            prop_assert!(most_of_one(&placed, |i| nodes[i].host.clone()) <= cap);
        }
    }
}

#[test]
fn chunks_are_spread_evenly_over_zones() {
    let nodes: Vec<_> = (0..30)
        .map(|i| node("", &(i % 3).to_string(), 100))
        .collect();
    let placed = place(&nodes, &[], 12, 2, 7).unwrap();
    assert_eq!(most_of_one(&placed, |i| nodes[i].zone.clone()), 4);
}

#[test]
fn a_single_chunk_is_spread_from_those_that_are_there() {
    let beside = [node("a", "x", 1), node("a", "x", 1), node("b", "y", 1)];
    let nodes = [node("a", "y", 1_000_000), node("b", "y", 1)];
    let placed = (0..100).map(|seed| place(&nodes, &beside, 1, 2, seed).unwrap()[0]);
    assert!(placed.into_iter().all(|index| index == 1));
    let nodes = [node("a", "x", 1_000_000), node("c", "z", 1)];
    let placed = (0..100).map(|seed| place(&nodes, &beside, 1, 2, seed).unwrap()[0]);
    assert!(placed.into_iter().all(|index| index == 1));
}

#[test]
fn emptier_nodes_are_drawn_more_often_and_lower_ranks_first() {
    let mut nodes = vec![
        node("", "", 900),
        node("", "", 100),
        node("", "", 1_000_000),
    ];
    nodes[2].rank = 1;
    let firsts: Vec<usize> = (0..1000)
        .map(|seed| place(&nodes, &[], 1, 0, seed).unwrap()[0])
        .collect();
    let of = |index| firsts.iter().filter(|first| **first == index).count();
    assert!((850..950).contains(&of(0)), "{} of 1000", of(0));
    assert_eq!(of(2), 0);
    assert!(place(&nodes, &[], 4, 0, 0).is_none());
}

/// Nodes at sites, each a host and a zone, as many as are told, that can hold so many chunks.
fn pool(sites: &[(usize, &str, &str)], capacity: u64) -> Vec<Candidate> {
    let nodes = sites.iter().copied();
    let nodes = nodes.map(|(count, host, zone)| vec![node(host, zone, capacity); count]);
    nodes.flatten().collect()
}

/// As many nodes of this host that sleep.
fn asleep(count: usize, host: &str) -> Vec<Candidate> {
    let mut nodes = pool(&[(count, host, "")], 100);
    nodes.iter_mut().for_each(|node| node.rank = 2);
    nodes
}

/// The highest rank that is drawn for `width` chunks, two of them parity, with any seed.
fn highest_rank(nodes: &[Candidate], width: usize) -> u8 {
    let draws = (0..50).filter_map(|seed| place(nodes, &[], width, 2, seed));
    let ranks = draws.flatten().map(|index| nodes[index].rank);
    ranks.max().unwrap()
}

#[test]
fn no_node_is_woken_in_the_hope_that_it_is_on_another_host() {
    for (awake, width) in [(3, 3), (12, 12)] {
        let mut nodes = pool(&[(awake, "a", "")], 100);
        nodes.extend(asleep(14 - awake, ""));
        assert_eq!(highest_rank(&nodes, width), 0, "{awake} are awake");
    }
}

#[test]
fn no_node_is_woken_for_a_spread_that_the_pool_does_not_allow() {
    let mut nodes = pool(&[(7, "a", ""), (5, "b", "")], 100);
    nodes.extend(asleep(1, "b"));
    nodes.extend(asleep(1, "c"));
    assert_eq!(highest_rank(&nodes, 12), 0);
    let placed = place(&nodes, &[], 12, 2, 1).unwrap();
    assert!(placed.iter().all(|&index| nodes[index].rank == 0));
}

#[test]
fn a_node_is_woken_for_the_spread_if_its_host_is_known_to_be_another() {
    let mut nodes = pool(&[(5, "a", "")], 100);
    nodes.extend(asleep(3, ""));
    nodes.extend(asleep(1, "b"));
    for seed in 0..50 {
        let placed = place(&nodes, &[], 3, 2, seed).unwrap();
        let hosts: Vec<&str> = placed.iter().map(|&it| &*nodes[it].host).collect();
        assert_eq!(hosts, ["a", "a", "b"]);
    }
}

#[test]
fn of_nodes_that_sleep_no_more_are_woken_than_are_needed() {
    let mut nodes = pool(&[(10, "a", "")], 100);
    nodes.extend(asleep(4, "a"));
    for seed in 0..50 {
        let placed = place(&nodes, &[], 12, 2, seed).unwrap();
        let woken = placed.iter().filter(|&&index| nodes[index].rank == 2);
        assert_eq!(woken.count(), 2);
    }
}

/// Places values of 10+2 until a node is drawn that has no room, and returns how many percent of
/// the pool are filled then.
///
/// A host may get `on_host` chunks of each, and a zone `in_zone`.
fn fill(mut nodes: Vec<Candidate>, on_host: usize, in_zone: usize, seed: u64) -> u64 {
    let room = |nodes: &[Candidate]| nodes.iter().map(|node| node.free).sum::<u64>();
    let all = room(&nodes);
    for number in 0.. {
        let placed = place(&nodes, &[], 12, 2, seed + number).unwrap();
        assert!(most_of_one(&placed, |it| nodes[it].host.clone()) <= on_host);
        assert!(most_of_one(&placed, |it| nodes[it].zone.clone()) <= in_zone);
        if placed.iter().any(|&index| nodes[index].free == 0) {
            break;
        }
        placed.iter().for_each(|&index| nodes[index].free -= 1);
    }
    100 * (all - room(&nodes)) / all
}

#[test]
fn a_pool_is_almost_full_before_a_node_of_it_is_however_uneven_its_hosts_and_zones_are() {
    for (sites, on_host, in_zone) in [
        (&[(14, "a", "")][..], 12, 12),
        (&[(6, "a", ""), (8, "b", "")], 12, 12),
        (&[(6, "a", ""), (14, "b", "")], 12, 12),
        (&[(2, "a", ""), (4, "b", ""), (12, "c", "")], 12, 12),
        (&[(1, "a", ""), (1, "b", ""), (20, "c", "")], 12, 12),
        (&[(6, "a", "x"), (8, "b", "y")], 12, 12),
        (&[(6, "", "x"), (14, "", "y")], 12, 12),
        (&[(2, "", "x"), (4, "", "y"), (12, "", "z")], 12, 12),
        // Enough hosts, but not enough zones.
        (
            &[
                (2, "a", "x"),
                (2, "b", "x"),
                (2, "c", "y"),
                (2, "d", "y"),
                (2, "e", "y"),
                (2, "f", "y"),
                (2, "g", "y"),
            ],
            2,
            12,
        ),
        // Enough of both.
        (
            &[
                (3, "a", "u"),
                (3, "b", "v"),
                (3, "c", "w"),
                (3, "d", "x"),
                (3, "e", "y"),
                (3, "f", "z"),
            ],
            2,
            2,
        ),
    ] {
        for seed in (0..8).map(|run| run << 32) {
            let filled = fill(pool(sites, 200), on_host, in_zone, seed);
            assert!(filled >= 95, "{filled} percent of {sites:?}");
        }
    }
}

/// Nodes of up to four zones with up to three hosts each, of which some are not known, and that
/// may be awake or asleep.
fn nodes() -> impl Strategy<Value = Vec<Candidate>> {
    let site = prop_oneof![
        6 => (0u8..4, 0u8..3).prop_map(|(zone, host)| (format!("{zone}-{host}"), zone.to_string())),
        1 => Just(Default::default()),
    ];
    let node = (site, 0u64..1000, 0u8..3);
    let node = node.prop_map(|((host, zone), free, rank)| Candidate {
        host,
        zone,
        free,
        rank,
    });
    prop::collection::vec(node, 1..30)
}

/// How many chunks candidates can take if none of their domains is to have more than `most`.
fn room(nodes: &[Candidate], most: usize, in_zones: bool) -> usize {
    let mut on_host: HashMap<_, usize> = HashMap::default();
    for node in nodes.iter().filter(|node| !node.host.is_empty()) {
        let chunks = on_host.entry((&node.zone, &node.host)).or_default();
        *chunks = most.min(*chunks + 1);
    }
    let mut in_zone: HashMap<_, usize> = HashMap::default();
    for ((zone, _), chunks) in on_host {
        *in_zone.entry(zone).or_default() += chunks;
    }
    let rooms = in_zone.into_values();
    rooms
        .map(|it| if in_zones { it.min(most) } else { it })
        .sum()
}

proptest! {
    #[test]
    fn the_spread_that_the_pool_allows_is_kept_and_no_node_is_woken_for_another(
        nodes in nodes(),
        width in 1usize..14,
        parity in 0usize..4,
        seed: u64,
    ) {
        let Some(placed) = place(&nodes, &[], width, parity, seed) else {
            prop_assert!(nodes.len() < width);
            return Ok(());
        };
        let mut distinct = placed.clone();
        distinct.sort_unstable();
        distinct.dedup();
        prop_assert_eq!(distinct.len(), width);

        let most = parity.max(1);
        if nodes.iter().all(|node| node.host.is_empty()) {
            return Ok(());
        }
        if room(&nodes, most, false) >= width {
            prop_assert!(most_of_one(&placed, |it| nodes[it].host.clone()) <= most);
        } else {
            let highest = placed.iter().map(|&it| nodes[it].rank).max();
            let lower = |index: &usize| Some(nodes[*index].rank) < highest;
            prop_assert!((0..nodes.len()).filter(lower).all(|it| placed.contains(&it)));
        }
        if room(&nodes, most, true) >= width {
            prop_assert!(most_of_one(&placed, |it| nodes[it].zone.clone()) <= most);
        }
    }
}
