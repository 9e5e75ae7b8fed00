//! Placement: which nodes shall hold an object's chunks.
//!
//! Nodes are drawn at random, weighted by their free memory, so that load and
//! fill even out. No host holds more than p chunks of an object and no zone more
//! than its share, as far as the pool allows: when it does not, the bounds are
//! raised step by step rather than the write refused.

use std::collections::{HashMap, HashSet};

/// A node that chunks can be placed on.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Failure domain: the host; the empty string, if it is not known.
    pub host: String,
    /// Failure domain: the zone; the empty string, if it is not known.
    pub zone: String,
    /// Free memory in bytes.
    pub free: u64,
    /// Lower ranks are used before higher ones: say, nodes that are awake before nodes that sleep.
    pub rank: u8,
}

/// Draws `width` distinct candidates, by index; `None` if there are not so many.
///
/// Other chunks of the object are on the nodes `beside`, which count for the spread. The order of
/// the result is the order of the chunks. The same `seed` gives the same draw.
pub fn place(
    candidates: &[Candidate],
    beside: &[Candidate],
    width: usize,
    parity: usize,
    seed: u64,
) -> Option<Vec<usize>> {
    if candidates.len() < width {
        return None;
    }
    let drawn = draw(candidates, seed);
    let zones = candidates.iter().chain(beside).map(|it| &it.zone);
    let zones = zones.collect::<HashSet<_>>().len().max(1);
    let mut per_host = parity.max(1);
    let mut per_zone = (width + beside.len()).div_ceil(zones).max(parity);
    loop {
        let placed = fill(candidates, &drawn, beside, width, per_host, per_zone);
        if placed.len() == width {
            return Some(placed);
        }
        per_host += 1;
        per_zone += 1;
    }
}

/// All candidates in a random order: by rank, within it weighted by free memory.
fn draw(candidates: &[Candidate], seed: u64) -> Vec<usize> {
    let mut random = seed;
    let mut keyed: Vec<(u8, f64, usize)> = candidates
        .iter()
        .enumerate()
        .map(|(index, candidate)| {
            // Efraimidis and Spirakis: the k largest of u^(1/w) are a weighted sample without
            // replacement. The logarithm keeps the same order.
            let unit = (next_random(&mut random) >> 11) as f64 / (1u64 << 53) as f64;
            let key = -unit.max(f64::MIN_POSITIVE).ln() / candidate.free.max(1) as f64;
            (candidate.rank, key, index)
        })
        .collect();
    keyed.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    keyed.into_iter().map(|(_, _, index)| index).collect()
}

fn fill(
    candidates: &[Candidate],
    drawn: &[usize],
    beside: &[Candidate],
    width: usize,
    per_host: usize,
    per_zone: usize,
) -> Vec<usize> {
    let mut on_host: HashMap<&str, usize> = HashMap::new();
    let mut in_zone: HashMap<&str, usize> = HashMap::new();
    for Candidate { host, zone, .. } in beside {
        *on_host.entry(host).or_default() += 1;
        *in_zone.entry(zone).or_default() += 1;
    }
    let mut placed = Vec::with_capacity(width);
    for &index in drawn {
        let Candidate { host, zone, .. } = &candidates[index];
        let host_full = !host.is_empty() && on_host.get(host.as_str()) >= Some(&per_host);
        let zone_full = !zone.is_empty() && in_zone.get(zone.as_str()) >= Some(&per_zone);
        if host_full || zone_full {
            continue;
        }
        *on_host.entry(host).or_default() += 1;
        *in_zone.entry(zone).or_default() += 1;
        placed.push(index);
        if placed.len() == width {
            break;
        }
    }
    placed
}

/// SplitMix64 (Steele, Lea and Flood 2014).
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
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
        let mut counts = HashMap::new();
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
}
