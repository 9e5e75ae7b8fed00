//! How a link from node to node, or from client to node, begins.
//!
//! ```text
//!  whoever dials                                    the node
//!    |------ Call: whom I want, my nonce ------------->|
//!    |<----- Answer: who I am, my nonce, proof --------|
//!    |------ Seal: proof ----------------------------->|
//!    |------ Put, Get, ... --------------------------->|
//! ```
//!
//! Both prove that they know the pool's secret, over both nonces, so neither
//! proof can be used again. Requests may follow the Seal at once: a node that
//! does not believe it closes the link.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    PROTOCOL_VERSION,
    frame::{Frame, FrameError, Header, Kind},
    handshake::is_compatible,
    id::InstanceId,
    secret::Secret,
};

/// Most bytes of each of the documents: neither side has proved anything yet.
pub const MAX_DOCUMENT: usize = 512;

/// A random number that is used once.
pub type Nonce = [u64; 2];

/// What the dialling side says first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectCall {
    /// Version of the protocol that they speak.
    pub protocol: u16,
    /// The process that they want.
    pub instance: InstanceId,
    /// Theirs.
    pub nonce: Nonce,
}

/// What the node answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectAnswer {
    /// Version of the protocol that it speaks.
    pub protocol: u16,
    /// The process that it is.
    pub instance: InstanceId,
    /// Its own.
    pub nonce: Nonce,
    /// Proof of the secret.
    pub proof: String,
}

/// What the dialling side says last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectProof {
    /// Proof of the secret.
    pub proof: String,
}

/// Why a direct link does not come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectRefused {
    /// The other side speaks another version.
    #[error("protocol {0}, this is {PROTOCOL_VERSION}")]
    Protocol(u16),
    /// Another process than the one that was wanted.
    #[error("instance {found} where {wanted} was wanted")]
    OtherInstance {
        /// Who was wanted.
        wanted: InstanceId,
        /// Who is there.
        found: InstanceId,
    },
    /// The other side does not know the secret.
    #[error("no proof of the secret")]
    Forged,
}

impl DirectCall {
    /// A call for `instance`.
    pub fn new(instance: InstanceId, nonce: Nonce) -> Self {
        let protocol = PROTOCOL_VERSION;
        Self {
            protocol,
            instance,
            nonce,
        }
    }

    /// The document as a frame.
    pub fn to_frame(&self) -> Frame {
        to_frame(self)
    }

    /// Reads it off a frame.
    ///
    /// # Errors
    ///
    /// If the frame is of another kind, or its payload no such document.
    pub fn from_frame(frame: &Frame) -> Result<Self, FrameError> {
        from_frame(frame)
    }

    /// What `instance` answers.
    ///
    /// # Errors
    ///
    /// If it is not the one that was called, or cannot understand the caller.
    pub fn answer(
        &self,
        instance: InstanceId,
        nonce: Nonce,
        secret: &Secret,
    ) -> Result<DirectAnswer, DirectRefused> {
        self.check(self.protocol, instance)?;
        let proof = secret.prove("direct answer", &[&said(self, nonce)]);
        let protocol = PROTOCOL_VERSION;
        Ok(DirectAnswer {
            protocol,
            instance,
            nonce,
            proof,
        })
    }

    /// What is said last to the node that gave `answer`.
    ///
    /// # Errors
    ///
    /// If they are not to be spoken to.
    pub fn seal(
        &self,
        answer: &DirectAnswer,
        secret: &Secret,
    ) -> Result<DirectProof, DirectRefused> {
        self.check(answer.protocol, answer.instance)?;
        let said = said(self, answer.nonce);
        match secret.verify("direct answer", &[&said], &answer.proof) {
            true => Ok(DirectProof {
                proof: secret.prove("direct seal", &[&said]),
            }),
            false => Err(DirectRefused::Forged),
        }
    }

    fn check(&self, protocol: u16, found: InstanceId) -> Result<(), DirectRefused> {
        let wanted = self.instance;
        match (is_compatible(protocol), found == wanted) {
            (false, _) => Err(DirectRefused::Protocol(protocol)),
            (true, false) => Err(DirectRefused::OtherInstance { wanted, found }),
            (true, true) => Ok(()),
        }
    }
}

impl DirectAnswer {
    /// The document as a frame.
    pub fn to_frame(&self) -> Frame {
        to_frame(self)
    }

    /// Reads it off a frame.
    ///
    /// # Errors
    ///
    /// If the frame is of another kind, or its payload no such document.
    pub fn from_frame(frame: &Frame) -> Result<Self, FrameError> {
        from_frame(frame)
    }
}

