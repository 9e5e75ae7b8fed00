use proptest::prelude::*;
use redis_protocol::resp2::{decode::decode_bytes, encode::extend_encode, types::BytesFrame};

use super::*;

/// A command with all of its arguments, large ones included.
type Whole = Vec<Bytes>;

/// Feeds `bytes` in pieces of `step`, and takes large arguments as a reader would.
fn parse_all(bytes: &[u8], step: usize) -> Result<(Vec<Whole>, Parser), ProtocolError> {
    let mut parser = Parser::default();
    let mut input = BytesMut::new();
    let mut pieces = bytes.chunks(step.max(1));
    let (mut commands, mut args) = (Vec::new(), Vec::new());
    let mut large = BytesMut::new();
    loop {
        let here = parser.large().min(input.len() as u64) as usize;
        large.extend_from_slice(&input.split_to(here));
        parser.took(here);
        match parser.parse(&mut input)? {
            Some(command) => {
                if !large.is_empty() {
                    args.push(large.split().freeze());
                }
                args.extend(command.args);
                if command.large.is_none() {
                    assert_eq!(args.len(), command.count);
                    commands.push(std::mem::take(&mut args));
                }
            }
            None => match pieces.next() {
                Some(piece) => input.extend_from_slice(piece),
                None => return Ok((commands, parser)),
            },
        }
    }
}

fn arg() -> impl Strategy<Value = Bytes> {
    let length = prop_oneof![
        8 => 0..40usize,
        1 => STREAM_THRESHOLD - 2..STREAM_THRESHOLD + 3,
    ];
    (length, any::<u8>()).prop_map(|(length, fill)| vec![fill; length].into())
}

fn command() -> impl Strategy<Value = Whole> {
    prop::collection::vec(arg(), 1..8)
}

/// A request in the words of the crate that replies are encoded with.
fn frame(args: &[Bytes]) -> BytesFrame {
    BytesFrame::Array(args.iter().cloned().map(BytesFrame::BulkString).collect())
}

fn encode(commands: &[Whole]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    for args in commands {
        extend_encode(&mut bytes, &frame(args), false).unwrap();
    }
    bytes.to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_the_crate_encodes_is_parsed_as_it_decodes(
        commands in prop::collection::vec(command(), 0..6),
        step in prop_oneof![1..64usize, 60_000..200_000usize],
    ) {
        let bytes = encode(&commands);
        let (parsed, parser) = parse_all(&bytes, step).unwrap();
        prop_assert!(parser.is_between_commands());

        let mut rest = Bytes::from(bytes);
        for args in &parsed {
            let (decoded, length) = decode_bytes(&rest).unwrap().unwrap();
            prop_assert_eq!(frame(args), decoded);
            rest.advance(length);
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn a_proper_prefix_never_gives_the_last_command(
        commands in prop::collection::vec(command(), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let bytes = encode(&commands);
        let (parsed, _) = parse_all(&bytes[..cut.index(bytes.len())], 1_000).unwrap();
        prop_assert!(parsed.len() < commands.len());
        prop_assert_eq!(&parsed[..], &commands[..parsed.len()]);
    }

    #[test]
    fn a_command_can_be_thrown_away_from_where_it_was_stopped(
        mut args in command(),
        large in 0..8usize,
        taken in any::<prop::sample::Index>(),
        step in 1..100_000usize,
    ) {
        args.insert(large.min(args.len()), vec![b'$'; STREAM_THRESHOLD + 10].into());
        let next = vec![Bytes::from_static(b"PING")];
        let mut input = BytesMut::from(&encode(&[args, next.clone()])[..]);
        let mut parser = Parser::default();
        let stopped = parser.parse(&mut input).unwrap().unwrap();
        let taken = taken.index(stopped.large.unwrap() as usize + 1);
        input.advance(taken);
        parser.took(taken);

        let rest = input.split();
        let mut pieces = rest.chunks(step);
        while !parser.discard(&mut input).unwrap() {
            input.extend_from_slice(pieces.next().unwrap());
        }
        pieces.for_each(|piece| input.extend_from_slice(piece));
        prop_assert_eq!(parser.parse(&mut input).unwrap().unwrap().args, next);
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"*$-\r\n0123456789\"'\\x ".to_vec())], 0..256),
        step in 1..64usize,
    ) {
        let _ = parse_all(&bytes, step);
    }
}

