//! What the programs tell over HTTP.

use std::{collections::BTreeMap, io, net::SocketAddr, time::Duration};

use infinicache_socket::simulation;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A page's status and text.
pub(crate) async fn get(at: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let asking = async {
        let mut stream = simulation::connect(at).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut page = String::new();
        stream.read_to_string(&mut page).await?;
        let status = page.split(' ').nth(1).and_then(|it| it.parse().ok());
        let status = status.ok_or(io::ErrorKind::InvalidData)?;
        Ok((status, page))
    };
    timeout(PATIENCE, asking).await?
}

/// The figures of a page of metrics that have no labels.
pub(crate) async fn figures(at: SocketAddr) -> io::Result<BTreeMap<String, u64>> {
    let (_, page) = get(at, "/metrics").await?;
    let figures = page.lines().filter_map(|line| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.parse::<f64>().ok()? as u64))
    });
    Ok(figures.collect())
}
