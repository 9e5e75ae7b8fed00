//! What the machine gives a process: the time, randomness, and tasks that run.
//!
//! The proxy, the nodes and the client library take all of it from here, and their
//! sockets from `infinicache_socket`. So with the feature `simulation` many processes
//! of them run on one thread in virtual time, and everything that they do is decided
//! by one seed. Without it, each function here is the one of tokio or of the system
//! that it stands for.
#![forbid(unsafe_code)]

pub mod clock;
pub mod failpoint;
pub mod hash;
pub mod random;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod task;
pub mod watch;

pub use failpoint::{fail_point, stall_point};
