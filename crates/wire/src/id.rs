//! The names of things that travel.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A member of the pool: one instance of one node, numbered by the proxy when it joins.
///
/// Never used again for another instance while the proxy lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemberId(pub u32);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One attempt to write an object: given by the proxy at open, never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WriteId {
    /// The run of the proxy that opened the write.
    pub epoch: u64,
    /// Counts the writes of that run.
    pub sequence: u64,
}

/// When a write was committed: later versions are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version {
    /// The run of the proxy that committed the write.
    pub epoch: u64,
    /// Counts the commits of that run.
    pub counter: u64,
}

/// A string is not the `epoch-number` of a write or version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not of the form <epoch>-<number> in hexadecimal")]
pub struct ParseIdError;

fn parse_pair(text: &str) -> Result<(u64, u64), ParseIdError> {
    let (epoch, number) = text.split_once('-').ok_or(ParseIdError)?;
    Ok((parse_hex(epoch)?, parse_hex(number)?))
}

fn parse_hex(digits: &str) -> Result<u64, ParseIdError> {
    // `from_str_radix` alone would take "+2".
    match digits.starts_with('+') {
        true => Err(ParseIdError),
        false => u64::from_str_radix(digits, 16).map_err(|_| ParseIdError),
    }
}

impl fmt::Display for WriteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.epoch, self.sequence)
    }
}

impl FromStr for WriteId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        parse_pair(text).map(|(epoch, sequence)| Self { epoch, sequence })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.epoch, self.counter)
    }
}

impl FromStr for Version {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        parse_pair(text).map(|(epoch, counter)| Self { epoch, counter })
    }
}

/// Serializes an id as its text, which survives JSON readers that know only doubles.
macro_rules! serde_as_text {
    ($($id:ty),*) => {$(
        impl Serialize for $id {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $id {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
serde_as_text!(WriteId, Version, InstanceId);

/// One chunk of one write: what a node stores under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkId {
    /// The write that the chunk belongs to.
    pub write: WriteId,
    /// Which of its chunks, counted from the first data chunk.
    pub index: u8,
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.write, self.index)
    }
}

/// A process behind a node's name: random, made anew at each start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId(pub u64);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for InstanceId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        parse_hex(text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_from_their_text() {
        let write = WriteId {
            epoch: u64::MAX,
            sequence: 7,
        };
        assert_eq!(write.to_string().parse(), Ok(write));
        let version = Version {
            epoch: 0,
            counter: u64::MAX,
        };
        assert_eq!(version.to_string().parse(), Ok(version));
        let instance = InstanceId(0xfeed);
        assert_eq!(instance.to_string().parse(), Ok(instance));
    }

    #[test]
    fn other_texts_are_no_ids() {
        for text in [
            "",
            "-",
            "1",
            "1-",
            "-1",
            "1-g",
            "1-2-3",
            "+1-2",
            "1-+2",
            "fffffffffffffffff-1",
        ] {
            assert_eq!(text.parse::<WriteId>(), Err(ParseIdError), "{text:?}");
        }
        for text in ["", "-1", "+1", "g", "10000000000000000"] {
            assert_eq!(text.parse::<InstanceId>(), Err(ParseIdError), "{text:?}");
        }
    }
}
