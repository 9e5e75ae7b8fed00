//! Replies compared with those of a real Redis, byte by byte.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use redis_protocol::resp2::types::BytesFrame;

use super::harness::{Peer, Running};
use crate::command::table::COMMANDS;

/// A Redis of our own, ended with this value.
struct Redis {
    process: Child,
    port: u16,
}

impl Redis {
    /// `None`, with a message, where there is no Redis 7.0; CI has to have it.
    fn start() -> Option<Self> {
        let version = Command::new("redis-server").arg("--version").output();
        let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        if !version
            .as_ref()
            .is_ok_and(|version| version.contains("v=7.0."))
        {
            let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
            assert!(!ci, "CI needs redis-server 7.0, found {version:?}");
            eprintln!("skipped: needs redis-server 7.0, found {version:?}");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(std::env::temp_dir())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap()).lines();
        let ready = output.any(|line| line.unwrap().contains("Ready to accept connections"));
        assert!(ready, "redis-server ended");
        Some(Self { process, port })
    }

    async fn connect(&self) -> Peer {
        Peer::connect(("127.0.0.1", self.port)).await
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Requests that are answered as Redis does, one after the other.
const REQUESTS: &str = "\
PING
PING hello
PING a b
ping
ECHO hello
ECHO
GET
GET a b
GET nosuch
NOSUCH
NOSUCH a b c
SET a hello
GET a
TYPE a
TYPE nosuch
TYPE a b
STRLEN a
STRLEN nosuch
EXISTS a a nosuch
EXISTS
GETRANGE a 1 3
GETRANGE a 0 -1
GETRANGE a -3 -1
GETRANGE a -3 -4
GETRANGE a -100 -90
GETRANGE a -1 -9
GETRANGE a 0 -100
GETRANGE a 3 1
GETRANGE a 4 100
GETRANGE a 5 100
GETRANGE a 9223372036854775807 -9223372036854775808
GETRANGE a -9223372036854775808 9223372036854775807
GETRANGE nosuch 0 -1
GETRANGE a x 1
GETRANGE a 1 1.5
GETRANGE a 1
TTL a
TTL nosuch
PTTL a
PTTL nosuch
EXPIRE a 100
TTL a
EXPIRE a 100 NX
EXPIRE a 50 GT
EXPIRE a 200 LT
EXPIRE a 200 GT
TTL a
EXPIRE a 150 XX LT
TTL a
EXPIRE nosuch 100
EXPIRE a x
EXPIRE a 1 FOO
EXPIRE a x FOO
EXPIRE a 1 NX XX
EXPIRE a 1 NX GT
EXPIRE a 1 GT LT
EXPIRE a 9223372036854775807
EXPIRE a -9223372036854775807
PEXPIRE a 9223372036854775807
PEXPIRE a 100000
EXPIREAT a 9223372036854775807
EXPIREAT a 99999999999
PEXPIREAT a 99999999999999
PERSIST a
PERSIST a
PERSIST nosuch
EXPIRE a 100 GT
EXPIRE a 100 XX
EXPIRE a 100 LT
TTL a
EXPIRE a -1
EXISTS a
EXPIRE a
SET a b EX 100
TTL a
SET a c KEEPTTL
TTL a
SET a d
TTL a
SET a e NX
SET a e NX GET
SET nosuch e XX
SET nosuch e XX GET
SET a f XX GET
SET new f GET
SET new g NX GET
SET a b EX
SET a b EX 0
SET a b PX -1
SET a b EX x
SET a b NX XX
SET a b XX NX
SET a b FOO
SET a b EX 9223372036854775807
SET a b PX 9223372036854775807
SET a b EXAT 9223372036854775807
SET a b EXAT -5
SET a b PXAT 0
SET a b KEEPTTL EX 3
SET a b EX 3 KEEPTTL
SET a b EX 3 PX 3
SET a b EX 0 NX XX
SET a b EX 1 NX XX
SET a b nx nx get get
SET a b EX 10 EX 10
SET a b EXAT 1
GET a
SET a
SET
SET a 1 PXAT 99999999999999 XX
SET a 1 PXAT 99999999999999
PERSIST a
DBSIZE
DBSIZE x
DEL a nosuch a
DEL
UNLINK
UNLINK new nosuch
DBSIZE
FLUSHALL x
FLUSHALL SYNC ASYNC
FLUSHALL ASYNC
FLUSHALL sync
FLUSHDB
FLUSHDB x
SELECT
SELECT 0
SELECT x
SELECT -1
SELECT 99
SELECT 99999999999
AUTH
AUTH x
AUTH default x
AUTH a b
AUTH a b c
HELLO 4
HELLO x
HELLO 2 FOO
HELLO 2 AUTH a
HELLO 2 AUTH a b
HELLO 2 SETNAME
CLIENT
CLIENT FOO
CLIENT ID x
CLIENT GETNAME
CLIENT SETNAME worker
CLIENT GETNAME
CLIENT GETNAME x
CLIENT SETNAME
CLIENT NO-EVICT
CLIENT NO-EVICT x
CLIENT NO-EVICT on
CONFIG
CONFIG GET
CONFIG GET save
CONFIG GET nosuch
CONFIG GET maxclients
CONFIG GET timeout
CONFIG GET tcp-keepalive
CONFIG FOO
COMMAND FOO
COMMAND COUNT x
COMMAND INFO nosuch
COMMAND DOCS nosuch
INFO nosuch
QUIT";

#[tokio::test]
async fn replies_are_those_of_redis() {
    let Some(redis) = Redis::start() else { return };
    let server = Running::start().await;
    let (mut ours, mut theirs) = (server.connect().await, redis.connect().await);
    for line in REQUESTS.lines() {
        assert_eq!(ours.ask(line).await, theirs.ask(line).await, "{line}");
    }
    assert_eq!(ours.until_closed().await, theirs.until_closed().await);
}

#[tokio::test]
async fn replies_of_version_3_are_those_of_redis() {
    let Some(redis) = Redis::start() else { return };
    let server = Running::start().await;
    let (mut ours, mut theirs) = (server.connect().await, redis.connect().await);
    let requests = "\
        HELLO 3 SETNAME worker\r\nGET nosuch\r\nSET k v NX\r\nSET k w NX\r\nGET k\r\n\
        CONFIG GET save\r\nCONFIG GET nosuch\r\nCOMMAND INFO nosuch\r\nCLIENT GETNAME\r\n\
        TTL k\r\nGETRANGE k 5 6\r\nHELLO 4\r\nGET nosuch\r\nHELLO\r\nHELLO 2\r\n\
        GET nosuch\r\nQUIT\r\n";
    ours.send(requests.as_bytes()).await;
    theirs.send(requests.as_bytes()).await;
    let (ours, theirs) = (ours.until_closed().await, theirs.until_closed().await);
    assert_eq!(without_ids(ours), without_ids(theirs));
}

/// Replies without what `HELLO` tells of the server and the connection.
fn without_ids(replies: Vec<u8>) -> Vec<String> {
    let text = String::from_utf8(replies).unwrap();
    let mut lines: Vec<_> = text.split("\r\n").map(str::to_owned).collect();
    for index in 0..lines.len() {
        match lines[index].as_str() {
            "id" => lines[index + 1].clear(),
            "version" => lines[index + 2].clear(),
            _ => {}
        }
    }
    lines
}

#[tokio::test]
async fn unknown_commands_are_quoted_as_redis_does() {
    let Some(redis) = Redis::start() else { return };
    let server = Running::start().await;
    let (mut ours, mut theirs) = (server.connect().await, redis.connect().await);
    let (long, longer) = ([b'a'; 100], [b'b'; 300]);
    for args in [
        &[&b"a\r\nb"[..], &long, &long][..],
        &[&longer],
        &[b"x", &longer, b"y"],
        &[b"x", b"", b"\n"],
        &[b""],
        &[b"EXPIRE", b"a", b"1", b"a\r\nb"],
        &[b"CLIENT", b"a\nb"],
        &[b"CLIENT", b"SETNAME", b"a b"],
        &[b"HELLO", b"2", b"a\nb"],
    ] {
        assert_eq!(
            ours.ask_args(args).await,
            theirs.ask_args(args).await,
            "{args:?}"
        );
    }
}

#[tokio::test]
async fn framing_is_judged_as_redis_does() {
    let Some(redis) = Redis::start() else { return };
    let server = Running::start().await;
    let (long, digits) = ("a".repeat(70_000), "1".repeat(70_000));
    let (count, length) = (format!("*{digits}"), format!("*1\r\n${digits}"));
    for bytes in [
        "*x\r\n",
        "*2147483648\r\n",
        "*03\r\n",
        "*0\r\nPING\r\n",
        "*-1\r\nPING\r\n",
        "*1\r\n%4\r\nPING\r\n",
        "*1\r\n\r\n",
        "*2\r\n$3\r\nGET\r\n\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n$x\r\n",
        "*1\r\n$-9\r\nPING\r\n",
        "PING\r\n*1\r\n$x\r\nPING\r\n",
        "\r\n\n  \r\nPING\r\n",
        "SET \"a b\" 'c\\'d' \r\nGET \"a b\"\r\nDEL \"a b\"\r\n",
        "SET \"a\r\n",
        "SET \"a\"b\r\n",
        "ECHO \"\\x41\\n\\q\"\r\n",
        "PING foo\x0bbar\r\n",
        "$4\r\nPING\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\n\r\nPING\r\n",
        &long,
        &count,
        &length,
    ] {
        let (mut ours, mut theirs) = (server.connect().await, redis.connect().await);
        ours.send(bytes.as_bytes()).await;
        theirs.send(bytes.as_bytes()).await;
        let (ours, theirs) = (ours.rest().await, theirs.rest().await);
        let start: String = bytes.chars().take(60).collect();
        assert_eq!(
            String::from_utf8(ours),
            String::from_utf8(theirs),
            "{start:?}"
        );
    }
}

#[tokio::test]
async fn what_the_table_tells_is_what_redis_tells() {
    let Some(redis) = Redis::start() else { return };
    let server = Running::start().await;
    let (mut ours, mut theirs) = (server.connect().await, redis.connect().await);
    for spec in COMMANDS.iter().filter(|spec| !spec.name.contains('.')) {
        let line = format!("COMMAND INFO {}", spec.name);
        let (ours, theirs) = (ours.ask(&line).await, theirs.ask(&line).await);
        // Name, arity, flags, first key, last key, step, categories.
        assert_eq!(fields(ours)[..7], fields(theirs)[..7], "{line}");
    }
}

fn fields(info: BytesFrame) -> Vec<BytesFrame> {
    let BytesFrame::Array(mut entries) = info else {
        panic!("COMMAND INFO is answered with an array");
    };
    let Some(BytesFrame::Array(fields)) = entries.pop() else {
        panic!("a known command has an entry");
    };
    fields
}
