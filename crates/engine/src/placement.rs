//! Placement: which nodes shall hold an object's chunks.
//!
//! Nodes are drawn at random, weighted by their free memory, so that load and fill even out. An
//! object survives the loss of a host, or of a zone, that holds no more than p of its chunks: so
//! none gets more, as long as there are enough of them. Where there are not, chunks are spread by
//! free memory alone, and nothing else is done for the spread.

use std::cmp::Ordering;

use infinicache_host::hash::HashMap;

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
///
/// # Guarantees
///
/// No host gets more than p chunks if the candidates whose hosts are known are enough for that,
/// and no zone if they are enough for both. To that end a candidate of a higher rank may be drawn
/// before one of a lower rank, and to no other.
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
    let placement = Placement {
        candidates,
        drawn: draw(candidates, seed),
        beside,
        width,
    };
    let [host, zone] = [HOST, ZONE].map(|domain| placement.bound(domain, parity.max(1)));
    let bounds = [[host, zone], [host, None], [None, None]];
    bounds
        .into_iter()
        .find_map(|bounds| placement.within(bounds))
}

/// A kind of failure domain: which one of it a node is in.
type Domain = fn(&Candidate) -> &str;

const HOST: Domain = |candidate| &candidate.host;
const ZONE: Domain = |candidate| &candidate.zone;

/// How many chunks of an object may be in one failure domain.
enum Limit<'a> {
    Any,
    /// So many. A domain that is not known may be one that is full.
    Bound(usize),
    /// Of nodes of this rank as many as are told by its name, and `more`; of lower ranks any, and
    /// of higher ones none.
    Quota {
        of: &'a HashMap<&'a str, usize>,
        more: usize,
        rank: u8,
    },
}

impl Limit<'_> {
    fn is_reached(&self, candidate: &Candidate, name: &str, chunks: usize) -> bool {
        match self {
            Self::Any => false,
            Self::Bound(most) => name.is_empty() || chunks >= *most,
            Self::Quota { of, more, rank } => match candidate.rank.cmp(rank) {
                Ordering::Less => false,
                Ordering::Equal => chunks >= of.get(name).copied().unwrap_or(0) + more,
                Ordering::Greater => true,
            },
        }
    }
}

struct Placement<'a> {
    candidates: &'a [Candidate],
    /// All candidates by index, as they are to be taken.
    drawn: Vec<usize>,
    beside: &'a [Candidate],
    width: usize,
}

impl Placement<'_> {
    /// `most` chunks in each domain, if any domain is known.
    fn bound(&self, domain: Domain, most: usize) -> Option<usize> {
        let is_known = |candidate: &Candidate| !domain(candidate).is_empty();
        self.candidates.iter().any(is_known).then_some(most)
    }

    /// Candidates that keep the bounds on hosts and on zones; `None` if there are too few. Where
    /// there is no bound they are spread by free memory.
    fn within(&self, bounds: [Option<usize>; 2]) -> Option<Vec<usize>> {
        let limit = |bound: Option<usize>| bound.map_or(Limit::Any, Limit::Bound);
        let placed = self.fill(bounds.map(limit))?;
        if !bounds.contains(&None) {
            return Some(placed);
        }
        // Higher ones are not needed.
        let ranks = placed.iter().map(|&index| self.candidates[index].rank);
        let rank = ranks.max().unwrap_or(0);
        let quotas = [HOST, ZONE].map(|domain| self.quotas(domain, rank));
        let evenly = |more: usize| {
            let limit = |at: usize| match bounds[at] {
                Some(most) => Limit::Bound(most),
                None => Limit::Quota {
                    of: &quotas[at],
                    more,
                    rank,
                },
            };
            self.fill([limit(0), limit(1)])
        };
        (0..self.width).find_map(evenly).or(Some(placed))
    }

    /// Takes candidates as they were drawn; `None` if too few are within the limits on hosts and
    /// on zones.
    fn fill(&self, limits: [Limit<'_>; 2]) -> Option<Vec<usize>> {
        let mut chunks = [HOST, ZONE].map(|domain| {
            let mut chunks: HashMap<&str, usize> = HashMap::default();
            for candidate in self.beside {
                *chunks.entry(domain(candidate)).or_default() += 1;
            }
            chunks
        });
        let mut placed = Vec::with_capacity(self.width);
        for &index in &self.drawn {
            if placed.len() == self.width {
                break;
            }
            let candidate = &self.candidates[index];
            let names = [HOST, ZONE].map(|domain| domain(candidate));
            let is_full = |at: usize| {
                let there = chunks[at].get(names[at]).copied().unwrap_or(0);
                limits[at].is_reached(candidate, names[at], there)
            };
            if is_full(0) || is_full(1) {
                continue;
            }
            for (chunks, name) in chunks.iter_mut().zip(names) {
                *chunks.entry(name).or_default() += 1;
            }
            placed.push(index);
        }
        (placed.len() == self.width).then_some(placed)
    }

    /// The share of an object's chunks that each domain has of the free memory, rounded up,
    /// nodes of higher ranks aside.
    fn quotas(&self, domain: Domain, rank: u8) -> HashMap<&str, usize> {
        let taking = self.candidates.iter().filter(|it| it.rank <= rank);
        let mut free: HashMap<&str, u128> = HashMap::default();
        for candidate in taking.chain(self.beside) {
            *free.entry(domain(candidate)).or_default() += u128::from(candidate.free);
        }
        let total = free.values().sum::<u128>().max(1);
        let chunks = (self.width + self.beside.len()) as u128;
        let quota = |free: u128| (free * chunks).div_ceil(total) as usize;
        let quotas = free.into_iter();
        quotas.map(|(name, free)| (name, quota(free))).collect()
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

/// SplitMix64 (Steele, Lea and Flood 2014).
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