#[test]
fn every_proper_prefix_of_a_small_command_is_incomplete() {
    for bytes in [
        &b"*2\r\n$3\r\nGET\r\n$10\r\n0123456789\r\n"[..],
        b"GET \"a b\"\r\n",
        b"PING\n",
    ] {
        for end in 0..bytes.len() {
            let (commands, _) = parse_all(&bytes[..end], 1).unwrap();
            assert!(commands.is_empty(), "{end} bytes gave {commands:?}");
        }
        assert_eq!(parse_all(bytes, 1).unwrap().0.len(), 1);
    }
}

#[test]
fn a_large_argument_is_announced_and_what_follows_it_left_alone() {
    let mut parser = Parser::default();
    let mut input = BytesMut::from("*5\r\n$3\r\nSET\r\n$1\r\nk\r\n$9223372036854775807\r\nvalue");
    let command = parser.parse(&mut input).unwrap().unwrap();
    assert_eq!(command.args, ["SET", "k"]);
    assert_eq!(command.count, 5);
    assert_eq!(command.large, Some(i64::MAX as u64));
    assert_eq!(parser.large(), i64::MAX as u64);
    assert_eq!(input, "value");
    assert_eq!(parser.parse(&mut input), Ok(None));
    assert_eq!(input, "value");
}

#[test]
fn hostile_lengths_are_refused_before_allocation() {
    for (hostile, expected) in [
        ("*1048577\r\n", ProtocolError::InvalidCount),
        ("*99999999999999999999\r\n", ProtocolError::InvalidCount),
        ("*01\r\n", ProtocolError::InvalidCount),
        ("*1\r\n$-1\r\n", ProtocolError::InvalidLength),
        (
            "*1\r\n$18446744073709551615\r\n",
            ProtocolError::InvalidLength,
        ),
        ("*1\r\n$+1\r\n", ProtocolError::InvalidLength),
        ("*1\r\n:1\r\n", ProtocolError::NotABulkString(':')),
        ("*1\r\n$1\r\nabc", ProtocolError::NoLineEnd),
        ("*1\rx", ProtocolError::NoLineEnd),
    ] {
        let result = parse_all(hostile.as_bytes(), 100).map(|(commands, _)| commands);
        assert_eq!(result, Err(expected), "{hostile:?}");
    }
}

#[test]
fn a_promise_of_many_arguments_costs_nothing() {
    let (_, parser) = parse_all(b"*1048576\r\n$1\r\na\r\n", 100).unwrap();
    assert!(parser.args.capacity() < 100);
}

#[test]
fn an_endless_line_is_refused() {
    for (start, expected) in [
        ("", ProtocolError::InlineTooLong),
        ("*", ProtocolError::CountTooLong),
        ("*1\r\n$", ProtocolError::LengthTooLong),
    ] {
        let line = start.to_owned() + &"1".repeat(MAX_LINE + 1);
        let result = parse_all(line.as_bytes(), 1_000).map(|(commands, _)| commands);
        assert_eq!(result, Err(expected), "{start:?}");
    }
}

#[test]
fn arguments_that_are_too_large_together_are_not_buffered() {
    let many: Whole = vec![vec![b'k'; 1_000].into(); 5_000];
    let mut input = BytesMut::from(&encode(&[many])[..]);
    let mut parser = Parser::default();
    let command = parser.parse(&mut input).unwrap().unwrap();
    assert_eq!(command.large, Some(1_000));
    assert!(cost(&command.args) <= MAX_BUFFERED);
    assert!(parser.discard(&mut input).unwrap());
    assert!(input.is_empty() && parser.is_between_commands());
}

#[test]
fn empty_requests_are_no_commands() {
    let (commands, _) = parse_all(b"\r\n\n  \r\n*0\r\n*-1\r\nPING\r\n", 3).unwrap();
    assert_eq!(commands, [["PING"]]);
}
