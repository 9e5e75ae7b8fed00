//! Harm that the platform may do to a node, on demand: for tests, and off unless asked for.
//!
//! What a start becomes is decided by [`lifecycle`](super::lifecycle); what a wake
//! becomes is decided here, before the life hears of a request.

use std::{future, time::Duration};

use axum::{
    body::Body,
    http::{Response, StatusCode},
};
use serde::Deserialize;

/// The path of a wake, behind the node's name.
const WAKE: &str = "/wake";

/// What a node suffers from now on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Its processes that start.
    pub start: Start,
    /// Its wakes.
    pub wakes: Wakes,
}

/// What becomes of a process that is started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// It is healthy as soon as it says so.
    #[default]
    Well,
    /// It ends before it is healthy.
    Fails,
    /// It is never healthy.
    Hangs,
    /// It is not healthy before so many milliseconds.
    SlowMs(u32),
}

impl Start {
    /// The least time from a start to the first healthy answer.
    pub fn delay(self) -> Duration {
        match self {
            Self::SlowMs(millis) => Duration::from_millis(millis.into()),
            Self::Well | Self::Fails | Self::Hangs => Duration::ZERO,
        }
    }
}

/// What becomes of a wake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wakes {
    /// The node gets it.
    #[default]
    Forwarded,
    /// It is answered with an error.
    Refused,
    /// It is answered with what no node says.
    Garbage,
    /// It is answered as if all were well, and no node hears of it.
    Swallowed,
    /// It is not answered.
    Hanging,
}

impl Wakes {
    /// The answer to a request for `path`, if it is not for the node to give.
    pub(super) async fn answer(self, path: &str) -> Option<Response<Body>> {
        if path != WAKE {
            return None;
        }
        let (status, body) = match self {
            Self::Forwarded => return None,
            Self::Refused => (StatusCode::INTERNAL_SERVER_ERROR, "not today\n".into()),
            Self::Garbage => (StatusCode::OK, b"\0\xff{\"".repeat(1 << 14).into()),
            Self::Swallowed => (StatusCode::OK, Body::from("{}")),
            Self::Hanging => future::pending().await,
        };
        let mut answer = Response::new(body);
        *answer.status_mut() = status;
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_names_what_is_not_well() {
        let read = |text| serde_json::from_str::<Faults>(text);
        assert_eq!(read("{}").unwrap(), Faults::default());
        let slow = read(r#"{"start": {"slow_ms": 700}, "wakes": "hanging"}"#).unwrap();
        assert_eq!(slow.start.delay(), Duration::from_millis(700));
        assert_eq!(slow.wakes, Wakes::Hanging);
        assert!(read(r#"{"wake": "hanging"}"#).is_err());
        assert!(read(r#"{"start": "badly"}"#).is_err());
    }

    #[tokio::test]
    async fn only_wakes_are_answered_in_place_of_a_node() {
        assert!(Wakes::Refused.answer("/healthz").await.is_none());
        assert!(Wakes::Forwarded.answer("/wake").await.is_none());
        let refused = Wakes::Refused.answer("/wake").await.unwrap();
        assert_eq!(refused.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let garbage = Wakes::Garbage.answer("/wake").await.unwrap();
        assert_eq!(garbage.status(), StatusCode::OK);
    }
}
