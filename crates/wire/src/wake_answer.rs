//! What a node answers to a wake.
//!
//! A wake that is accepted is answered with status 200 and a line that says who
//! answers; if its [`Lifetimes`](crate::wake::Lifetimes) ask for it, the response
//! stays open until the session is over, and a second line says why it ended.
//! A wake that is refused is answered with another status and a [`WakeRefusal`].
//!
//! ```json
//! {"version":1,"node":"node-3","instance":"9f...","session":"5f0c...","linked":false,"held":true,"proof":"04..."}
//! {"ended":"session_over"}
//! ```
//!
//! Platforms append what they like to a response that they cut, so whatever
//! follows the first line is looked at, but never relied on.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    PROTOCOL_VERSION,
    bye::ByeReason,
    id::InstanceId,
    secret::Secret,
    wake::{Wake, WakeError},
};

/// Most bytes of an answer, to its last line.
pub const MAX_ANSWER: usize = 8 * 1024;

/// Who accepted a wake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WakeAnswer {
    /// Version of this document.
    pub version: u16,
    /// The node's name.
    pub node: String,
    /// The process behind it.
    pub instance: InstanceId,
    /// The session of the wake.
    pub session: String,
    /// Whether the node is linked for that session already.
    #[serde(default)]
    pub linked: bool,
    /// Whether the response stays open until the session is over.
    #[serde(default)]
    pub held: bool,
    /// Proof of the secret.
    #[serde(default)]
    pub proof: String,
}

/// Why an answer is none to the wake that was sent.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// It is not JSON of the expected shape.
    #[error("not the answer of a node")]
    Malformed(#[from] serde_json::Error),
    /// It is of another version.
    #[error("answer of version {0}, {PROTOCOL_VERSION} expected")]
    Version(u16),
    /// Another node answered.
    #[error("answer of node {0:?}")]
    OtherNode(String),
    /// It answers another wake, or was made without the pool's secret.
    #[error("answer without proof of the secret")]
    Forged,
}

impl WakeAnswer {
    /// Signs the document.
    #[must_use]
    pub fn signed(mut self, secret: &Secret) -> Self {
        self.proof = secret.prove("woken", &[&self.said()]);
        self
    }

    /// Reads the answer to `wake`.
    ///
    /// # Errors
    ///
    /// One for each way in which it can be wrong; forgery is reported last, so that
    /// an honest answer from elsewhere is seen as such.
    pub fn parse(line: &[u8], wake: &Wake, secret: &Secret) -> Result<Self, AnswerError> {
        let answer: Self = serde_json::from_slice(line)?;
        if answer.version != PROTOCOL_VERSION {
            return Err(AnswerError::Version(answer.version));
        }
        if answer.node != wake.node {
            let name = answer.node.chars().take(64).collect();
            return Err(AnswerError::OtherNode(name));
        }
        let is_genuine = secret.verify("woken", &[&answer.said()], &answer.proof);
        if answer.session != wake.session || !is_genuine {
            return Err(AnswerError::Forged);
        }
        Ok(answer)
    }

    /// The document as a line of a response.
    pub fn to_line(&self) -> Vec<u8> {
        line(self)
    }

    fn said(&self) -> Vec<u8> {
        line(&Self {
            proof: String::new(),
            ..self.clone()
        })
    }
}

/// Why a session is over: the last line of a response that was held open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionEnd {
    /// `renewed` by a later wake, or a [`ByeReason`].
    pub ended: String,
}

impl SessionEnd {
    /// The session goes on with the response to a later wake.
    pub fn renewed() -> Self {
        let ended = "renewed".to_owned();
        Self { ended }
    }

    /// The session is over for `reason`.
    pub fn because(reason: &ByeReason) -> Self {
        let ended = reason.as_str().to_owned();
        Self { ended }
    }

    /// The document as a line of a response.
    pub fn to_line(&self) -> Vec<u8> {
        line(self)
    }

    /// The first such line of what followed the answer, whatever else there is.
    pub fn find(rest: &[u8]) -> Option<Self> {
        rest.split(|byte| *byte == b'\n').find_map(read)
    }
}

