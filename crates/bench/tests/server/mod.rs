//! A server that speaks RESP, and does what a test wants of it.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
};

/// What a server does with a request.
pub(crate) enum Reply {
    /// Answers with these bytes.
    Bytes(Vec<u8>),
    /// Closes the connection.
    Close,
    /// Never answers.
    Silence,
}

impl Reply {
    pub(crate) fn ok() -> Self {
        Self::Bytes(b"+OK\r\n".to_vec())
    }

    pub(crate) fn value(bytes: &[u8]) -> Self {
        let head = format!("${}\r\n", bytes.len());
        Self::Bytes([head.as_bytes(), bytes, b"\r\n"].concat())
    }
}

/// Starts a server, and tells its address. `answer` is asked what to do with each
/// command; GETs are numbered from 0, over all connections. It ends with the process.
pub(crate) fn start(answer: impl Fn(&[Vec<u8>], u64) -> Reply + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = Arc::new(answer);
    let gets = Arc::new(AtomicU64::new(0));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (answer, gets) = (answer.clone(), gets.clone());
            thread::spawn(move || serve(&stream.unwrap(), &*answer, &gets));
        }
    });
    address
}

/// Serves a connection until it ends; however it ends, the client is who is tested.
fn serve(
    stream: &TcpStream,
    answer: &impl Fn(&[Vec<u8>], u64) -> Reply,
    gets: &AtomicU64,
) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let command = command(&mut reader)?;
        let is_get = u64::from(command[0] == b"GET");
        match answer(&command, gets.fetch_add(is_get, SeqCst)) {
            Reply::Bytes(bytes) => writer.write_all(&bytes).ok()?,
            Reply::Close => return None,
            Reply::Silence => {}
        }
    }
}

fn command(reader: &mut impl BufRead) -> Option<Vec<Vec<u8>>> {
    let count = number(reader, '*')?;
    let argument = |_| {
        let mut bytes = vec![0; number(reader, '$')? + 2];
        reader.read_exact(&mut bytes).ok()?;
        bytes.truncate(bytes.len() - 2);
        Some(bytes)
    };
    (0..count).map(argument).collect()
}

fn number(reader: &mut impl BufRead, mark: char) -> Option<usize> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    line.trim_end().strip_prefix(mark)?.parse().ok()
}
