//! Ids, codes and sizes as texts: what reads as one is written as a text that reads the same.
//!
//! An id or a code with a sign or a space is none, whatever the standard library takes for a number.
#![no_main]

use std::{fmt::Display, str::FromStr, time::Instant};

use infinicache_daemon::units::{ByteSize, parse_duration};
use infinicache_erasure::Code;
use infinicache_wire::{InstanceId, Version, WriteId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let id = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    reads::<WriteId>(text, id);
    reads::<Version>(text, id);
    reads::<InstanceId>(text, |byte| byte.is_ascii_hexdigit());
    reads::<Code>(text, |byte| byte.is_ascii_digit() || byte == b'+');
    // People may put spaces around a size.
    reads::<ByteSize>(text, |_| true);
    // Deadlines are made of it.
    if let Ok(duration) = parse_duration(text) {
        let _ = Instant::now() + duration;
    }
});

fn reads<T: FromStr + Display + PartialEq>(text: &str, may_have: impl Fn(u8) -> bool) {
    let Ok(value) = text.parse::<T>() else { return };
    assert!(text.bytes().all(may_have), "{text:?} reads as {value}");
    let written = value.to_string();
    assert!(
        written.parse::<T>().is_ok_and(|again| again == value),
        "{written:?}"
    );
}
