//! The secret that the members of a pool share, and proofs of knowing it.
//!
//! A secret can be rotated while all processes run. Not all learn of the new one
//! at the same moment, so while there is a previous one it is accepted too, and
//! proofs are made with both: a process that has not heard of the new one
//! believes the second. A proof is thus one or two tags, separated by a full
//! stop.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A secret: never printed, compared only in constant time.
///
/// Clones are handles to the same: when it is [rotated](Self::rotate), all who hold it use the
/// new one from then on.
#[derive(Clone)]
pub struct Secret(Arc<RwLock<Keys>>);

#[derive(Clone, PartialEq, Eq)]
struct Keys {
    current: Vec<u8>,
    previous: Option<Vec<u8>>,
}

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
        let keys = Keys::new(bytes, None)?;
        Ok(Self(Arc::new(RwLock::new(keys))))
    }

    /// From now on `current` is the secret, and `previous` is accepted beside it; whether
    /// anything is other than before.
    ///
    /// # Errors
    ///
    /// If one of them has fewer than [`MIN_SECRET`] bytes; nothing has changed then.
    pub fn rotate(&self, current: &[u8], previous: Option<&[u8]>) -> Result<bool, WeakSecret> {
        let keys = Keys::new(current, previous)?;
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let is_other = *held != keys;
        *held = keys;
        Ok(is_other)
    }

    /// Proves knowledge of the secret, bound to a purpose and to what is said: HMAC-SHA-256, in
    /// hexadecimal, and while there is a previous secret another one by that.
    ///
    /// `purpose` keeps a proof made for one document from passing in another.
    pub fn prove(&self, purpose: &str, said: &[&[u8]]) -> String {
        let mut proof = String::with_capacity(2 * TAG_DIGITS + 1);
        for key in self.keys().each() {
            use fmt::Write;
            if !proof.is_empty() {
                proof.push(SEPARATOR);
            }
            for byte in mac(key, purpose, said).finalize().into_bytes() {
                write!(proof, "{byte:02x}").expect("a string takes everything");
            }
        }
        proof
    }

    /// Whether `proof` was made by [`prove`](Self::prove) of the same, by a process that knows the
    /// secret or the previous one; in constant time.
    pub fn verify(&self, purpose: &str, said: &[&[u8]], proof: &str) -> bool {
        let mut tags = Vec::with_capacity(MOST_TAGS);
        for tag in proof.splitn(MOST_TAGS, SEPARATOR) {
            match unhex(tag) {
                Some(tag) => tags.push(tag),
                None => return false,
            }
        }
        let keys = self.keys();
        // Each is compared whatever the others were, so that the time tells nothing.
        keys.each().fold(false, |is_genuine, key| {
            let mac = mac(key, purpose, said);
            let fits = |tag: &Vec<u8>| mac.clone().verify_slice(tag).is_ok();
            tags.iter().fold(is_genuine, |any, tag| any | fits(tag))
        })
    }

    fn keys(&self) -> Keys {
        // Replaced as a whole, so that a panic leaves nothing half done.
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        keys.clone()
    }
}

impl Keys {
    fn new(current: &[u8], previous: Option<&[u8]>) -> Result<Self, WeakSecret> {
        let current = strong(current)?;
        let previous = previous.map(strong).transpose()?;
        let previous = previous.filter(|previous| *previous != current);
        Ok(Self { current, previous })
    }

    fn each(&self) -> impl Iterator<Item = &[u8]> {
        let previous = self.previous.as_deref();
        std::iter::once(&*self.current).chain(previous)
    }
}

fn strong(bytes: &[u8]) -> Result<Vec<u8>, WeakSecret> {
    let bytes = bytes.trim_ascii();
    match bytes.len() {
        weak if weak < MIN_SECRET => Err(WeakSecret(weak)),
        _ => Ok(bytes.to_vec()),
    }
}

/// Between the tags of a proof.
const SEPARATOR: char = '.';

/// By the secret and the previous one.
const MOST_TAGS: usize = 2;

/// Of an HMAC-SHA-256.
const TAG_DIGITS: usize = 64;

fn mac(key: &[u8], purpose: &str, said: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length will do");
    // Each part is preceded by its length, so that no two lists of parts look the same.
    for part in std::iter::once(purpose.as_bytes()).chain(said.iter().copied()) {
        mac.update(&(part.len() as u64).to_le_bytes());
        mac.update(part);
    }
    mac
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

    /// A secret, perhaps with the one before it.
    fn rotated(current: &[u8], previous: Option<&[u8]>) -> Secret {
        let secret = Secret::new(current).unwrap();
        secret.rotate(current, previous).unwrap();
        secret
    }

    const OLD: &[u8] = b"the old secret of the pool";
    const NEW: &[u8] = b"the new secret of the pool";

    #[test]
    fn while_a_secret_is_rotated_all_believe_each_other() {
        let (before, during) = (rotated(OLD, None), rotated(NEW, Some(OLD)));
        let after = rotated(NEW, None);
        let believes = |one: &Secret, other: &Secret| {
            let proof = other.prove("hello", &[b"it is me"]);
            one.verify("hello", &[b"it is me"], &proof)
        };
        for (one, other) in [(&before, &during), (&during, &after)] {
            assert!(believes(one, one) && believes(other, other));
            assert!(believes(one, other) && believes(other, one));
        }
        assert!(!believes(&before, &after) && !believes(&after, &before));
        let stranger = rotated(b"a secret of somebody else", None);
        assert!(!believes(&during, &stranger) && !believes(&stranger, &during));
    }

    #[test]
    fn a_rotation_reaches_all_who_hold_the_secret_and_tells_whether_there_was_one() {
        let secret = rotated(OLD, None);
        let held = secret.clone();
        assert_eq!(secret.rotate(NEW, Some(OLD)), Ok(true));
        assert_eq!(
            secret.rotate(b"the new secret of the pool\n", Some(OLD)),
            Ok(false)
        );
        assert!(held.verify("p", &[], &rotated(NEW, None).prove("p", &[])));
        assert_eq!(secret.rotate(NEW, None), Ok(true));
        assert!(!held.verify("p", &[], &rotated(OLD, None).prove("p", &[])));
    }

    #[test]
    fn a_weak_secret_takes_the_place_of_none() {
        let secret = rotated(OLD, None);
        assert_eq!(secret.rotate(b"short", None), Err(WeakSecret(5)));
        assert_eq!(secret.rotate(NEW, Some(b"")), Err(WeakSecret(0)));
        assert!(secret.verify("p", &[], &rotated(OLD, None).prove("p", &[])));
    }

    #[test]
    fn a_proof_of_many_tags_is_none() {
        let proof = secret().prove("p", &[]);
        let other = rotated(OLD, None).prove("p", &[]);
        assert!(secret().verify("p", &[], &format!("{other}.{proof}")));
        assert!(!secret().verify("p", &[], &format!("{other}.{other}.{proof}")));
        assert!(!secret().verify("p", &[], &format!("{proof}.zz")));
    }

    #[test]
    fn a_short_secret_is_refused_and_none_is_printed() {
        assert_eq!(Secret::new(b"short\n").unwrap_err(), WeakSecret(5));
        assert_eq!(format!("{:?}", secret()), "Secret(..)");
    }
}
