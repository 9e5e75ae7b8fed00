//! The secret that the members of a pool share, and proofs of knowing it.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A secret: never printed, compared only in constant time.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

/// A secret that is too short to protect anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("secret of {0} bytes, at least {MIN_SECRET} needed")]
pub struct WeakSecret(usize);

/// Fewest bytes of a secret.
pub const MIN_SECRET: usize = 16;

impl Secret {
    /// Takes the bytes of a secret, without white space around them.
    ///
    /// # Errors
    ///
    /// If fewer than [`MIN_SECRET`] bytes are left.
    pub fn new(bytes: &[u8]) -> Result<Self, WeakSecret> {
        let bytes = bytes.trim_ascii();
        if bytes.len() < MIN_SECRET {
            return Err(WeakSecret(bytes.len()));
        }
        Ok(Self(bytes.to_vec()))
    }

    /// Proves knowledge of the secret, bound to a purpose and to what is said: HMAC-SHA-256, in hexadecimal.
    ///
    /// `purpose` keeps a proof made for one document from passing in another.
    pub fn prove(&self, purpose: &str, said: &[&[u8]]) -> String {
        let tag = self.mac(purpose, said).finalize().into_bytes();
        tag.iter().fold(String::with_capacity(64), |mut hex, byte| {
            use fmt::Write;
            write!(hex, "{byte:02x}").expect("a string takes everything");
            hex
        })
    }

    /// Whether `proof` was made by [`prove`](Self::prove) of the same, in constant time.
    pub fn verify(&self, purpose: &str, said: &[&[u8]], proof: &str) -> bool {
        let Some(tag) = unhex(proof) else {
            return false;
        };
        self.mac(purpose, said).verify_slice(&tag).is_ok()
    }

    fn mac(&self, purpose: &str, said: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("any length will do");
        // Each part is preceded by its length, so that no two lists of parts look the same.
        for part in std::iter::once(purpose.as_bytes()).chain(said.iter().copied()) {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes()
        .chunks_exact(2)
        .map(|pair| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8))
        .collect()
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Secret {
        Secret::new(b"  correct horse battery staple\n").unwrap()
    }

    #[test]
    fn a_proof_holds_for_exactly_what_was_said() {
        let proof = secret().prove("hello", &[b"a", b"bc"]);
        assert!(secret().verify("hello", &[b"a", b"bc"], &proof));
        assert!(!secret().verify("wake", &[b"a", b"bc"], &proof));
        assert!(!secret().verify("hello", &[b"ab", b"c"], &proof));
        assert!(!secret().verify("hello", &[b"a", b"bc"], &proof[2..]));
        assert!(!secret().verify("hello", &[b"a", b"bc"], ""));
        assert!(!secret().verify("hello", &[b"a", b"bc"], "zz"));
        let other = Secret::new(b"correct horse battery stable").unwrap();
        assert!(!other.verify("hello", &[b"a", b"bc"], &proof));
    }

    #[test]
    fn a_short_secret_is_refused_and_none_is_printed() {
        assert_eq!(Secret::new(b"short\n").unwrap_err(), WeakSecret(5));
        assert_eq!(format!("{:?}", secret()), "Secret(..)");
    }
}
