//! A value that is read piece by piece.

use std::{
    collections::VecDeque,
    fmt,
    ops::Range,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use infinicache_engine::{Error, Holders, Reader};
use infinicache_wire::Version;
use tokio::time;

use crate::proxy::{LocatedValue, Proxy};

/// A value on its way to this process.
///
/// Pieces come in order, and a few are on their way before they are asked for.
/// Each piece counts against the client's budget for as long as anything refers
/// to it: let go of it before long.
pub struct Download {
    reader: Reader<Proxy>,
    pieces: VecDeque<Bytes>,
    found: LocatedValue,
    length: u64,
    deadline: Duration,
}

impl Download {
    /// Waits for the first stripe, so that nothing is promised that cannot be read.
    pub(crate) async fn begin(
        proxy: Proxy,
        found: LocatedValue,
        range: Range<u64>,
        deadline: Duration,
    ) -> Result<Self, Error> {
        let reader = Reader::new(proxy, found.clone(), range);
        let length = reader.remaining();
        let mut download = Self {
            reader,
            pieces: VecDeque::new(),
            found,
            length,
            deadline,
        };
        download.fill().await?;
        Ok(download)
    }

    /// Bytes that it gives in all: those of the value, or of the range that was asked for.
    pub fn size(&self) -> u64 {
        self.length
    }

    /// Which version of the value it is.
    pub fn version(&self) -> Version {
        self.found.located().version
    }

    /// When the value expires, by the clock of this machine and what was known at the beginning.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.found.expires_at()
    }

    /// The next piece, never empty; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] or [`Error::TimedOut`]; the download is of no use then.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if self.pieces.is_empty() {
            self.fill().await?;
        }
        Ok(self.pieces.pop_front())
    }

    async fn fill(&mut self) -> Result<(), Error> {
        let coming = time::timeout(self.deadline, self.reader.next()).await;
        let pieces = coming.map_err(|_| Error::TimedOut("the value did not come"))??;
        self.pieces.extend(pieces.into_iter().flatten());
        Ok(())
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let write = self.found.geometry();
        f.debug_struct("Download")
            .field("geometry", &write)
            .field("length", &self.length)
            .finish()
    }
}
