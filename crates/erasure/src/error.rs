//! Why a code, or a set of chunks, cannot be used.

/// Most chunks of one code, so that a byte counts them. The field allows 256.
pub(crate) const WIDTH_MAX: usize = 255;

/// A request that no code can serve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// A code has at least one data chunk.
    #[error("0 data chunks, at least 1 needed")]
    NoData,

    /// Chunk indexes are field elements, and one byte has to count them all.
    #[error("{data} data and {parity} parity chunks, at most {WIDTH_MAX} together")]
    TooWide {
        /// The data chunks asked for.
        data: usize,
        /// The parity chunks asked for.
        parity: usize,
    },

    /// A text that does not name a code.
    #[error("{text:?} is not a code, \"10+2\" is")]
    Malformed {
        /// The text.
        text: String,
    },

    /// Fewer chunks at hand than the code has data chunks.
    #[error("{have} chunks at hand, {needed} needed")]
    TooFewChunks {
        /// The chunks at hand.
        have: usize,
        /// The data chunks of the code.
        needed: usize,
    },

    /// A chunk index beyond the code's last chunk.
    #[error("chunk {chunk} of a code of {width} chunks")]
    NoSuchChunk {
        /// The index.
        chunk: usize,
        /// The chunks that the code has.
        width: usize,
    },

    /// A chunk named twice, or both at hand and missing.
    #[error("chunk {chunk} named more than once")]
    Duplicate {
        /// The index.
        chunk: usize,
    },
}