/// Why a node refuses a wake, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WakeRefusalKind {
    /// The document cannot be read or used.
    Malformed,
    /// The document is of another version.
    Version,
    /// The document was not made with the pool's secret.
    Forged,
    /// It is for a node of another name.
    OtherNode,
    /// A proxy of a later epoch has welcomed the node.
    #[serde(rename = "superseded")]
    Fenced,
    /// Another run of the proxy leads the node, and the node hears from it.
    #[serde(rename = "led")]
    OtherLeader,
    /// The instance is about to go.
    Leaving,
    /// Something that this version does not know.
    #[serde(other)]
    Other,
}

/// Why a node refuses a wake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WakeRefusal {
    /// In one word.
    pub refused: WakeRefusalKind,
    /// In a sentence.
    pub reason: String,
    /// The highest epoch that the node has been welcomed with, if an epoch is why.
    #[serde(default)]
    pub epoch: u64,
    /// Proof of the secret, if the wake had one: a proxy may step down for what it reads here.
    #[serde(default)]
    pub proof: String,
}

impl WakeRefusal {
    /// A refusal that proves nothing.
    pub fn new(refused: WakeRefusalKind, reason: impl Into<String>) -> Self {
        Self {
            refused,
            reason: reason.into(),
            epoch: 0,
            proof: String::new(),
        }
    }

    /// The refusal of a wake of a proxy whose time is over.
    pub fn fenced(wake: &Wake, highest: u64, secret: &Secret) -> Self {
        let reason = format!("wake of epoch {}, at least {highest} needed", wake.epoch);
        Self::new(WakeRefusalKind::Fenced, reason).proven("superseded", wake, highest, secret)
    }

    /// The refusal of a wake because the node hears from a run of `epoch`, which leads.
    pub fn led_by_other(wake: &Wake, epoch: u64, secret: &Secret) -> Self {
        let reason = format!("wake of epoch {}, but epoch {epoch} leads", wake.epoch);
        Self::new(WakeRefusalKind::OtherLeader, reason).proven("led", wake, epoch, secret)
    }

    fn proven(self, label: &str, wake: &Wake, epoch: u64, secret: &Secret) -> Self {
        let refusal = Self { epoch, ..self };
        let proof = secret.prove(label, &refusal.said(wake, &epoch.to_le_bytes()));
        Self { proof, ..refusal }
    }

    /// The epoch that supersedes that of `wake`, if it is proven that one does.
    pub fn supersedes(&self, wake: &Wake, secret: &Secret) -> Option<u64> {
        let epoch = self.epoch.to_le_bytes();
        let is_so = self.refused == WakeRefusalKind::Fenced
            && self.epoch > wake.epoch
            && secret.verify("superseded", &self.said(wake, &epoch), &self.proof);
        is_so.then_some(self.epoch)
    }

    /// The epoch of the run that leads the node, if it is proven that another does.
    pub fn led_by(&self, wake: &Wake, secret: &Secret) -> Option<u64> {
        let epoch = self.epoch.to_le_bytes();
        let is_so = self.refused == WakeRefusalKind::OtherLeader
            && secret.verify("led", &self.said(wake, &epoch), &self.proof);
        is_so.then_some(self.epoch)
    }

    /// Reads a refusal, if it is one.
    pub fn parse(body: &[u8]) -> Option<Self> {
        read(body)
    }

    /// The document as a line of a response.
    pub fn to_line(&self) -> Vec<u8> {
        line(self)
    }

    fn said<'a>(&self, wake: &'a Wake, epoch: &'a [u8; 8]) -> [&'a [u8]; 3] {
        [wake.node.as_bytes(), wake.session.as_bytes(), epoch]
    }
}

impl From<&WakeError> for WakeRefusalKind {
    fn from(error: &WakeError) -> Self {
        match error {
            WakeError::Malformed(_) | WakeError::Field(_) => Self::Malformed,
            WakeError::Version(_) => Self::Version,
            WakeError::Forged => Self::Forged,
        }
    }
}

