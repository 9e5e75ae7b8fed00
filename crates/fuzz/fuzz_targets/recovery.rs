//! What nodes tell a proxy that starts: inventories, labels, rosters and testimonies.
//!
//! Nothing panics. A page that was read is written as the bytes that it was read
//! from; a document that was read is written as bytes that read the same; a label
//! that was read says the same when it is written.
#![no_main]

use bytes::Bytes;
use infinicache_wire::{
    MAX_PAYLOAD, Roster,
    inventory::{Page, read_page},
    roster::Testimony,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(&data[..data.len().min(MAX_PAYLOAD)]);
    if let Ok(entries) = read_page(bytes.clone()) {
        let mut page = Page::default();
        for entry in &entries {
            assert!(page.push(entry.chunk, entry.units, entry.expiry, &entry.label));
            infinicache_membership::label::reads_back(entry.label.clone());
        }
        assert_eq!(page.into_bytes(), bytes);
    }
    infinicache_membership::label::reads_back(bytes.clone());
    if let Ok(roster) = Roster::from_bytes(&bytes) {
        assert_eq!(Roster::from_bytes(&roster.to_bytes()), Ok(roster));
    }
    if let Ok(testimony) = Testimony::from_bytes(&bytes) {
        assert_eq!(Testimony::from_bytes(&testimony.to_bytes()), Ok(testimony));
    }
});