impl DirectProof {
    /// Checks it at the side that gave `answer` to `call`.
    ///
    /// # Errors
    ///
    /// If it was not made with the secret, for these two.
    pub fn check(
        &self,
        call: &DirectCall,
        answer: &DirectAnswer,
        secret: &Secret,
    ) -> Result<(), DirectRefused> {
        let said = said(call, answer.nonce);
        let is_genuine = secret.verify("direct seal", &[&said], &self.proof);
        is_genuine.then_some(()).ok_or(DirectRefused::Forged)
    }

    /// The document as a frame.
    pub fn to_frame(&self) -> Frame {
        to_frame(self)
    }

    /// Reads it off a frame.
    ///
    /// # Errors
    ///
    /// If the frame is of another kind, or its payload no such document.
    pub fn from_frame(frame: &Frame) -> Result<Self, FrameError> {
        from_frame(frame)
    }
}

/// All that is proved: the call, and the nonce that answers its own.
fn said(call: &DirectCall, nonce: Nonce) -> Vec<u8> {
    serde_json::to_vec(&(call, nonce)).expect("plain data has a JSON form")
}

fn to_frame(document: &impl Serialize) -> Frame {
    let document = serde_json::to_vec(document).expect("plain data has a JSON form");
    Frame::new(Header::of(Kind::Direct), document.into())
}

fn from_frame<T: DeserializeOwned>(frame: &Frame) -> Result<T, FrameError> {
    if frame.header.kind != Kind::Direct {
        return Err(FrameError::Unexpected(frame.header.kind));
    }
    if frame.payload.len() > MAX_DOCUMENT {
        return Err(FrameError::Malformed(Kind::Direct));
    }
    serde_json::from_slice(&frame.payload).map_err(|_| FrameError::Malformed(Kind::Direct))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: InstanceId = InstanceId(7);

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes()).unwrap()
    }

    fn ours() -> Secret {
        secret("0123456789abcdef")
    }

    #[test]
    fn two_who_know_the_secret_believe_each_other() {
        let call = DirectCall::new(NODE, [u64::MAX, 2]);
        let call = DirectCall::from_frame(&call.to_frame()).unwrap();
        let answer = call.answer(NODE, [3, 4], &ours()).unwrap();
        let answer = DirectAnswer::from_frame(&answer.to_frame()).unwrap();
        let seal = call.seal(&answer, &ours()).unwrap();
        let seal = DirectProof::from_frame(&seal.to_frame()).unwrap();
        assert_eq!(seal.check(&call, &answer, &ours()), Ok(()));
    }

    #[test]
    fn whoever_does_not_know_it_is_believed_by_nobody() {
        let theirs = secret("fedcba9876543210");
        let call = DirectCall::new(NODE, [1, 2]);
        let forged = call.answer(NODE, [3, 4], &theirs).unwrap();
        assert_eq!(call.seal(&forged, &ours()), Err(DirectRefused::Forged));
        let answer = call.answer(NODE, [3, 4], &ours()).unwrap();
        let echo = DirectProof {
            proof: answer.proof.clone(),
        };
        assert_eq!(
            echo.check(&call, &answer, &ours()),
            Err(DirectRefused::Forged)
        );
    }

    #[test]
    fn no_proof_can_be_used_again() {
        let call = DirectCall::new(NODE, [1, 2]);
        let answer = call.answer(NODE, [3, 4], &ours()).unwrap();
        let seal = call.seal(&answer, &ours()).unwrap();
        let later = call.answer(NODE, [5, 6], &ours()).unwrap();
        assert_eq!(
            seal.check(&call, &later, &ours()),
            Err(DirectRefused::Forged)
        );
        let another = DirectCall::new(NODE, [8, 9]);
        assert_eq!(another.seal(&answer, &ours()), Err(DirectRefused::Forged));
    }

    #[test]
    fn another_process_or_another_version_is_told_apart() {
        let call = DirectCall::new(NODE, [1, 2]);
        let (wanted, found) = (NODE, InstanceId(8));
        let other = DirectRefused::OtherInstance { wanted, found };
        assert_eq!(call.answer(found, [3, 4], &ours()), Err(other));
        let protocol = PROTOCOL_VERSION + 1;
        let newer = DirectCall { protocol, ..call };
        let refused = newer.answer(NODE, [3, 4], &ours());
        assert_eq!(refused, Err(DirectRefused::Protocol(protocol)));
    }

    #[test]
    fn what_is_no_such_document_is_refused() {
        let of = |kind, text: String| Frame::new(Header::of(kind), text.into());
        let malformed = Err(FrameError::Malformed(Kind::Direct));
        assert_eq!(
            DirectProof::from_frame(&of(Kind::Direct, "{".into())),
            malformed
        );
        let long = format!("{{\"proof\":\"{}\"}}", "x".repeat(MAX_DOCUMENT));
        assert_eq!(DirectProof::from_frame(&of(Kind::Direct, long)), malformed);
        let unexpected = Err(FrameError::Unexpected(Kind::Put));
        assert_eq!(
            DirectProof::from_frame(&of(Kind::Put, "{}".into())),
            unexpected
        );
    }
}
