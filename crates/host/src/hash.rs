//! Hash maps whose order a simulation decides.
//!
//! Each process of the standard library's [`RandomState`](std::hash::RandomState) has keys of its
//! own, against peers who choose what collides. A simulation has fixed ones, so that a map is
//! walked in the same order again.

/// The hasher of all maps of the simulated crates.
#[cfg(not(feature = "simulation"))]
pub type HashState = std::hash::RandomState;

/// The hasher of all maps of the simulated crates.
#[cfg(feature = "simulation")]
pub use simulated::HashState;

/// A hash map.
pub type HashMap<K, V> = std::collections::HashMap<K, V, HashState>;

/// A hash set.
pub type HashSet<K> = std::collections::HashSet<K, HashState>;

/// A hash map that many threads change at once.
pub type DashMap<K, V> = dashmap::DashMap<K, V, HashState>;

/// An empty [`DashMap`].
pub fn dash_map<K: Eq + std::hash::Hash, V>() -> DashMap<K, V> {
    #[cfg(feature = "simulation")]
    if crate::simulation::is_running() {
        // As many parts as the machine has cores would be another order on another machine.
        return DashMap::with_hasher_and_shard_amount(HashState::default(), 4);
    }
    DashMap::default()
}

#[cfg(feature = "simulation")]
mod simulated {
    use std::hash::{BuildHasher, DefaultHasher, RandomState};

    /// Keys of this map alone, or the same for all within a simulation.
    #[derive(Clone, Debug)]
    pub struct HashState(Option<RandomState>);

    impl Default for HashState {
        fn default() -> Self {
            Self((!crate::simulation::is_running()).then(RandomState::new))
        }
    }

    impl BuildHasher for HashState {
        type Hasher = DefaultHasher;

        fn build_hasher(&self) -> DefaultHasher {
            let random = self.0.as_ref().map(RandomState::build_hasher);
            random.unwrap_or_default()
        }
    }
}
