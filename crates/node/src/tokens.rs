//! What a client has shown that it may do, over one link.

use infinicache_host::{clock, hash::HashMap};
use infinicache_wire::{
    Frame, FrameError, Kind, Request, WriteId,
    token::{Permission, Token},
};

use crate::instance::Identity;

/// Tokens that are remembered. A client that shows more begins anew.
const MOST: usize = 4096;

/// The tokens of one link: until when each is good, in milliseconds since 1970.
#[derive(Debug, Default)]
pub(crate) struct Tokens(HashMap<(WriteId, Permission), u64>);

impl Tokens {
    /// Takes note of a token.
    ///
    /// # Errors
    ///
    /// If the frame is none, or it is no good: then the link is of no use.
    pub(crate) fn show(&mut self, frame: &Frame, to: &Identity) -> Result<(), FrameError> {
        let token = Token::from_frame(frame)?;
        let now_ms = clock::unix_ms();
        if !token.is_good(&to.secret, to.instance, now_ms) {
            return Err(FrameError::Malformed(Kind::Token));
        }
        if self.0.len() >= MOST {
            self.0.retain(|_, until_ms| now_ms < *until_ms);
        }
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert((token.write, token.right), token.until_ms);
        Ok(())
    }

    /// Whether one of them covers a request.
    pub(crate) fn allow(&self, request: &Request) -> bool {
        let until_ms = Permission::needed(request).and_then(|needed| self.0.get(&needed));
        until_ms.is_some_and(|until_ms| clock::unix_ms() < *until_ms)
    }
}

#[cfg(test)]
mod tests {
    use infinicache_wire::{ChunkId, InstanceId, Secret};

    use super::*;

    const MINUTE: u64 = 60_000;

    fn identity() -> Identity {
        Identity {
            name: "node-0".into(),
            instance: InstanceId(7),
            pod: String::new(),
            host: String::new(),
            zone: String::new(),
            secret: Secret::new(b"0123456789abcdef").unwrap(),
        }
    }

    fn write(sequence: u64) -> WriteId {
        let epoch = 1;
        WriteId { epoch, sequence }
    }

    fn get(sequence: u64) -> Request {
        let chunk = ChunkId {
            write: write(sequence),
            index: 0,
        };
        Request::Get {
            chunk,
            unit: 0,
            want: 1,
        }
    }

    fn token(sequence: u64, right: Permission, until_ms: u64) -> Frame {
        let Identity {
            secret, instance, ..
        } = identity();
        Token::new(&secret, instance, write(sequence), right, until_ms).to_frame()
    }

    #[test]
    fn what_there_is_a_pass_for_is_allowed_and_nothing_else() {
        let (mut tokens, until) = (Tokens::default(), clock::unix_ms() + MINUTE);
        assert!(!tokens.allow(&get(1)));
        tokens
            .show(&token(1, Permission::Get, until), &identity())
            .unwrap();
        tokens
            .show(&token(2, Permission::Put, until), &identity())
            .unwrap();
        assert!(tokens.allow(&get(1)));
        assert!(!tokens.allow(&get(2)));
        assert!(!tokens.allow(&get(3)));
        assert!(!tokens.allow(&Request::ReadState));
    }

    #[test]
    fn a_pass_of_the_past_or_for_somebody_else_is_refused() {
        let mut tokens = Tokens::default();
        let old = token(1, Permission::Get, clock::unix_ms());
        assert!(tokens.show(&old, &identity()).is_err());
        let frame = token(1, Permission::Get, clock::unix_ms() + MINUTE);
        let other = Identity {
            instance: InstanceId(8),
            ..identity()
        };
        assert!(tokens.show(&frame, &other).is_err());
        assert!(!tokens.allow(&get(1)));
    }

    #[test]
    fn passes_take_bounded_memory() {
        let (mut tokens, until) = (Tokens::default(), clock::unix_ms() + MINUTE);
        for sequence in 0..=MOST as u64 {
            tokens
                .show(&token(sequence, Permission::Get, until), &identity())
                .unwrap();
        }
        assert!(tokens.0.len() <= MOST);
        assert!(tokens.allow(&get(MOST as u64)));
    }
}
