//! What `infinicache doctor` looks at, and what it makes of it.
//!
//! [`examine`] asks the API of the cluster for [`Facts`], each of which may be
//! there, be hidden from whoever asks, or not exist. The checks are pure
//! functions from facts to [`Finding`]s; each finding that is not good says what
//! is to be done about it. Nothing is changed, and no secret is ever shown.

mod checks;
mod examine;
mod facts;
mod finding;
#[cfg(test)]
mod tests;
mod wake;

pub use checks::check;
pub use examine::{Place, examine};
pub use facts::{Facts, Seen, Unseen, WakeSeen};
pub use finding::{Finding, Level};
