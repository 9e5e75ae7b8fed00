//! The `IC.*` commands as types, and as the words of a Redis command.

use bytes::Bytes;

use crate::{
    id::{MemberId, WriteId},
    terms::{Terms, TermsError},
};

/// A command of a smart client. What each means is told [above](super).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlCommand {
    /// `IC.NODES`: describes the pool.
    Nodes,
    /// `IC.OPEN`: begins a write.
    Open {
        /// Of which value.
        key: Bytes,
        /// How long the value will be, if that is known.
        size: Option<u64>,
        /// Who might hold which chunk, by index; nothing is proposed if it is empty.
        proposal: Vec<MemberId>,
        /// Whether the routes to the members are asked for.
        direct: bool,
        /// Whether the value before may go before the new one is there.
        blind: bool,
    },
    /// `IC.RESERVE`: makes room for a write.
    Reserve {
        /// For which.
        write: WriteId,
        /// For how many bytes of value in all.
        bytes: u64,
    },
    /// `IC.REPLACE`: moves a chunk of a write to another member.
    Replace {
        /// Of which.
        write: WriteId,
        /// Which chunk.
        index: u8,
        /// Whether the way to the new member is asked for.
        direct: bool,
    },
    /// `IC.COMMIT`: makes a write the value of its key.
    Commit {
        /// Which.
        write: WriteId,
        /// How long the value is.
        size: u64,
        /// Under which terms; the value before is not given back.
        terms: Terms,
    },
    /// `IC.ABORT`: gives a write up.
    Abort {
        /// Which.
        write: WriteId,
    },
    /// `IC.LOCATE`: tells where a value is.
    Locate {
        /// Which.
        key: Bytes,
        /// Whether the routes to its members are asked for.
        direct: bool,
    },
    /// `IC.RELEASE`: ends the read that began when its value was located.
    Release {
        /// The lease that was granted then.
        lease: u64,
    },
    /// `IC.LINK`: the connection carries frames from here on.
    Link,
}

/// Which of the commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are those of `ControlCommand`")]
pub enum Verb {
    Nodes,
    Open,
    Reserve,
    Replace,
    Commit,
    Abort,
    Locate,
    Release,
    Link,
}

/// Words are not an `IC.*` command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No command has that name.
    #[error("unknown command")]
    Unknown,
    /// It has too few words or too many.
    #[error("wrong number of arguments")]
    Arity,
    /// The id of a write is none.
    #[error("not the id of a write")]
    NotAWrite,
    /// What follows is no option, or none that may stand there; or the terms of a commit are none.
    #[error(transparent)]
    Terms(#[from] TermsError),
}

impl CommandError {
    const SYNTAX: Self = Self::Terms(TermsError::Syntax);
    const NOT_AN_INTEGER: Self = Self::Terms(TermsError::NotAnInteger);
}

impl Verb {
    /// All there are.
    pub const ALL: [Self; 9] = [
        Self::Nodes,
        Self::Open,
        Self::Reserve,
        Self::Replace,
        Self::Commit,
        Self::Abort,
        Self::Locate,
        Self::Release,
        Self::Link,
    ];

    /// The first word of the command.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nodes => "IC.NODES",
            Self::Open => "IC.OPEN",
            Self::Reserve => "IC.RESERVE",
            Self::Replace => "IC.REPLACE",
            Self::Commit => "IC.COMMIT",
            Self::Abort => "IC.ABORT",
            Self::Locate => "IC.LOCATE",
            Self::Release => "IC.RELEASE",
            Self::Link => "IC.LINK",
        }
    }

    /// How many words the command has, its name included; if negative, at least how many.
    pub const fn arity(self) -> i64 {
        match self {
            Self::Nodes | Self::Link => 1,
            Self::Abort | Self::Release => 2,
            Self::Reserve => 3,
            Self::Locate => -2,
            Self::Open | Self::Replace | Self::Commit => -3,
        }
    }

    /// The command of a name in any case.
    fn named(name: &[u8]) -> Option<Self> {
        let is = |verb: &Self| name.eq_ignore_ascii_case(verb.name().as_bytes());
        Self::ALL.into_iter().find(is)
    }
}

impl ControlCommand {
    /// Which command it is.
    pub fn verb(&self) -> Verb {
        match self {
            Self::Nodes => Verb::Nodes,
            Self::Open { .. } => Verb::Open,
            Self::Reserve { .. } => Verb::Reserve,
            Self::Replace { .. } => Verb::Replace,
            Self::Commit { .. } => Verb::Commit,
            Self::Abort { .. } => Verb::Abort,
            Self::Locate { .. } => Verb::Locate,
            Self::Release { .. } => Verb::Release,
            Self::Link => Verb::Link,
        }
    }

