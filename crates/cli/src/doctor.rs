//! What `infinicache doctor` looks at, and what it makes of it.
//!
//! [`examine`] asks the API of the cluster for [`Facts`], each of which may be
//! there, not be visible to the one who asks, or not exist. The checks are pure
//! functions from facts to [`Finding`]s; each finding that is not good says what
//! is to be done about it. [`sum_up`] says once what is so of several subjects.
//! Nothing is changed, and no secret is ever shown.

mod checks;
mod examine;
mod facts;
mod finding;
mod summary;
#[cfg(test)]
mod tests;
mod wake;

pub use checks::check;
pub use examine::{Place, examine};
pub use facts::{Facts, Seen, Unseen, WakeSeen};
pub use finding::{Finding, Level};
pub use summary::sum_up;
