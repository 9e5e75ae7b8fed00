//! Traces: one request a line, in order of time.
//!
//! ```text
//! timestamp_ms,op,key,bytes
//! 0,GET,793c8a2b,72626
//! 975,PUT,d5fe32c1,676
//! ```
//!
//! Keys are any bytes but commas and line ends, and are not quoted. GET, SET or
//! PUT, and DEL or DELETE are replayed; other operations (HEAD, COPY) are
//! counted and left out. A trace is read as a whole before anything is asked, so
//! that a wrong line is told at once.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, BufRead, Read},
    time::Duration,
};

use crate::request::Operation;

/// The first line.
const HEAD: &[u8] = b"timestamp_ms,op,key,bytes";

/// The longest line, and the longest key in it.
const LINE: usize = 1024;
const KEY: usize = 512;

/// Operations that are left out and told from each other.
const OTHERS: usize = 16;

/// How much of a trace is read.
#[derive(Clone, Copy, Debug)]
pub struct TraceLimits {
    /// Requests; those after them are left out.
    pub requests: usize,
    /// Bytes of a value; larger ones are replayed as values of this size.
    pub largest: u64,
}

/// A request of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When, after the first one.
    pub at: Duration,
    /// What.
    pub operation: Operation,
    /// The number of its key, in the order in which keys appear.
    pub key: u32,
    /// How large its value is.
    pub bytes: u64,
}

/// A trace.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// What is replayed, in order of time.
    pub entries: Vec<Entry>,
    /// How many keys there are.
    pub keys: u32,
    /// What is left out, by operation.
    pub others: BTreeMap<String, u64>,
    /// Requests whose values are larger than is replayed.
    pub cut: u64,
}

/// A line is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It does not begin as a trace does.
    #[error("line 1: timestamp_ms,op,key,bytes is expected")]
    Head,
    /// A line is wrong.
    #[error("line {line}: {wrong}")]
    Line {
        /// Which, counted from 1.
        line: u64,
        /// What is wrong.
        wrong: Wrong,
    },
    /// There is nothing to replay.
    #[error("nothing to replay")]
    Empty,
}

/// What can be wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// It is too long.
    #[error("longer than {LINE} bytes")]
    Long,
    /// It has more or fewer fields.
    #[error("4 fields are expected")]
    Fields,
    /// The time is no number.
    #[error("the timestamp is no number of milliseconds")]
    Timestamp,
    /// The time is before that of the line before.
    #[error("the timestamp is before that of the line before")]
    Backwards,
    /// The operation is no word.
    #[error("the operation is no word of at most 16 letters")]
    Operation,
    /// The key is empty or too long.
    #[error("a key of 1 to {KEY} bytes is expected")]
    Key,
    /// The size is no number.
    #[error("the size is no number of bytes")]
    Bytes,
}

impl Trace {
    /// Reads a trace.
    ///
    /// # Errors
    ///
    /// The first line that is wrong, and why; or if there is nothing to replay.
    pub fn read(mut from: impl BufRead, limits: TraceLimits) -> Result<Self, TraceError> {
        let mut reader = TraceReader {
            limits,
            ..TraceReader::default()
        };
        let mut buffer = Vec::new();
        let mut line = 0;
        while reader.trace.entries.len() < limits.requests {
            buffer.clear();
            line += 1;
            // One more than is allowed, and the line end.
            from.by_ref()
                .take(LINE as u64 + 2)
                .read_until(b'\n', &mut buffer)?;
            if buffer.is_empty() {
                break;
            }
            let text = buffer.strip_suffix(b"\n").unwrap_or(&buffer);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            match line {
                1 if text == HEAD => {}
                1 => return Err(TraceError::Head),
                _ if text.is_empty() => {}
                _ => reader
                    .line(text)
                    .map_err(|wrong| TraceError::Line { line, wrong })?,
            }
        }
        match reader.trace.entries.is_empty() {
            true if line == 1 => Err(TraceError::Head),
            true => Err(TraceError::Empty),
            false => Ok(reader.trace),
        }
    }

    /// The time from the first request to the last.
    pub fn span(&self) -> Duration {
        self.entries.last().map_or(Duration::ZERO, |entry| entry.at)
    }

    /// The largest value.
    pub fn largest(&self) -> u64 {
        self.entries
            .iter()
            .map(|entry| entry.bytes)
            .max()
            .unwrap_or(0)
    }
}

/// A trace, as far as it was read.
#[derive(Debug)]
struct TraceReader {
    trace: Trace,
    limits: TraceLimits,
    names: HashMap<Box<[u8]>, u32>,
    first: Option<u64>,
    last: u64,
}

impl Default for TraceReader {
    fn default() -> Self {
        Self {
            trace: Trace::default(),
            limits: TraceLimits {
                requests: 0,
                largest: 0,
            },
            names: HashMap::new(),
            first: None,
            last: 0,
        }
    }
}

impl TraceReader {
    fn line(&mut self, text: &[u8]) -> Result<(), Wrong> {
        if text.len() > LINE {
            return Err(Wrong::Long);
        }
        let fields: Vec<_> = text.split(|byte| *byte == b',').collect();
        let [timestamp, operation, key, bytes] = fields[..] else {
            return Err(Wrong::Fields);
        };
        let timestamp = number(timestamp).ok_or(Wrong::Timestamp)?;
        let bytes = number(bytes).ok_or(Wrong::Bytes)?;
        if timestamp < self.last {
            return Err(Wrong::Backwards);
        }
        if key.is_empty() || key.len() > KEY {
            return Err(Wrong::Key);
        }
        let is_word = operation.iter().all(u8::is_ascii_alphabetic);
        if !is_word || !(1..=16).contains(&operation.len()) {
            return Err(Wrong::Operation);
        }
        self.last = timestamp;
        let at = timestamp - *self.first.get_or_insert(timestamp);
        let operation = match operation.to_ascii_uppercase().as_slice() {
            b"GET" => Operation::Get,
            b"SET" | b"PUT" => Operation::Set,
            b"DEL" | b"DELETE" => Operation::Delete,
            other => {
                self.leave_out(&String::from_utf8_lossy(other));
                return Ok(());
            }
        };
        let most = self.limits.largest;
        self.trace.cut += u64::from(bytes > most && operation != Operation::Delete);
        let key = self.number_of(key);
        self.trace.entries.push(Entry {
            at: Duration::from_millis(at),
            operation,
            key,
            bytes: bytes.min(most),
        });
        Ok(())
    }

    fn leave_out(&mut self, operation: &str) {
        let others = &mut self.trace.others;
        let name = match others.contains_key(operation) || others.len() < OTHERS {
            true => operation,
            false => "others",
        };
        *others.entry(name.into()).or_default() += 1;
    }

    fn number_of(&mut self, key: &[u8]) -> u32 {
        if let Some(number) = self.names.get(key) {
            return *number;
        }
        let number = self.trace.keys;
        self.names.insert(key.into(), number);
        self.trace.keys += 1;
        number
    }
}

/// A whole number without a sign.
fn number(digits: &[u8]) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_number)?;
    text.parse().ok()
}

#[cfg(test)]
mod tests;