    /// Its words, the name first.
    pub fn encode(&self) -> Vec<Bytes> {
        let mut words = vec![word(self.verb().name())];
        match self {
            Self::Nodes | Self::Link => {}
            Self::Open {
                key,
                size,
                proposal,
                direct,
                blind,
            } => {
                words.extend([key.clone(), size.map_or(word("?"), text)]);
                let members: Vec<String> = proposal.iter().map(MemberId::to_string).collect();
                if !members.is_empty() {
                    words.push(members.join(",").into());
                } else if *direct || *blind {
                    words.push(word("-"));
                }
                words.extend(direct.then(|| word(DIRECT)));
                words.extend(blind.then(|| word(BLIND)));
            }
            Self::Reserve { write, bytes } => words.extend([text(write), text(bytes)]),
            Self::Replace {
                write,
                index,
                direct,
            } => {
                words.extend([text(write), text(index)]);
                words.extend(direct.then(|| word(DIRECT)));
            }
            Self::Commit { write, size, terms } => {
                words.extend([text(write), text(size)]);
                words.extend(terms.options());
            }
            Self::Abort { write } => words.push(text(write)),
            Self::Locate { key, direct } => {
                words.push(key.clone());
                words.extend(direct.then(|| word(DIRECT)));
            }
            Self::Release { lease } => words.push(text(lease)),
        }
        words
    }

    /// The command that has these words, the name first.
    ///
    /// # Errors
    ///
    /// [`CommandError`] if there is none.
    pub fn parse(words: &[Bytes]) -> Result<Self, CommandError> {
        let (name, args) = words.split_first().ok_or(CommandError::Unknown)?;
        let (command, options) = match (Verb::named(name).ok_or(CommandError::Unknown)?, args) {
            (Verb::Nodes, rest) => (Self::Nodes, rest),
            (Verb::Open, [key, size, rest @ ..]) => {
                let (proposal, mut rest) = match rest {
                    [members, rest @ ..] => (proposed(members)?, rest),
                    [] => (Vec::new(), rest),
                };
                let open = Self::Open {
                    key: key.clone(),
                    size: match &size[..] {
                        b"?" => None,
                        size => Some(number(size)?),
                    },
                    proposal,
                    direct: take(&mut rest, DIRECT),
                    blind: take(&mut rest, BLIND),
                };
                (open, rest)
            }
            (Verb::Reserve, [write, bytes, rest @ ..]) => {
                let (write, bytes) = (write_id(write)?, number(bytes)?);
                (Self::Reserve { write, bytes }, rest)
            }
            (Verb::Replace, [write, index, rest @ ..]) => {
                let mut rest = rest;
                let replace = Self::Replace {
                    index: number(index)?,
                    write: write_id(write)?,
                    direct: take(&mut rest, DIRECT),
                };
                (replace, rest)
            }
            (Verb::Commit, [write, size, options @ ..]) => {
                let terms = Terms::parse(options)?;
                if terms.previous {
                    return Err(CommandError::SYNTAX);
                }
                let (write, size) = (write_id(write)?, number(size)?);
                (Self::Commit { write, size, terms }, &[][..])
            }
            (Verb::Abort, [write, rest @ ..]) => {
                let write = write_id(write)?;
                (Self::Abort { write }, rest)
            }
            (Verb::Locate, [key, rest @ ..]) => {
                let mut rest = rest;
                let (key, direct) = (key.clone(), take(&mut rest, DIRECT));
                (Self::Locate { key, direct }, rest)
            }
            (Verb::Release, [lease, rest @ ..]) => {
                let lease = number(lease)?;
                (Self::Release { lease }, rest)
            }
            (Verb::Link, rest) => (Self::Link, rest),
            _ => return Err(CommandError::Arity),
        };
        match options {
            [] => Ok(command),
            // One without options has a word too many.
            _ if command.verb().arity() > 0 => Err(CommandError::Arity),
            _ => Err(CommandError::SYNTAX),
        }
    }
}

const DIRECT: &str = "DIRECT";
const BLIND: &str = "BLIND";

fn word(word: &'static str) -> Bytes {
    Bytes::from_static(word.as_bytes())
}

fn text(value: impl ToString) -> Bytes {
    value.to_string().into()
}

/// Takes an option off the front, if it is there.
fn take(options: &mut &[Bytes], option: &str) -> bool {
    match *options {
        [first, rest @ ..] if first.eq_ignore_ascii_case(option.as_bytes()) => {
            *options = rest;
            true
        }
        _ => false,
    }
}

fn proposed(members: &[u8]) -> Result<Vec<MemberId>, CommandError> {
    match members {
        b"-" => Ok(Vec::new()),
        members => members
            .split(|&byte| byte == b',')
            .map(|member| number(member).map(MemberId))
            .collect(),
    }
}

fn write_id(arg: &[u8]) -> Result<WriteId, CommandError> {
    parsed(arg).ok_or(CommandError::NotAWrite)
}

fn number<N: std::str::FromStr>(arg: &[u8]) -> Result<N, CommandError> {
    parsed(arg).ok_or(CommandError::NOT_AN_INTEGER)
}

