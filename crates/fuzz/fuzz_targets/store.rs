//! A node's store: whatever it is asked, it gives back what was put or nothing, in bounded memory.
//!
//! The property test beside the store compares every answer with a model; here
//! coverage leads further from the beaten path: numbers that leave gaps, chunks
//! that come again, capacities of a few bytes.
#![no_main]

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use infinicache_node::store::{Limits, MAX_UNITS, Put, Store, Usage};
use infinicache_wire::{ChunkId, LabelledUnit, WriteId};
use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};

#[derive(Arbitrary, Debug)]
enum Step {
    Put {
        chunk: u8,
        near: u8,
        far: Option<u32>,
        length: u16,
        fill: u8,
    },
    Finish {
        chunk: u8,
        units: u8,
        label: u16,
    },
    Delete {
        chunk: u8,
    },
    Free {
        chunk: u8,
    },
    Expire,
    Clear,
    Pass {
        seconds: u8,
    },
    Keep {
        chunk: u8,
        label: u16,
        length: u16,
        fill: u8,
    },
}

#[derive(Arbitrary, Debug)]
struct Input {
    capacity: u16,
    steps: Vec<Step>,
}

fuzz_target!(|input: Input| {
    let limits = Limits {
        capacity: u64::from(input.capacity) * 16,
        pending_timeout: Duration::from_secs(20),
        dead_timeout: Duration::from_secs(50),
    };
    let mut store = Store::new(limits);
    let mut now = Instant::now();
    // What was put last under each number, whether or not it is still there.
    let mut put = HashMap::new();
    for step in input.steps {
        match step {
            Step::Put {
                chunk,
                near,
                far,
                length,
                fill,
            } => {
                let number = far.unwrap_or(u32::from(near));
                let bytes = Bytes::from(vec![fill; 1 + usize::from(length)]);
                let checksum = u64::from(fill);
                let outcome = store.put(now, id(chunk), number, bytes.clone(), checksum);
                if outcome == Put::Stored {
                    assert!(number < MAX_UNITS);
                    let unit = store.get(id(chunk), number).expect("just stored");
                    assert_eq!((&unit.bytes, unit.checksum), (&bytes, checksum));
                    put.insert((chunk % 8, number), bytes);
                }
            }
            Step::Finish {
                chunk,
                units,
                label,
            } => {
                let label = vec![b'l'; label.into()];
                store.finish(id(chunk), units.into(), label.into());
            }
            Step::Delete { chunk } => store.delete(now, id(chunk)),
            Step::Free { chunk } => store.free(id(chunk)),
            Step::Expire => drop(store.expire(now)),
            Step::Clear => store.clear(),
            Step::Keep {
                chunk,
                label,
                length,
                fill,
            } => {
                let was_whole = store.is_whole(id(chunk), 1);
                let label = vec![b'l'; usize::from(label)];
                let bytes = Bytes::from(vec![fill; 1 + usize::from(length)]);
                let Some(whole) = LabelledUnit::new(&label, &bytes) else {
                    continue;
                };
                let outcome = store.keep(now, id(chunk), &whole, u64::from(fill));
                assert_eq!(outcome == Put::Stored, store.is_whole(id(chunk), 1));
                if outcome == Put::Stored && !was_whole {
                    put.insert((chunk % 8, 0), bytes);
                }
            }
            Step::Pass { seconds } => now += Duration::from_secs(seconds.into()),
        }
        let Usage {
            used,
            pending,
            dead,
            ..
        } = store.usage();
        assert!(used <= limits.capacity && pending + dead <= used);
    }
    for ((chunk, number), bytes) in put {
        if let Some(unit) = store.get(id(chunk), number) {
            assert_eq!(unit.bytes, bytes);
        }
    }
    (0..8).for_each(|chunk| store.free(id(chunk)));
    assert_eq!(store.usage(), Usage::default());
    assert!(store.is_vacant());
});

/// One of a few chunks, so that they meet again.
fn id(chunk: u8) -> ChunkId {
    ChunkId {
        write: WriteId {
            epoch: 1,
            sequence: u64::from(chunk % 4),
        },
        index: chunk / 4 % 2,
    }
}
