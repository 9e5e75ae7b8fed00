//! Error replies. The texts are those of Redis where Redis has one: clients,
//! and people who search for them, know them.

use std::borrow::Cow;

use infinicache_engine::Error;
use infinicache_wire::terms::TermsError;
use redis_protocol::resp2::types::BytesFrame;

/// A command's reply.
pub(crate) type Answer = Result<BytesFrame, ErrorReply>;

/// Why a command was not done: the text of its error reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ErrorReply(Cow<'static, str>);

impl ErrorReply {
    pub(crate) const SYNTAX: Self = Self::text("ERR syntax error");
    pub(crate) const NOT_AN_INTEGER: Self =
        Self::text("ERR value is not an integer or out of range");
    pub(crate) const KEY_TOO_LONG: Self =
        Self::text("ERR key exceeds maximum allowed size (65536 bytes)");
    pub(crate) const ARGUMENTS_TOO_LONG: Self =
        Self::text("ERR arguments exceed maximum allowed size (1 MiB)");
    pub(crate) const LOADING: Self =
        Self::text("LOADING infinicache is asking its nodes what they hold");
    pub(crate) const OUT_OF_TOUCH: Self =
        Self::text("TRYAGAIN too few nodes answer to know whether this proxy leads");
    pub(crate) const UNKNOWN_CLIENT: Self = Self::text("NOAUTH Authentication required.");
    pub(crate) const WRONG_PASSWORD: Self =
        Self::text("WRONGPASS invalid username-password pair or user is disabled.");

    /// An error with a fixed text.
    pub(crate) const fn text(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// An error whose text quotes the peer: line ends in it must not end the reply.
    pub(crate) fn quoting(text: String) -> Self {
        Self(Cow::Owned(text.replace(['\r', '\n'], " ")))
    }

    /// `name` may be that of a subcommand, as in `client|id`.
    pub(crate) fn arity(name: &str) -> Self {
        Self::quoting(format!(
            "ERR wrong number of arguments for '{name}' command"
        ))
    }

    pub(crate) fn expire_time(name: &str) -> Self {
        Self::quoting(format!("ERR invalid expire time in '{name}' command"))
    }

    /// The reply that says so.
    pub(crate) fn into_frame(self) -> BytesFrame {
        BytesFrame::Error(match self.0 {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        })
    }
}

/// As of `SET`, whose options they are.
impl From<TermsError> for ErrorReply {
    fn from(error: TermsError) -> Self {
        match error {
            TermsError::Syntax => Self::SYNTAX,
            TermsError::NotAnInteger => Self::NOT_AN_INTEGER,
            TermsError::ExpireTime => Self::expire_time("set"),
        }
    }
}

/// What the first word tells a client: `OOM` there is no room, `LOST` the value
/// is gone, `TRYAGAIN` the same request may succeed later, `NOWRITE` the write was
/// given up, `ERR` it will not succeed.
impl From<Error> for ErrorReply {
    fn from(error: Error) -> Self {
        match error {
            Error::OutOfMemory(_) => {
                Self::text("OOM command not allowed when used memory > 'maxmemory'.")
            }
            Error::Refused(reason) => Self::quoting(format!("ERR {reason}")),
            Error::Lost { .. } => Self::quoting(format!("LOST {error}")),
            Error::TimedOut(_) | Error::Unreachable(_) => {
                Self::quoting(format!("TRYAGAIN {error}"))
            }
            Error::NoWrite => Self::quoting(format!("NOWRITE {error}")),
            Error::Miss | Error::Io(_) | Error::Protocol(_) => {
                Self::quoting(format!("ERR {error}"))
            }
        }
    }
}
