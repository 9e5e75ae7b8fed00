//! The value of a SET, as it arrives.

use std::io;

use bytes::Bytes;
use infinicache_engine::Source;
use infinicache_resp::{Input, Value};

/// A value that a client is sending: the store takes it piece by piece.
#[derive(Debug)]
pub(super) struct Body<'a, R>(pub(super) Value<'a, R>);

impl<R: Input> Source for Body<'_, R> {
    async fn read(&mut self, length: usize) -> io::Result<Bytes> {
        self.0.read(length).await
    }
}
