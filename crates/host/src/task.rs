//! Tasks, which belong to the process that starts them.
//!
//! A simulation has many processes in one runtime: it stops, freezes and ends the tasks of one.
//! So every task is spawned here, or is [`scoped`] where something else spawns it.

use std::num::NonZero;

use tokio::task::JoinHandle;

/// [`tokio::spawn`].
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    #[cfg(feature = "simulation")]
    return crate::simulation::spawn(future);
    #[cfg(not(feature = "simulation"))]
    tokio::spawn(future)
}

/// The future as a task of this process, wherever it is polled.
#[cfg(not(feature = "simulation"))]
#[inline]
pub fn scoped<F: Future>(future: F) -> F {
    future
}

/// The future as a task of this process, wherever it is polled.
#[cfg(feature = "simulation")]
pub fn scoped<F: Future>(future: F) -> crate::simulation::Scoped<F> {
    crate::simulation::Scoped::new(future)
}

/// [`tokio::task::spawn_blocking`]. In a simulation, which has one thread, it is done at once.
pub fn spawn_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    #[cfg(feature = "simulation")]
    if crate::simulation::is_running() {
        return spawn(async move { work() });
    }
    tokio::task::spawn_blocking(work)
}

/// How many threads this process has cores for; `None` if it may have no thread besides those of
/// its runtime.
pub fn cores() -> Option<NonZero<usize>> {
    #[cfg(feature = "simulation")]
    if crate::simulation::is_running() {
        return None;
    }
    Some(std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN))
}
