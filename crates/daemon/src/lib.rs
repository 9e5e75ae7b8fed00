//! What the long-running processes have in common: how they are configured, and
//! how they log. It knows nothing of what they do.
//!
//! - [`units`]: sizes and durations as people write them;
//! - [`secret`]: where the pool's secret comes from;
//! - [`telemetry`]: what logs look like and where they go;
//! - [`signals`]: what asks a process to stop;
//! - [`memory`]: how much memory the process has;
//! - [`files`]: how many files it may have open.
#![forbid(unsafe_code)]

mod chain;
pub mod files;
pub mod memory;
pub mod secret;
pub mod signals;
pub mod telemetry;
pub mod units;

pub use chain::chain;
pub use secret::{SecretSource, read_secret_file};
pub use units::{ByteSize, parse_duration};
