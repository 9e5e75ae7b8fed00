//! What nodes tell a proxy that starts: inventories, labels, views and promises.
//!
//! Nothing panics. A page that was read is written as the bytes that it was read
//! from; a document that was read is written as bytes that read the same; a label
//! that was read says the same when it is written.
#![no_main]

use bytes::Bytes;
use infinicache_wire::{
    MAX_PAYLOAD, MembershipView,
    inventory::{Page, read_page},
    view::PromiseInfo,
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
    if let Ok(view) = MembershipView::from_bytes(&bytes) {
        assert_eq!(MembershipView::from_bytes(&view.to_bytes()), Ok(view));
    }
    if let Ok(promise) = PromiseInfo::from_bytes(&bytes) {
        assert_eq!(PromiseInfo::from_bytes(&promise.to_bytes()), Ok(promise));
    }
});
