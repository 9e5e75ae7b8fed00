//! What the doctor found.

use serde::Serialize;

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Good,
    /// It could not be looked at.
    Unknown,
    /// It works, but not as well as it could, or it has not been tried.
    Doubtful,
    /// It does not work like that.
    Bad,
}

impl Level {
    /// In one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Unknown => "unknown",
            Self::Doubtful => "doubtful",
            Self::Bad => "bad",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whose it is: `kubernetes`, `secret infinicache`, `node infinicache-node-3`.
    pub subject: String,
    /// How it is.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do about it; the empty string if nothing.
    pub advice: String,
}

impl Finding {
    pub(super) fn new(level: Level, subject: &str, found: String, advice: &str) -> Self {
        Self {
            subject: subject.to_owned(),
            level,
            found,
            advice: advice.to_owned(),
        }
    }

    /// It is as it should be.
    pub fn good(subject: &str, found: impl Into<String>) -> Self {
        Self::new(Level::Good, subject, found.into(), "")
    }

    /// It could not be looked at.
    pub fn unknown(subject: &str, found: impl Into<String>, advice: &str) -> Self {
        Self::new(Level::Unknown, subject, found.into(), advice)
    }

    /// It could be better.
    pub fn doubtful(subject: &str, found: impl Into<String>, advice: &str) -> Self {
        Self::new(Level::Doubtful, subject, found.into(), advice)
    }

    /// It does not work like that.
    pub fn bad(subject: &str, found: impl Into<String>, advice: &str) -> Self {
        Self::new(Level::Bad, subject, found.into(), advice)
    }
}