fn parsed<T: std::str::FromStr>(arg: &[u8]) -> Option<T> {
    str::from_utf8(arg).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::terms::tests::terms;

    fn writes() -> impl Strategy<Value = WriteId> {
        any::<(u64, u64)>().prop_map(|(epoch, sequence)| WriteId { epoch, sequence })
    }

    fn keys() -> impl Strategy<Value = Bytes> {
        vec(any::<u8>(), 0..20).prop_map(Bytes::from)
    }

    fn commands() -> impl Strategy<Value = ControlCommand> {
        let members = vec(any::<u32>().prop_map(MemberId), 0..15);
        let open = (keys(), any::<Option<u64>>(), members, any::<[bool; 2]>());
        let terms = terms().prop_map(|terms| Terms {
            previous: false,
            ..terms
        });
        prop_oneof![
            Just(ControlCommand::Nodes),
            Just(ControlCommand::Link),
            open.prop_map(
                |(key, size, proposal, [direct, blind])| ControlCommand::Open {
                    key,
                    size,
                    proposal,
                    direct,
                    blind,
                }
            ),
            (writes(), any::<u64>())
                .prop_map(|(write, bytes)| ControlCommand::Reserve { write, bytes }),
            (writes(), any::<u8>(), any::<bool>()).prop_map(|(write, index, direct)| {
                ControlCommand::Replace {
                    write,
                    index,
                    direct,
                }
            }),
            (writes(), any::<u64>(), terms)
                .prop_map(|(write, size, terms)| ControlCommand::Commit { write, size, terms }),
            writes().prop_map(|write| ControlCommand::Abort { write }),
            (keys(), any::<bool>())
                .prop_map(|(key, direct)| ControlCommand::Locate { key, direct }),
            any::<u64>().prop_map(|lease| ControlCommand::Release { lease }),
        ]
    }

    fn words(line: &str) -> Vec<Bytes> {
        let words = line.split(' ').filter(|word| !word.is_empty());
        words.map(|word| word.to_owned().into()).collect()
    }

    proptest! {
        #[test]
        fn what_is_encoded_parses_to_itself(command in commands()) {
            prop_assert_eq!(ControlCommand::parse(&command.encode()), Ok(command));
        }

        #[test]
        fn it_has_as_many_words_as_its_arity_says(command in commands()) {
            let (count, arity) = (command.encode().len() as u64, command.verb().arity());
            match u64::try_from(arity) {
                Ok(exactly) => prop_assert_eq!(count, exactly),
                Err(_) => prop_assert!(count >= arity.unsigned_abs()),
            }
        }

        #[test]
        fn arbitrary_words_never_panic(
            verb in 0..Verb::ALL.len(),
            args in vec(vec(any::<u8>(), 0..10).prop_map(Bytes::from), 0..6),
        ) {
            let name = word(Verb::ALL[verb].name());
            let words: Vec<Bytes> = std::iter::once(name).chain(args).collect();
            let _ = ControlCommand::parse(&words);
        }
    }

    #[test]
    fn a_command_reads_as_it_is_documented() {
        for (line, command) in [
            ("ic.nodes", ControlCommand::Nodes),
            (
                "IC.OPEN k ?",
                ControlCommand::Open {
                    key: word("k"),
                    size: None,
                    proposal: Vec::new(),
                    direct: false,
                    blind: false,
                },
            ),
            (
                "IC.OPEN k 7 3,1 DIRECT BLIND",
                ControlCommand::Open {
                    key: word("k"),
                    size: Some(7),
                    proposal: vec![MemberId(3), MemberId(1)],
                    direct: true,
                    blind: true,
                },
            ),
            (
                "IC.OPEN k ? - BLIND",
                ControlCommand::Open {
                    key: word("k"),
                    size: None,
                    proposal: Vec::new(),
                    direct: false,
                    blind: true,
                },
            ),
        ] {
            assert_eq!(
                ControlCommand::parse(&words(line)).as_ref(),
                Ok(&command),
                "{line}"
            );
        }
    }

    #[test]
    fn what_is_wrong_with_a_command_is_told() {
        for (line, error) in [
            ("", CommandError::Unknown),
            ("IC.NOTHING", CommandError::Unknown),
            ("IC.NODES now", CommandError::Arity),
            ("IC.RESERVE 1-1", CommandError::Arity),
            ("IC.RESERVE 1-1 1 1", CommandError::Arity),
            ("IC.ABORT 1", CommandError::NotAWrite),
            ("IC.OPEN k ? 4294967296", CommandError::NOT_AN_INTEGER),
            ("IC.OPEN k ? - BLIND DIRECT", CommandError::SYNTAX),
            ("IC.REPLACE 1-1 256", CommandError::NOT_AN_INTEGER),
            ("IC.REPLACE 1-1 1 BLIND", CommandError::SYNTAX),
            ("IC.LOCATE k DIRECT DIRECT", CommandError::SYNTAX),
            ("IC.COMMIT 1-1 1 GET", CommandError::SYNTAX),
            ("IC.COMMIT 1-1 1 PX 0", TermsError::ExpireTime.into()),
        ] {
            assert_eq!(ControlCommand::parse(&words(line)), Err(error), "{line}");
        }
    }
}