fn line(document: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(document).expect("plain data has a JSON form");
    line.push(b'\n');
    line
}

fn read<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
    serde_json::from_slice(line).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wake::Lifetimes;

    fn secret() -> Secret {
        Secret::new(b"0123456789abcdef").unwrap()
    }

    fn wake() -> Wake {
        Wake {
            version: PROTOCOL_VERSION,
            node: "n".into(),
            proxy: "127.0.0.1:1".into(),
            session: "s".into(),
            epoch: 7,
            lifetimes: Lifetimes::default(),
            proof: String::new(),
        }
    }

    fn answer() -> WakeAnswer {
        WakeAnswer {
            version: PROTOCOL_VERSION,
            node: "n".into(),
            instance: InstanceId(3),
            session: "s".into(),
            linked: true,
            held: false,
            proof: String::new(),
        }
    }

    fn parse(answer: &WakeAnswer) -> Result<WakeAnswer, AnswerError> {
        WakeAnswer::parse(&answer.to_line(), &wake(), &secret())
    }

    #[test]
    fn a_signed_answer_to_the_wake_is_believed() {
        let signed = answer().signed(&secret());
        assert_eq!(parse(&signed).unwrap(), signed);
    }

    #[test]
    fn what_is_no_answer_to_the_wake_is_told_apart() {
        let parse_text = |text: &[u8]| WakeAnswer::parse(text, &wake(), &secret());
        for text in [&b""[..], b"hello", b"{}", b"[1]", b"<html>"] {
            assert!(matches!(parse_text(text), Err(AnswerError::Malformed(_))));
        }
        let newer = WakeAnswer {
            version: 99,
            ..answer()
        };
        assert!(matches!(parse(&newer), Err(AnswerError::Version(99))));
        let other = WakeAnswer {
            node: "m".repeat(1000),
            ..answer()
        };
        let Err(AnswerError::OtherNode(name)) = parse(&other.signed(&secret())) else {
            panic!("another node answered");
        };
        assert_eq!(name.len(), 64);
        let replayed = WakeAnswer {
            session: "t".into(),
            ..answer()
        };
        let replayed = replayed.signed(&secret());
        assert!(matches!(parse(&replayed), Err(AnswerError::Forged)));
        let changed = WakeAnswer {
            instance: InstanceId(4),
            ..answer().signed(&secret())
        };
        assert!(matches!(parse(&changed), Err(AnswerError::Forged)));
    }

    #[test]
    fn the_end_of_a_session_is_found_whatever_a_platform_appends() {
        let over = SessionEnd::because(&ByeReason::SessionOver);
        let mut rest = over.to_line();
        assert_eq!(SessionEnd::find(&rest), Some(over.clone()));
        rest.extend_from_slice(b"activator request timeout");
        assert_eq!(SessionEnd::find(&rest), Some(over));
        assert_eq!(SessionEnd::find(b"request timeout"), None);
        assert_eq!(SessionEnd::find(b""), None);
    }

    #[test]
    fn a_proxy_is_superseded_only_by_proof() {
        let refusal = WakeRefusal::fenced(&wake(), 9, &secret());
        let read = WakeRefusal::parse(&refusal.to_line()).unwrap();
        assert_eq!(read.supersedes(&wake(), &secret()), Some(9));
        let stranger = Secret::new(b"fedcba9876543210").unwrap();
        assert_eq!(read.supersedes(&wake(), &stranger), None);
        let other = Wake {
            session: "t".into(),
            ..wake()
        };
        assert_eq!(read.supersedes(&other, &secret()), None);
        let later = WakeRefusal { epoch: 10, ..read };
        assert_eq!(later.supersedes(&wake(), &secret()), None);
    }

    #[test]
    fn a_refusal_of_an_unknown_kind_is_still_one() {
        let refusal = WakeRefusal::parse(br#"{"refused":"tired","reason":"late"}"#).unwrap();
        assert_eq!(refusal.refused, WakeRefusalKind::Other);
        assert!(WakeRefusal::parse(b"busy").is_none());
    }
}
