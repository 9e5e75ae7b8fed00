//! The complete chunks, told a page at a time.
//!
//! The ids are put in order once, when the first page is asked for; a chunk that
//! is completed later is not told, one that has gone by then is left out.

use infinicache_wire::{ChunkId, inventory::Page};

use super::{Store, chunk::ChunkState, listing::Listing};

impl Store {
    /// The page of the inventory that follows `after`; without it a new inventory begins.
    pub fn inventory(&mut self, after: Option<ChunkId>) -> Page {
        if after.is_none() {
            self.listing.0 = self.complete_chunks();
        }
        let ids = &self.listing.0;
        let from = after.map_or(0, |after| ids.partition_point(|&id| id <= after));
        let mut page = Page::default();
        for &id in &ids[from..] {
            let Some(chunk) = self.chunks.get(&id) else {
                continue;
            };
            let ChunkState::Complete { label, expiry } = &chunk.state else {
                continue;
            };
            if !page.push(id, chunk.units.count(), *expiry, self.label_bytes(label)) {
                return page;
            }
        }
        if page.is_empty() {
            self.listing = Listing::default();
        }
        page
    }

    fn complete_chunks(&self) -> Vec<ChunkId> {
        let complete = self
            .chunks
            .iter()
            .filter(|(_, chunk)| matches!(chunk.state, ChunkState::Complete { .. }));
        let mut ids: Vec<ChunkId> = complete.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }
}
