//! A value on its way in.

use std::{io, sync::Arc};

use bytes::Bytes;
use infinicache_engine::Source;

use crate::metrics::Metrics;

/// A source whose bytes are counted as they come.
pub(super) struct MeteredSource<S> {
    pub(super) source: S,
    pub(super) metrics: Arc<Metrics>,
}

impl<S: Source> Source for MeteredSource<S> {
    async fn read(&mut self, length: usize) -> io::Result<Bytes> {
        let piece = self.source.read(length).await?;
        self.metrics.served().taken_in(piece.len() as u64);
        Ok(piece)
    }
}
