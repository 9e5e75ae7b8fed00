//! What was measured, for people and for programs.
//!
//! - [`document`]: all of it, as JSON;
//! - [`text`]: what matters, for a terminal;
//! - [`page`]: all of it with plots, as a page that needs nothing else;
//! - `curves`: which workloads make a curve; [`plot`] and [`intervals`]: the plots.

mod curves;
pub mod document;
mod escape;
pub mod intervals;
pub mod page;
pub mod plot;
pub mod text;
