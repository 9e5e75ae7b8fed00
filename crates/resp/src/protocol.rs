//! The versions of the protocol.

/// The version of the protocol in which a connection gets its replies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Version 2, which every connection begins with.
    #[default]
    Resp2 = 2,
    /// Version 3, asked for by `HELLO 3`.
    Resp3 = 3,
}
