//! The request parser as the fuzz targets see it.

use bytes::{Bytes, BytesMut};

use super::parser;

/// The arguments that were read, how many the command has, and the length of one too large to be read.
pub type ParsedCommand = (Vec<Bytes>, usize, Option<u64>);

/// Cuts a byte stream into commands.
#[derive(Debug, Default)]
pub struct Parser(parser::Parser);

impl Parser {
    /// The next command, or `None` if more bytes are needed; why there is none, as a text.
    pub fn parse(&mut self, input: &mut BytesMut) -> Result<Option<ParsedCommand>, String> {
        let parsed = self.0.parse(input).map_err(|error| error.to_string())?;
        Ok(parsed.map(|command| (command.args, command.count, command.large)))
    }

    /// Throws away what `input` has of the command; `false` if more of it is to come.
    pub fn discard(&mut self, input: &mut BytesMut) -> Result<bool, String> {
        self.0.discard(input).map_err(|error| error.to_string())
    }

    /// Bytes of the large argument that have not been taken from the stream.
    pub fn large(&self) -> u64 {
        self.0.large()
    }

    /// Says that `count` bytes of the large argument were taken from the stream.
    pub fn took(&mut self, count: usize) {
        self.0.took(count);
    }

    /// How many bytes more than those in `input` are certainly needed.
    pub fn wanted(&self, input: &BytesMut) -> usize {
        self.0.wanted(input)
    }

    /// Whether the input so far ends where a command does.
    pub fn is_between_commands(&self) -> bool {
        self.0.is_between_commands()
    }
}
