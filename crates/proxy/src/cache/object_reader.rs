//! A value on its way out.

use std::sync::Arc;

use bytes::Bytes;
use infinicache_engine::{Error, Pool, Reader};

use crate::metrics::Metrics;

/// A value on its way out, whose bytes are counted as they go.
pub(crate) struct MeteredReader<P: Pool> {
    pub(super) reader: Reader<P>,
    pub(super) length: u64,
    /// The first pieces, which are there already.
    pub(super) first: Option<Vec<Bytes>>,
    pub(super) metrics: Arc<Metrics>,
}

impl<P: Pool> MeteredReader<P> {
    /// Bytes that it gives in all.
    pub(crate) fn len(&self) -> u64 {
        self.length
    }

    /// The next bytes, in one or more pieces; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Bytes>>, Error> {
        let pieces = match self.first.take() {
            Some(first) => Some(first),
            None => self.reader.next().await?,
        };
        if let Some(pieces) = &pieces {
            self.metrics
                .served()
                .given_out(pieces.iter().map(|piece| piece.len() as u64).sum());
        }
        Ok(pieces)
    }
}
