//! The document that wakes a node: the body of `POST /wake`.
//!
//! ```json
//! {"version":1,"node":"node-3","proxy":"10.0.0.7:6379","session":"5f0c...","epoch":7,
//!  "lifetimes":{"held":true,"cycle_ms":60000,"extension_ms":5000,"guard_ms":2000,"maximum_ms":270000},
//!  "proof":"9a..."}
//! ```
//!
//! It tells a process where to dial, as whom, and how long the session lasts that
//! begins with it. The proof covers every other field, so that no one without the
//! pool's secret can send a node to another proxy.
//! What a node says to it is in [`wake_answer`](crate::wake_answer).

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
    /// How long the session lasts.
    #[serde(default)]
    pub lifetimes: Lifetimes,
    /// Proof of the secret.
    #[serde(default)]
    pub proof: String,
}

/// How long a session lasts, in milliseconds, and whether the wake that begins
/// it is answered at once or held open until it is over.
///
/// The default is a wake that is answered at once, of a session that ends only
/// at its maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lifetimes {
    /// The response stays open for the session: for platforms that bill by request.
    pub held: bool,
    /// What is billed as a whole, or 0. A session ends shortly before the end of one.
    pub cycle_ms: u32,
    /// For how long each request served is a reason to go on.
    pub extension_ms: u32,
    /// How long before the end of a cycle the session ends, if it does in that one.
    pub guard_ms: u32,
    /// When it ends at the latest. Platforms cut requests that take longer than they allow.
    pub maximum_ms: u32,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            held: false,
            cycle_ms: 0,
            extension_ms: 0,
            guard_ms: 0,
            // Half a minute less than Knative allows by default.
            maximum_ms: 270_000,
        }
    }
}

/// The longest maximum of a session: an hour.
pub const MOST_MAXIMUM_MS: u32 = 3_600_000;

impl Lifetimes {
    /// Checks that a session of these lifetimes can begin, and ends.
    ///
    /// # Errors
    ///
    /// [`WakeError::Field`] names the one that does not fit the others.
    pub fn check(&self) -> Result<(), WakeError> {
        let Self {
            cycle_ms,
            extension_ms,
            guard_ms,
            maximum_ms,
            ..
        } = *self;
        let fits = |fits: bool, name| {
            if fits {
                Ok(())
            } else {
                Err(WakeError::Field(name))
            }
        };
        fits((1..=MOST_MAXIMUM_MS).contains(&maximum_ms), "maximum")?;
        fits(cycle_ms <= maximum_ms, "cycle")?;
        fits(guard_ms < cycle_ms.max(1), "guard")?;
        fits(extension_ms <= maximum_ms, "extension")
    }
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
    /// One for each way in which it can be wrong; forgery is reported last, so
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
        wake.lifetimes.check()?;
        if !secret.verify("wake", &[&wake.said()], &wake.proof) {
            return Err(WakeError::Forged);
        }
        Ok(wake)
    }

    fn prove(&self, secret: &Secret) -> String {
        secret.prove("wake", &[&self.said()])
    }

    /// All that is claimed: the document without its proof.
    fn said(&self) -> Vec<u8> {
        let claimed = Self {
            proof: String::new(),
            ..self.clone()
        };
        serde_json::to_vec(&claimed).expect("plain data has a JSON form")
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
            lifetimes: Lifetimes::default(),
            proof: String::new(),
        }
    }

    const HELD: Lifetimes = Lifetimes {
        held: true,
        cycle_ms: 60_000,
        extension_ms: 5_000,
        guard_ms: 2_000,
        maximum_ms: 270_000,
    };

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
                lifetimes: HELD,
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
    #[test]
    fn lifetimes_left_out_mean_an_answer_at_once_and_a_maximum() {
        let mut document = serde_json::to_value(wake().signed(&secret())).unwrap();
        document.as_object_mut().unwrap().remove("lifetimes");
        let body = serde_json::to_vec(&document).unwrap();
        let read = Wake::parse(&body, &secret()).unwrap();
        assert_eq!(read.lifetimes, Lifetimes::default());
        assert!(!read.lifetimes.held && read.lifetimes.maximum_ms < 300_000);
    }

    #[test]
    fn lifetimes_that_do_not_fit_each_other_are_refused_by_name() {
        assert!(HELD.check().is_ok());
        let whole_cycle = Lifetimes {
            cycle_ms: HELD.maximum_ms,
            guard_ms: HELD.maximum_ms - 1,
            ..HELD
        };
        assert!(whole_cycle.check().is_ok());
        for (name, maximum_ms, cycle_ms, guard_ms, extension_ms) in [
            ("maximum", 0, 0, 0, 0),
            ("maximum", MOST_MAXIMUM_MS + 1, 0, 0, 0),
            ("cycle", 1000, 1001, 0, 0),
            ("guard", 1000, 100, 100, 0),
            ("guard", 1000, 0, 1, 0),
            ("extension", 1000, 100, 10, 1001),
        ] {
            let lifetimes = Lifetimes {
                held: false,
                cycle_ms,
                extension_ms,
                guard_ms,
                maximum_ms,
            };
            let unusable = Wake {
                lifetimes,
                ..wake()
            };
            let refused = parse(&unusable.signed(&secret()));
            assert!(
                matches!(refused, Err(WakeError::Field(field)) if field == name),
                "{lifetimes:?}"
            );
        }
    }
}
