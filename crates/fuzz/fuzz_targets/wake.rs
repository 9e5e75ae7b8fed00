//! Wake documents: any body is one or is refused, and only the secret proves one.
//!
//! Nothing panics; no input passes without the secret; what is well formed
//! passes once it is signed, as the document it was, and not with any field
//! changed. Whatever comes back is an answer to it or is none.
#![no_main]

use infinicache_wire::{
    Secret,
    wake::{Wake, WakeError},
    wake_answer::{SessionEnd, WakeAnswer, WakeRefusal},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let secret = Secret::new(b"nobody wrote this into a seed").expect("long enough");
    let _ = (SessionEnd::find(body), WakeRefusal::parse(body));
    let refused = Wake::parse(body, &secret).expect_err("nobody knows the secret");
    let WakeError::Forged = refused else { return };

    let wake: Wake = serde_json::from_slice(body).expect("it was read before");
    let signed = wake.signed(&secret);
    let parse = |wake: &Wake| {
        let body = serde_json::to_vec(wake).expect("plain data has a JSON form");
        Wake::parse(&body, &secret)
    };
    assert_eq!(parse(&signed).expect("signed"), signed);
    assert!(WakeAnswer::parse(body, &signed, &secret).is_err());
    for change in [
        |wake: &mut Wake| wake.node = other(&wake.node),
        |wake: &mut Wake| wake.proxy = other(&wake.proxy),
        |wake: &mut Wake| wake.session = other(&wake.session),
        |wake: &mut Wake| wake.epoch ^= 1,
        |wake: &mut Wake| wake.lifetimes.held ^= true,
        |wake: &mut Wake| wake.proof = wake.proof[2..].to_owned(),
    ] {
        let mut forged = signed.clone();
        change(&mut forged);
        assert!(matches!(parse(&forged), Err(WakeError::Forged)));
    }
});

/// Another text of a usable length.
fn other(text: &str) -> String {
    match text {
        "a" => "b".to_owned(),
        _ => "a".to_owned(),
    }
}
