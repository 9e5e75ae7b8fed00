//! What lets a client exchange the units of one write with one node directly.
//!
//! Clients do not know the pool's secret, so the proxy signs a token for them. It
//! is good for one process, one write, and reading or writing its units, for a
//! while. A client shows it as a frame of its own before its first request:
//!
//! ```text
//!  client                                  node
//!    |----- Token (get, write 1.7) --------->|   nothing is answered
//!    |------ Get 1.7 ----------------------->|
//!    |<----- Reply --------------------------|
//!    |----- Token (put, write 1.8) --------->|   any number over one link
//! ```
//!
//! A token that is no good ends the link; a request that no token covers, or none
//! any longer, is answered `Unreachable`. Either way the proxy's relay remains.

use crate::{
    frame::{Frame, FrameError, Header, Kind},
    id::{InstanceId, WriteId},
    message::Request,
    secret::Secret,
};

/// Most bytes of a proof as it travels: of two tags, while the secret is rotated.
const MOST_PROOF: usize = 129;

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Permission {
    /// To get the units of a write.
    Get = 1,
    /// To put them.
    Put = 2,
}

/// A token, as a client shows it to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Whose units.
    pub write: WriteId,
    /// What may be done with them.
    pub right: Permission,
    /// Until when, in milliseconds since 1970.
    pub until_ms: u64,
    /// Proof of the secret, of this and of the node's instance: [`Secret::prove`].
    pub proof: String,
}

impl Permission {
    /// What a request takes, and to whose units; `None` if no token allows it.
    pub fn needed(request: &Request) -> Option<(WriteId, Self)> {
        match request {
            Request::Get { chunk, .. } => Some((chunk.write, Self::Get)),
            Request::Put { chunk, .. } => Some((chunk.write, Self::Put)),
            _ => None,
        }
    }
}

impl Token {
    /// A token for the process `instance`.
    pub fn new(
        secret: &Secret,
        instance: InstanceId,
        write: WriteId,
        right: Permission,
        until_ms: u64,
    ) -> Self {
        let said = said(instance, write, right, until_ms);
        Self {
            write,
            right,
            until_ms,
            proof: secret.prove("direct pass", &[&said]),
        }
    }

    /// Whether it was made for the process `instance` by a process that knows the secret, and is
    /// good at `now_ms`.
    pub fn is_good(&self, secret: &Secret, instance: InstanceId, now_ms: u64) -> bool {
        let said = said(instance, self.write, self.right, self.until_ms);
        now_ms < self.until_ms && secret.verify("direct pass", &[&said], &self.proof)
    }

    /// The token as a frame.
    pub fn to_frame(&self) -> Frame {
        let header = Header {
            write: self.write,
            chunk: self.right as u8,
            checksum: self.until_ms,
            ..Header::of(Kind::Token)
        };
        Frame::new(header, self.proof.clone().into())
    }

    /// Reads it off a frame.
    ///
    /// # Errors
    ///
    /// If the frame is none.
    pub fn from_frame(frame: &Frame) -> Result<Self, FrameError> {
        let Header {
            kind,
            chunk,
            write,
            checksum,
            ..
        } = frame.header;
        let malformed = FrameError::Malformed(Kind::Token);
        if kind != Kind::Token {
            return Err(FrameError::Unexpected(kind));
        }
        let right = match chunk {
            1 => Permission::Get,
            2 => Permission::Put,
            _ => return Err(malformed),
        };
        let proof = match frame.payload.len() {
            ..=MOST_PROOF => str::from_utf8(&frame.payload).map_err(|_| malformed)?,
            _ => return Err(malformed),
        };
        Ok(Self {
            write,
            right,
            until_ms: checksum,
            proof: proof.into(),
        })
    }
}

/// All that is proved.
fn said(instance: InstanceId, write: WriteId, right: Permission, until_ms: u64) -> [u8; 33] {
    let mut said = [0; 33];
    said[..8].copy_from_slice(&instance.0.to_le_bytes());
    said[8..16].copy_from_slice(&write.epoch.to_le_bytes());
    said[16..24].copy_from_slice(&write.sequence.to_le_bytes());
    said[24..32].copy_from_slice(&until_ms.to_le_bytes());
    said[32] = right as u8;
    said
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NODE: InstanceId = InstanceId(7);
    const WRITE: WriteId = WriteId {
        epoch: 1,
        sequence: 2,
    };

    fn secret() -> Secret {
        Secret::new(b"0123456789abcdef").unwrap()
    }

    fn token() -> Token {
        Token::new(&secret(), NODE, WRITE, Permission::Get, 1000)
    }

    #[test]
    fn a_pass_reads_back_and_is_good_until_its_time() {
        let read = Token::from_frame(&token().to_frame()).unwrap();
        assert_eq!(read, token());
        assert!(read.is_good(&secret(), NODE, 999));
        assert!(!read.is_good(&secret(), NODE, 1000));
    }

    #[test]
    fn a_pass_that_is_made_while_the_secret_is_rotated_is_good_for_those_who_know_either() {
        let (old, new) = (secret(), secret());
        new.rotate(b"a secret that is new", Some(b"0123456789abcdef"))
            .unwrap();
        let token = Token::new(&new, NODE, WRITE, Permission::Get, 1000);
        let read = Token::from_frame(&token.to_frame()).unwrap();
        assert!(read.is_good(&old, NODE, 0));
        old.rotate(b"a secret that is new", None).unwrap();
        assert!(read.is_good(&old, NODE, 0));
    }

    #[test]
    fn a_pass_is_good_for_nothing_else() {
        let other = Secret::new(b"fedcba9876543210").unwrap();
        assert!(!token().is_good(&other, NODE, 0));
        assert!(!token().is_good(&secret(), InstanceId(8), 0));
        let sequence = 3;
        let changed = [
            Token {
                right: Permission::Put,
                ..token()
            },
            Token {
                until_ms: 2000,
                ..token()
            },
            Token {
                write: WriteId { sequence, ..WRITE },
                ..token()
            },
        ];
        for changed in changed {
            assert!(!changed.is_good(&secret(), NODE, 0), "{changed:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_frames_are_no_pass_and_never_panic(
            chunk: u8,
            payload in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let header = Header { chunk, ..Header::of(Kind::Token) };
            if let Ok(token) = Token::from_frame(&Frame::new(header, payload.into())) {
                prop_assert!(!token.is_good(&secret(), NODE, 0));
            }
        }
    }
}
