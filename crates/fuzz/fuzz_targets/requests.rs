//! Requests to the proxy: bytes that arrive in any pieces give the same commands.
//!
//! Nothing panics; however the bytes arrive, and whether a large argument is
//! taken or thrown away, the commands and the error are the same; what the crate
//! `redis-protocol` decodes from a command's bytes are the command's arguments;
//! an inline command's arguments can be quoted; and between two pieces no more
//! is buffered than the limits allow.
//!
//! The first byte says how many bytes arrive at a time. Limits of bytes are
//! reached with `-max_len=200000`.
#![no_main]

use bytes::{Bytes, BytesMut};
use infinicache_resp::fuzzing::Parser;
use libfuzzer_sys::fuzz_target;
use redis_protocol::resp2::{decode::decode, types::OwnedFrame};

/// The longest line, or the longest argument that is read with its command, with its end.
const MOST_AHEAD: usize = 64 * 1024 + 2;

/// The bytes of one command's arguments.
const MOST_HELD: usize = (1024 + 64) * 1024;

/// All arguments of a command, but none from the large one on if those were thrown away.
type Command = Vec<Vec<u8>>;

/// What is done with large arguments.
#[derive(Clone, Copy, PartialEq)]
enum Large {
    Taken,
    ThrownAway,
}

/// Commands, each with where its bytes end, and why there are no more.
#[derive(Debug, Default, PartialEq)]
struct Parsed {
    commands: Vec<(Command, usize)>,
    error: Option<String>,
}

fuzz_target!(|data: &[u8]| {
    let Some((&step, stream)) = data.split_first() else {
        return;
    };
    let bytewise = parse(stream, 1, Large::Taken);
    let strip = |parsed: &Parsed| {
        let commands = parsed.commands.iter().map(|(command, _)| command.clone());
        (commands.collect::<Vec<_>>(), parsed.error.clone())
    };
    let stepwise = parse(stream, 1 + usize::from(step), Large::Taken);
    assert_eq!(strip(&stepwise), strip(&bytewise));
    let whole = parse(stream, stream.len().max(1), Large::Taken);
    assert_eq!(strip(&whole), strip(&bytewise));

    let thrown = parse(stream, 1 + usize::from(step), Large::ThrownAway);
    assert_eq!(thrown.error, bytewise.error);
    assert_eq!(thrown.commands.len(), bytewise.commands.len());
    for ((thrown, _), (taken, _)) in thrown.commands.iter().zip(&bytewise.commands) {
        assert!(taken.starts_with(thrown));
    }

    let mut start = 0;
    for (command, end) in &bytewise.commands {
        check(command, &stream[start..*end]);
        start = *end;
    }
});

fn parse(stream: &[u8], step: usize, treatment: Large) -> Parsed {
    let mut parser = Parser::default();
    let mut input = BytesMut::new();
    let (mut pieces, mut fed) = (stream.chunks(step), 0);
    let mut parsed = Parsed::default();
    let (mut args, mut large) = (Command::new(), None::<Vec<u8>>);
    let mut discarding = false;
    loop {
        let step = if discarding {
            match parser.discard(&mut input) {
                Ok(true) => {
                    discarding = false;
                    parsed
                        .commands
                        .push((std::mem::take(&mut args), fed - input.len()));
                    continue;
                }
                Ok(false) => Ok(None),
                Err(error) => Err(error),
            }
        } else {
            let here = parser.large().min(input.len() as u64) as usize;
            if let Some(large) = &mut large {
                large.extend_from_slice(&input.split_to(here));
                parser.took(here);
            }
            parser.parse(&mut input)
        };
        match step {
            Ok(Some((read, count, announced))) => {
                args.extend(large.take());
                assert!(read.iter().map(Bytes::len).sum::<usize>() <= MOST_HELD);
                args.extend(read.iter().map(|arg| arg.to_vec()));
                match announced {
                    Some(length) => {
                        assert!(args.len() < count);
                        assert_eq!(parser.large(), length);
                        discarding = treatment == Large::ThrownAway;
                        large = (!discarding).then(Vec::new);
                    }
                    None => {
                        assert_eq!(args.len(), count);
                        assert!(parser.is_between_commands());
                        parsed
                            .commands
                            .push((std::mem::take(&mut args), fed - input.len()));
                    }
                }
            }
            Ok(None) => {
                assert!(input.len() <= MOST_AHEAD);
                assert!((1..=MOST_AHEAD).contains(&parser.wanted(&input)));
                let Some(piece) = pieces.next() else {
                    return parsed;
                };
                input.extend_from_slice(piece);
                fed += piece.len();
            }
            Err(error) => {
                parsed.error = Some(error);
                return parsed;
            }
        }
    }
}

/// Compares a command with what else its bytes can be read with.
fn check(command: &Command, mut bytes: &[u8]) {
    // Empty requests come before it, which are no commands.
    while bytes[0] == b'*'
        && let Some(end) = bytes.iter().position(|&byte| byte == b'\n')
        && (bytes[1] == b'-' || bytes[1] == b'0')
    {
        bytes = &bytes[end + 1..];
    }
    if bytes[0] == b'*' {
        let (frame, length) = decode(bytes).expect("a frame").expect("a whole one");
        let args = command.iter().cloned().map(OwnedFrame::BulkString);
        assert_eq!(frame, OwnedFrame::Array(args.collect()));
        assert_eq!(length, bytes.len());
        return;
    }
    if bytes.iter().filter(|&&byte| byte == b'\n').count() > 1 {
        // Empty lines, perhaps empty arrays again: rare enough to be let be.
        return;
    }
    let mut quoted = vec![b'5'];
    for arg in command {
        let escaped = arg.iter().map(|byte| format!("\\x{byte:02x}"));
        quoted.extend_from_slice(format!(" \"{}\"", escaped.collect::<String>()).as_bytes());
    }
    quoted.extend_from_slice(b"\r\n");
    let again = parse(&quoted, quoted.len(), Large::Taken);
    if let [(words, _)] = &again.commands[..] {
        assert_eq!(&words[1..], command);
    } else {
        assert!(quoted.len() > MOST_AHEAD, "{:?}", again.error);
    }
}
