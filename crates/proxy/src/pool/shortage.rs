//! Shortage: for how long there have been too few nodes.
//!
//! A node that fails its wakes counts as one that will never be again, until it
//! is: between two attempts it may seem usable for a moment, which says nothing.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use infinicache_host::clock;

/// Whether the pool has too few nodes, and for how long.
#[derive(Debug)]
pub(crate) struct Shortage(Mutex<NodeShortage>);

impl Shortage {
    /// A pool that may have `nodes` nodes.
    pub(super) fn new(nodes: usize) -> Self {
        Self(Mutex::new(NodeShortage::new(nodes, clock::now())))
    }

    /// The pool may have `nodes` nodes from now on.
    pub(super) fn admit(&self, nodes: usize) {
        self.state().admit(nodes, clock::now());
    }

    /// There are so many that take chunks, or may come to.
    pub(crate) fn observe(&self, nodes: usize) {
        self.state().observe(nodes, clock::now());
    }

    /// For how long there have been fewer than `wanted` such nodes.
    pub(crate) fn fewer_for(&self, wanted: usize) -> Duration {
        self.state().fewer_for(wanted, clock::now())
    }

    fn state(&self) -> MutexGuard<'_, NodeShortage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When there last were how many nodes.
#[derive(Debug)]
struct NodeShortage {
    /// By number of nodes.
    last: Vec<Instant>,
}

impl NodeShortage {
    /// A pool that may have `nodes` nodes.
    fn new(nodes: usize, now: Instant) -> Self {
        let last = vec![now; nodes + 1];
        Self { last }
    }

    /// The pool may have `nodes` nodes from now on.
    ///
    /// If they become fewer, that is only time without enough: names that are gone may come back.
    fn admit(&mut self, nodes: usize, now: Instant) {
        let length = self.last.len().max(nodes + 1);
        self.last.resize(length, now);
    }

    /// There are so many.
    fn observe(&mut self, nodes: usize, now: Instant) {
        let nodes = nodes.min(self.last.len() - 1);
        self.last[..=nodes].fill(now);
    }

    /// For how long there have been fewer than `wanted`.
    fn fewer_for(&self, wanted: usize, now: Instant) -> Duration {
        let last = self.last.get(wanted);
        last.map_or(Duration::MAX, |last| now.saturating_duration_since(*last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_without_enough_nodes_counts_from_the_last_moment_with_enough() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut shortage = NodeShortage::new(6, start);
        shortage.observe(6, at(10));
        shortage.observe(5, at(20));
        shortage.observe(4, at(30));
        assert_eq!(shortage.fewer_for(6, at(40)), Duration::from_secs(30));
        assert_eq!(shortage.fewer_for(5, at(40)), Duration::from_secs(20));
        assert_eq!(shortage.fewer_for(4, at(40)), Duration::from_secs(10));
        shortage.observe(6, at(50));
        assert_eq!(shortage.fewer_for(6, at(50)), Duration::ZERO);
        assert_eq!(shortage.fewer_for(7, at(50)), Duration::MAX);
        shortage.admit(7, at(60));
        shortage.admit(3, at(70));
        assert_eq!(shortage.fewer_for(7, at(70)), Duration::from_secs(10));
        assert_eq!(shortage.fewer_for(8, at(70)), Duration::MAX);
    }
}
