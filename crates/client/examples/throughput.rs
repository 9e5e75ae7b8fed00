//! How fast values go in and out, by the library and by plain RESP, beside another
//! server in the same run.
//!
//! ```console
//! $ redis-server --port 7000 --save '' &
//! $ cargo run --release -p infinicache-client --example throughput -- 127.0.0.1:6378 127.0.0.1:7000
//! ```
//!
//! One connection, one request at a time; each round asks everybody in turn, and
//! medians are compared. What is read goes into one buffer that is used again.

use std::{
    env, io,
    time::{Duration, Instant},
};

use bytes::Bytes;
use infinicache_client::{Client, Error};
use infinicache_resp::{Replies, reply::Head, request};
use tokio::{io::AsyncWriteExt, net::TcpStream};

const KEY: &str = "throughput";

/// Sizes in MiB, and how many rounds of each.
const SIZES: [(usize, usize); 3] = [(1, 200), (10, 80), (100, 15)];

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut addresses = env::args().skip(1);
    let ours = addresses.next().unwrap_or_else(|| "127.0.0.1:6378".into());
    let other = addresses.next().unwrap_or_else(|| "127.0.0.1:6379".into());
    let client = Client::connect([ours.clone()]).await?;
    let mut plain = Resp::connect(&ours).await?;
    let mut other = Resp::connect(&other).await?;

    println!("size      way      set GB/s (x other)   get GB/s (x other)");
    for (mib, rounds) in SIZES {
        let size = mib << 20;
        let value = Bytes::from(
            (0..size)
                .map(|i| ((i * 31) >> 3) as u8)
                .collect::<Vec<u8>>(),
        );
        let mut times: [[Vec<Duration>; 2]; 3] = Default::default();
        for _ in 0..rounds {
            let [library, resp, beside] = &mut times;
            library[0].push(timed(client.put(KEY, value.clone())).await?);
            library[1].push(timed(read_all(&client, size)).await?);
            for (server, times) in [(&mut plain, resp), (&mut other, beside)] {
                times[0].push(timed(server.set(&value)).await?);
                times[1].push(timed(server.get(size)).await?);
            }
        }
        let rates =
            times.map(|routes| routes.map(|times| size as f64 / median(times).as_secs_f64() / 1e9));
        for (route, [set, get]) in ["library", "RESP", "other"].into_iter().zip(rates) {
            let [other_set, other_get] = rates[2];
            println!(
                "{mib:>4} MiB  {route:<8} {set:>6.2} ({:.2}x)       {get:>6.2} ({:.2}x)",
                set / other_set,
                get / other_get,
            );
        }
    }
    Ok(())
}

async fn timed<T, E>(operation: impl Future<Output = Result<T, E>>) -> Result<Duration, E> {
    let begun = Instant::now();
    operation.await?;
    Ok(begun.elapsed())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

async fn read_all(client: &Client, size: usize) -> Result<(), Error> {
    let mut download = client.open(KEY).await?;
    let mut read = 0;
    while let Some(piece) = download.next().await? {
        read += piece.len();
    }
    assert_eq!(read, size);
    Ok(())
}

/// A server that speaks RESP.
struct Resp {
    stream: TcpStream,
    replies: Replies,
}

impl Resp {
    async fn connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            replies: Replies::new(1 << 20),
        })
    }

    async fn set(&mut self, value: &[u8]) -> io::Result<()> {
        let mut head = Vec::new();
        request::begin(&mut head, 3);
        request::argument(&mut head, b"SET");
        request::argument(&mut head, KEY.as_bytes());
        request::begin_argument(&mut head, value.len() as u64);
        self.stream.write_all(&head).await?;
        self.stream.write_all(value).await?;
        self.stream.write_all(b"\r\n").await?;
        let reply = self.replies.head(&mut self.stream).await;
        assert_eq!(reply.map_err(io::Error::other)?, Head::Simple(b"OK"));
        Ok(())
    }

    async fn get(&mut self, size: usize) -> io::Result<()> {
        let mut asked = Vec::new();
        request::encode(&mut asked, &["GET", KEY]);
        self.stream.write_all(&asked).await?;
        let reply = self.replies.head(&mut self.stream).await;
        assert_eq!(reply.map_err(io::Error::other)?, Head::Bulk(size as u64));
        let value = self.replies.value(&mut self.stream, size as u64, |_| {});
        value.await.map_err(io::Error::other)?;
        Ok(())
    }
}
