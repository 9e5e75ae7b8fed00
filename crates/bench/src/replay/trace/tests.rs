use proptest::prelude::*;

use super::*;

const LIMITS: TraceLimits = TraceLimits {
    requests: 1000,
    largest: 1 << 20,
};

fn read(text: impl AsRef<[u8]>) -> Result<Trace, TraceError> {
    Trace::read(text.as_ref(), LIMITS)
}

fn with_head(lines: &str) -> String {
    format!("timestamp_ms,op,key,bytes\n{lines}")
}

fn entry(at: u64, operation: Operation, key: u32, bytes: u64) -> Entry {
    Entry {
        at: Duration::from_millis(at),
        operation,
        key,
        bytes,
    }
}

#[test]
fn requests_are_read_with_their_times_from_the_first_on() {
    let lines = "500,GET,a,10\r\n500,put,b,20\n\n700,DELETE,a,0\n701,Get,b,99999999";
    let trace = read(with_head(lines)).unwrap();
    assert_eq!(
        trace.entries,
        [
            entry(0, Operation::Get, 0, 10),
            entry(0, Operation::Set, 1, 20),
            entry(200, Operation::Delete, 0, 0),
            entry(201, Operation::Get, 1, 1 << 20),
        ]
    );
    assert_eq!((trace.keys, trace.cut), (2, 1));
    assert_eq!(
        (trace.span(), trace.largest()),
        (Duration::from_millis(201), 1 << 20)
    );
}

#[test]
fn what_is_not_replayed_is_counted() {
    let trace = read(with_head("0,HEAD,a,1\n1,COPY,b,1\n2,HEAD,a,1\n3,GET,a,1\n")).unwrap();
    assert_eq!(
        trace.others.into_iter().collect::<Vec<_>>(),
        [("COPY".into(), 1), ("HEAD".into(), 2)]
    );
    assert_eq!((trace.entries.len(), trace.keys), (1, 1));
}

#[test]
fn the_first_wrong_line_is_told() {
    for (line, expected) in [
        ("x,GET,a,1", Wrong::Timestamp),
        ("-1,GET,a,1", Wrong::Timestamp),
        ("+7,GET,a,1", Wrong::Timestamp),
        ("1e3,GET,a,1", Wrong::Timestamp),
        ("99999999999999999999,GET,a,1", Wrong::Timestamp),
        (",GET,a,1", Wrong::Timestamp),
        ("4,GET,a,1", Wrong::Backwards),
        ("5,,a,1", Wrong::Operation),
        ("5,G\0T,a,1", Wrong::Operation),
        ("5,ABCDEFGHIJKLMNOPQ,a,1", Wrong::Operation),
        ("5,GET,,1", Wrong::Key),
        ("5,GET,a,", Wrong::Bytes),
        ("5,GET,a,1.5", Wrong::Bytes),
        ("5,GET,a", Wrong::Fields),
        ("5,GET,a,1,2", Wrong::Fields),
        ("\"5\",GET,a,1", Wrong::Timestamp),
    ] {
        let text = with_head(&format!("5,GET,a,1\n{line}\n"));
        match read(&text) {
            Err(TraceError::Line { line: 3, wrong }) => assert_eq!(wrong, expected, "{line}"),
            other => panic!("{line}: {other:?}"),
        }
    }
    let long_key = with_head(&format!("5,GET,{},1\n", "k".repeat(KEY + 1)));
    assert!(matches!(
        read(long_key),
        Err(TraceError::Line {
            line: 2,
            wrong: Wrong::Key
        })
    ));
}

#[test]
fn a_line_without_an_end_takes_no_memory_without_an_end() {
    struct Endless;
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            buffer.fill(b'7');
            Ok(buffer.len())
        }
    }
    let head = with_head("");
    let endless = io::BufReader::new(head.as_bytes().chain(Endless));
    let error = Trace::read(endless, LIMITS).unwrap_err();
    assert!(
        matches!(
            error,
            TraceError::Line {
                line: 2,
                wrong: Wrong::Long
            }
        ),
        "{error}"
    );
    assert!(matches!(
        Trace::read(io::BufReader::new(Endless), LIMITS),
        Err(TraceError::Head)
    ));
}

#[test]
fn no_more_is_read_than_is_replayed() {
    let limits = TraceLimits {
        requests: 2,
        ..LIMITS
    };
    let text = with_head("0,GET,a,1\n1,GET,b,1\nnever read");
    assert_eq!(
        Trace::read(text.as_bytes(), limits).unwrap().entries.len(),
        2
    );
}

#[test]
fn what_is_no_trace_is_refused() {
    assert!(matches!(read(""), Err(TraceError::Head)));
    assert!(matches!(read("0,GET,a,1\n"), Err(TraceError::Head)));
    assert!(matches!(read(with_head("")), Err(TraceError::Empty)));
    assert!(matches!(
        read(with_head("0,HEAD,a,1")),
        Err(TraceError::Empty)
    ));
}

proptest! {
    #[test]
    fn whatever_is_read_is_no_reason_to_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let head = with_head("").into_bytes();
        let _ = read(&bytes);
        let _ = read([head, bytes].concat());
    }

    #[test]
    fn what_is_written_is_read(
        requests in prop::collection::vec((0_u64..1000, "[a-z]{1,3}", 0_u64..1 << 20), 1..100),
    ) {
        let mut now = 7;
        let mut text = with_head("");
        for (gap, key, bytes) in &requests {
            now += gap;
            text.push_str(&format!("{now},GET,{key},{bytes}\n"));
        }
        let trace = read(text).unwrap();
        prop_assert_eq!(trace.entries.len(), requests.len());
        let distinct: std::collections::HashSet<_> = requests.iter().map(|(_, key, _)| key).collect();
        prop_assert_eq!(trace.keys as usize, distinct.len());
        let gaps: u64 = requests[1..].iter().map(|(gap, ..)| gap).sum();
        prop_assert_eq!(trace.span(), Duration::from_millis(gaps));
    }
}
