//! The documents of the `IC.*` commands, and a node's report: what reads as one is written as one that reads the same.
#![no_main]

use std::fmt::Debug;

use infinicache_wire::{
    control::{CommitReply, Located, NodeStatus, Opened, Placed, PoolStatus},
    message::NodeReport,
};
use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};

fuzz_target!(|json: &[u8]| {
    read::<Opened>(json);
    read::<Placed>(json);
    read::<CommitReply>(json);
    read::<Located>(json);
    read::<PoolStatus>(json);
    read::<NodeStatus>(json);
    read::<NodeReport>(json);
});

fn read<T: DeserializeOwned + Serialize + PartialEq + Debug>(json: &[u8]) {
    let Ok(document) = serde_json::from_slice::<T>(json) else {
        return;
    };
    let written = serde_json::to_vec(&document).expect("plain data has a JSON form");
    let again: T = serde_json::from_slice(&written).expect("it was written by us");
    assert_eq!(again, document);
}
