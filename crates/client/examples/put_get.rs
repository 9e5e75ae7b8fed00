//! Puts a value of a few megabytes, and gets it back.
//!
//! ```text
//! cargo run -p infinicache-client --example put_get -- localhost:6378
//! ```

use std::{env, time::Instant};

use infinicache_client::{Client, Error};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let addresses: Vec<String> = env::args().skip(1).collect();
    if addresses.is_empty() {
        eprintln!("usage: put_get <host:port>...");
        std::process::exit(2);
    }
    let client = Client::connect(addresses).await?;

    let value: Vec<u8> = (0..8 << 20).map(|at: u32| (at % 251) as u8).collect();
    let begun = Instant::now();
    let version = client.put("example", value.clone()).await?;
    println!(
        "put {} bytes in {:?}, version {version}",
        value.len(),
        begun.elapsed()
    );

    let begun = Instant::now();
    let read = client.get("example").await?;
    println!("got {} bytes in {:?}", read.len(), begun.elapsed());
    assert!(read == value, "what was read is what was put");

    let stat = client.stat("example").await?;
    println!("cut {}:", stat.code);
    for chunk in &stat.chunks {
        let node = chunk.node.as_deref().unwrap_or("nobody");
        println!(
            "  chunk {} of {} bytes is with {node}",
            chunk.index, chunk.bytes
        );
    }
    Ok(())
}
