//! Membership: which instances are members, and which run of the proxy they follow.
//!
//! Everything here is pure: events and the time come in, decisions go out.
//! Chunks live on members, and outlive the proxy. So that a later run cannot be
//! misled by what some of them missed, the members keep a numbered list of whose
//! chunks count; so that an earlier run cannot go on answering beside it, a run
//! answers only while it holds a lease from a majority.
//!
//! - [`joint_view`]: the list, and when a change of it is committed;
//! - [`readmission`]: who is off it for a while, and how they come back;
//! - [`leader_lease`]: whether the run may answer;
//! - [`quorum_timeout`]: how long members are waited for;
//! - [`finish_quorum`]: when a value is complete on all of its members;
//! - [`delete_quorum`]: when a value is gone from all who count;
//! - [`prepare`]: whom a new run believes, and when it has heard enough;
//! - [`label`]: what members keep with a chunk, so that they can tell what it is of;
//! - [`recovered_state`]: which objects there are, from what the members hold.

#![forbid(unsafe_code)]

mod epoch;
mod quorum;

pub mod delete_quorum;
pub mod finish_quorum;
pub mod joint_view;
pub mod label;
pub mod leader_lease;
pub mod prepare;
pub mod quorum_timeout;
pub mod readmission;
pub mod recovered_state;

pub use self::{
    epoch::Epoch,
    quorum::{fence, majority, read_quorum, write_quorum},
};
