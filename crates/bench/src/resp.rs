//! RESP, as a client speaks it that is never the bottleneck.
//!
//! Values are sent from where they are, and read into a buffer of fixed size
//! where they are checked and forgotten.

pub mod connection;
