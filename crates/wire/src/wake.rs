//! The document that wakes a node: the body of `POST /wake`.
//!
//! ```json
//! {"version":1,"node":"node-3","proxy":"10.0.0.7:6379","session":"5f0c...","epoch":7,"proof":"9a..."}
//! ```
//!
//! It tells a process where to dial and as whom. The proof covers every other
//! field, so that nobody without the pool's secret can send a node to another proxy.

use serde::{Deserialize, Serialize};

use crate::{PROTOCOL_VERSION, secret::Secret};

/// Most bytes of a wake document.
pub const MAX_WAKE: usize = 8 * 1024;

/// Where to dial, as whom, for which session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wake {
    /// Version of this document.
    pub version: u16,
    /// Name of the node in the pool.
    pub node: String,
    /// `host:port` that the node shall dial.
    pub proxy: String,
    /// Random, new for each wake.
    pub session: String,
    /// The run of the proxy that wakes.
    pub epoch: u64,
    /// Proof of the secret.
    #[serde(default)]
    pub proof: String,
}

/// Why a wake document is refused.
#[derive(Debug, thiserror::Error)]
pub enum WakeError {
    /// It is not JSON of the expected shape.
    #[error("malformed wake document")]
    Malformed(#[from] serde_json::Error),
    /// It is of another version.
    #[error("wake document of version {0}, {PROTOCOL_VERSION} expected")]
    Version(u16),
    /// A field is empty or too long.
    #[error("wake document with an unusable {0}")]
    Field(&'static str),
    /// It was not made with the pool's secret.
    #[error("wake document without proof of the secret")]
    Forged,
}

impl Wake {
    /// Signs the document.
    #[must_use]
    pub fn signed(mut self, secret: &Secret) -> Self {
        self.proof = self.prove(secret);
        self
    }

    /// Reads and checks a document.
    ///
    /// # Errors
    ///
    /// One for each way in which it can be wrong; forgery is told last, so
    /// that a version mismatch between honest parties is seen as such.
    pub fn parse(body: &[u8], secret: &Secret) -> Result<Self, WakeError> {
        let wake: Self = serde_json::from_slice(body)?;
        if wake.version != PROTOCOL_VERSION {
            return Err(WakeError::Version(wake.version));
        }
        let usable = |field: &str| (1..=253).contains(&field.len());
        for (name, field) in [
            ("node", &wake.node),
            ("proxy", &wake.proxy),
            ("session", &wake.session),
        ] {
            if !usable(field) {
                return Err(WakeError::Field(name));
            }
        }
        let epoch = wake.epoch.to_le_bytes();
        if !secret.verify("wake", &wake.said(&epoch), &wake.proof) {
            return Err(WakeError::Forged);
        }
        Ok(wake)
    }

    fn prove(&self, secret: &Secret) -> String {
        secret.prove("wake", &self.said(&self.epoch.to_le_bytes()))
    }

    fn said<'a>(&'a self, epoch: &'a [u8; 8]) -> [&'a [u8]; 4] {
        [
            self.node.as_bytes(),
            self.proxy.as_bytes(),
            self.session.as_bytes(),
            epoch,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Secret {
        Secret::new(b"0123456789abcdef").unwrap()
    }

    fn wake() -> Wake {
        Wake {
            version: PROTOCOL_VERSION,
            node: "node-3".into(),
            proxy: "127.0.0.1:6379".into(),
            session: "s".into(),
            epoch: 7,
            proof: String::new(),
        }
    }

    fn parse(wake: &Wake) -> Result<Wake, WakeError> {
        Wake::parse(&serde_json::to_vec(wake).unwrap(), &secret())
    }

    #[test]
    fn a_signed_document_is_accepted() {
        let signed = wake().signed(&secret());
        assert_eq!(parse(&signed).unwrap(), signed);
    }

    #[test]
    fn a_changed_field_is_a_forgery() {
        let signed = wake().signed(&secret());
        for forged in [
            Wake {
                node: "node-4".into(),
                ..signed.clone()
            },
            Wake {
                proxy: "evil:1".into(),
                ..signed.clone()
            },
            Wake {
                session: "t".into(),
                ..signed.clone()
            },
            Wake {
                epoch: 8,
                ..signed.clone()
            },
            Wake {
                proof: String::new(),
                ..signed
            },
        ] {
            assert!(
                matches!(parse(&forged), Err(WakeError::Forged)),
                "{forged:?}"
            );
        }
    }

    #[test]
    fn what_is_no_wake_document_is_told_apart() {
        assert!(matches!(
            Wake::parse(b"[]", &secret()),
            Err(WakeError::Malformed(_))
        ));
        assert!(matches!(
            Wake::parse(b"", &secret()),
            Err(WakeError::Malformed(_))
        ));
        let other = Wake {
            version: 99,
            ..wake()
        }
        .signed(&secret());
        assert!(matches!(parse(&other), Err(WakeError::Version(99))));
        let nameless = Wake {
            node: String::new(),
            ..wake()
        }
        .signed(&secret());
        assert!(matches!(parse(&nameless), Err(WakeError::Field("node"))));
        let endless = Wake {
            proxy: "x".repeat(254),
            ..wake()
        }
        .signed(&secret());
        assert!(matches!(parse(&endless), Err(WakeError::Field("proxy"))));
    }
}
