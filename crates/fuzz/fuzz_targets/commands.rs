//! The `IC.*` commands: what parses as one is encoded as one that parses to the same.
//!
//! Words are what is between spaces.
#![no_main]

use bytes::Bytes;
use infinicache_wire::control::ControlCommand;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    let words = line.split(|&byte| byte == b' ');
    let words: Vec<Bytes> = words.map(Bytes::copy_from_slice).collect();
    let Ok(command) = ControlCommand::parse(&words) else {
        return;
    };
    assert_eq!(ControlCommand::parse(&command.encode()), Ok(command));
});
