//! Random numbers of the system, or of the seed of a simulation.

pub use getrandom::Error;

/// A random number.
///
/// # Errors
///
/// If the system has none.
pub fn u32() -> Result<u32, Error> {
    u64().map(|random| random as u32)
}

/// A random number.
///
/// # Errors
///
/// If the system has none.
pub fn u64() -> Result<u64, Error> {
    #[cfg(feature = "simulation")]
    if let Some(random) = crate::simulation::random() {
        return Ok(random);
    }
    getrandom::u64()
}

/// Fills a buffer with random bytes.
///
/// # Errors
///
/// If the system has none.
pub fn fill(bytes: &mut [u8]) -> Result<(), Error> {
    #[cfg(feature = "simulation")]
    if crate::simulation::is_running() {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&u64()?.to_le_bytes()[..chunk.len()]);
        }
        return Ok(());
    }
    getrandom::fill(bytes)
}
