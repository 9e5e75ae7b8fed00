//! How a node and a pool introduce themselves on a fresh link.
//!
//! The node dials and says [`Hello`]; the pool answers [`Welcome`] or closes.
//! Both prove that they know the pool's secret. The proofs cover all that the
//! documents claim, the session of the wake that the node answers included, and
//! the Welcome's also the Hello that it answers.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    PROTOCOL_VERSION,
    frame::{Frame, FrameError, Header, Kind},
    id::{InstanceId, MemberId},
    secret::Secret,
};

/// What a node says first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of the protocol that the node speaks.
    pub protocol: u16,
    /// Name of the node in the pool.
    pub node: String,
    /// The process behind the name.
    pub instance: InstanceId,
    /// Session of the wake that it answers.
    pub session: String,
    /// The pod it runs in, or the empty string.
    #[serde(default)]
    pub pod: String,
    /// The host it runs on, or the empty string: a failure domain.
    #[serde(default)]
    pub host: String,
    /// The zone of that host, or the empty string: a failure domain.
    #[serde(default)]
    pub zone: String,
    /// Bytes that it may hold.
    pub capacity: u64,
    /// Bytes that it holds.
    pub used: u64,
    /// `host:port` at which it is reached [directly](crate::direct), or the empty string.
    #[serde(default)]
    pub direct: String,
    /// The highest epoch that it has heard of.
    pub epoch: u64,
    /// Proof of the secret.
    #[serde(default)]
    pub proof: String,
}

impl Hello {
    /// Signs the document.
    #[must_use]
    pub fn signed(mut self, secret: &Secret) -> Self {
        self.proof = secret.prove("hello", &[&self.said()]);
        self
    }

    /// Whether it was signed by a process that knows the secret.
    pub fn is_genuine(&self, secret: &Secret) -> bool {
        secret.verify("hello", &[&self.said()], &self.proof)
    }

    /// All that is claimed: the document without its proof.
    fn said(&self) -> Vec<u8> {
        json(&Self {
            proof: String::new(),
            ..self.clone()
        })
    }

    /// The document as a frame.
    pub fn to_frame(&self) -> Frame {
        document(Kind::Hello, self)
    }

    /// Reads it off a frame.
    ///
    /// # Errors
    ///
    /// If the frame is of another kind, or its payload no such document.
    pub fn from_frame(frame: &Frame) -> Result<Self, FrameError> {
        parse(Kind::Hello, frame)
    }
}

/// What the pool answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Version of the protocol that the pool speaks.
    pub protocol: u16,
    /// The number under which the instance is a member.
    pub member: MemberId,
    /// The run of the leading proxy.
    pub epoch: u64,
    /// Whether the pool counts on nothing that the instance holds: it shall drop it all.
    pub fresh: bool,
    /// Proof of the secret.
    #[serde(default)]
    pub proof: String,
}

impl Welcome {
    /// Signs the document as the answer to `hello`.
    #[must_use]
    pub fn signed(mut self, secret: &Secret, hello: &Hello) -> Self {
        self.proof = secret.prove("welcome", &[&self.said(), &hello.said()]);
        self
    }

    /// Whether it was signed, as the answer to `hello`, by a process that knows the secret.
    pub fn is_genuine(&self, secret: &Secret, hello: &Hello) -> bool {
        secret.verify("welcome", &[&self.said(), &hello.said()], &self.proof)
    }

    fn said(&self) -> Vec<u8> {
        json(&Self {
            proof: String::new(),
            ..self.clone()
        })
    }

    /// The document as a frame.
    pub fn to_frame(&self) -> Frame {
        document(Kind::Welcome, self)
    }

    /// Reads it off a frame.
    ///
    /// # Errors
    ///
    /// If the frame is of another kind, or its payload no such document.
    pub fn from_frame(frame: &Frame) -> Result<Self, FrameError> {
        parse(Kind::Welcome, frame)
    }
}

/// Whether the other side speaks a version that this one understands.
pub fn is_compatible(protocol: u16) -> bool {
    protocol == PROTOCOL_VERSION
}

fn document(kind: Kind, document: &impl Serialize) -> Frame {
    Frame::new(Header::of(kind), json(document).into())
}

fn json(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("plain data has a JSON form")
}

fn parse<T: DeserializeOwned>(kind: Kind, frame: &Frame) -> Result<T, FrameError> {
    if frame.header.kind != kind {
        return Err(FrameError::Unexpected(frame.header.kind));
    }
    serde_json::from_slice(&frame.payload).map_err(|_| FrameError::Malformed(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes()).unwrap()
    }

    fn hello() -> Hello {
        Hello {
            protocol: PROTOCOL_VERSION,
            node: "node-3".into(),
            instance: InstanceId(9),
            session: "s1".into(),
            pod: String::new(),
            host: "h".into(),
            zone: String::new(),
            capacity: 1 << 30,
            used: 0,
            direct: String::new(),
            epoch: 4,
            proof: String::new(),
        }
    }

    #[test]
    fn a_hello_passes_only_with_the_secret_and_for_its_session() {
        let ours = secret("0123456789abcdef");
        let signed = hello().signed(&ours);
        let read = Hello::from_frame(&signed.to_frame()).unwrap();
        assert_eq!(read, signed);
        assert!(read.is_genuine(&ours));
        assert!(!read.is_genuine(&secret("fedcba9876543210")));
        assert!(
            !Hello {
                session: "s2".into(),
                ..signed
            }
            .is_genuine(&ours)
        );
        assert!(!hello().is_genuine(&ours));
    }

    #[test]
    fn a_welcome_answers_one_hello() {
        let ours = secret("0123456789abcdef");
        let welcome = Welcome {
            protocol: PROTOCOL_VERSION,
            member: MemberId(1),
            epoch: 5,
            fresh: true,
            proof: String::new(),
        }
        .signed(&ours, &hello());
        let read = Welcome::from_frame(&welcome.to_frame()).unwrap();
        assert!(read.is_genuine(&ours, &hello()));
        assert!(!read.is_genuine(
            &ours,
            &Hello {
                session: "s2".into(),
                ..hello()
            }
        ));
        assert_eq!(
            Hello::from_frame(&welcome.to_frame()),
            Err(FrameError::Unexpected(Kind::Welcome))
        );
        let garbage = Frame::new(Header::of(Kind::Hello), "{".into());
        assert_eq!(
            Hello::from_frame(&garbage),
            Err(FrameError::Malformed(Kind::Hello))
        );
    }
}
