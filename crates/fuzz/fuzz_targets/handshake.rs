//! Handshakes: any payload is a document or is refused, and only the secret proves one.
//!
//! Nothing panics; a document that was read is written as bytes that read the
//! same; no input proves a secret that it does not know; what was signed is
//! genuine, and no longer if its session, or the Hello it answers, is another.
#![no_main]

use bytes::Bytes;
use infinicache_wire::{
    Frame, Header, Kind, MAX_PAYLOAD, MemberId, Secret,
    handshake::{Hello, Welcome},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // A document that is read grows by what it left out: half a payload is room enough.
    let payload = Bytes::copy_from_slice(&data[..data.len().min(MAX_PAYLOAD / 2)]);
    let of = |kind| Frame::new(Header::of(kind), payload.clone());
    let secret = Secret::new(b"nobody wrote this into a seed").expect("long enough");

    if let Ok(hello) = Hello::from_frame(&of(Kind::Hello)) {
        assert_eq!(Hello::from_frame(&hello.to_frame()), Ok(hello.clone()));
        assert!(!hello.is_genuine(&secret));
        let signed = hello.signed(&secret);
        assert!(signed.is_genuine(&secret));
        let welcome = welcome(&signed).signed(&secret, &signed);
        assert!(welcome.is_genuine(&secret, &signed));
        let mut other = signed;
        other.session.push('x');
        assert!(!other.is_genuine(&secret));
        assert!(!welcome.is_genuine(&secret, &other));
    }
    if let Ok(welcome) = Welcome::from_frame(&of(Kind::Welcome)) {
        assert_eq!(Welcome::from_frame(&welcome.to_frame()), Ok(welcome));
    }
});

/// Any answer to `hello`.
fn welcome(hello: &Hello) -> Welcome {
    Welcome {
        protocol: hello.protocol,
        member: MemberId(hello.used as u32),
        epoch: hello.epoch,
        fresh: hello.used == 0,
        proof: String::new(),
    }
}
