//! What a connection can suffer.

use std::time::Duration;

/// What happens to all that a connection carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It arrives.
    #[default]
    None,
    /// It arrives later, in either direction.
    Late(Duration),
    /// No more than so many bytes a second arrive, in either direction.
    Slow(u64),
    /// Nothing arrives, and nobody is told. What was begun so ends with a
    /// reset when it is over, as after a route that was lost and found.
    HalfOpen,
    /// Nothing moves; it goes on where it stopped.
    Paused,
    /// Each connection is reset before it has carried so many bytes.
    Reset(u64),
    /// Each connection ends within a frame before it has carried about so many bytes.
    CutOff(u64),
    /// Of one frame in so many, one bit is another.
    Corrupt(Part, u64),
}

/// A part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Header,
    Payload,
}
